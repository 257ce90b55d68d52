"""A small built study, both databases, a server in a thread, and a browser.

PostgreSQL is Debian's, started by the test run as a cluster of its own under an unprivileged user (initdb refuses root);
the browser is Debian's Chromium. Where one is absent, its tests are skipped with the reason.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import anyio.from_thread
import pytest
import sqlalchemy
import uvicorn

from human_study.database import study_database
from human_study.design import manifest, prepare, study_settings
from human_study.web.app import create_app
from tests import machine
from tests.human_study import client, tones

STUDY = """\
name: tests
title: {en: "Listening <b>test</b>", de: "Hörtest"}
systems: {bright: samples/bright, dull: samples/dull}
reference: samples/reference
melody: samples/melody
questions: [{name: OVL, method: mushra}, REL, MEL]
raters_per_sample: 5
trials_per_rater: 3
attention_checks: 0
practice: false
headphone_check: "off"
open_link: true
clock: false
contact: study@example.org
prolific: {completion_code: "C0DE-42", reward: 150, verify: false}
"""


@pytest.fixture(scope="session")
def study_files(tmp_path_factory):
    """Samples folders of three items and 0.7 seconds, and a STUDY.yaml that the tests replace."""
    folder = tmp_path_factory.mktemp("study-files")
    tones.write(folder, seconds=0.7, items=3)
    return folder


@pytest.fixture(scope="session")
def build_study(study_files, tmp_path_factory):
    """build_study(changes) -> a built study; every kind is built once and copied."""
    built: dict[str, Path] = {}

    def build(text=STUDY, **changes):
        for key, value in changes.items():
            text = (
                "\n".join(line for line in text.splitlines() if not line.startswith(f"{key}:")) + f"\n{key}: {value}\n"
            )
        if text not in built:
            (study_files / "STUDY.yaml").write_text(text)
            out = tmp_path_factory.mktemp("built") / "study"
            prepare.build(study_settings.read(study_files / "STUDY.yaml"), out)
            built[text] = out
        copy = tmp_path_factory.mktemp("copy") / "study"
        shutil.copytree(built[text], copy)
        return manifest.read(copy)

    return build


def postgresql_programs():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgresql_server():
    """A cluster of our own on a socket in a temporary folder; its URL."""
    programs = postgresql_programs()
    if programs is None:
        machine.lacks("PostgreSQL is not installed (Debian: apt install postgresql)")
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="study-pg-"))
    user = pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            machine.lacks("initdb refuses root, and there is no user postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        as_user, user = ["runuser", "-u", "postgres", "--"], "postgres"
    cluster = folder / "cluster"

    def run(*command):
        subprocess.run([*as_user, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd=folder, timeout=120)

    run(programs / "initdb", "-D", cluster, "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=100 -c fsync=off"
    run(programs / "pg_ctl", "-D", cluster, "-w", "-l", folder / "log", "-o", options, "start")
    yield f"postgresql+psycopg://{user}@/postgres?host={folder}"
    run(programs / "pg_ctl", "-D", cluster, "-m", "immediate", "-w", "stop")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server):
    """new_postgresql() -> URL of an empty schema: a database for each test would take seconds and gigabytes in all."""
    # Pinged first: a test restarts the server.
    admin = sqlalchemy.create_engine(postgresql_server, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    made = []

    def make():
        name = f"study_{len(made)}"
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        made.append(name)
        return f"{postgresql_server}&options=-csearch_path%3D{name}"

    yield make
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The URL of an empty database, once for each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    return request.getfixturevalue("new_postgresql")()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    """A SQLite file with the tables of the newest revision and nothing in them: a migration takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "study.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_schema(new_postgresql):
    """The same for PostgreSQL: the statements that make the tables in the schema of the search path."""
    url = new_postgresql()
    migrate(url)
    name = url.rpartition("%3D")[2]
    host = url.partition("host=")[2].partition("&")[0]
    user = url.partition("//")[2].partition("@")[0]
    command = [postgresql_programs() / "pg_dump", "-h", host, "-U", user, "--inserts", "--schema", name, "postgres"]
    dumped = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    # The search path of the connection says where; psql's own commands and the dump's settings are left out.
    return "\n".join(
        line.replace(f"{name}.", "")
        for line in dumped.splitlines()
        if not line.startswith(("\\", "SELECT pg_catalog", "SET ", f"CREATE SCHEMA {name}", "ALTER SCHEMA", "--"))
    )


def migrate(url):
    database = study_database.StudyDatabase(url, "not needed for tables")
    study_database.migrate(database)
    database.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request, tmp_path):
    """The URL of a database whose tables are there and empty, once for each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "study.db")
        return f"sqlite:///{tmp_path / 'study.db'}"
    url = request.getfixturevalue("new_postgresql")()
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(request.getfixturevalue("migrated_schema"))
    engine.dispose()
    return url


@pytest.fixture
def open_app(migrated_url):
    """open_app(study) -> (store, function that makes a browser-like client)."""
    with contextlib.ExitStack() as stack:

        def make(study, **options):
            database = study_database.open_database(study, migrated_url)
            stack.callback(database.dispose)
            app = create_app(study, database, hosts=("testserver",), **options)
            # One event loop for all clients of an application: a thread with a loop for each request takes longer than the
            # request.
            portal = stack.enter_context(anyio.from_thread.start_blocking_portal())
            return database, lambda: client.Rater(app, portal)

        yield make


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(app):
    """The application on a port of its own, in a thread; its address."""
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    for _ in range(200):
        if running.started:
            break
        time.sleep(0.05)
    assert running.started
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def browser():
    """Not for the session: while Playwright runs, the thread has an event loop that others trip over."""
    with machine.chromium() as chromium:
        yield chromium
