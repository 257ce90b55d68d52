"""The tables, their migrations and their promises, on both databases."""

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import alembic.autogenerate
import alembic.migration
import pytest
import sqlalchemy
from sqlalchemy import insert, inspect, select

from human_study.__main__ import main
from human_study.database import queries, schema, study_database
from human_study.design import manifest
from musicgen.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(build_study, database_url):
    opened = study_database.open_database(build_study(), database_url)
    yield opened
    opened.dispose()


def test_the_migrations_make_the_tables_of_the_schema(database):
    with database.read() as connection:
        context = alembic.migration.MigrationContext.configure(connection)
        assert alembic.autogenerate.compare_metadata(context, schema.metadata) == []
        assert set(schema.metadata.tables) < set(inspect(connection).get_table_names())


def test_opening_twice_changes_nothing(build_study, database_url):
    study = build_study()
    for _ in range(2):
        opened = study_database.open_database(study, database_url)
        with opened.read() as connection:
            assert queries.count_rows(connection, select(schema.page)) == len(study.pages)
            assert queries.count_rows(connection, select(schema.clip)) == len(study.clips)
        opened.dispose()


def test_another_build_is_refused(build_study, database_url):
    study_database.open_database(build_study(), database_url).dispose()
    with pytest.raises(InputError, match="holds another build"):
        study_database.open_database(build_study(raters_per_sample=7), database_url)


def test_sqlite_is_durable(build_study):
    study = build_study()
    opened = study_database.open_database(study)
    assert (study.path / manifest.DATABASE).is_file()
    with opened.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    opened.dispose()


def test_an_error_rolls_everything_back(database):
    def fail():
        with database.write() as connection:
            connection.execute(insert(schema.event).values(study_id=database.study_id, at=0.0, kind="x", detail="y"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.event).where(schema.event.c.kind == "x")) == 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/name", "SQLite and PostgreSQL"),
        ("what", "not a SQLAlchemy URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////none/at/all/study.db", "cannot write the database /none/at/all/study.db: No such file"),
        ("sqlite:////proc/study.db", "cannot write the database"),
        ("postgresql://nobody@127.0.0.1:1/none", "cannot open the database"),
    ],
)
def test_bad_urls_are_refused(build_study, url, message):
    with pytest.raises(InputError, match=message) as caught:
        study_database.open_database(build_study(), url)
    assert "\n" not in str(caught.value)


PASSWORD = "s3cr/et@word"
QUOTED = "s3cr%2Fet%40word"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{QUOTED}@127.0.0.1:1/name",
        f"postgres://user:{QUOTED}@127.0.0.1:1/name",
        f"postgresql+psycopg://user:{QUOTED}@[::1]:1/name",
        f"postgresql://user:{PASSWORD}@127.0.0.1:1/name",  # not quoted
        f"postgresql://user:{QUOTED}@127.0.0.1:port/name",
        f"postgresql://user:{QUOTED}@127.0.0.1:99999999/name",
        f"postgresql://127.0.0.1:1/name?user=u&password={QUOTED}",
        f"postgresql://127.0.0.1:1/name?{QUOTED}",
        f"postgresql://127.0.0.1:1/name?{QUOTED}=1",
        f"postgresql://u:{QUOTED}@127.0.0.1:1/name?nothing={QUOTED}",
        f"postgresql+none://user:{QUOTED}@127.0.0.1/name",
        f"postgresql+psycopg2://user:{QUOTED}@127.0.0.1:1/name",
        f"mysql://user:{QUOTED}@127.0.0.1/name",
        f"user:{PASSWORD}@127.0.0.1/name",
        f"postgresql:/user:{PASSWORD}@127.0.0.1/name",
        f"sqlite://user:{QUOTED}@/x",
    ],
)
def test_no_message_shows_a_password(build_study, url, capfd):
    study = build_study()
    for command in (["analyse", str(study.path)], ["serve", str(study.path)]):
        assert main([*command, "--database", url]) == 2
        out, error = capfd.readouterr()
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        for part in (PASSWORD, QUOTED, "s3cr", "et@word", "word@"):
            assert part not in out + error


def test_a_wrong_password_of_a_real_server_is_not_shown(build_study, postgresql_server):
    folder = postgresql_server.split("host=")[1]
    url = f"postgresql://nobody:{QUOTED}@/none?host={folder}"
    with pytest.raises(InputError, match="cannot open the database postgresql:///none") as caught:
        study_database.open_database(build_study(), url)
    assert "s3cr" not in str(caught.value)


def test_servers_that_start_together_make_the_tables_once(build_study, database_url):
    """Six processes on an empty database: each opens it, and there is one study."""
    study = build_study()
    code = (
        "import sys\nfrom human_study.database import study_database\nfrom human_study.design import manifest\n"
        "study = manifest.read(sys.argv[1])\nsys.stdin.readline()\n"
        "database = study_database.open_database(study, sys.argv[2])\nprint(database.study_id)\ndatabase.dispose()\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(study.path), database_url], cwd=ROOT, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(6)
    ]  # fmt: skip
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, [error for _, error in answers]
    assert {out.strip() for out, _ in answers} == {"1"}
    opened = study_database.open_database(study, database_url)
    with opened.read() as connection:
        assert queries.count_rows(connection, select(schema.page)) == len(study.pages)
        assert queries.count_rows(connection, select(schema.study)) == 1
    opened.dispose()


def test_a_start_waits_for_the_server_that_makes_the_tables(build_study, new_postgresql):
    """While another connection holds the advisory lock, nothing is made; afterwards the start goes on."""
    url = new_postgresql()
    holder = sqlalchemy.create_engine(url)
    with holder.connect() as connection:
        connection.execute(select(sqlalchemy.func.pg_advisory_xact_lock(study_database.MIGRATION_LOCK)))
        opened = []
        thread = threading.Thread(target=lambda: opened.append(study_database.open_database(build_study(), url)))
        thread.start()
        thread.join(3)
        assert thread.is_alive()
        assert inspect(connection).get_table_names() == []
        connection.rollback()
    thread.join(60)
    opened[0].dispose()
    holder.dispose()


def test_every_wait_has_a_bound(build_study):
    """The lock of this process and that of the file, each held by somebody else."""
    study = build_study()
    opened = study_database.open_database(study)
    with opened.write(), pytest.raises(study_database.DatabaseBusy, match="a transaction waited"), opened.write(0.2):
        raise AssertionError("two writers at once")
    other = sqlite3.connect(study.path / manifest.DATABASE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(study_database.DatabaseBusy, match="locked"), opened.write(0.2):
        raise AssertionError("two writers at once")
    assert time.monotonic() - began < 5
    with opened.read() as connection:
        assert queries.count_rows(connection, select(schema.study)) == 1
    other.close()
    with opened.write(0.2):
        pass
    opened.dispose()
