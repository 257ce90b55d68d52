"""What several commands share: the study argument and its database."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..database.study_database import StudyDatabase
    from ..design.manifest import Study


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that uses a study's database."""
    parser.add_argument("study", type=Path, help="study folder, made by `build`")
    parser.add_argument(
        "--database", metavar="URL", help="postgresql://user@host/name (default: SQLite in the study folder)"
    )


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
