"""How the program starts and ends: its private folder, its port, the browser, and its messages when it cannot start."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

from demo import configuration, start, ui
from demo.configuration import Configuration
from demo.service import Service
from musicgen.errors import InputError
from musicgen.serving import private_folder
from tests import small_disk
from tests.conftest import GOLDEN
from tests.demo.conftest import free_port, serving
from tests.demo.test_api import fields, post
from tests.demo.test_security import upload

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "app.py", *arguments], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip


def opened(program: subprocess.Popen, url: str) -> None:
    """Until the page answers."""
    end = time.monotonic() + 120
    while True:
        try:
            httpx.get(url, timeout=30)
            return
        except httpx.TransportError:
            assert program.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGINT])
def test_all_that_is_temporary_is_private_and_goes_at_the_end(tmp_path: Path, ended_by: signal.Signals) -> None:
    """Under a umask that hides nothing, on a machine where Gradio's usual folder is somebody else's."""
    temporary, port = tmp_path / "tmp", free_port()
    temporary.mkdir()
    (temporary / "gradio").write_text("not a folder that anybody could use")
    url = f"http://127.0.0.1:{port}/"
    environment = os.environ | {"TMPDIR": str(temporary), "GRADIO_SERVER_PORT": str(port)}
    program = subprocess.Popen(
        [sys.executable, "app.py", "--models", "mini-melody"], cwd=ROOT, env=environment, umask=0
    )
    try:
        opened(program, url)
        if ended_by == signal.SIGTERM:  # the other one is interrupted while it still loads
            client = Client(url, verbose=False, download_files=str(tmp_path / "mine"))
            clip, _, about = client.predict(
                prompt="drums", model="mini-melody", duration=1.0, melody=handle_file(GOLDEN / "chroma" / "melody_a.wav"),
                separate=False, format="mp3", api_name="/generate",
            )  # fmt: skip
            assert about["seconds"] == 1.0
            assert Path(clip).stat().st_size > 1000
        (folder,) = temporary.glob("musicgen-clips-*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        found = list(folder.rglob("*"))
        assert (
            ended_by != signal.SIGTERM or sum(path.is_file() for path in found) >= 4
        )  # the clip, its mp3, upload, copy
        open_to_others = [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077]
        assert not open_to_others
        program.send_signal(ended_by)
        assert program.wait(120) == 0
        assert [path.name for path in temporary.iterdir()] == ["gradio"]
    finally:
        program.kill()
        program.wait(20)


def test_a_private_folder_is_made_where_the_operator_says(tmp_path: Path) -> None:
    before = os.umask(0o777)  # which would leave the owner nothing
    try:
        folder = private_folder.create(tmp_path)
    finally:
        os.umask(before)
    assert Path(folder.name).parent == tmp_path
    assert stat.S_IMODE(Path(folder.name).stat().st_mode) == 0o700
    folder.cleanup()
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"no folder can be created in .*: set another folder with --temporary"):
        private_folder.create(tmp_path / "nowhere")
    assert configuration.parse(["--temporary", str(tmp_path)], {}).temporary_folder == tmp_path
    with pytest.raises(InputError):
        configuration.parse(["--temporary", str(tmp_path / "nowhere")], {})


def test_the_folder_of_a_program_that_was_killed_goes_at_the_next_start(tmp_path: Path) -> None:
    kill = "import os, sys, time; from pathlib import Path; from musicgen.serving import private_folder;"
    kill += "folder = private_folder.create(Path(sys.argv[1])); Path(folder.name, 'clip').touch(); print(flush=True);"
    kill += "time.sleep(60)"
    program = subprocess.Popen([sys.executable, "-c", kill, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert program.stdout is not None
    program.stdout.readline()
    (tmp_path / "musicgen-clips-other").mkdir()  # without a lock: of another version, or about to be locked
    running = private_folder.create(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    program.kill()
    program.wait(20)
    after = private_folder.create(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "musicgen-clips-other", Path(running.name).name, Path(after.name).name,
    }  # fmt: skip
    running.cleanup()
    after.cleanup()


def test_gradio_gets_its_folder_back_when_a_service_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    service = Service(folder=tmp_path)
    assert Path(os.environ["GRADIO_TEMP_DIR"]).is_relative_to(tmp_path)
    service.close()
    assert os.environ["GRADIO_TEMP_DIR"] == "before"


@pytest.mark.parametrize("cause", ["a proxy, or a busy machine", "localhost has no address"])
def test_a_page_that_does_not_answer_its_own_machine_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise httpx.ConnectError("[Errno -2] Name or service not known")

    if cause == "localhost has no address":
        monkeypatch.setattr("gradio.blocks.httpx.get", refused)
    else:
        monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)  # noqa: ARG005
    page = serving(Service(Configuration(), tmp_path))
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:\d+/? does not answer .* NO_PROXY=127\.0\.0\.1"), page:
        pass


def test_a_port_that_was_asked_for_and_is_taken_is_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = run(GRADIO_SERVER_PORT=port)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert f"port {port} of 127.0.0.1 is not available" in line
    for text in ("", "http", "0", "65536", "-1", "٣"):
        with pytest.raises(InputError, match="GRADIO_SERVER_PORT is"):
            start.requested_port({"GRADIO_SERVER_PORT": text})
    assert start.requested_port({}) is None
    assert start.requested_port({"GRADIO_SERVER_PORT": port, "GRADIO_SERVER_NAME": "0.0.0.0"}) == int(port)


def test_a_usual_port_that_is_taken_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", ui.INITIAL_PORT_VALUE))
            other.listen()
        except OSError:
            pass  # some other program has it: just as well
        service = Service(Configuration(), tmp_path)
        page = ui.build(service)
        ui.launch(page, service, prevent_thread_lock=True, quiet=True)
        try:
            assert page.server_port != ui.INITIAL_PORT_VALUE
            said = f"Port {ui.INITIAL_PORT_VALUE} is taken by another program: the page is at {page.local_url}"
            assert said in capsys.readouterr().err
        finally:
            service.close()
            page.close()


def test_a_browser_is_opened_on_request(tmp_path: Path) -> None:
    port = free_port()
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{seen}.new"\nmv "{seen}.new" "{seen}"\n')
    browser.chmod(0o755)
    environment = os.environ | {"BROWSER": f"{browser} %s", "GRADIO_SERVER_PORT": str(port)}
    program = subprocess.Popen([sys.executable, "app.py", "--open", "--models", "mini"], cwd=ROOT, env=environment)
    try:
        end = time.monotonic() + 120
        while not seen.exists():
            assert program.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        assert seen.read_text().strip() == f"http://127.0.0.1:{port}/"
    finally:
        program.terminate()
        program.wait(60)


def test_a_browser_is_opened_where_there_is_a_desktop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(start, "CONTAINERS", (tmp_path / "mark",))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    here = {"DISPLAY": ":0"}
    assert start.has_desktop(here)
    assert start.has_desktop({"WAYLAND_DISPLAY": "wayland-0"})
    assert not start.has_desktop({})
    for name in ("SSH_CONNECTION", "CI", "container", "SPACE_ID", "KUBERNETES_SERVICE_HOST"):
        assert not start.has_desktop(here | {name: "1"})
    (tmp_path / "mark").touch()
    assert not start.has_desktop(here)
    (tmp_path / "mark").unlink()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert not start.has_desktop(here)
    assert configuration.parse([], {}).open_browser is None
    assert configuration.parse(["--no-open"], {"MUSICGEN_DEMO_OPEN": "1"}).open_browser is False
    assert configuration.parse([], {"MUSICGEN_DEMO_OPEN": "1"}).open_browser is True


def test_what_cannot_begin_says_so_in_a_line() -> None:
    done = run("--models", "nothing*")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "no model's name matches nothing*" in line
    help_text = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" app.py --help | head -1', sys.executable], cwd=ROOT, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert help_text.returncode == 0
    assert help_text.stdout.startswith("usage:")
    assert not help_text.stderr


def test_a_reader_that_has_enough_is_no_error() -> None:
    """`| head` may read all before it leaves; this reader leaves first."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "app.py", "--help"], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_one_line_and_passes(tmp_path: Path) -> None:
    """Under the folder of clips and uploads: visitors are told so without paths, nothing is lost, and it goes on with room."""
    disk, port = tmp_path / "disk", free_port()
    disk.mkdir()
    url, environment = f"http://127.0.0.1:{port}/", os.environ | {"GRADIO_SERVER_PORT": str(port)}
    command = [
        *small_disk.command(disk, 8 * 2**20),
        sys.executable,
        "app.py",
        "--models",
        "mini",
        "--temporary",
        str(disk),
    ]
    program = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    try:
        opened(program, url)
        sound = (GOLDEN / "chroma" / "melody_a.wav").read_bytes()
        make = fields(duration=2.0, format="wav")
        assert upload(url, sound).status_code == 200
        first = post(url, "generate", make)
        assert "event: complete" in first
        with small_disk.full(small_disk.seen_by(program, disk)):
            refused = upload(url, sound + b"another")
            assert (refused.status_code, refused.text) == (507, "the server's disk is full: try again later")
            answer = post(url, "generate", make)
            assert "event: error" in answer
            assert "the server cannot store the clip (No space left on device): try again later" in answer
            assert str(disk) not in answer
        assert upload(url, sound + b"another").status_code == 200
        assert "event: complete" in post(url, "generate", make)
        path = re.search(r'"path": *"([^"]+)"', first)
        assert path is not None
        assert httpx.get(f"{url}gradio_api/file={path[1]}").status_code == 200  # the first clip is still there
    finally:
        program.send_signal(signal.SIGTERM)
        log = program.communicate(timeout=120)[1].decode()
    assert "a file of a visitor cannot be stored" in log
    assert log.count("Traceback") <= 1  # of the upload that Gradio could not store
