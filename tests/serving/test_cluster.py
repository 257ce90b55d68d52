"""Replicas on two cores by the real Ray Serve: the same clips, also where a replica or the cluster is lost. Some minutes."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from musicgen.errors import InputError
from musicgen.serving.engines.local import LocalEngine
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest
from tests.serving.api_server import Program, asked, ended, wait_until
from tests.serving.test_remote import sound

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
ray_serve = pytest.importorskip("musicgen.serving.engines.ray_serve")
pytest.importorskip("ray.serve")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory):
    """Call it for the server that the tests share. A test may end it, in any order: the next call starts another one."""
    flags = ("--replicas", "2", "--cores", "1", "--workers", "2")
    running: list[tuple[Program, httpx.Client]] = []
    with contextlib.ExitStack() as ending:

        def current() -> tuple[Program, httpx.Client]:
            if not running or running[-1][0].process.poll() is not None:
                state = tmp_path_factory.mktemp("state")
                program = ending.enter_context(Program(*flags, "--state", str(state), seconds=240))
                client = ending.enter_context(httpx.Client(base_url=program.url, timeout=120))
                running.append((program, client))
            return running[-1]

        yield current


@pytest.fixture
def cluster(servers) -> tuple[Program, httpx.Client]:
    """A server that is ready, with both replicas."""
    program, client = servers()
    wait_until(lambda: client.get("/ready").status_code == 200 and len(replicas(program)) == 2, 120)
    return program, client


@pytest.fixture(scope="module")
def local():
    engine = LocalEngine(ModelCatalog(), "cpu", slots=2)
    yield engine
    engine.close()


def family(program: Program) -> list[psutil.Process]:
    """All processes of a server."""
    return psutil.Process(program.process.pid).children(recursive=True)


def replicas(program: Program) -> list[psutil.Process]:
    """The processes of the replicas."""
    found = []
    for one in family(program):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            if "ServeReplica" in "".join(one.cmdline()):
                found.append(one)
    return found


def test_replicas_make_the_same_clips(cluster, local: LocalEngine) -> None:
    _, client = cluster
    identifiers = [asked(client, prompt="lofi", duration=3.0, seed=seed) for seed in range(6)]
    for seed, identifier in enumerate(identifiers):
        stream = client.get(f"/v1/generations/{identifier}/stream", params={"format": "pcm_f32le"})
        assert ended(client, identifier)["status"] == "done"
        expected = sound(local, ClipRequest("lofi", "mini", 3.0), seed)
        np.testing.assert_allclose(np.frombuffer(stream.content, "<f4"), expected[0], atol=1e-5)
    refused = client.post("/v1/generations", json={"duration": 1e9})
    assert refused.status_code == 422


def busy_of_replicas(cluster, clips: int, duration: float) -> list[float]:
    """Processor time of each replica, seconds, while it makes clips that were asked for together."""
    program, client = cluster
    before = {one.pid: one.cpu_times().user for one in replicas(program)}
    for identifier in [asked(client, prompt="lofi", duration=duration) for _ in range(clips)]:
        assert ended(client, identifier, 180)["status"] == "done"
    return [one.cpu_times().user - before[one.pid] for one in replicas(program) if one.pid in before]


def test_both_replicas_work_at_the_same_time(cluster) -> None:
    spent = busy_of_replicas(cluster, 6, 20.0)
    assert min(spent) > 0.2 * max(spent), spent


def test_two_clips_take_a_replica_each(cluster) -> None:
    """Each replica has the default model from its start, so neither is preferred."""
    spent = busy_of_replicas(cluster, 2, 30.0)
    assert min(spent) > 0.6 * max(spent), spent


def test_a_killed_replicas_clip_goes_on(cluster, local: LocalEngine) -> None:
    """Its listener hears all of the clip: the other replica begins it anew, and what was heard is left out."""
    program, client = cluster
    identifier = asked(client, prompt="lofi", duration=40.0, seed=9)
    parts: list[bytes] = []
    with client.stream("GET", f"/v1/generations/{identifier}/stream", params={"format": "pcm_f32le"}) as answer:
        for part in answer.iter_bytes():
            parts.append(part)
            if len(parts) == 2:
                before = {one.pid: one.cpu_times().user for one in replicas(program)}
                time.sleep(0.7)
                busiest = max(replicas(program), key=lambda one: one.cpu_times().user - before[one.pid])
                busiest.kill()
    heard = np.frombuffer(b"".join(parts), "<f4")
    assert ended(client, identifier)["status"] == "done"
    np.testing.assert_allclose(heard, sound(local, ClipRequest("lofi", "mini", 40.0), 9)[0], atol=1e-5)
    assert any("begun anew" in line for line in program.lines)
    wait_until(lambda: len(replicas(program)) == 2, 120)  # Ray Serve starts another one


def test_a_lost_cluster_is_connected_to_again(cluster) -> None:
    """The head of the cluster is killed with all that it runs: what was accepted is answered all the same."""
    program, client = cluster
    identifiers = [asked(client, prompt="lofi", duration=30.0, seed=seed) for seed in (1, 2)]
    wait_until(lambda: client.get(f"/v1/generations/{identifiers[0]}").json()["status"] == "running", 60)
    for process in family(program):
        if process.name() in ("gcs_server", "raylet"):
            process.kill()
    states = [ended(client, identifier, 240) for identifier in identifiers]
    assert [state["status"] for state in states] == ["done", "done"], "".join(program.lines[-20:])
    assert any("ended unexpectedly" in line for line in program.lines)
    wait_until(lambda: client.get("/ready").status_code == 200, 60)


def test_a_signal_ends_the_server_and_its_cluster(cluster) -> None:
    program, client = cluster
    identifier = asked(client, prompt="lofi", duration=20.0)
    processes = family(program)
    assert processes
    heard: list[bytes] = []
    listener = threading.Thread(
        target=lambda: heard.append(
            client.get(f"/v1/generations/{identifier}/stream", params={"format": "pcm_s16le"}).content
        )
    )
    listener.start()
    wait_until(lambda: client.get(f"/v1/generations/{identifier}").json()["status"] == "running", 60)
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(120) == 0
    listener.join(10)
    assert len(heard[0]) == 20 * 32_000 * 2
    _, alive = psutil.wait_procs(processes, 60)
    assert not alive, [one.cmdline() for one in alive]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("2000", "it must be 'auto'"),
        ("3:1", "must not be above"),
        ("0", "it must be 'auto'"),
        ("1:x", "it must be 'auto'"),
    ],
)
def test_wrong_numbers_of_replicas_are_one_line(wanted: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ray_serve.Replicas.parse(wanted)


def test_the_single_process_imports_nothing_of_ray(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from tests.serving.api_server import api; from pathlib import Path\n"
        "with api(Path(sys.argv[1])): pass\n"
        "assert not any(name.split('.')[0] == 'ray' for name in sys.modules), 'ray'"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[2], env=os.environ
    )
