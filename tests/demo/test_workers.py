"""Several processes of the page that share a folder: any of them answers, and what one that is killed had begun goes on."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file

from demo.shared_jobs import SharedJobs
from demo.workers import Workers
from musicgen import audio
from musicgen.errors import InputError
from musicgen.serving.clip_store import ClipStore
from musicgen.serving.index import Index
from musicgen.serving.job_queue import Job, JobQueue, QueueFull
from musicgen.serving.request import ClipRequest
from musicgen.serving.servers import Servers
from tests.conftest import GOLDEN
from tests.demo.conftest import wait_until
from tests.demo.page_workers import Page, page_behind_a_proxy
from tests.demo.test_browser import PATIENCE, SECOND, downloadable, generate, said, set_slider, visit
from tests.demo.test_browser import wait_until as wait_in_page
from tests.demo.test_visits import stored
from tests.serving.api_server import Program, asked, ended

pytestmark = pytest.mark.timeout(900)
TUNE = GOLDEN / "chroma" / "melody_a.wav"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory):
    with Program("--state", str(tmp_path_factory.mktemp("engine")), "--workers", "4") as program:
        yield program


@pytest.fixture(scope="module")
def page(engine: Program, tmp_path_factory: pytest.TempPathFactory):
    state = tmp_path_factory.mktemp("page")
    with page_behind_a_proxy(state, 3, "--engine", engine.url, "--per-address", "3", "--disk-gb", "0.1") as page:
        yield page


def new_context(browser):
    context = browser.new_context(locale="en-GB", reduced_motion="reduce")  # animations take the machine's time
    context.set_default_timeout(PATIENCE * SECOND)
    return context


@contextlib.contextmanager
def opened(browser, url: str, **stored: object):
    """The page in a browser that has stored something."""
    context = new_context(browser)
    if stored:
        text = json.dumps(json.dumps(stored))
        context.add_init_script(f"if (!localStorage.getItem('musicgen')) localStorage.setItem('musicgen', {text})")
    tab = context.new_page()
    tab.goto(url)
    yield tab
    context.close()


def memory_of(tab) -> dict:
    return json.loads(tab.evaluate("localStorage.getItem('musicgen')"))


@pytest.mark.slow
def test_any_worker_answers_and_none_shows_strangers_what_a_visitor_has(page: Page, browser) -> None:
    context = new_context(browser)
    tab = context.new_page()
    visit(tab, page.address)
    assert "Done" in generate(tab, "first", 1.0)
    assert "Done" in generate(tab, "second", 1.0)
    tab.click("#more-of-clip button")
    tab.click("#favourite")
    wait_in_page(tab, lambda: tab.input_value("#clips input").startswith("★ 2 · second"))
    for _ in range(4):  # more often than there are workers
        tab.reload()
        said(tab, "Ready")
        wait_in_page(tab, lambda: tab.input_value("#clips input").startswith("★ 2 · second"))
    assert min(page.counts.values()) > 10, page.counts
    token, clip = (memory_of(tab)[name] for name in ("visit", "clip"))
    # The file, a download of it and the link are the same at each worker.
    link = tab.input_value("#link input, #link textarea")
    wait_in_page(tab, lambda: downloadable(tab, "wav"))
    with tab.expect_download() as download:
        tab.click("#download-wav")
    path = download.value.url.removeprefix(page.address)
    assert path.startswith("gradio_api/file=")
    sounds = {httpx.get(f"{worker.url}{path}").content for worker in page.workers}
    assert len(sounds) == 1
    assert audio.read_tags(next((page.state / "clips" / "clips" / clip).glob("*.flac")))
    for worker in page.workers:
        with opened(browser, f"{worker.url}{link[link.index('?') :]}") as stranger:
            said(stranger, "settings of your link")
            assert stranger.input_value("#prompt textarea") == "second"
            assert not stranger.locator("#clip-panel").is_visible()
        # A stranger who knows the id of a clip, though not the visit's token, gets nothing at any worker.
        with opened(browser, worker.url, visit="0" * 32, clip=clip, settings={}) as stranger:
            said(stranger, "gone")
            assert not stranger.locator("#clip-panel").is_visible()
        # The visitor finds their clips there.
        with opened(browser, worker.url, visit=token, clip=clip, settings={}) as again:
            said(again, "Ready")
            wait_in_page(again, lambda: again.input_value("#clips input").startswith("★ 2"))
    # What is deleted is gone everywhere.
    tab.click("#more-of-clip button")
    tab.once("dialog", lambda dialog: dialog.accept())
    tab.click("#delete")
    said(tab, "Deleted")
    assert {httpx.get(f"{worker.url}{path}").status_code for worker in page.workers} <= {403, 404}
    context.close()


def test_calls_of_the_api_go_to_the_worker_that_has_their_session(page: Page, tmp_path: Path) -> None:
    """Each request of a client reaches another worker than the one before."""
    client = Client(page.address, verbose=False, download_files=str(tmp_path))
    file, _, about = client.predict(prompt="x", duration=1.0, seed=7, api_name="/generate")
    assert audio.read(file).duration == pytest.approx(1.0, abs=0.1)
    assert about["seed"] == 7
    assert client.predict(handle_file(str(TUNE)), False, api_name="/melody")  # the upload is another request
    progress = client.submit(prompt="x", model="mini", duration=3.0, seed=1, api_name="/progress")
    assert list(progress)[-1]["done"] == 1.0
    # Calls without a session: the second request knows only the event of the first.
    with httpx.Client(base_url=page.address, timeout=60) as plain:
        for _ in range(4):
            event = plain.post("gradio_api/call/models", json={"data": []}).json()["event_id"]
            assert "event: complete" in plain.get(f"gradio_api/call/models/{event}").text


def test_limits_hold_for_all_workers_together(page: Page) -> None:
    """An address has three jobs at a time, whichever workers it asks; the disk's share is one of all workers."""
    headers = {"x-came-from": "192.0.2.9", "x-forwarded-for": "192.0.2.9"}

    def ask(number: int) -> tuple[str, str]:
        worker = page.workers[number % len(page.workers)]
        body = {
            "data": [f"clip {number}", "mini", 60, 1],
            "session_hash": f"limits{number}",
            "fn_index": functions["progress"],
        }
        httpx.post(f"{worker.url}gradio_api/queue/join", json=body, headers=headers).raise_for_status()
        return worker.url, f"limits{number}"

    config = httpx.get(f"{page.address}config").json()
    functions = {one["api_name"]: one["id"] for one in config["dependencies"]}
    begun = [ask(number) for number in range(3)]
    wait_until(lambda: page.read("SELECT COUNT(*) FROM jobs WHERE address = '192.0.2.9'") == [(3,)], PATIENCE)
    for number in range(3, 6):  # at each of the workers
        url, session = ask(number)
        with httpx.stream("GET", f"{url}gradio_api/queue/data?session_hash={session}", timeout=60) as answer:
            refused = "".join(answer.iter_text())
        assert "3 clips of your network are being made or waiting already" in refused
    for url, session in begun:
        body = {"data": [], "session_hash": session, "fn_index": functions["stop"]}
        httpx.post(f"{url}gradio_api/run/stop", json=body, headers=headers).raise_for_status()
    wait_until(lambda: page.read("SELECT COUNT(*) FROM jobs WHERE address = '192.0.2.9'") == [(0,)], PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_clip_goes_on_at_the_engine_when_its_worker_ends(
    engine: Program, tmp_path: Path, browser, by: signal.Signals
) -> None:
    """The page loads itself anew through another worker, and finds its clips and the one that is being made."""
    with page_behind_a_proxy(tmp_path, 2, "--engine", engine.url) as page, httpx.Client(base_url=engine.url) as api:
        context = new_context(browser)
        tab = context.new_page()
        visit(tab, page.address)
        assert "Done" in generate(tab, "finished before", 1.0)
        tab.fill("#prompt textarea", "made by two workers")
        set_slider(tab, "duration", 60)
        tab.click("#generate")
        # Without a look at the page, which on a busy machine takes longer than the clip.
        wait_until(lambda: page.read("SELECT id FROM jobs"), PATIENCE)
        ((job, text),) = page.read("SELECT id, request FROM jobs")
        generations: list[dict] = []

        def running() -> bool:
            generations[:] = api.get("/v1/generations").json()["generations"]
            return "running" in {one["status"] for one in generations}

        wait_until(running, PATIENCE)
        page.worker_of_the_job().end(by)
        wait_in_page(tab, lambda: page.read("SELECT taken_up FROM jobs WHERE id = ?", job) in ([(1,)], []))
        # A fast engine is done with it by then, and what a page has fetched is deleted there.
        listed = [one["id"] for one in api.get("/v1/generations").json()["generations"]]
        assert set(listed) <= {one["id"] for one in generations}
        wait_in_page(tab, lambda: page.read("SELECT COUNT(*) FROM visit_clips") == [(2,)])
        said(tab, "Done")
        tab.click("#clips input")
        tab.get_by_text("2 · made by two workers").first.wait_for()
        (row,) = page.read("SELECT clip FROM visit_clips ORDER BY number DESC LIMIT 1")
        clip = json.loads(row[0])
        assert clip["seed"] == json.loads(text)["seed"]
        assert clip["complete"]
        context.close()
        # It is the clip of its seed.
        body = {"prompt": "made by two workers", "model": "mini", "duration": 60, "seed": clip["seed"]}
        again = asked(api, **body)
        assert ended(api, again, PATIENCE)["status"] == "done"
        (tmp_path / "again.flac").write_bytes(api.get(f"/v1/generations/{again}/audio").content)
        there, here = (audio.read(file).wave.numpy() for file in (Path(clip["path"]), tmp_path / "again.flac"))
        np.testing.assert_allclose(there, here, atol=2e-3)


@pytest.mark.slow
def test_a_page_that_was_idle_when_its_worker_was_killed_goes_on_at_another_one(
    engine: Program, tmp_path: Path, browser
) -> None:
    """Without being loaded anew: what the visitor has typed stays."""
    with page_behind_a_proxy(tmp_path, 2, "--engine", engine.url) as page:
        context = new_context(browser)
        tab = context.new_page()
        pending: set = set()
        tab.on("request", lambda request: "/queue/" in request.url and pending.add(request))
        tab.on("requestfinished", lambda request: pending.discard(request))
        tab.on("requestfailed", lambda request: pending.discard(request))
        visit(tab, page.address)
        assert "Done" in generate(tab, "before", 1.0)
        wait_in_page(tab, lambda: downloadable(tab, "wav"))
        wait_in_page(tab, lambda: all(not pending and not tab.wait_for_timeout(50) for _ in range(40)))
        tab.evaluate("() => { window.isFirstLoad = true; }")
        ((url,),) = page.read(
            "SELECT url FROM worker_keys JOIN workers USING (server) WHERE key LIKE 'session:%' ORDER BY claimed DESC LIMIT 1"
        )
        next(worker for worker in page.workers if worker.url == f"{url}/").end(signal.SIGKILL)
        assert "Done" in generate(tab, "afterwards", 1.0)
        assert tab.evaluate("() => window.isFirstLoad")
        wait_in_page(tab, lambda: tab.input_value("#clips input").startswith("2 · afterwards"))
        context.close()


@pytest.mark.slow
def test_variations_that_a_killed_worker_has_not_made_are_made_by_another(tmp_path: Path, browser) -> None:
    """With an engine in each worker. None is made twice, and none is missing."""
    with page_behind_a_proxy(tmp_path, 2) as page:
        context = new_context(browser)
        tab = context.new_page()
        visit(tab, page.address)
        tab.get_by_role("button", name="More settings").first.click()
        set_slider(tab, "variations", 3)
        tab.fill("#seed input, #seed textarea", "5")
        tab.fill("#prompt textarea", "takes")
        set_slider(tab, "duration", 60)
        tab.click("#generate")
        # Without a look at the page, which takes longer than the other variations may.
        wait_until(lambda: page.read("SELECT made FROM jobs") not in ([], [(0,)]), PATIENCE)
        assert page.read("SELECT made FROM jobs") in ([(1,)], [(2,)]), "all were made before the worker could be killed"
        page.worker_of_the_job().end(signal.SIGKILL)
        wait_in_page(tab, lambda: page.read("SELECT COUNT(*) FROM visit_clips") == [(3,)])
        clips = [json.loads(text) for (text,) in page.read("SELECT clip FROM visit_clips ORDER BY number")]
        assert [clip["seed"] for clip in clips] == [5, 6, 7]
        assert len({clip["generation"] for clip in clips}) == 1
        context.close()


def test_a_login_at_one_worker_is_one_at_all(tmp_path: Path) -> None:
    with page_behind_a_proxy(tmp_path, 2, "--auth", "me:secret") as page, httpx.Client() as client:
        first, second = page.workers
        assert client.get(f"{second.url}config").status_code == 401
        client.post(f"{first.url}login", data={"username": "me", "password": "secret"}).raise_for_status()
        assert client.get(f"{second.url}config").status_code == 200  # cookies know no ports
        assert httpx.get(f"{second.url}config").status_code == 401
        client.get(f"{second.url}logout")
        assert client.get(f"{first.url}config").status_code == 401


# The parts that workers share


def as_if_by_another_process(folder: Path) -> tuple[Index, Servers]:
    """Files and locks of an index and of a server: those of one process are told apart as those of two are."""
    return Index(folder / "index.sqlite3"), Servers(folder / "workers")


def shared_jobs(index: Index, servers: Servers) -> SharedJobs:
    return SharedJobs(index, servers, 3600.0, lambda: False, lambda visitor, clip: None)  # noqa: ARG005


def test_what_a_worker_had_not_finished_is_recovered_once(tmp_path: Path) -> None:
    index, servers = as_if_by_another_process(tmp_path)
    first = shared_jobs(index, servers)
    job: Job = Job("me", ClipRequest("x", "mini", 1.0, seed=10, variations=3), "192.0.2.1", 3.0)
    first.admit(job, lambda others: None)  # noqa: ARG005
    first.started(job)
    first.clip_stored(job, stored(tmp_path / "clips", "a"))
    others = [shared_jobs(*as_if_by_another_process(tmp_path)) for _ in range(4)]
    assert [one.recover("me") for one in others] == [[]] * 4  # it is being made
    servers.close()
    assert others[0].recover("somebody else") == []
    found: list = []
    threads = [threading.Thread(target=lambda one=one: found.extend(one.recover("me"))) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (left,) = found
    assert (left.identifier, left.visitor, left.address) == (job.identifier, "me", "192.0.2.1")
    assert (left.request.seed, left.request.variations) == (11, 2)


def test_the_queues_of_two_workers_have_one_limit(tmp_path: Path) -> None:
    blocked = threading.Event()
    queues = []
    for _ in range(2):
        jobs = shared_jobs(*as_if_by_another_process(tmp_path))
        run = lambda job: blocked.wait(30)  # noqa: ARG005, E731
        queues.append(
            JobQueue(
                run, workers=1, max_waiting=9, max_per_visitor=9, max_seconds=100.0, on_end=jobs.ended, admit=jobs.admit
            )
        )
    request = ClipRequest("x", "mini", 1.0, seed=1)
    queues[0].submit("a", request, "192.0.2.1", 10.0)
    with pytest.raises(QueueFull, match=r"10 s of sound of your network are waiting or being made, 50 s at most"):
        queues[1].submit("b", request, "192.0.2.1", 45.0)
    with pytest.raises(QueueFull, match=r"10 s of sound of all are waiting or being made, 100 s at most"):
        queues[1].submit("b", request, "192.0.2.2", 95.0)
    blocked.set()
    for queue in queues:
        queue.close()


def test_files_of_a_network_have_one_share_at_all_workers(tmp_path: Path) -> None:
    stores = []
    for _ in range(2):
        index, servers = as_if_by_another_process(tmp_path)
        stores.append(ClipStore(tmp_path / "clips", 1.0, 1_000_000, index=index, servers=servers))
    stores[0].reserve(300_000, "192.0.2.1")
    with pytest.raises(InputError, match="the files of your network take"):
        stores[1].reserve(300_000, "192.0.2.1")
    stores[0].servers.close()  # it was killed: what it had reserved is free
    stores[1].reserve(300_000, "192.0.2.1")
    for store in stores:
        store.close()


def test_a_session_has_one_worker_until_that_ends(tmp_path: Path) -> None:
    (index, servers), (other_index, other_servers) = (as_if_by_another_process(tmp_path) for _ in range(2))
    one, other = Workers(index, servers, 3600.0), Workers(other_index, other_servers, 3600.0)
    one.register("http://127.0.0.1:1")
    other.register("http://127.0.0.1:2")
    assert one.secret == other.secret
    assert one.claim(["session:a", "browser:x"]) is None
    assert other.claim(["session:a"]).url == "http://127.0.0.1:1"
    assert other.claim(["session:b", "browser:x"]).url == "http://127.0.0.1:1"  # another page of the same browser
    assert other.claim(["session:c"]) is None
    assert one.claim(["session:c", "browser:x"]).url == "http://127.0.0.1:2"  # what is under way there is there
    servers.close()
    assert other.claim(["session:a", "browser:x"]) is None
    assert other.claim(["session:b", "browser:x"]) is None


def test_a_process_that_is_killed_leaves_no_lock_and_nothing_half_written(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from musicgen.serving.index import Index\n"
        f"index = Index(Path({str(tmp_path / 'index')!r})); index.create('CREATE TABLE IF NOT EXISTS t (x)')\n"
        "with index.transaction() as database:\n"
        "    database.executemany('INSERT INTO t VALUES (?)', [(n,) for n in range(100_000)])\n"
        "    print('half', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"half\n"
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    index = Index(tmp_path / "index")
    with index.transaction() as database:
        database.execute("INSERT INTO t VALUES (-1)")
    assert index.read("SELECT x FROM t") == [(-1,)]
    with sqlite3.connect(tmp_path / "index") as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
