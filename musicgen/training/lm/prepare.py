"""Preprocessing: audio files -> token shards.

Every file is decoded, mixed to the model's channels, split into segments of at most two minutes and encoded. Files that cannot
be used are listed in the log and in the index. The folder is written atomically.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from tqdm import tqdm

from musicgen import audio, chroma
from musicgen.audio import Audio
from musicgen.checkpoint.tokenizers import load_tokenizer
from musicgen.conditioners.joint_embedding import JointEmbedder
from musicgen.conditioners.separation import DemucsSeparator
from musicgen.errors import InputError
from musicgen.folders import name_text
from musicgen.text_format import counted
from musicgen.tokenizers import StereoTokenizer, Tokenizer, frame_rate
from musicgen.training.lm.caption_augmentation import has_text
from musicgen.training.lm.clap_windows import ClapWindows
from musicgen.training.lm.config import Data
from musicgen.training.lm.shards import INDEX, Index, Sample, encoded
from musicgen.training.manifest import Entry, read

logger = logging.getLogger(__name__)

SEGMENT_SECONDS = 120
SHARD_CLIPS = 256
VALIDATION_SHARE = 10
"""At most one clip in this many is held out."""


def prepare(
    data: Data,
    folder: Path,
    tokenizer: Tokenizer,
    melody: str,
    seed: int,
    device: torch.device,
    windows: ClapWindows | None = None,
) -> Index:
    """Write the token shards of `data.path`.

    Args:
        data: The recipe's data section.
        folder: Of the shards; it must not exist.
        tokenizer: The audio tokeniser, on `device`.
        melody: "none", "mix" or "separated": what the pitch classes are computed from.
        seed: Shuffles the clips and chooses those held out.
        device: Of the tokeniser and the source separation.
        windows: Embeds the windows of every clip, for CLAP models.

    Returns:
        The index of the shards.

    Raises:
        InputError: There is no music, too little of it can be used, or the folder cannot be written.
    """
    if not data.path:
        raise InputError(f"{folder} holds no tokens, and data.path names no music to make them from")
    entries = read(Path(data.path))
    random.Random(seed).shuffle(entries)
    if len(entries) < 2:
        raise InputError(
            f"{data.path}: {len(entries)} clip: at least 2 are needed, to hold one out: cut it into several"
        )
    described = _count_described(entries)
    logger.info("%d of %d clips have a text", described, len(entries))
    check_texts(data, described, len(entries), data.path)
    held_out = min(data.validation, max(1, len(entries) // VALIDATION_SHARE))
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        made = _SampleSource(_SampleMaker(tokenizer, melody, device, windows), data.workers)
        # Every lane needs a shard, also with few clips.
        clips = max(1, min(SHARD_CLIPS, (len(entries) - held_out) // data.lanes))
        with tqdm(total=len(entries), desc="tokens", unit="clip", disable=None) as bar:
            usable = made.clips(entries, bar)
            # Those that can be used: a damaged file is not what a training is measured on.
            valid = _write(temporary, "valid", chain.from_iterable(islice(usable, held_out)), clips)
            frames_held_out = made.frames
            train = _write(temporary, "train", chain.from_iterable(usable), clips)
        if not train or not valid:
            raise InputError(
                f"{data.path}: of {counted(len(entries), 'clip')} {len(made.failed)} cannot be used, and too few are left: "
                f"{made.failed[0]}"
            )
        index = Index(
            tokenizer=data.tokenizer,
            num_codebooks=tokenizer.num_codebooks,
            codebook_size=tokenizer.codebook_size,
            rate=str(frame_rate(tokenizer)),
            channels=tokenizer.channels,
            melody=melody,
            train=train,
            valid=valid,
            frames=made.frames - frames_held_out,
            described=made.described,
            not_used=made.failed,
            embedder="" if windows is None else windows.embedder.kind,
            window=0.0 if windows is None else windows.seconds,
        )
        (temporary / INDEX).write_text(index.text(), encoding="utf-8")
        temporary.replace(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise InputError(f"cannot write the tokens into {folder}: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if made.failed:
        logger.warning("%d of %d clips were not used: see %s", len(made.failed), len(entries), folder / INDEX)
    return index


def check_texts(data: Data, described: int | None, clips: int, source: str) -> None:
    """Refuse music without texts, unless the recipe says that none is to be learnt.

    Args:
        data: The recipe's data section.
        described: How many clips have a text; None where nobody counted.
        clips: How many there are.
        source: Of the clips, for the error.

    Raises:
        InputError: No clip has a text.
    """
    if data.texts and described == 0:
        raise InputError(
            f"{source}: 0 of {counted(clips, 'clip')} have a description (in a .txt or .json beside each, in metadata.csv or "
            ".jsonl, or in the manifest), so no text would be learnt: add them, or go on with --no-text (data.texts: false)"
        )


def _count_described(entries: list[Entry]) -> int:
    count = 0
    for entry in entries:
        with contextlib.suppress(InputError):  # said where the clip is made
            count += has_text(entry.metadata())
    return count


class _SampleSource:
    """Encodes entries, in order, in this process or several; counts frames and clips with a text, and collects the files that
    cannot be used."""

    def __init__(self, maker: _SampleMaker, workers: int) -> None:
        self.maker, self.workers = maker, workers
        self.failed: list[str] = []
        self.frames = 0
        self.described = 0

    def clips(self, entries: list[Entry], bar: tqdm[Any]) -> Iterator[list[tuple[str, Sample]]]:
        """The segments of each file that can be used, with their keys."""
        for result in self._results(entries):
            bar.update()
            if isinstance(result, InputError):
                logger.warning("not used: %s", result)
                self.failed.append(str(result))
                continue
            self.frames += sum(sample.codes.shape[1] for _, sample in result)
            self.described += sum(has_text(sample.metadata) for _, sample in result)
            yield result

    def _results(self, entries: list[Entry]) -> Iterator[list[tuple[str, Sample]] | InputError]:
        if self.workers == 0:
            yield from map(self.maker.make, entries)
            return
        context = get_context("spawn")
        with ProcessPoolExecutor(self.workers, context, _start_worker, self.maker.portable()) as pool:
            yield from pool.map(_in_worker, entries, chunksize=4)


_worker: list[_SampleMaker] = []
"""In a worker process, its sample maker."""


def _start_worker(
    config: dict[str, Any],
    state: dict[str, Any],
    stereo: bool,
    melody: str,
    device: str,
    embedding: tuple[type[JointEmbedder], float] | None,
) -> None:
    torch.set_num_threads(1)
    mono = load_tokenizer(config, {name: torch.from_numpy(array) for name, array in state.items()}, "the tokeniser")
    tokenizer = (StereoTokenizer(mono) if stereo else mono).to(device)
    windows = None if embedding is None else ClapWindows(embedding[0].load(), embedding[1])
    _worker.append(_SampleMaker(tokenizer, melody, torch.device(device), windows))


def _in_worker(entry: Entry) -> list[tuple[str, Sample]] | InputError:
    return _worker[0].make(entry)


class _SampleMaker:
    """Reads and encodes one entry."""

    def __init__(
        self, tokenizer: Tokenizer, melody: str, device: torch.device, windows: ClapWindows | None = None
    ) -> None:
        self.windows = windows
        self.tokenizer = tokenizer
        self.melody = melody
        self.device = device
        self.separator = DemucsSeparator(device) if melody == "separated" else None

    def portable(
        self,
    ) -> tuple[dict[str, Any], dict[str, Any], bool, str, str, tuple[type[JointEmbedder], float] | None]:
        """Arguments of `_start_worker`, because networks with weight norm cannot be pickled."""
        state = {name: tensor.cpu().numpy() for name, tensor in self.tokenizer.network.state_dict().items()}
        # A class is found again by the name of its module, so a worker needs no registry.
        embedding = None if self.windows is None else (type(self.windows.embedder), self.windows.crop)
        return self.tokenizer.config(), state, len(self.tokenizer.sides) == 2, self.melody, str(self.device), embedding

    def make(self, entry: Entry) -> list[tuple[str, Sample]] | InputError:
        """The segments of one file with their keys, or the error if it cannot be used."""
        try:
            recording = self._read(entry.path)
            if recording.duration * float(frame_rate(self.tokenizer)) < 1:
                raise InputError(f"{entry.path}: {recording.duration:.3f} s long, shorter than one frame")
            return list(self._segments(entry, recording, entry.metadata()))
        except InputError as error:
            return error

    def _read(self, path: Path) -> Audio:
        """The file; where no melody is heard in it, at once as the tokeniser takes it, which needs less memory."""
        if self.melody == "none":
            return audio.read(path, channels=self.tokenizer.channels, rate=self.tokenizer.sample_rate)
        return audio.read(path)

    def _segments(self, entry: Entry, recording: Audio, metadata: dict[str, Any]) -> Iterator[tuple[str, Sample]]:
        wave = recording.with_channels(self.tokenizer.channels).resampled(self.tokenizer.sample_rate).wave
        length = SEGMENT_SECONDS * self.tokenizer.sample_rate
        classes = self._classes(recording, -(-wave.shape[1] // self.tokenizer.hop))
        # Bytes that are no UTF-8 cannot stand in a shard.
        name = name_text(entry.path.stem).replace(".", "_")
        for number, part in enumerate(wave.split(length - length % self.tokenizer.hop, dim=1)):
            codes = self.tokenizer.encode(part[None].to(self.device))[0].cpu().numpy().astype(np.int16)
            first = number * (length // self.tokenizer.hop)
            cut = None if classes is None else classes[first : first + codes.shape[1]]
            heard = None if self.windows is None else self.windows(Audio(part, self.tokenizer.sample_rate))
            yield f"{name}-{number}", Sample(codes, cut, metadata, heard)

    def _classes(self, recording: Audio, num_frames: int) -> np.ndarray | None:
        """uint8 [num_frames], the strongest pitch class around every frame; None without melody."""
        if self.melody == "none":
            return None
        heard = recording if self.separator is None else self.separator(recording)
        mono = heard.mono().resampled(chroma.SAMPLE_RATE).wave[0]
        step = chroma.SAMPLE_RATE / Fraction(frame_rate(self.tokenizer))
        centres = torch.tensor([min(round(i * step), mono.shape[0] - 1) for i in range(num_frames)])
        return chroma.chroma_at(mono, centres).argmax(dim=-1).to(torch.uint8).numpy()


def _write(folder: Path, name: str, samples: Iterator[tuple[str, Sample]], clips: int) -> dict[str, int]:
    """Write shards of `clips` clips. Returns name -> number of clips."""
    counts: dict[str, int] = {}
    writer = None
    try:
        for number, (key, sample) in enumerate(samples):
            if number % clips == 0:
                if writer is not None:
                    writer.close()
                shard = f"{name}-{number // clips:05d}.tar"
                counts[shard] = 0
                writer = webdataset.TarWriter(os.fspath(folder / shard))
            assert writer is not None
            writer.write(encoded(f"{number:07d}-{key}", sample))
            counts[shard] += 1
    finally:
        if writer is not None:
            writer.close()
    return counts
