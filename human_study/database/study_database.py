"""The database of a study: SQLite (WAL, synchronous=FULL) or PostgreSQL, its migrations and its transactions.

Every wait has a timeout: a transaction that does not get its lock in time raises `DatabaseBusy`.

Write transactions are serialised: counting the raters that a page still needs and leasing the page is one transaction, so two
raters never get the last lease. When the block of a write transaction has ended, its changes are on disk. This module does not
depend on web pages, recruiting platforms or statistics.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import re
import shutil
import sqlite3
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.util
import sqlalchemy
from sqlalchemy import Connection, event, insert, select

from musicgen.errors import InputError

from ..design import manifest
from ..design.manifest import DATABASE, SECRET, Study
from . import schema
from .queries import inserted_id

MIGRATIONS = Path(__file__).parent / "migrations"

BUSY_SECONDS = 5.0
"""How long a transaction waits for another one: twice at most, for one of this process and for one of another process."""

MIGRATION_SECONDS = 60.0
"""How long a start waits for another server that makes the tables."""

MIGRATION_LOCK = 0x6D75_7369_6367
"""Key of PostgreSQL's advisory lock around migrations and installations."""


OPTIONS = ("host", "port", "dbname", "user", "options", "service", "sslmode", "connect_timeout", "application_name")
"""Options in a PostgreSQL URL whose names are no secrets; of other options neither name nor value is shown."""


class DatabaseError(InputError):
    """The database cannot be used: it is missing, damaged, of another program, read-only or out of space."""


class DatabaseBusy(DatabaseError):
    """A transaction waited for another one, up to the bound."""


class StudyDatabase:
    """One study in one database.

    Attributes:
        engine: SQLAlchemy's.
        sqlite: whether it is SQLite.
        study_id: id of the study's row, set by `install`.
    """

    def __init__(self, url: str | sqlalchemy.URL, secret: str) -> None:
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
        self._writer = threading.Lock()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction for reading.

        Raises:
            DatabaseBusy: another transaction holds the lock for too long.
            DatabaseError: the database cannot be used.
        """
        with self._errors(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self, seconds: float = BUSY_SECONDS) -> Iterator[Connection]:
        """A serialised transaction: committed to disk when the block ends, rolled back on an error.

        Args:
            seconds: how long to wait for other transactions.

        Raises:
            DatabaseBusy: another transaction holds the lock for too long.
            DatabaseError: the database cannot be used.
        """
        with self._errors(), self._turn(seconds), self.engine.connect() as plain:
            connection = plain.execution_options(write=True, seconds=seconds)
            with connection.begin():
                if not self.sqlite:
                    self._lock_postgresql(connection, seconds)
                yield connection

    @contextlib.contextmanager
    def _turn(self, seconds: float) -> Iterator[None]:
        if not self.sqlite:
            yield
            return
        if not self._writer.acquire(timeout=seconds):
            raise DatabaseBusy(f"the database is busy: a transaction waited {seconds:g} s for another one")
        try:
            yield
        finally:
            self._writer.release()

    def _lock_postgresql(self, connection: Connection, seconds: float) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(seconds * 1000)}")
        if self.study_id:
            connection.execute(select(schema.study.c.id).where(schema.study.c.id == self.study_id).with_for_update())
        else:
            # There is no row to lock before the tables are made and the study is installed.
            connection.execute(select(sqlalchemy.func.pg_advisory_xact_lock(MIGRATION_LOCK)))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlalchemy.exc.TimeoutError as error:
            raise DatabaseBusy("the database is busy: all of its connections are in use") from error
        except sqlalchemy.exc.IntegrityError:
            raise
        except sqlalchemy.exc.DBAPIError as error:
            reason = _reason(error, self.engine.url)
            kind = DatabaseBusy if _is_busy(error) else DatabaseError
            verb = "use" if self.study_id else "open"
            raise kind(f"cannot {verb} the database {shown(self.engine.url)}: {reason}") from error

    def keyed(self, *parts: str) -> str:
        """HMAC-SHA-256 of `parts` under the study's secret, in hexadecimal."""
        return hmac.new(self._secret, "\0".join(parts).encode(), hashlib.sha256).hexdigest()

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(study: Study, url: str | None = None) -> StudyDatabase:
    """Open the database of a built study, migrate it, and install the study in it.

    A SQLite file, which holds worker ids, is taken from all other users of the machine.

    Args:
        study: the study.
        url: of the database; None for SQLite inside the study folder.

    Raises:
        InputError: the secret of the study is missing or too short, the database cannot be opened or written, or it holds
            another build of the study.
    """
    secret = manifest.secret(study.path, SECRET)
    database = StudyDatabase(url or sqlalchemy.URL.create("sqlite", database=str(study.path / DATABASE)), secret)
    if database.sqlite:
        _make_file(Path(str(database.engine.url.database)), study.path)
    try:
        migrate(database)
        install(database, study)
    except BaseException:
        database.dispose()
        raise
    return database


@contextlib.contextmanager
def open_copy(study: Study) -> Iterator[StudyDatabase | None]:
    """Open a copy of the SQLite database in a study folder that cannot be written. The copy is deleted at the end of the block.

    Args:
        study: the study.

    Returns:
        The database, None where the study has none yet.

    Raises:
        InputError: the database cannot be read, or holds another build of the study.
    """
    file = study.path / DATABASE
    if not file.is_file():
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        copy = Path(folder) / DATABASE
        try:
            _copy(file, copy)
        except (sqlite3.Error, OSError) as error:
            raise DatabaseError(f"{file}: cannot be read: {error}") from error
        database = open_database(study, f"sqlite:///{copy}")
        try:
            yield database
        finally:
            database.dispose()


