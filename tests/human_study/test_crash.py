"""Nothing acknowledged is lost: the server is killed with SIGKILL while raters submit, and started again."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from sqlalchemy import select

from human_study.__main__ import main
from human_study.database import queries, schema, study_database
from human_study.database.study_database import StudyDatabase
from human_study.web import load_test
from human_study.web.app import create_app
from musicgen.errors import InputError
from tests.human_study.conftest import free_port, serving

ROOT = Path(__file__).parents[2]
RATERS = 80
EVERY_KIND = """[{name: OVL, method: mushra}, REL, {name: MOS, method: likert, text: {en: x, de: x}},
 {name: AB, method: ab, text: {en: x, de: x}}, {name: ABX, confidence: true}]""".replace("\n", "")


def start_server(study, url, port, before=(), environment=None):
    """before: a command that runs the server in its turn; environment: further variables."""
    command = [
        *before,
        sys.executable,
        "-m",
        "human_study",
        "serve",
        str(study.path),
        "--database",
        url,
        "--port",
        str(port),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | (environment or {}),
    )
    for _ in range(300):
        assert process.poll() is None, process.stderr.read().decode()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
            return process
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")


def test_kill_9_in_the_middle_of_80_raters(build_study, database_url):
    asked = "{before: [age, device], after: [experience]}"
    study = build_study(questions=EVERY_KIND, raters_per_sample=20, questionnaire=asked)
    port = free_port()
    server = start_server(study, database_url, port)
    processes = [server]
    results = []
    raters = threading.Thread(
        target=lambda: results.append(
            asyncio.run(load_test.run(f"http://127.0.0.1:{port}", RATERS, seconds=100, every=0.4, retry=True))
        )
    )
    raters.start()
    try:
        watched = StudyDatabase(database_url, "not needed to count")
        for wanted in (25, 120):
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with watched.read() as connection:
                    if queries.count_rows(connection, select(schema.trial)) >= wanted:
                        break
                time.sleep(0.02)
            os.kill(processes[-1].pid, signal.SIGKILL)
            processes[-1].wait(20)
            processes.append(start_server(study, database_url, port))
        raters.join(120)
        assert not raters.is_alive()
        (tally,) = results
        assert tally.errors == []
        assert tally.retries > 0
        with watched.read() as connection:
            rows = connection.execute(
                select(
                    schema.trial.c.idempotency_key,
                    schema.trial.c.receipt,
                    schema.trial.c.rater_id,
                    schema.trial.c.page_id,
                )
            ).all()
            kept = {row.idempotency_key: row.receipt for row in rows}
            assert len(rows) == len(kept) == len({(row.rater_id, row.page_id) for row in rows})
            assert tally.acknowledged == kept
            assert len(kept) >= 3 * RATERS * 0.95
            assert tally.questionnaires == queries.count_rows(connection, select(schema.questionnaire))
            assert tally.questionnaires >= 2 * RATERS * 0.95
            heard = connection.execute(select(schema.listening.c.trial_id, schema.listening.c.slot)).all()
            assert len(heard) == len(set(heard))
            assert {row.trial_id for row in heard} == set(connection.execute(select(schema.trial.c.id)).scalars())
        watched.dispose()
    finally:
        for process in processes:
            process.kill()
            process.wait(20)
            process.stderr.close()


@pytest.mark.slow
def test_500_raters_every_20_seconds(build_study, database_url):
    study = build_study(raters_per_sample=600)
    port = free_port()
    server = start_server(study, database_url, port)
    try:
        tally = asyncio.run(load_test.run(f"http://127.0.0.1:{port}", 500, seconds=60, every=20))
    finally:
        server.kill()
        server.wait(20)
        server.stderr.close()
    assert tally.errors == []
    assert len(tally.seconds) >= 1000
    assert tally.percentile(0.99) < 0.5


def test_a_load_test_that_stores_nothing_fails(build_study, tmp_path, capsys):
    study = build_study(headphone_check="require")
    database = study_database.open_database(study, f"sqlite:///{tmp_path / 'study.db'}")
    with serving(create_app(study, database)) as address:
        assert main(["load", "--url", address, "--raters", "2", "--seconds", "5", "--every", "0.1"]) == 1
    database.dispose()
    told = capsys.readouterr().out
    assert told.startswith("2 raters, no page stored, 2 errors")
    assert "no page before the stage 'headphones'" in told


def test_a_port_in_use_is_one_line_before_any_address(build_study, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", str(build_study().path), "--port", str(port)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"cannot listen on 127.0.0.1, port {port}" in told.err
    assert "another --port" in told.err


def test_the_load_stays_on_this_machine():
    with pytest.raises(InputError, match=r"on 127\.0\.0\.1"):
        asyncio.run(load_test.run("http://study.example.org", 1, 1, 1))
    with pytest.raises(InputError, match="at most 2000 raters"):
        asyncio.run(load_test.run("http://127.0.0.1:1", 10**6, 1, 1))
