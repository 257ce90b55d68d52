"""Clocks that jump, a full disk, a database that is restarted, several servers: every acknowledged rating is there once."""

import asyncio
import os
import pwd
import shutil
import subprocess
import threading
import time
from pathlib import Path

import anyio.from_thread
import pytest
from sqlalchemy import event, func, select

from human_study.database import queries, schema, study_database
from human_study.database.study_database import StudyDatabase
from human_study.sessions.trials import CLOCK_SLACK_SECONDS
from human_study.web import load_test
from human_study.web.app import create_app
from tests import small_disk
from tests.human_study import conftest
from tests.human_study.client import Rater
from tests.human_study.round_robin import round_robin
from tests.human_study.test_crash import start_server

HOUR = 3600.0


@pytest.mark.parametrize("jump", [-24 * HOUR, -HOUR, -1.0, HOUR, 20 * 24 * HOUR])
def test_a_clock_that_jumps_loses_no_rating(build_study, open_app, monkeypatch, jump):
    """Between a page and its submission."""
    database, new = open_app(build_study())
    rater = new()
    trial = rater.start()["trial"]
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    assert rater.submit(trial).status_code == 200
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 1
    monkeypatch.setattr(time, "time", real)
    assert rater.rate_all()["stage"] == "done"


@pytest.mark.parametrize("jump", [-20 * 24 * HOUR, -HOUR, HOUR, 20 * 24 * HOUR])
def test_a_clock_that_jumps_locks_nobody_out(build_study, open_app, monkeypatch, jump):
    """Where the server compares what was heard with the time that has passed: a page of a minute, and a jump amid it."""
    database, new = open_app(build_study(clock="true", questions="[{name: OVL, method: mushra}]"))
    rater, begin, passed = new(), time.time(), [0.0]
    monkeypatch.setattr(time, "time", lambda: begin + passed[0])  # it stands still, however busy the machine is
    trial = rater.start()["trial"]
    heard = sum(clip["seconds"] for clip in [*trial["clips"], *filter(None, [trial["reference"]])])
    assert heard > CLOCK_SLACK_SECONDS
    assert rater.submit(trial).json()["code"] == "too_fast"
    passed[0] = 60 + jump
    assert rater.state()["trial"]["lease"] == trial["lease"]
    assert rater.beat(trial).status_code == 200
    assert rater.submit(trial).status_code == 200
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 1
    # The next page is one like any other, and so it is when the clock is right again.
    for correction in (60 + jump, 120):
        passed[0] = correction
        trial = rater.state()["trial"]
        passed[0] += 60
        assert rater.submit(trial).status_code == 200
    assert rater.state()["stage"] == "done"


def test_a_full_disk_is_a_503_and_the_rating_is_stored_later(build_study):
    """SQLite's own error, by the most pages that its file may have."""
    study = build_study()
    database = study_database.open_database(study)
    limit = [2**30]

    @event.listens_for(database.engine, "begin")
    def set_limit(connection):
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit[0]}")

    with anyio.from_thread.start_blocking_portal() as portal:
        app = create_app(study, database, hosts=("testserver",))
        rater = Rater(app, portal)
        trial = rater.start()["trial"]
        with database.read() as connection:
            limit[0] = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        answers = []
        while len(answers) < 60 and (
            not answers or answers[-1].status_code == 200
        ):  # until no page of the file has room
            answers.append(Rater(app, portal).enter())
        assert (answers[-1].status_code, answers[-1].json()["code"]) == (503, "busy")
        assert "full" not in answers[-1].text
        submitted = rater.submit(trial).status_code  # a page of its own table may have room
        limit[0] = 2**30
        assert submitted == 200 or (submitted, rater.submit(trial).status_code) == (503, 200)
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 1
        assert queries.count_rows(connection, select(schema.rater)) == len(answers)
    database.dispose()


def test_a_disk_that_fills_under_load_loses_nothing(build_study, tmp_path):
    """Twelve megabytes under SQLite (its log takes four), full for three seconds amid thirty raters who go on."""
    study, disk = build_study(raters_per_sample=32), tmp_path / "disk"
    disk.mkdir()
    port = conftest.free_port()
    server = start_server(study, f"sqlite:///{disk}/study.db", port, before=small_disk.command(disk, 12 * 2**20))
    tallies = []
    try:
        raters = threading.Thread(
            target=lambda: tallies.append(
                asyncio.run(load_test.run(f"http://127.0.0.1:{port}", 30, seconds=90, every=1.5, retry=True))
            )
        )
        raters.start()
        time.sleep(1.5)
        with small_disk.full(small_disk.seen_by(server, disk)):
            time.sleep(3.0)
        raters.join(120)
        assert not raters.is_alive()
        # Nobody writes any more. SQLite itself would follow the link to this program's own folder.
        for name in ("study.db", "study.db-wal"):
            shutil.copyfile(small_disk.seen_by(server, disk) / name, tmp_path / name)
        kept, _ = stored(f"sqlite:///{tmp_path}/study.db")
    finally:
        server.kill()
        log = server.communicate(timeout=20)[1].decode()
    (tally,) = tallies
    print(f"{len(kept)} ratings, {tally.retries} requests sent again")
    assert tally.errors == []
    assert tally.retries > 0
    assert tally.acknowledged == kept
    assert len(kept) == 3 * 30
    assert "Traceback" not in log
    assert "cannot use the database" in log


