"""What every other test relies on: nothing leaves this machine unnoticed, and a complete run skips nothing."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

CALLS = """
import socket, tempfile
def refused(call, *arguments):
    try:
        call(*arguments)
    except PermissionError:
        return
    raise SystemExit(f"{arguments} was not refused")
refused(socket.create_connection, ("192.0.2.1", 80))
refused(socket.socket().connect_ex, ("192.0.2.2", 81))
refused(socket.socket(socket.AF_INET6).connect, ("2001:db8::1", 82))
refused(socket.socket(type=socket.SOCK_DGRAM).sendto, b"x", ("192.0.2.3", 83))
refused(socket.create_connection, ("example.org", 443))
for family, address in ((socket.AF_INET, ("localhost", 0)), (socket.AF_UNIX, tempfile.mkdtemp() + "/socket")):
    with socket.socket(family) as server, socket.socket(family) as client:
        server.bind(address)
        server.listen()
        client.connect(server.getsockname())
"""
CALLED = [
    "connect to 192.0.2.1 port 80",
    "connect to 192.0.2.2 port 81",
    "connect to 2001:db8::1 port 82",
    "connect to 192.0.2.3 port 83",
    "look up example.org",
]


def test_other_machines_are_refused_and_named(tmp_path: Path) -> None:
    environment = os.environ | {"MUSICGEN_TESTS_REACHED": str(tmp_path / "reached"), "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", CALLS], env=environment, check=True)
    assert (tmp_path / "reached").read_text().splitlines() == CALLED


def test_only_rays_head_process_may_ask_for_its_cloud(tmp_path: Path) -> None:
    environment = os.environ | {"MUSICGEN_TESTS_REACHED": str(tmp_path / "reached")}
    call = "import socket\ntry: socket.create_connection(('169.254.169.254', 80))\nexcept PermissionError: print('refused')\n"
    for folder in ("ray/dashboard", "other"):
        (tmp_path / folder).mkdir(parents=True)
        program = tmp_path / folder / "dashboard.py"
        program.write_text(call)
        done = subprocess.run([sys.executable, program], env=environment, check=True, capture_output=True, text=True)
        assert done.stdout == "refused\n"
        noted = (tmp_path / "reached").read_text() if (tmp_path / "reached").exists() else ""
        assert noted == ("" if folder == "ray/dashboard" else "connect to 169.254.169.254 port 80\n")


CONFTEST = """
from pathlib import Path
from tests.machine import *
watch(Path(__file__).parent)
"""
INNER = """
import socket
import pytest
from tests import machine

def test_calls():
    with pytest.raises(PermissionError):
        socket.create_connection(("192.0.2.1", 80))

def test_lacks():
    machine.lacks("there is no such thing")

def test_passes():
    pass
"""


def run_inner(folder: Path, tests: str, *arguments: str) -> str:
    """What pytest prints of these tests, in a process of its own."""
    root = Path(__file__).parents[1]
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_inner.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), "-c", os.devnull,
               *arguments, str(folder)]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{os.environ['PYTHONPATH']}"}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_a_test_that_calls_or_lacks_something_fails_by_name(tmp_path: Path) -> None:
    printed = run_inner(tmp_path, INNER, "-p", "no:randomly", "-rfesE", "--complete")
    assert "the test reaches beyond this machine: connect to 192.0.2.1 port 80" in printed, printed
    assert "a complete run skips nothing: there is no such thing" in printed
    assert "1 failed, 2 passed, 1 error" in printed  # the call is found as its test is taken down


def test_an_order_is_had_again_by_the_arguments_that_are_printed(tmp_path: Path) -> None:
    pytest.importorskip("pytest_randomly")
    tests = "\n".join(f"def test_{number}(): pass" for number in range(50))

    def order(printed: str) -> list[str]:
        return re.findall(r"::(test_\d+) PASSED", printed)

    first = run_inner(tmp_path, tests, "-v")
    (arguments,) = re.findall(r'order of the tests again: make test ARGS="(.+)"', first)
    assert len(order(first)) == 50
    assert order(run_inner(tmp_path, tests, "-v", *shlex.split(arguments))) == order(first)


def test_without_that_what_is_lacking_is_a_skip() -> None:
    from tests import machine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "complete", False)
        with pytest.raises(pytest.skip.Exception, match="no such thing"):
            machine.lacks("no such thing")
