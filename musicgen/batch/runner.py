"""Generation of the clips of a list into a samples folder by continuous batching. Each clip is written when it is finished, and
an interrupted run can be resumed.

clips ──► `batch_size` threads ──► Scheduler (continuous batching) ──► postprocess ──► samples.Writer
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from musicgen import audio, provenance, samples
from musicgen.audio import Audio
from musicgen.batch.clip import BatchClip
from musicgen.batch.prompts_file import LineError
from musicgen.engine import Scheduler
from musicgen.engine.batch_size import automatic
from musicgen.errors import InputError, MusicGenError
from musicgen.loops import beats_of
from musicgen.model import MusicGen
from musicgen.postprocessing import ProcessedClip, postprocess
from musicgen.settings import KEY, AdapterUse, Settings
from musicgen.watermark import Watermark

_NOT_COMPARED = ("schema", "version")
"""Settings that may differ where a run goes on: a newer version of the program continues a folder."""


@dataclass(frozen=True)
class BatchReport:
    """What a run did.

    Attributes:
        made: Clips that were generated.
        there: Clips that the folder had already.
        music: Seconds of sound that were generated.
        seconds: Time that it took.
        batch_size: Clips that were generated at the same time, at most.
        errors: Clips that could not be generated.
    """

    made: int
    there: int
    music: float
    seconds: float
    batch_size: int
    errors: tuple[LineError, ...] = ()

    @property
    def clips_an_hour(self) -> float:
        return 3600 * self.made / self.seconds if self.seconds else 0.0

    @property
    def speed(self) -> float:
        """Seconds of music a second."""
        return self.music / self.seconds if self.seconds else 0.0


def generate(
    model: MusicGen,
    clips: Sequence[BatchClip],
    folder: Path,
    *,
    system: str,
    adapters: Sequence[AdapterUse] = (),
    batch_size: int | None = None,
    extension: str = ".flac",
    watermark: Watermark | None = None,
    sign: samples.Sign | None = None,
    progress: Callable[[BatchReport], None] | None = None,
) -> BatchReport:
    """Generate the clips that a samples folder does not have yet.

    Args:
        model: The loaded model.
        clips: All clips that the folder shall have.
        folder: The samples folder. Clips of other lists may be in it.
        system: The model's name there.
        adapters: What clips store of the model's LoRA adapters.
        batch_size: Clips that are generated at the same time; None for as many as suit the memory and the device.
        extension: Of the files, of `audio.FORMATS`.
        watermark: What marks the clips whose settings ask for it.
        sign: What signs the files, None where nothing does.
        progress: Called after every clip with the report so far, in the caller's thread.

    Returns:
        What was done. A clip that the model cannot make is a fault of the report, and the others are made.

    Raises:
        InputError: The folder has a clip of the list that was made with other settings, or is no samples folder; the batch size
            does not fit; a file cannot be written.
    """
    audio.check_format(f"clip{extension}")
    clips = [dataclasses.replace(clip, settings=_made_by(model, clip.settings, adapters)) for clip in clips]
    writer = samples.Writer(folder, system, sign)
    _check_same(writer, clips, extension)
    missing = [clip for clip in clips if clip.id not in writer]
    there = len(clips) - len(missing)
    if not missing:
        return BatchReport(0, there, 0.0, 0.0, 0)
    slots = batch_size if batch_size is not None else automatic(model, len(missing))
    made, music, errors, start = 0, 0.0, list[LineError](), time.monotonic()

    def report() -> BatchReport:
        return BatchReport(made, there, music, time.monotonic() - start, slots, tuple(errors))

    scheduler = Scheduler(model, slots=slots, queue=slots)
    threads = ThreadPoolExecutor(slots, thread_name_prefix="batch")
    try:
        futures = {threads.submit(_waveform, scheduler, clip, watermark): clip for clip in missing}
        for future in as_completed(futures):
            clip = futures.pop(future)
            try:
                finished = future.result()
            except MusicGenError as error:
                errors.append(LineError(clip.where, str(error)))
            else:
                _write(writer, clip, finished, extension)
                made, music = made + 1, music + finished.audio.duration
            if progress is not None:
                progress(report())
        return report()
    finally:
        # Clips that are being generated end with the scheduler: their threads would be waited for otherwise.
        threads.shutdown(wait=False, cancel_futures=True)
        scheduler.close()
        threads.shutdown()


def values(settings: Settings) -> dict[str, Any]:
    """Settings as a samples folder stores them: what a clip's file says, as JSON values."""
    found: dict[str, Any] = json.loads(settings.comment())[KEY]
    return found


