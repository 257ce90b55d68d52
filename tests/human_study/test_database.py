"""The tables, their migrations and their promises, on both databases."""

import alembic.autogenerate
import alembic.migration
import pytest
from sqlalchemy import insert, inspect, select

from human_study.database import queries, schema, study_database
from human_study.design import manifest
from musicgen.errors import InputError


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
        ("postgresql://nobody@127.0.0.1:1/none", "cannot open the database"),
    ],
)
def test_bad_urls_are_refused(build_study, url, message):
    with pytest.raises(InputError, match=message):
        study_database.open_database(build_study(), url)
