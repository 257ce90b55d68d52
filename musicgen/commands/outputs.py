"""Output paths of clips: descriptive names that overwrite no existing file, checked before anything is generated."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from musicgen.errors import InputError
from musicgen.file_names import words
from musicgen.folders import check_writable_file, is_file, is_folder

FOLDER = Path("outputs")
PIPE = "-"
"""The output that is standard output."""


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add `--force` to a command that writes files with names that the user chooses."""
    parser.add_argument("--force", action="store_true", help="overwrite existing files")


def files(output: Path | None, prompts: Sequence[str | None], seed: int, takes: int = 1) -> list[Path]:
    """One file a clip: `output` itself for a single description with an extension, else numbered files in the folder, beside
    those that are there.

    Args:
        output: A file or a folder, None for `FOLDER`.
        prompts: The descriptions.
        seed: Of the first clip.
        takes: Clips of each description: the best has the plain name, the others are numbered from 2 on.
    """
    output = output if output is not None else FOLDER
    one_file = is_file_name(output)
    if one_file and len(prompts) > 1:
        raise InputError(f"--output {output} is one file, but there are {len(prompts)} prompts: pass a folder")
    try:
        if takes == 1 and one_file:
            return [output]
        if takes == 1:
            return [_free(output / f"{i:02d}-{words(prompt)}-{seed + i}.wav") for i, prompt in enumerate(prompts)]
        best = [output] if one_file else [output / f"{i:02d}-{words(prompt)}.wav" for i, prompt in enumerate(prompts)]
        return [
            path if take == 1 and one_file else _free(path if take == 1 else path.with_stem(f"{path.stem}-take{take}"))
            for path in best
            for take in range(1, takes + 1)
        ]
    except OSError as error:
        raise InputError(f"cannot write into {output}: {error.strerror or error}") from error


def is_file_name(output: Path) -> bool:
    """Whether an output is one file by its extension, and no folder."""
    return bool(output.suffix) and not is_folder(output)


def check_named_format(name: str) -> None:
    """Refuse a format that is not written. name: such as "flac", without the dot."""
    from musicgen import audio

    if f".{name}" not in audio.FORMATS:
        known = ", ".join(extension.removeprefix(".") for extension in audio.FORMATS)
        raise InputError(f"--format is {name!r}: one of {known}")


def check_clips(paths: Sequence[Path], sources: Mapping[str, Path | None], *, force: bool) -> None:
    """Refuse clips that cannot be written: as `check`, and a format that is not known."""
    from musicgen import audio

    for path in paths:
        audio.check_format(path)
    check(paths, sources, force=force)


def check(paths: Sequence[Path], sources: Mapping[str, Path | None], *, force: bool) -> None:
    """Refuse files that cannot be written.

    Args:
        paths: the files to come.
        sources: flag, or "" for the command's own argument -> the file that was given by it, which must not be overwritten.
        force: whether files that are there may be replaced; sources may not.

    Raises:
        InputError: for a place that cannot be written, a file that is a source too, and one that is there already.
    """
    for path in paths:
        for flag, source in sources.items():
            if source is not None and _same(path, source):
                given = f"the file given by --{flag}" if flag else "the clip itself"
                raise InputError(f"--output {path} is {given}, which it would overwrite: choose another")
        check_writable_file(path)
        if is_file(path) and not force:
            raise InputError(f"{path} is there already: choose another --output, or pass --force to replace it")


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False  # one of them is not there


def _free(path: Path) -> Path:
    """The path, with a number behind it where a file of this name is there."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], numbered) if not one.exists())