def _made_by(model: MusicGen, settings: Settings, adapters: Sequence[AdapterUse]) -> Settings:
    """The settings with what the loaded model tells."""
    separate = settings.separate
    if settings.melody is None:
        separate = None
    elif separate is None and model.melody is not None:
        separate = model.melody.separated
    return dataclasses.replace(
        settings,
        precision=model.precision,
        decoder=model.decoder.kind,
        adapters=tuple(adapters),
        separate=separate,
    )


def _check_same(writer: samples.Writer, clips: Sequence[BatchClip], extension: str) -> None:
    """Refuse to go on in a folder where a clip of the list was made with other settings, or in another format."""
    for clip in clips:
        sample = writer.samples.get(clip.id)
        if sample is None:
            continue
        if not (writer.folder / sample.audio).is_file():
            raise InputError(
                f"{writer.folder}: {sample.audio} is missing, which {samples.MANIFEST} lists: delete its line as well, and it "
                "is made again"
            )
        format_there = Path(sample.audio).suffix
        if format_there != extension:
            raise InputError(
                f"{clip.where}: {writer.folder} has the clip {clip.id!r} as {format_there}, now {extension}: choose another "
                f"folder, or go on with ",
                python=f'extension="{format_there}"',
                shell=f"--format {format_there.removeprefix('.')}",
            )
        wanted, stored = values(clip.settings), sample.settings
        for key in wanted.keys() | stored.keys():
            if key not in _NOT_COMPARED and wanted.get(key) != stored.get(key):
                raise InputError(
                    f"{clip.where}: {writer.folder} has the clip {clip.id!r} with another {_difference(key, stored, wanted)}: "
                    f"choose another folder, or delete {sample.audio} and its line in {samples.MANIFEST}"
                )


def _difference(key: str, stored: Any, wanted: Any) -> str:
    """The setting that differs, with both values."""
    before, now = stored.get(key), wanted.get(key)
    if isinstance(before, dict) and isinstance(now, dict):
        inner = next(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        return _difference(inner, before, now)
    return f"{key} ({str(before)[:60]!r}, now {str(now)[:60]!r})"


def _waveform(scheduler: Scheduler, clip: BatchClip, watermark: Watermark | None) -> ProcessedClip:
    """Generate a clip, in a thread of its own."""
    request = dataclasses.replace(clip.request(), loop=False)
    wave = torch.cat([chunk.cpu() for chunk in scheduler.stream(request)], dim=1)
    settings, mark = clip.settings, None
    if watermark is not None:
        mark = watermark.marker(provenance.tags(settings.comment())["settingssha256"])
    return postprocess(
        Audio(wave, scheduler.model.sample_rate), loop=settings.loop, loudness=settings.loudness, limiter=settings.limiter,
        loop_cut=settings.loop_cut, loop_bars=settings.loop_bars,
        beats_per_bar=beats_of(settings.chords), mark=mark,
    )  # fmt: skip


def _write(writer: samples.Writer, clip: BatchClip, finished: ProcessedClip, extension: str) -> None:
    settings = clip.settings
    writer.add(
        clip.id,
        finished.audio,
        prompt=settings.prompt or "",
        seed=settings.seed,
        settings=values(settings),
        comment=settings.comment(finished.measured),
        extension=extension,
    )
