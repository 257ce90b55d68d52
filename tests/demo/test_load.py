"""Many visitors of one service, and how the program starts."""

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

from demo.configuration import Configuration, Limits
from demo.service import Service
from tests.conftest import GOLDEN
from tests.demo.conftest import serving

ROOT = Path(__file__).parents[2]
VISITORS = 16


def memory() -> float:
    """Megabytes that this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read the Linux way")
def test_sixteen_visitors(address: str, service: Service) -> None:
    """All finish, nobody is passed over, and the second round takes no more memory than the first."""
    clients = [Client(address, verbose=False, httpx_kwargs={"timeout": 120}) for _ in range(VISITORS)]
    waited: list[float] = []

    def visit(client: Client, index: int) -> None:
        start = time.monotonic()
        file, _, about = client.predict(prompt=f"{index}", model="mini", duration=0.5, seed=index, api_name="/generate")
        assert Path(file).stat().st_size > 1000
        assert about["seed"] == index
        waited.append(time.monotonic() - start)

    after = []
    for _ in range(3):
        threads = [threading.Thread(target=visit, args=(client, i)) for i, client in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        after.append(memory())
    assert len(waited) == 3 * VISITORS
    assert len(service.job_queue) == 0
    print(
        f"{VISITORS} visitors: longest wait {max(waited):.1f} s, memory after each round {[round(one) for one in after]} MB"
    )
    assert after[2] - after[1] < 40


def test_building_the_page_needs_no_pytorch() -> None:
    """What a visitor waits for at start: Gradio, and nothing heavier."""
    program = (
        "import sys; from demo import ui; from demo.service import Service; ui.build(Service());"
        "sys.exit(', '.join({'torch', 'transformers', 'librosa', 'demucs'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def test_the_program_runs_as_in_its_container(tmp_path: Path) -> None:
    """With the files that the Dockerfile copies, its command and its health check; its settings from the environment."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY"):
            for name in line.split()[1:-1]:
                (tmp_path / name).symlink_to(ROOT / name)
    (command,) = [json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD")]
    (health,) = [line.split(" CMD ")[1] for line in lines if line.startswith("HEALTHCHECK")]
    assert command[0] == "python"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    settings = {"GRADIO_SERVER_PORT": str(port), "MUSICGEN_DEMO_MAX_DURATION": "42", "TMPDIR": str(temporary)}
    environment = os.environ | settings
    start = time.monotonic()
    program = subprocess.Popen([sys.executable, *command[1:]], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                page = httpx.get(f"http://127.0.0.1:{port}/", timeout=10)
                break
            except httpx.TransportError:
                assert program.poll() is None
                assert time.monotonic() - start < 120
                time.sleep(0.1)
        print(f"the page answered after {time.monotonic() - start:.1f} s")
        assert page.status_code == 200
        assert "42" in httpx.get(f"http://127.0.0.1:{port}/config", timeout=30).text
        assert health.split()[0] == "python"
        check = [sys.executable, *shlex.split(health)[1:]]
        assert subprocess.run(check, cwd=tmp_path, env=environment, check=False, timeout=60).returncode == 0
        program.terminate()  # as a container is stopped
        assert program.wait(120) == 0
        assert not list(temporary.glob("musicgen-clips-*"))
    finally:
        program.kill()
        program.wait(20)


def test_what_is_old_is_deleted(tmp_path: Path) -> None:
    """Clips, uploads, and the copies that Gradio makes of both."""
    limits = Limits(keep_hours=8 / 3600)  # longer than the clip takes, which reads the upload
    service = Service(Configuration(limits=limits, models=("mini-melody",)), tmp_path / "service")
    service.warm_up().join()
    with serving(service) as address:
        client = Client(address, verbose=False, download_files=str(tmp_path / "mine"))
        upload = handle_file(str(GOLDEN / "chroma" / "melody_a.wav"))
        client.predict(
            prompt="x", model="mini-melody", duration=1.0, melody=upload, separate=False, api_name="/generate"
        )

        def num_files() -> int:
            return sum(file.is_file() for file in (tmp_path / "service").rglob("*"))

        assert num_files() >= 2
        end = time.monotonic() + 60
        while num_files():
            assert time.monotonic() < end
            time.sleep(0.2)


def test_a_page_with_a_password_shows_nothing_without_it(tmp_path: Path) -> None:
    service = Service(Configuration(auth=("me", "secret")), tmp_path)
    with serving(service) as address:
        assert httpx.get(f"{address}config").status_code == 401
        assert httpx.get(f"{address}gradio_api/info").status_code == 401
        body = {"data": [], "session_hash": "x"}
        assert httpx.post(f"{address}gradio_api/call/models", json=body).status_code == 401
        client = Client(address, auth=("me", "secret"), verbose=False)
        assert client.predict(api_name="/models")
