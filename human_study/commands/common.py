"""What several commands share: the study argument and its database."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ..database.study_database import StudyDatabase
    from ..design.manifest import Study


LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that other machines cannot reach."""


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that uses a study's database."""
    parser.add_argument("study", type=Path, help="study folder, made by `build`")
    parser.add_argument(
        "--database", metavar="URL", help="postgresql://user@host/name (default: SQLite in the study folder)"
    )


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A type of argparse: a whole number in a range.

    Args:
        low: the lowest.
        high: the highest.
    """

    def parse(text: str) -> int:
        if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 20:
            raise argparse.ArgumentTypeError(f"{text[:20]!r} is no whole number")
        if not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text} is out of range: from {low} to {high}")
        return int(text)

    return parse


def public_url(text: str) -> str:
    """Check the address that raters see.

    Args:
        text: such as https://study.example.org.

    Returns:
        The address without a slash at its end.

    Raises:
        InputError: it is not an http or https address of a host alone.
    """
    from musicgen.errors import InputError

    problem = ""
    try:
        parts = urlsplit(text)
        _ = parts.port
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            problem = "it must begin with https:// or http:// and name a host"
        elif parts.username is not None or parts.password is not None:
            problem = "a user name and a password do not belong in it"
        elif parts.path.strip("/") or parts.query or parts.fragment:
            problem = "nothing may follow the host: the study's pages are at the top of their host"
        elif not text.isascii() or not text.isprintable() or " " in text:
            problem = "it must be ASCII (write an international name in its xn-- form)"
    except ValueError as error:
        problem = str(error)
    if problem:
        raise InputError(f"--public-url is {text[:80]!r}: {problem}, such as https://study.example.org")
    return text.rstrip("/")


@contextlib.contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[tuple[Study, StudyDatabase]]:
    """Open the study and its database; the database is closed at the end of the block."""
    from ..database import study_database
    from ..design import manifest

    study = manifest.read(arguments.study)
    database = study_database.open_database(study, arguments.database)
    try:
        yield study, database
    finally:
        database.dispose()


@contextlib.contextmanager
def opened_for_reading(arguments: argparse.Namespace) -> Iterator[tuple[Study, StudyDatabase]]:
    """Open the study and its database; of a study folder that cannot be written, a copy of the database.

    Raises:
        InputError: there is no database yet, and none can be made.
    """
    from musicgen.errors import InputError

    from ..database import study_database
    from ..design import manifest

    study = manifest.read(arguments.study)
    if arguments.database is not None or is_writable(study.path):
        with opened(arguments) as both:
            yield both
        return
    with study_database.open_copy(study) as database:
        if database is None:
            raise InputError(f"{arguments.study}: there are no ratings yet")
        yield study, database


def output_folder(folder: Path, stated: bool) -> Path:
    """Make the folder that a command writes into.

    Args:
        folder: the folder.
        stated: whether it was named by --output.

    Raises:
        InputError: it cannot be made or written; the message names --output where that would help.
    """
    from musicgen.errors import InputError

    hint = "" if stated else ": name another folder with --output"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}{hint}") from error
    if not is_writable(folder):
        raise InputError(f"{folder}: cannot be written{hint}")
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, also where there was one that others could.

    Args:
        path: the file.
        text: its contents.
    """
    from ..design import manifest

    manifest.make_private(path)
    path.write_text(text, encoding="utf-8", newline="")
    manifest.make_private(path)


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder."""
    return os.access(folder, os.W_OK | os.X_OK)
