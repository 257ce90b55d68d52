"""The database of a study: SQLite (WAL, synchronous=FULL) or PostgreSQL, its migrations and its transactions.

Write transactions are serialised: the raters that a page lacks are counted and the page is leased inside one transaction, so
two raters never get the last lease. When the block of a write transaction has been left, its changes are on disk. This module
knows nothing about web pages, recruiting platforms or statistics.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import sqlalchemy
from sqlalchemy import Connection, event, insert, select

from musicgen.errors import InputError

from ..design.manifest import DATABASE, SECRET, Study
from . import schema
from .queries import inserted_id

MIGRATIONS = Path(__file__).parent / "migrations"

BUSY_SECONDS = 30
"""How long a transaction waits for one of another process."""


class StudyDatabase:
    """One study in one database.

    Attributes:
        engine: SQLAlchemy's.
        sqlite: whether it is SQLite.
        study_id: id of the study's row, set by `install`.
    """

    def __init__(self, url: str, secret: str) -> None:
        """Connect lazily.

        Args:
            url: SQLAlchemy URL of a SQLite or PostgreSQL database.
            secret: key of the HMACs.

        Raises:
            InputError: the URL is malformed, or names another kind of database.
        """
        self.engine = _engine(url)
        self.sqlite = self.engine.dialect.name == "sqlite"
        self.study_id = 0
        self._secret = secret.encode()
        # SQLite waits for another writer by sleeping and retrying; a lock within the process wakes at once.
        self._writer = threading.Lock() if self.sqlite else contextlib.nullcontext()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction for reading."""
        with self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A serialised transaction: committed to disk when the block ends, rolled back on an error."""
        with self._writer, self.engine.connect().execution_options(write=True) as connection, connection.begin():
            if not self.sqlite and self.study_id:
                connection.execute(
                    select(schema.study.c.id).where(schema.study.c.id == self.study_id).with_for_update()
                )
            yield connection

    def keyed(self, *parts: str) -> str:
        """HMAC-SHA-256 of `parts` under the study's secret, in hexadecimal."""
        return hmac.new(self._secret, "\0".join(parts).encode(), hashlib.sha256).hexdigest()

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(study: Study, url: str | None = None) -> StudyDatabase:
    """Open the database of a built study, migrate it, and install the study in it.

    Args:
        study: the study.
        url: of the database; None for SQLite inside the study folder.

    Raises:
        InputError: the database cannot be opened, or holds another build of the study.
    """
    secret = (study.path / SECRET).read_text().strip()
    database = StudyDatabase(url or f"sqlite:///{study.path / DATABASE}", secret)
    migrate(database)
    install(database, study)
    return database


def migrate(database: StudyDatabase) -> None:
    """Upgrade the tables to the newest revision.

    Raises:
        InputError: the database cannot be opened.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with database.write() as connection:
            config.attributes["connection"], config.attributes["metadata"] = connection, schema.metadata
            alembic.command.upgrade(config, "head")
    except sqlalchemy.exc.OperationalError as error:
        raise InputError(
            f"cannot open the database {database.engine.url!r}: {str(error.orig).splitlines()[0]}"
        ) from error


def install(database: StudyDatabase, study: Study) -> None:
    """Insert the study's clips and pages, unless they are there.

    Raises:
        InputError: the database holds another build under the same name.
    """
    with database.write() as connection:
        row = connection.execute(select(schema.study).where(schema.study.c.name == study.settings.name)).one_or_none()
        if row is not None:
            if row.manifest_sha256 != study.sha256:
                raise InputError(
                    f"the database holds another build of study {study.settings.name!r}: "
                    "serve that one, or give this one a new name"
                )
            database.study_id = row.id
            return
        result = connection.execute(
            insert(schema.study).values(
                name=study.settings.name, manifest_sha256=study.sha256, paused=False, created_at=time.time()
            )
        )
        database.study_id = inserted_id(result)
        connection.execute(insert(schema.clip), [{"study_id": database.study_id, "name": name} for name in study.clips])
        connection.execute(
            insert(schema.page),
            [
                {"study_id": database.study_id, "key": p.key, "kind": p.kind, "question": p.question, "item": p.item}
                for p in study.pages.values()
            ],
        )


def _engine(url: str) -> sqlalchemy.Engine:
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise InputError(
            f"database URL {url!r}: not a SQLAlchemy URL, such as postgresql+psycopg://user@host/name"
        ) from error
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise InputError(f"database URL {url!r}: SQLite and PostgreSQL are supported, not {parsed.drivername}")
    engine = sqlalchemy.create_engine(parsed, pool_size=20, max_overflow=40, pool_timeout=BUSY_SECONDS)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions itself: _begin_sqlite chooses their kind.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: upgrading a read transaction fails if another one wrote meanwhile.
    immediate = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