def migrate(database: StudyDatabase) -> None:
    """Upgrade the tables to the newest revision. Only one process does so at a time.

    Raises:
        DatabaseError: the database cannot be opened, or a newer program made it.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with database.write(MIGRATION_SECONDS) as connection:
            config.attributes["connection"], config.attributes["metadata"] = connection, schema.metadata
            alembic.command.upgrade(config, "head")
    except alembic.util.exc.CommandError as error:
        raise DatabaseError(
            f"cannot open the database {shown(database.engine.url)}: {str(error)[:100]}: a newer version of this program "
            "made it, or another program did"
        ) from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise DatabaseError(
            f"cannot open the database {shown(database.engine.url)}: {str(error).splitlines()[0][:160]}"
        ) from error


def install(database: StudyDatabase, study: Study) -> None:
    """Insert the study's clips and pages, unless they are there.

    Raises:
        InputError: the database holds another build under the same name.
    """
    with database.write(MIGRATION_SECONDS) as connection:
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


def shown(url: sqlalchemy.URL) -> str:
    """A database URL for messages: without user, password and options, any of which can hold a secret."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    place = "".join((url.host or "", f":{url.port}" if url.port else ""))
    return f"{url.get_backend_name()}://{place}/{url.database or ''}"


def _engine(url: str | sqlalchemy.URL) -> sqlalchemy.Engine:
    try:
        parsed = sqlalchemy.make_url(url)
        backend = parsed.get_backend_name()
        # A password with @ or / that is not quoted ends in the host.
        if parsed.host is not None and not re.fullmatch(r"[A-Za-z0-9._:%-]*", parsed.host):
            raise ValueError("the host holds other characters than a host's name")
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        # What cannot be parsed is not shown: nobody knows which part of it is the password.
        raise InputError(
            "the database URL is not a SQLAlchemy URL, such as postgresql://user@host/name or sqlite:////folder/study.db "
            "(it is not shown here, because it may hold a password; characters such as @ and / in a password are written %40 "
            "and %2F)"
        ) from error
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
        backend = "postgresql"
    if backend not in {"sqlite", "postgresql"}:
        raise InputError(f"the database URL begins with {backend[:20]}: SQLite and PostgreSQL are supported")
    if backend == "sqlite" and (parsed.database in {None, "", ":memory:"} or parsed.query):
        raise InputError("the database URL names no file: SQLite needs one, such as sqlite:////folder/study.db")
    if backend == "postgresql" and "connect_timeout" not in parsed.query:
        parsed = parsed.update_query_dict({"connect_timeout": "10"})
    try:
        engine = sqlalchemy.create_engine(parsed, pool_size=20, max_overflow=40, pool_timeout=BUSY_SECONDS)
    except (sqlalchemy.exc.ArgumentError, ImportError, ValueError) as error:
        raise InputError(
            f"the database URL begins with {parsed.drivername[:40]}: this driver is not installed; "
            "postgresql:// and sqlite:// are"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_file(file: Path, study: Path) -> None:
    """Make a SQLite file that its owner alone can read; SQLite gives its -wal and -shm the same mode."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
        if not os.access(file.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DatabaseError(
            f"cannot write the database {file}: {reason}: the ratings are stored there, so the folder must be writable; "
            "or name another place with --database"
        ) from error
    manifest.make_private(study, *(file.with_name(file.name + suffix) for suffix in ("", "-wal", "-shm")))


def _copy(file: Path, copy: Path) -> None:
    os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    wal = file.with_name(file.name + "-wal")
    address = f"{file.resolve().as_uri()}?mode=ro"
    # Without the files of a running server SQLite could not open a database in WAL mode in a read-only folder.
    alone = not wal.is_file() or wal.stat().st_size == 0
    if not alone and not file.with_name(file.name + "-shm").is_file():
        shutil.copyfile(file, copy)
        shutil.copyfile(wal, copy.with_name(copy.name + "-wal"))
        return
    source = sqlite3.connect(address + ("&immutable=1" if alone else ""), uri=True)
    try:
        target = sqlite3.connect(copy)
        try:
            source.backup(target)
        finally:
            target.close()
    finally:
        source.close()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions itself: _begin_sqlite chooses their kind.
    connection.isolation_level = None
    # The bound comes first: switching to WAL waits for the other servers that start now.
    for pragma in (f"busy_timeout={int(MIGRATION_SECONDS * 1000)}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON",
                   f"busy_timeout={int(BUSY_SECONDS * 1000)}"):  # fmt: skip
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: upgrading a read transaction fails if another one wrote meanwhile.
    options = connection.get_execution_options()
    connection.exec_driver_sql(f"PRAGMA busy_timeout={int(options.get('seconds', BUSY_SECONDS) * 1000)}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("write", False) else "BEGIN")


def _is_busy(error: sqlalchemy.exc.DBAPIError) -> bool:
    original = error.orig
    if isinstance(original, sqlite3.OperationalError):
        return getattr(original, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    return getattr(original, "sqlstate", None) in {"55P03", "57014", "40P01", "40001"}


def _reason(error: sqlalchemy.exc.DBAPIError, url: sqlalchemy.URL) -> str:
    """The driver's own words in one line; a password in them is left out."""
    text = " ".join(str(error.orig).split())[:300] or type(error.orig).__name__
    named = (name for name in url.query if name not in OPTIONS)
    secrets = {str(value) for value in (url.password, *url.query.values(), *named) if value}
    for secret in secrets | {urllib.parse.quote(secret, safe="") for secret in secrets}:
        if len(secret) > 2:
            text = text.replace(secret, "***")
    return text
