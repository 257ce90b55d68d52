"""Many visitors at one engine, and how the program starts."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

from demo.configuration import Configuration
from demo.service import Service
from tests.demo.conftest import serving

ROOT = Path(__file__).parents[2]
VISITORS = 16


def memory() -> float:
    """Megabytes that this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read the Linux way")
def test_sixteen_visitors(address: str, music: Service) -> None:
    """All finish, nobody is passed over, and the second round takes no more memory than the first."""
    clients = [Client(address, verbose=False) for _ in range(VISITORS)]
    waited: list[float] = []

    def visit(client: Client, index: int) -> None:
        start = time.monotonic()
        file, _, about = client.predict(prompt=f"{index}", model="mini", duration=1.0, seed=index, api_name="/generate")
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
    assert len(music.line) == 0
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


def test_the_program_answers_and_takes_its_settings_from_the_environment() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "MUSICGEN_DEMO_MAX_DURATION": "42"}
    start = time.monotonic()
    program = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
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
    finally:
        program.terminate()
        program.wait(20)


def test_a_page_with_a_password_shows_nothing_without_it(tmp_path: Path) -> None:
    service = Service(Configuration(auth=("me", "secret")), tmp_path)
    with serving(service) as address:
        assert httpx.get(f"{address}config").status_code == 401
        assert httpx.get(f"{address}gradio_api/info").status_code == 401
        body = {"data": [], "session_hash": "x"}
        assert httpx.post(f"{address}gradio_api/call/models", json=body).status_code == 401
        client = Client(address, auth=("me", "secret"), verbose=False)
        assert client.predict(api_name="/models")


def test_the_api_speaks_mcp(tmp_path: Path) -> None:
    pytest.importorskip("mcp", reason="MCP needs gradio[mcp]")
    with serving(Service(Configuration(mcp=True), tmp_path)) as address:
        tools = {tool["name"] for tool in httpx.get(f"{address}gradio_api/mcp/schema", timeout=30).json()}
        assert tools == {"generate", "progress", "melody", "models", "settings", "stop"}
