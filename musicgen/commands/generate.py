"""Make music from descriptions, a melody, or audio to continue."""

from __future__ import annotations

import argparse
import dataclasses
import re
import secrets
import sys
import warnings
from pathlib import Path

from musicgen import __version__, catalog
from musicgen.errors import InputError
from musicgen.options import MAX_DURATION, GenerationOptions, check_duration

DEFAULT_MODEL = "facebook/musicgen-small"
DEFAULT_DURATION = 10.0
SWITCHES = {"do_sample"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="descriptions, one clip each ('' for none)")
    parser.add_argument("--output", "-o", type=Path, default=None, metavar="FILE|FOLDER",
                        help="a file for one clip (.wav .flac .mp3 .ogg) or a folder (default: outputs/)")  # fmt: skip
    parser.add_argument("--model", "-m", help=f"hub name, embedded name or folder (default: {default_model()})")
    parser.add_argument("--duration", "-d", type=float, help=f"seconds (default: {DEFAULT_DURATION:g})")
    parser.add_argument("--melody", type=Path, metavar="FILE", help="audio whose melody the clips follow")
    parser.add_argument("--no-separation", action="store_true", help="the melody is clean or hummed: skip Demucs")
    parser.add_argument("--continue-from", type=Path, metavar="FILE", help="audio that the clips start with")
    parser.add_argument("--seed", type=int, help="clip i uses seed + i (default: a new one, printed)")
    parser.add_argument("--loudness", type=float, metavar="LUFS", help="target loudness (default: -14)")
    parser.add_argument("--no-loudness", action="store_true", help="leave the loudness as the model made it")
    parser.add_argument("--from-file", type=Path, metavar="FILE", help="repeat the settings stored in a clip; "
                        "further arguments override them")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument(
        "--precision", default="float32", help="float32, bfloat16, float16, int8, int4 (default: float32)"
    )
    sampling = parser.add_argument_group("sampling and guidance")
    sampling.add_argument("--greedy", action="store_true", help="take the most likely code in place of sampling")
    for field in dataclasses.fields(GenerationOptions):
        if field.name not in SWITCHES:
            kind = {"top_k": int, "negative_prompt": str}.get(field.name, float)
            sampling.add_argument(f"--{field.name.replace('_', '-')}", type=kind, help=f"(default: {field.default})")


def run(arguments: argparse.Namespace) -> None:
    # Everything that can be wrong with the arguments is found before the model is loaded.
    from musicgen import audio, checkpoint, decoding
    from musicgen.audio import Audio
    from musicgen.conditioners.melody import MAX_CHANNELS
    from musicgen.settings import Settings, SourceFile

    stored = Settings.of_file(arguments.from_file) if arguments.from_file else None
    prompts: list[str | None] = list(arguments.prompts) or ([stored.prompt] if stored else [])
    if not prompts:
        raise InputError("no prompt: pass at least one description ('' generates without text)")
    duration = check_duration(_first(arguments.duration, stored and stored.duration, DEFAULT_DURATION))
    options = _options(arguments, stored.options if stored else GenerationOptions())
    loudness = None if arguments.no_loudness else _first(
        arguments.loudness, stored.loudness if stored else audio.TARGET_LUFS
    )  # fmt: skip
    if loudness is not None and not -70 <= loudness <= 0:
        raise InputError(f"loudness is {loudness:g} LUFS: it must lie between -70 and 0")
    separate = not arguments.no_separation and (stored is None or stored.separate)
    melody = _source("melody", arguments.melody, stored and stored.melody)
    given = _source("continue-from", arguments.continue_from, stored and stored.continue_from)
    for source, channels in ((melody, MAX_CHANNELS), (given, decoding.MAX_CHANNELS)):
        if source is not None:
            audio.measure(source, MAX_DURATION, most_channels=channels)
    name = _first(arguments.model, stored and stored.model, default_model())
    seed = _first(arguments.seed, stored and stored.seed, secrets.randbelow(2**31))
    outputs = output_files(arguments.output, prompts, seed)
    for path in outputs:
        audio.check_format(path)

    model = checkpoint.load(name, arguments.device, arguments.precision)
    with _bar() as bar:
        waves = model.generate(
            prompts,
            duration,
            seed=seed,
            melody=melody,
            continue_from=given,
            options=options,
            separate=separate,
            progress=bar.update_to,
        )
    for index, (path, prompt, wave) in enumerate(zip(outputs, prompts, waves, strict=True)):
        settings = Settings(
            __version__, name, prompt, duration, seed + index, options, loudness,
            SourceFile.of(melody) if melody else None, separate, SourceFile.of(given) if given else None,
        )  # fmt: skip
        clip = Audio(wave.cpu(), model.sample_rate)
        if loudness is not None:
            clip = audio.normalise_loudness(clip, loudness)
        audio.write(path, clip, settings.comment())
        print(f"{path}  seed {seed + index}  {clip.duration:.2f} s  {clip.rate} Hz  {_channels(clip)}  {_level(clip)}")


def default_model() -> str:
    """An embedded model where there is one: it needs no network."""
    embedded = catalog.embedded()
    return embedded[0] if embedded else DEFAULT_MODEL


def output_files(output: Path | None, prompts: list[str | None], seed: int) -> list[Path]:
    """One file a prompt: `output` itself for a single clip with an extension, else numbered files in the folder."""
    output = output if output is not None else Path("outputs")
    if output.suffix and not output.is_dir():
        if len(prompts) > 1:
            raise InputError(f"--output {output} is one file, but there are {len(prompts)} prompts: pass a folder")
        return [output]
    return [output / f"{i:02d}-{_slug(prompt)}-{seed + i}.wav" for i, prompt in enumerate(prompts)]


def _options(arguments: argparse.Namespace, base: GenerationOptions) -> GenerationOptions:
    names = [field.name for field in dataclasses.fields(GenerationOptions) if field.name not in SWITCHES]
    changes = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.greedy:
        changes["do_sample"] = False
    return dataclasses.replace(base, **changes)


def _source(flag: str, path: Path | None, stored) -> Path | None:  # type: ignore[no-untyped-def]
    """The file behind --melody or --continue-from; a stored clip tells which one it was, not where it lies."""
    from musicgen.settings import SourceFile

    if path is None:
        if stored is not None:
            raise InputError(f"the clip was made with the file {stored.name!r}: pass it again as --{flag}")
        return None
    found = SourceFile.of(path)
    if stored is not None and found.sha256 != stored.sha256:
        warnings.warn(f"{path} is not the file {stored.name!r} that the clip was made with", stacklevel=2)
    return path


def _first(*values):  # type: ignore[no-untyped-def]
    return next(value for value in values if value is not None)


def _slug(prompt: str | None) -> str:
    return re.sub(r"[^a-z0-9]+", "-", (prompt or "").lower()).strip("-")[:40].strip("-") or "unconditional"


def _channels(clip) -> str:  # type: ignore[no-untyped-def]
    return {1: "mono", 2: "stereo"}[clip.wave.shape[0]]


def _level(clip) -> str:  # type: ignore[no-untyped-def]
    from musicgen import audio

    return f"{audio.loudness(clip):.1f} LUFS"


def _bar():  # type: ignore[no-untyped-def]
    """A progress bar with the time left, one unit a step."""
    from tqdm import tqdm

    class Bar(tqdm):
        def update_to(self, done: int, total: int) -> None:
            self.total = total
            self.update(done - self.n)

    return Bar(desc="generating", unit=" steps", file=sys.stderr, leave=False)
