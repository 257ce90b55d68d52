"""A deployment as a Space, against a stand-in of the hub that speaks the endpoints which huggingface_hub calls."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from demo import deploy

ROOT = Path(__file__).parents[2]
TOKEN = "hf_" + "x" * 34
SPACE = "me/music"


class Hub(ThreadingHTTPServer):
    """One account with one token. files: what the Space holds, LFS objects resolved; refusal: (path, status, text) of what the
    hub does not allow."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Endpoints)
        self.spaces: dict[str, dict] = {}
        self.files: dict[str, bytes] = {}
        self.pointers: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.refusal: tuple[str, int, str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Endpoints(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def answer(self, value: object, status: int = 200, error: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("X-Error-Message", error)
        self.end_headers()
        self.wfile.write(body)

    def allowed(self) -> bool:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid credentials in Authorization header"}, 401, "Invalid credentials")
            return False
        refusal = self.server.refusal
        if refusal is not None and refusal[0] in self.path:
            self.answer({"error": refusal[2]}, refusal[1], refusal[2])
            return False
        if SPACE in self.path and SPACE not in self.server.spaces:
            self.answer({"error": "Repository not found"}, 404, "Repository not found")
            return False
        return True

    def do_GET(self) -> None:
        if not self.allowed():
            return
        hub = self.server
        path = self.path.partition("?")[0]
        if path == "/api/whoami-v2":
            self.answer({"type": "user", "name": "me", "auth": {"accessToken": {"role": "write"}}})
        elif path.startswith(f"/api/spaces/{SPACE}/tree/main"):
            self.answer(
                [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in hub.files.items()]
            )
        elif path == f"/api/spaces/{SPACE}/runtime":
            self.answer(self.runtime())
        elif path == f"/api/spaces/{SPACE}" or path == f"/api/spaces/{SPACE}/revision/main":
            self.answer({"id": SPACE, "sha": "0" * 40, "siblings": [{"rfilename": name} for name in hub.files]})
        else:
            self.answer({"error": "not found"}, 404)

    def runtime(self) -> dict:
        flavour = self.server.spaces[SPACE].get("hardware", "cpu-basic")
        return {"stage": "BUILDING", "hardware": {"current": None, "requested": flavour}, "storage": None}

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.allowed():
            return
        hub = self.server
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked['organization']}/{asked['name']}"
            if name in hub.spaces:
                self.answer({"error": "You already created this space repo", "url": f"{hub.url}/spaces/{name}"}, 409)
                return
            hub.spaces[name] = asked
            hub.files.setdefault(".gitattributes", b"*.bin filter=lfs\n")
            self.answer({"url": f"{hub.url}/spaces/{name}", "name": name, "id": "1"})
        elif path == f"/api/spaces/{SPACE}/preupload/main":
            # As the hub decides: what is no text goes through LFS.
            files = json.loads(content)["files"]
            modes = {one["path"]: "lfs" if is_binary(base64.b64decode(one["sample"])) else "regular" for one in files}
            self.answer(
                {"files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]}
            )
        elif path == f"/spaces/{SPACE}.git/info/lfs/objects/batch":
            objects = json.loads(content)["objects"]
            actions = [
                one | {"actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}} for one in objects
            ]  # fmt: skip
            self.answer({"transfer": "basic", "objects": actions})
        elif path == f"/api/spaces/{SPACE}/commit/main":
            header, *changes = (json.loads(line) for line in content.splitlines())
            hub.commits.append(header["value"]["summary"])
            for change in changes:
                self.change(change["key"], change["value"])
            self.answer({"commitUrl": f"{hub.url}/spaces/{SPACE}/commit/{'0' * 40}", "commitOid": "0" * 40})
        elif path == f"/api/spaces/{SPACE}/hardware":
            hub.spaces[SPACE]["hardware"] = json.loads(content)["flavor"]
            self.answer(self.runtime())
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        else:
            self.answer({"error": "not found"}, 404)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        digest = self.path.removeprefix("/lfs/").partition("?")[0]
        if hashlib.sha256(data).hexdigest() != digest:
            self.answer({"error": "another content"}, 400)
            return
        self.server.objects[digest] = data
        self.answer({})

    def change(self, kind: str, value: dict) -> None:
        files, name = self.server.files, value["path"]
        if kind == "file":
            files[name] = base64.b64decode(value["content"])
            self.server.pointers.discard(name)
            assert not is_binary(files[name]), f"the hub refuses {name}: a binary outside LFS and Xet"
        elif kind == "lfsFile":
            files[name] = self.server.objects[value["oid"]]
            self.server.pointers.add(name)
        elif kind == "deletedFile":
            del files[name]
        else:
            raise ValueError(kind)

    def log_message(self, *_) -> None:
        pass


def is_binary(data: bytes) -> bool:
    return b"\0" in data


@pytest.fixture
def hub():
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(hub: Hub | None, home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    # Through LFS: Xet's servers speak a protocol of their own. Which files are not sent as text is the hub's decision in both.
    environment |= {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment["HF_ENDPOINT"] = hub.url if hub is not None else "http://127.0.0.1:9"
    return subprocess.run(
        [sys.executable, "app.py", *arguments], cwd=ROOT, env=environment | settings, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip


def test_a_space_is_created_with_what_it_runs_on(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "--deploy", SPACE, "--hardware", "zero-a10g", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert f"/spaces/{SPACE}" in done.stdout
    assert (hub.spaces[SPACE]["sdk"], hub.spaces[SPACE]["hardware"]) == ("gradio", "zero-a10g")
    assert len(hub.commits) == 1
    # All of it, byte for byte, and nothing else.
    for name, data in hub.files.items():
        if name != ".gitattributes":
            assert data == (ROOT / name).read_bytes(), name
    tracked = subprocess.run(
        ["git", "ls-files", "demo", "musicgen"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode == 0:
        assert set(tracked.stdout.splitlines()) <= set(hub.files)
    assert {name.split("/")[0] for name in hub.files} == {*deploy.FILES, *deploy.PACKAGES, ".gitattributes"}
    assert not [name for name in hub.files if "__pycache__" in name]
    assert yaml.safe_load(hub.files["README.md"].decode().split("---")[1])["app_file"] in hub.files
    # What is later pushed by git goes through LFS as well.
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / ".gitattributes").write_bytes(hub.files[".gitattributes"])
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "space", check=True)
    assert len(hub.pointers) >= 3
    for name in hub.pointers:
        attribute = ["git", "check-attr", "filter", "--", name]
        told = subprocess.run(attribute, cwd=tmp_path / "space", capture_output=True, text=True, check=True).stdout
        assert told.strip().endswith("filter: lfs"), told


def test_a_second_deployment_replaces_and_leaves_the_owners_files(hub: Hub, tmp_path: Path) -> None:
    hub.spaces[SPACE] = {"sdk": "gradio", "hardware": "cpu-basic"}
    hub.files = {"demo/old.py": b"old", "musicgen/old/module.py": b"old", "notes.txt": b"mine", "app.py": b"old"}
    done = run(hub, tmp_path, "--deploy", SPACE, "--hardware", "zero-a10g", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert hub.spaces[SPACE]["hardware"] == "zero-a10g"
    assert hub.files["app.py"] == (ROOT / "app.py").read_bytes()
    assert hub.files["notes.txt"] == b"mine"
    assert not [name for name in hub.files if "old" in name.split("/")[-2:][0] or name == "demo/old.py"]


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("--deploy", SPACE), {}, "there is no Hugging Face token here"),
        (("--deploy", SPACE), {"HF_TOKEN": "hf_wrong"}, "the hub refused to deploy me/music"),
        (("--deploy", "music"), {"HF_TOKEN": TOKEN}, "a Space is named OWNER/NAME"),
        (("--deploy", SPACE, "--hardware", "cray-1"), {"HF_TOKEN": TOKEN}, "--hardware 'cray-1' is unknown to the hub"),
        (("--deploy", "../x/y"), {"HF_TOKEN": TOKEN}, "a Space is named OWNER/NAME"),
        (("--deploy", SPACE), {"HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        (("--deploy", SPACE), {"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)  # fmt: skip
def test_what_cannot_be_deployed_is_one_line(hub: Hub, tmp_path: Path, arguments, settings, message) -> None:
    done = run(hub, tmp_path, *arguments, **settings)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert message in line
    assert not hub.spaces
    assert TOKEN not in done.stderr


def test_what_the_hub_does_not_allow_is_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.refusal = ("/api/repos/create", 402, "Spaces of this kind need a PRO account")
    done = run(hub, tmp_path, "--deploy", SPACE, HF_TOKEN=TOKEN)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "Spaces of this kind need a PRO account" in line
    assert not re.search("Traceback", done.stderr)


def test_hardware_without_a_deployment_is_refused(tmp_path: Path) -> None:
    done = run(None, tmp_path, "--hardware", "zero-a10g")
    assert done.returncode == 2
    assert "--hardware is for --deploy" in done.stderr