def restart(postgresql_server):
    """Restart the cluster of the test run, as an administrator does who cannot wait."""
    folder = Path(postgresql_server.split("host=")[1].split("&")[0])
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    assert pwd.getpwuid(folder.stat().st_uid).pw_name == ("postgres" if as_user else pwd.getpwuid(os.getuid()).pw_name)
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=100 -c fsync=off"
    command = [
        conftest.postgresql_programs() / "pg_ctl", "-D", folder / "cluster", "-w", "-l", folder / "log",
        "-m", "immediate", "-o", options, "restart",
    ]  # fmt: skip
    subprocess.run([*as_user, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd=folder, timeout=60)


def stored(url):
    """Key -> receipt of all ratings, and the most ratings of one page."""
    watched = StudyDatabase(url, "not needed to count")
    with watched.read() as connection:
        rows = connection.execute(
            select(
                schema.trial.c.idempotency_key, schema.trial.c.receipt, schema.trial.c.rater_id, schema.trial.c.page_id
            )
        ).all()
        most = connection.execute(
            select(func.count()).select_from(schema.trial).group_by(schema.trial.c.page_id).order_by(func.count().desc())
        ).scalars().first()  # fmt: skip
    watched.dispose()
    assert len(rows) == len({row.idempotency_key for row in rows}) == len({(row.rater_id, row.page_id) for row in rows})
    return {row.idempotency_key: row.receipt for row in rows}, most or 0


def test_postgresql_restarted_under_load(build_study, postgresql_server, new_postgresql):
    url = new_postgresql()
    study = build_study(raters_per_sample=32)
    database = study_database.open_database(study, url)
    with conftest.serving(create_app(study, database)) as address:
        tallies = []
        raters = threading.Thread(
            target=lambda: tallies.append(asyncio.run(load_test.run(address, 30, seconds=60, every=0.3, retry=True)))
        )
        raters.start()
        time.sleep(1.0)
        restart(postgresql_server)
        raters.join(120)
        assert not raters.is_alive()
    database.dispose()
    (tally,) = tallies
    kept, _ = stored(url)
    print(f"{len(kept)} ratings of 30 raters, {tally.retries} requests sent again")
    assert tally.errors == []
    assert tally.retries > 0
    assert tally.acknowledged == kept
    assert len(kept) == 3 * 30


@pytest.mark.slow
def test_three_servers_of_one_study(build_study, database_url):
    """Each with its own raters: no page gets more than its number, and no rating is lost or there twice."""
    study = build_study(raters_per_sample=12)
    servers, ports = [], [conftest.free_port() for _ in range(3)]
    try:
        for port in ports:
            servers.append(start_server(study, database_url, port))
        tallies = []
        threads = [
            threading.Thread(
                target=lambda port=port: tallies.append(
                    asyncio.run(load_test.run(f"http://127.0.0.1:{port}", 10, seconds=60, every=0.2, retry=True))
                )
            )
            for port in ports
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    finally:
        for server in servers:
            server.kill()
            server.wait(20)
            server.stderr.close()
    kept, most = stored(database_url)
    acknowledged = {key: receipt for tally in tallies for key, receipt in tally.acknowledged.items()}
    print(f"{len(kept)} ratings by three servers, {most} of one page at most")
    assert [tally.errors for tally in tallies] == [[], [], []]
    assert acknowledged == kept
    assert len(kept) == 90
    assert most <= 12


@pytest.mark.parametrize(
    ("raters", "pages_each"), [(24, 12), pytest.param(200, 80, marks=pytest.mark.slow)], ids=["24", "200"]
)
def test_three_servers_behind_a_proxy_one_killed_every_few_seconds(
    build_study, new_postgresql, raters: int, pages_each: int
) -> None:
    """Nothing is sticky: each request of a rater goes to the next server. Leases and ratings hold across processes."""
    url = new_postgresql()
    study = build_study(raters_per_sample=pages_each)
    proxy, ports = conftest.free_port(), [conftest.free_port() for _ in range(3)]
    servers = [start_server(study, url, port) for port in ports]
    kills = 0
    tallies = []
    try:
        with round_robin(proxy, ports) as traffic:
            work = threading.Thread(
                target=lambda: tallies.append(asyncio.run(load_test.run(
                    f"http://127.0.0.1:{proxy}", raters, seconds=200, every=raters / 25, retry=True, keep_alive=False
                )))
            )  # fmt: skip
            work.start()
            while work.is_alive() and kills < 30:
                victim = kills % 3
                if not traffic.at_next_request(victim, servers[victim].kill).wait(2.0):
                    continue  # the raters are done, or rest
                servers[victim].wait(20)
                servers[victim].stderr.close()
                servers[victim] = start_server(study, url, ports[victim])
                kills += 1
            work.join(250)
            assert not work.is_alive()
    finally:
        for server in servers:
            server.kill()
            server.wait(20)
            server.stderr.close()
    kept, most = stored(url)
    (tally,) = tallies
    print(
        f"{len(kept)} ratings of {raters} raters, {kills} kills, {tally.retries} requests sent again, "
        f"connections {traffic.counts}"
    )
    assert kills > 0
    assert tally.errors == []
    assert tally.retries > 0
    assert tally.acknowledged == kept
    assert len(kept) == 3 * raters
    assert most <= pages_each
    assert all(traffic.counts)
