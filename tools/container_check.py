#!/usr/bin/env python3
"""The Dockerfile's steps, as they are written, in a bare Debian root, where no container engine runs.

    sudo tools/container_check.py [--build-arg TORCH_INDEX=] [--pass NAME]... [--bind PATH]... [--mirror URL] [--keep]

debootstrap makes the root; Debian's Python in a virtual environment first on PATH stands in for python:3.11-slim. Each RUN and
COPY is done in it, then the command is started as the Dockerfile's user, the health check is asked until it agrees, and a
client makes a clip over HTTP and follows melodies uploaded as M4A, MP3 and WebM. Needs root (chroot and mount), debootstrap and
ffmpeg; takes minutes, and gigabytes below --root, which is deleted at the end. Prints what each step took; exit code 0 if all
went well.

--pass hands an environment variable of the caller's to RUN steps (a proxy, PIP_INDEX_URL); --bind shows a file or folder of the
caller's there, read-only (/etc/pip.conf, certificates).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = "/usr/local/python"
PATH = f"{PYTHON}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MELODIES = {"m4a": ["-c:a", "aac"], "mp3": ["-c:a", "libmp3lame"], "webm": ["-c:a", "libopus"]}
"""Extension of an upload -> ffmpeg's arguments for it."""
IGNORED = {"EXPOSE", "VOLUME"}
"""Instructions that change nothing in the files."""


def instructions(text: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) of a Dockerfile, continued lines joined, comments dropped."""
    lines: list[str] = []
    joined = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        joined += line.removesuffix("\\")
        if not line.endswith("\\"):
            lines.append(joined)
            joined = ""
    return [(name.upper(), rest.strip()) for name, _, rest in (line.strip().partition(" ") for line in lines)]


class Container:
    """A root with what the instructions so far have set."""

    def __init__(self, root: Path, build_arguments: dict[str, str], passed: dict[str, str]) -> None:
        self.root, self.build_arguments, self.passed = root, build_arguments, passed
        self.environment = {"PATH": PATH, "LANG": "C.UTF-8"}
        self.arguments: dict[str, str] = {}
        self.user, self.folder = "root", "/"
        self.command: list[str] = []
        self.health = ""

    def do(self, name: str, rest: str) -> None:
        if name == "FROM":
            if not rest.startswith("python:3.11"):
                raise SystemExit(f"the root has Debian's Python 3.11, which does not stand in for {rest}")
        elif name == "ARG":
            key, _, standard = rest.partition("=")
            self.arguments[key] = self.build_arguments.get(key, standard)
        elif name == "ENV":
            self.environment |= dict(part.split("=", 1) for part in shlex.split(rest))
        elif name == "WORKDIR":
            self.folder = rest
            (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "USER":
            self.user = rest
        elif name == "RUN":
            self.run(["sh", "-c", rest], self.arguments | self.passed).check_returncode()
        elif name == "COPY":
            self.copy(shlex.split(rest))
        elif name == "CMD":
            self.command = json.loads(rest)
        elif name == "HEALTHCHECK":
            self.health = rest.partition("CMD ")[2]
        elif name not in IGNORED:
            raise SystemExit(f"this check knows no {name}")

    def copy(self, names: list[str]) -> None:
        """As far as .dockerignore, which lets single names through, shows them to the build."""
        shown = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        target = self.root / self.folder.lstrip("/") / names[-1]
        for name in names[:-1]:
            if name not in shown:
                raise SystemExit(f"COPY {name}: .dockerignore hides it")
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    def chroot(self, command: list[str], more: dict[str, str]) -> list[str]:
        home = "/root" if self.user == "root" else f"/home/{self.user}"
        values = {"HOME": home} | self.environment | more
        inside = ["env", "-i", *(f"{key}={value}" for key, value in values.items()), *command]
        place = ["sh", "-c", f'cd {shlex.quote(self.folder)} && exec "$@"', "sh"]
        return ["chroot", f"--userspec={self.user}:{self.user}", str(self.root), *place, *inside]

    def run(self, command: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.chroot(command, more), check=False)


@contextlib.contextmanager
def mounted(root: Path, binds: list[Path]) -> Iterator[None]:
    """What programs expect in a root, and the caller's files, until the end."""
    done: list[Path] = []

    def mount(*arguments: str, on: Path) -> None:
        subprocess.run(["mount", *arguments, str(on)], check=True)
        done.append(on)

    try:
        mount("-t", "proc", "proc", on=root / "proc")
        (root / "dev" / "shm").mkdir(exist_ok=True)
        mount("-t", "tmpfs", "tmpfs", on=root / "dev" / "shm")  # the devices themselves are debootstrap's
        for path in binds:
            inside = root / str(path).lstrip("/")
            if path.is_dir():
                inside.mkdir(parents=True, exist_ok=True)
            else:
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.touch()
            mount("--bind", "-o", "ro", str(path), on=inside)
        yield
    finally:
        for path in reversed(done):
            subprocess.run(["umount", "--lazy", str(path)], check=False)


