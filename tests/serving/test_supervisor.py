"""The process that keeps a server running."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from musicgen.serving.web import server, supervisor

COUNT = "import os, sys; open(sys.argv[1], 'a').write('x'); n = len(open(sys.argv[1]).read());"
SUPERVISED = """
import sys
from musicgen.serving.web import server, supervisor
with server.listen("127.0.0.1", 0) as listening:
    sys.exit(supervisor.supervise([sys.executable, "-c", sys.argv[1], sys.argv[2]], listening))
"""


@pytest.mark.parametrize(
    ("code", "runs", "exit_code"),
    [
        ("os.abort() if n < 3 else sys.exit(0)", 3, 0),
        ("os.kill(os.getpid(), 9) if n < 2 else sys.exit(2)", 2, 2),
        ("sys.exit(2)", 1, 2),
        ("sys.exit(7)", supervisor.MAX_RESTARTS + 1, 1),
    ],
    ids=["crashes", "killed", "wrong flags", "never runs"],
)
def test_a_process_that_dies_is_started_again(tmp_path: Path, code: str, runs: int, exit_code: int) -> None:
    count = tmp_path / "count"
    with server.listen("127.0.0.1", 0) as listening:
        assert supervisor.supervise([sys.executable, "-c", COUNT + code, str(count)], listening) == exit_code
    assert len(count.read_text()) == runs


def test_the_processes_share_the_socket(tmp_path: Path) -> None:
    """Whoever connects while no process runs is answered by the next one."""
    answer = COUNT + (
        "from musicgen.serving.web import supervisor\n"
        "if n == 1: os.abort()\n"
        "client, _ = supervisor.inherited().accept(); client.sendall(b'hello'); client.close()"
    )
    with server.listen("127.0.0.1", 0) as listening:
        client = socket.create_connection(listening.getsockname()[:2])
        assert supervisor.supervise([sys.executable, "-c", answer, str(tmp_path / "count")], listening) == 0
        assert client.recv(100) == b"hello"
        client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_process_and_nothing_starts_again(tmp_path: Path, number: int) -> None:
    count = tmp_path / "count"
    work = COUNT + "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); time.sleep(60)"
    program = subprocess.Popen([sys.executable, "-c", SUPERVISED, work, str(count)], cwd=Path(__file__).parents[2])
    end = time.monotonic() + 60
    while not count.exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    program.send_signal(number)
    assert program.wait(20) == 128 + number
    assert count.read_text() == "x"
