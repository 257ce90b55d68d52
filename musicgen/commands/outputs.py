"""Where clips go: names that say what is inside and take nobody's place, checked before there is anything to lose."""

from __future__ import annotations

import hashlib
import itertools
import re
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from musicgen.errors import InputError
from musicgen.folders import is_folder

FOLDER = Path("outputs")
_WORDS = 40
"""Characters of a description in a file's name."""


def files(output: Path | None, prompts: Sequence[str | None], seed: int) -> list[Path]:
    """One file a prompt: `output` itself for a single clip with an extension, else numbered files in the folder, beside
    those that are there."""
    output = output if output is not None else FOLDER
    if output.suffix and not is_folder(output):
        if len(prompts) > 1:
            raise InputError(f"--output {output} is one file, but there are {len(prompts)} prompts: pass a folder")
        return [output]
    try:
        return [_free(output / f"{i:02d}-{words(prompt)}-{seed + i}.wav") for i, prompt in enumerate(prompts)]
    except OSError as error:
        raise InputError(f"cannot write into {output}: {error.strerror or error}") from error


def check(paths: Sequence[Path], sources: Mapping[str, Path | None]) -> None:
    """Refuse files that cannot be written.

    Args:
        paths: the files to come.
        sources: flag -> the file that was given by it, which must not be overwritten.

    Raises:
        InputError: for a format that is not known, a place that cannot be written, and a file that is a source too.
    """
    from musicgen import audio

    for path in paths:
        audio.check_format(path)
        for flag, source in sources.items():
            if source is not None and _same(path, source):
                raise InputError(
                    f"--output {path} is the file given by --{flag}, which it would overwrite: choose another"
                )
        try:
            if path.is_dir():
                raise InputError(f"cannot write {path}: a folder of this name is there")
            # Nothing is made yet: what fails later must leave nothing behind.
            folder = next(one for one in path.absolute().parents if one.exists())
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False  # one of them is not there


def _free(path: Path) -> Path:
    """The path, with a number behind it where a file of this name is there."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], numbered) if not one.exists())


def words(prompt: str | None) -> str:
    """A description as a part of a file's name, in its own script."""
    if not (prompt or "").strip():
        return "unconditional"
    text = unicodedata.normalize("NFC", prompt or "").lower()
    words = re.sub(r"[\W_]+", "-", text).strip("-")[:_WORDS].strip("-")
    return words or f"prompt-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
