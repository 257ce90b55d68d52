"""Coverage-guided fuzzing (atheris, libFuzzer) of what reads strangers' bytes: a file is read, or refused in one line.

    python tools/fuzz.py --seconds 60               every target, one after the other
    python tools/fuzz.py --seconds 600 midi npy     these alone

Each target runs in a process of its own, with bounds on time, memory and length. What it finds is kept in outputs/fuzz, by
target: `corpus`, from which the next run goes on, and `crash-…`, `timeout-…` or `oom-…`, which `--again FILE` reads once more,
with the whole traceback. The code of C libraries (libsndfile, FFmpeg) is not traced, and its faults are found all the same.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOUND = ROOT / "outputs" / "fuzz"
MEGABYTES = 3_000
"""Memory of a target; more is a finding."""
SECONDS_EACH = 20
"""Time for one input; more is a finding."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
        read: is given a file and reads it.
        seeds: contents to begin with.
        name: of the file; its suffix may choose the reader.
        refusals: exceptions that say that a file is refused, besides MusicGenError.
        longest: bytes of an input.
    """

    read: Callable[[Path], object]
    seeds: Callable[[], Iterable[bytes]]
    name: str
    refusals: tuple[type[Exception], ...] = ()
    longest: int = 4_096


def _sound(extension: str) -> bytes:
    import torch

    from musicgen import audio
    from musicgen.audio import Audio
    from musicgen.settings import Settings

    wave = torch.sin(torch.arange(4_000) / 20)[None].repeat(2, 1)
    return audio.encode(Audio(wave, 32_000), f".{extension}", Settings("0.1.0", "mini", "drums", 1.0, 7).comment())


def _sounds() -> list[bytes]:
    return [_sound(extension) for extension in ("wav", "flac", "ogg", "mp3")]


def _containers(file: Path) -> None:
    from musicgen import containers

    looks: tuple[Callable[[Path], object], ...] = (
        containers.joined_at, containers.ogg_links, containers.is_mpeg, containers.mpeg_frames, containers.sound_chunk,
    )  # fmt: skip
    for look in looks:
        look(file)


def _decoding(file: Path) -> None:
    from musicgen import audio

    audio.read(file, 2.0)


def _settings(file: Path) -> None:
    from musicgen.settings import Settings

    Settings.of_file(file)


def _comment(file: Path) -> None:
    from musicgen.settings import Settings

    Settings.from_comment(file.read_bytes().decode("utf-8", "surrogateescape"), "clip.flac")


def _comments() -> list[bytes]:
    from musicgen.settings import Settings

    return [Settings("0.1.0", "mini", "drums", 1.0, 7).comment().encode()]


def _link(file: Path) -> None:
    from musicgen.serving import clip_metadata

    clip_metadata.read_link(base64.urlsafe_b64encode(zlib.compress(file.read_bytes())).decode())


def _links() -> list[bytes]:
    from musicgen.serving import clip_metadata
    from musicgen.serving.request import ClipRequest

    link = clip_metadata.make_link(ClipRequest("drums", "mini", 3.0), 7)
    return [zlib.decompress(base64.urlsafe_b64decode(link + "=" * (-len(link) % 4)))]


def _npy(file: Path) -> None:
    from musicgen import npy

    npy.read(file.read_bytes())


def _arrays() -> list[bytes]:
    import io

    import numpy as np

    found = []
    for array in (np.arange(6, dtype="<i2").reshape(2, 3), np.zeros((0, 4), ">f4"), np.asfortranarray(np.eye(2))):
        buffer = io.BytesIO()
        np.save(buffer, array)
        found.append(buffer.getvalue())
    return found


def _midi(file: Path) -> None:
    from fractions import Fraction

    from musicgen import midi

    midi.pitch_classes_at(file, Fraction(1, 50))


def _midis() -> list[bytes]:
    import io

    import mido

    track = mido.MidiTrack()
    for number in (60, 64, 67):
        track += [mido.Message("note_on", note=number), mido.Message("note_off", note=number, time=480)]
    track.insert(0, mido.MetaMessage("set_tempo", tempo=400_000))
    song, buffer = mido.MidiFile(), io.BytesIO()
    song.tracks.append(track)
    song.save(file=buffer)
    return [buffer.getvalue()]


def _manifest(file: Path) -> None:
    from musicgen import samples

    samples.read(file.parent, verify=False)


def _manifests() -> list[bytes]:
    line = {
        "id": "a",
        "prompt": "x",
        "system": "s",
        "audio": "manifest.jsonl",
        "sha256": "0" * 64,
        "seed": 7,
        "settings": {"a": 1},
    }
    return [json.dumps(line).encode() + b"\n"]


def _training(file: Path) -> None:
    from musicgen.training import manifest

    manifest.read(file)


def _tables() -> list[bytes]:
    return [b"path,text\na.wav,drums\n", b"file_name;caption\n'a';b\n", "path\tprompt\na\tü\n".encode("utf-16")]


def _yaml(file: Path) -> None:
    from human_study.design import study_settings

    study_settings.read(file)


def _yamls() -> list[bytes]:
    example = ROOT / "human_study" / "example"
    return [file.read_bytes() for file in sorted(example.rglob("*.yaml"))]


def _study(file: Path) -> None:
    from human_study.design import manifest

    manifest.read(file.parent)


_CLIP = {"name": "0" * 32, "role": "system", "system": "a", "item": "i", "seconds": 1.0, "lufs": -20.0, "dbtp": -3.0,
         "gain_db": 0.0} | {f"{kind}_sha256": "0" * 64 for kind in ("source", "lossless", "compressed")}  # fmt: skip
_PAGE = {"key": "k", "kind": "rating", "question": "OVL", "method": "rating", "item": "i", "prompt": "p",
         "stimuli": ["0" * 32]}  # fmt: skip
_SETTINGS = {"name": "t", "systems": {"a": ""}, "questions": [{"name": "OVL"}]}
_STUDY = json.dumps(
    {"version": 1, "target_lufs": -20.0, "settings": _SETTINGS, "clips": [_CLIP], "pages": [_PAGE]}
).encode()


def _ratings(file: Path) -> None:
    from human_study.analysis import ratings_csv

    ratings_csv.read_csv(file)


def _ratings_files() -> list[bytes]:
    return [b"rater,question,item,system,role,value,scale\nr,OVL,i,a,system,50,1:5\n"]


def _safetensors(file: Path) -> None:
    from musicgen.checkpoint import tensors

    tensors.read_tensors(file)


def _weights() -> list[bytes]:
    import torch
    from safetensors.torch import save

    return [save({"a.weight": torch.ones(2, 2), "b": torch.zeros(1, dtype=torch.int64)})]


def _pickle(file: Path) -> None:
    from musicgen import safe_unpickle

    safe_unpickle.read(file)


def _pickles() -> list[bytes]:
    import io

    import torch

    found = []
    for new in (True, False):
        buffer = io.BytesIO()
        torch.save({"a": torch.ones(2), "b": [1, "x"]}, buffer, _use_new_zipfile_serialization=new)
        found.append(buffer.getvalue())
    return found


def _config(file: Path) -> None:
    from musicgen.checkpoint import transformers_layout

    transformers_layout.shape(file.parent)


def _configs() -> list[bytes]:
    return [file.read_bytes() for file in sorted((ROOT / "musicgen" / "pretrained").glob("*/config.json"))]


def _score(file: Path) -> None:
    from musicgen import chords, timeline

    text = file.read_bytes().decode("utf-8", "replace")
    _refused_or_read(lambda: timeline.parse(text))
    _refused_or_read(lambda: chords.ChordChart(text, 120.0, "4/4"))


TARGETS = {
    "containers": Target(_containers, _sounds, "clip.bin", longest=65_536),
    "decoding": Target(_decoding, _sounds, "clip.bin", longest=65_536),
    "settings": Target(_settings, _sounds, "clip.bin", longest=65_536),
    "comment": Target(_comment, _comments, "comment.json"),
    "link": Target(_link, _links, "link.json", longest=1_000),
    "npy": Target(_npy, _arrays, "array.npy", (ValueError,)),
    "midi": Target(_midi, _midis, "song.mid"),
    "manifest": Target(_manifest, _manifests, "manifest.jsonl"),
    "training": Target(_training, _tables, "manifest.csv"),
    "yaml": Target(_yaml, _yamls, "STUDY.yaml"),
    "study": Target(_study, lambda: [_STUDY], "manifest.json"),
    "ratings": Target(_ratings, _ratings_files, "ratings.csv"),
    "safetensors": Target(_safetensors, _weights, "model.safetensors"),
    "pickle": Target(_pickle, _pickles, "weights.bin"),
    "config": Target(_config, _configs, "config.json"),
    "score": Target(_score, lambda: [b"0 drums\n10 bass", b"C G | Am F/C, N"], "score.txt"),
}
"""Name -> target."""


def _refused_or_read(read: Callable[[], object], refusals: tuple[type[Exception], ...] = ()) -> None:
    """Read; a refusal must be one line that says why. Every other exception is a finding."""
    from musicgen.errors import MusicGenError

    try:
        read()
    except MusicGenError as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(f"a refusal of {len(str(error).splitlines())} lines: {str(error)!r}") from error
    except refusals:
        pass


def read_once(target: Target, content: bytes, folder: Path) -> None:
    """Let a target read bytes.

    Args:
        target: reads them.
        content: of a file.
        folder: where the file is put.

    Raises:
        Exception: whatever the reader raises besides a refusal in one line.
    """
    file = folder / target.name
    file.write_bytes(content)
    _refused_or_read(lambda: target.read(file), target.refusals)


def _fuzz(name: str, seconds: int, place: Path) -> None:
    """Fuzz one target until the time is up or something is found; ends the process."""
    import atheris

    target, folder = TARGETS[name], Path(tempfile.mkdtemp(prefix="fuzz-"))
    warnings.simplefilter("ignore")
    # What the seeds import (PyTorch, transformers) is not worth tracing: only our own modules are, which are imported now.
    import torch  # noqa: F401

    with atheris.instrument_imports(include=["musicgen", "human_study", "demo"]):
        for content in target.seeds():
            read_once(target, content, folder)
    corpus = place / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(content)
    options = [f"-max_total_time={seconds}", f"-max_len={target.longest}", f"-rss_limit_mb={MEGABYTES}",
               f"-timeout={SECONDS_EACH}", f"-artifact_prefix={place}/", "-print_final_stats=1", "-verbosity=1"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda content: read_once(target, content, folder))
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="of each target (%(default)s)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="let the one target read this file")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}: one of {', '.join(TARGETS)}")
    sys.path.insert(0, str(ROOT))
    if given.again is not None:
        if len(names) != 1:
            parser.error("--again needs one target")
        with tempfile.TemporaryDirectory() as folder:
            read_once(TARGETS[names[0]], given.again.read_bytes(), Path(folder))
        return 0
    if given.here:
        _fuzz(names[0], given.seconds, FOUND / names[0])
    failed = []
    for name in names:
        (FOUND / name).mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, "--here", "--seconds", str(given.seconds), name]
        log = FOUND / name / "log"
        with log.open("w", encoding="utf-8") as output:
            environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
            code = subprocess.run(command, stdout=output, stderr=output, env=environment, check=False).returncode
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        runs = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "no")
        found = sorted(file.name for kind in ("crash", "timeout", "oom") for file in log.parent.glob(f"{kind}-*"))
        result = "nothing found" if code == 0 else ", ".join(found) or f"failed: {log}"
        print(f"{name:<12}{runs:>10} inputs  {result}", flush=True)
        failed += [name] if code else []
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