def bootstrap(root: Path, suite: str, mirror: str) -> None:
    packages = "python3,python3-venv,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(root), mirror], check=True)
    subprocess.run(["chroot", str(root), "python3", "-m", "venv", PYTHON], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")  # which container engines write


def ask(url: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": kind} if body is not None else {})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return bytes(answer.read())


def upload(api: str, file: Path) -> str:
    """Where the server keeps it."""
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{file.name}"\r\n\r\n'
    body = head.encode() + file.read_bytes() + f"\r\n--{mark}--\r\n".encode()
    return str(json.loads(ask(f"{api}/upload", body, f"multipart/form-data; boundary={mark}"))[0])


def call(api: str, name: str, **values: object) -> str:
    """The last event of a named endpoint: its kind and its data. Fields that are not given keep the endpoint's defaults."""
    event = json.loads(ask(f"{api}/call/v2/{name}", json.dumps(values).encode()))["event_id"]
    return ask(f"{api}/call/v2/{name}/{event}").decode().strip().split("\n\n")[-1]


def make_clip(api: str) -> str:
    """The last event of a generation of two seconds."""
    return call(
        api, "generate", prompt="calm piano", model="mini", duration=2.0, seed=1, precision="float32", format="mp3"
    )


def follow(api: str, recording: Path) -> str:
    """The last event of reading an uploaded recording's melody."""
    uploaded = {"path": upload(api, recording), "meta": {"_type": "gradio.FileData"}}
    return call(api, "melody", recording=uploaded, separate=False)


def visit(api: str, folder: Path) -> list[str]:
    """Make a clip, follow uploads; what failed."""
    failed = []

    def tell(what: str, answer: Callable[..., str], *arguments: object) -> None:
        start = time.monotonic()
        event = answer(*arguments)
        good = event.startswith("event: complete")
        took = f"({time.monotonic() - start:.1f} s)"
        print(f"{'ok' if good else 'FAILED'}: {what} {took}", "" if good else event, flush=True)
        if not good:
            failed.append(what)

    tell("a clip over the API", make_clip, api)
    for extension, codec in MELODIES.items():
        file = folder / f"melody.{extension}"
        tune = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=frequency=440:duration=3", "-ar", "48000", *codec]
        subprocess.run([*tune, "-y", str(file)], check=True)
        tell(f"a melody as {extension}", follow, api, file)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="where the root is made (a temporary folder)")
    parser.add_argument("--suite", default="bookworm", help="of Debian; it must have Python 3.11 (%(default)s)")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--pass", action="append", default=[], metavar="NAME", dest="passed")
    parser.add_argument("--bind", action="append", default=[], type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the root there")
    given = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("chroot and mount need root")
    if given.root:
        given.root.mkdir(parents=True, exist_ok=True)
    parent = Path(tempfile.mkdtemp(prefix="musicgen-container-", dir=given.root))
    parent.chmod(0o755)  # the visitor must be able to enter
    root = parent / "root"
    arguments = dict(one.split("=", 1) for one in given.build_arg)
    container = Container(root, arguments, {name: os.environ[name] for name in given.passed if name in os.environ})
    failed = ["the command"]
    try:
        bootstrap(root, given.suite, given.mirror)
        with mounted(root, given.bind):
            for name, rest in instructions((REPOSITORY / "Dockerfile").read_text()):
                start = time.monotonic()
                container.do(name, rest)
                print(f"ok: {name} {rest[:80]} ({time.monotonic() - start:.1f} s)", flush=True)
            used = subprocess.run(["du", "-xsm", str(root)], capture_output=True, text=True, check=False).stdout.split()
            print(f"the root has {used[0]} MB", flush=True)
            failed = serve(container, given.port, parent)
    finally:
        if not given.keep:
            shutil.rmtree(parent, ignore_errors=True)
    print("failed: " + ", ".join(failed) if failed else "all of it works")
    return 1 if failed else 0


def serve(container: Container, port: int, folder: Path) -> list[str]:
    """Start the command, wait for the health check, visit; what failed."""
    settings = {"GRADIO_SERVER_PORT": str(port)}
    start = time.monotonic()
    program = subprocess.Popen(container.chroot(container.command, settings))
    try:
        while container.run(["sh", "-c", f"{container.health} 2>/dev/null"], settings).returncode:
            if program.poll() is not None or time.monotonic() - start > 300:
                return ["the command"]
            time.sleep(0.5)
        print(f"ok: healthy as {container.user} after {time.monotonic() - start:.1f} s", flush=True)
        failed = visit(f"http://127.0.0.1:{port}/gradio_api", folder)
        program.terminate()  # as a container is stopped
        if program.wait(60) != 0:
            failed.append("its end")
        left = list((container.root / "tmp").glob("musicgen-clips-*"))
        return [*failed, *(["what it leaves in /tmp"] if left else [])]
    finally:
        program.kill()
        program.wait(20)


if __name__ == "__main__":
    sys.exit(main())
