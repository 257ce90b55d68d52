"""A hub on this machine: the part of the Hugging Face hub's HTTP interface that huggingface_hub asks when it downloads.

    with HubServer() as server:
        server.publish("owner/name", folder)
        subprocess.run(..., env=os.environ | server.environment(cache))

Large files are served the hub's way: the repository answers with a redirect that names their SHA-256, and another path serves
the bytes, ranges included. `faults` makes answers go wrong, each as often as it is listed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import struct
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin", ".pt", ".model")
"""Endings of the files that Git LFS keeps."""


@dataclass
class Repository:
    """The files of a repository by path. `closed`: the status and the hub's error code of each answer with a file's bytes;
    `hidden`: those of every answer."""

    files: dict[str, bytes]
    closed: tuple[int, str] | None = None
    hidden: tuple[int, str] | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    """Sizes to claim in place of the true ones."""

    def entry(self, path: str) -> dict[str, object]:
        """A file as the hub's listing has it."""
        content = self.files[path]
        size = self.sizes.get(path, len(content))
        entry: dict[str, object] = {"type": "file", "path": path, "size": size, "oid": git_sha1(content)}
        if path.endswith(LARGE):
            entry["lfs"] = {"oid": sha256(content), "size": size, "pointerSize": 134}
        return entry


@dataclass
class Fault:
    """What goes wrong with one answer that carries a file's bytes.

    status: an HTTP status in its place; cut: the connection ends after so many bytes, orderly or with a `reset`; flip: the
    byte at this place is another one.
    """

    status: int = 0
    cut: int = -1
    reset: bool = False
    flip: int = -1


class HubServer:
    """Serves from a thread on 127.0.0.1 while the `with` block runs."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        """Old name -> present name."""
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        """File name -> what goes wrong with the next answers that carry its bytes."""
        self.down = 0
        """So many of the next questions about repositories get the status 503."""
        self.served: Counter[str] = Counter()
        """Bytes served of each file name."""
        self.ranges: list[tuple[str, int]] = []
        """(file name, first byte) of each request that asked for a part."""
        self.requests: list[str] = []
        """Method and path of every request."""
        # The client tells a redirect to the store of large files from one within the hub by the origin: two ports.
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)) for _ in range(2)]
        self._threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in self._servers]
        self.url, self.store = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)

    def __enter__(self) -> HubServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()

    def publish(self, name: str, folder: Path) -> Repository:
        """Serve a folder's files as a repository."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.repositories[name] = Repository(files)
        return self.repositories[name]

    def environment(self, home: Path) -> dict[str, str]:
        """For a process whose hub this is, with an empty or its own cache in `home`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        return kept | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            patterns: dict[str, Callable[..., None]] = {
                r"/api/models/(.+?)/tree/[^/]+": self.tree,
                r"/api/models/(.+?)(?:/revision/[^/]+)?": self.info,
                r"/(.+?)/resolve/[^/]+/(.+)": self.resolve,
                r"/large/([^/]+(?:/[^/]+)?)/file/(.+)": self.large,
            }
            for pattern, answer in patterns.items():
                match = re.fullmatch(pattern, path)
                if match:
                    return answer(*match.groups())
            return self.refuse(404, "EntryNotFound")

        def repository(self, name: str) -> Repository | None:
            """The repository, if it is there and open; else the answer has been sent."""
            if hub.down:
                hub.down -= 1
                self.refuse(503, "")
            elif name in hub.renamed:
                target = self.path.replace(name, hub.renamed[name], 1)
                self.send(307, b"", {"Location": target})
            elif name not in hub.repositories:
                self.refuse(401, "RepoNotFound")  # the hub does not tell strangers what it does not have
            elif (hidden := hub.repositories[name].hidden) is not None:
                self.refuse(*hidden)
            else:
                return hub.repositories[name]
            return None

        def info(self, name: str) -> None:
            found = self.repository(name)
            if found is not None:
                siblings = [{"rfilename": path} for path in found.files]
                self.send_json({"id": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False})

        def tree(self, name: str) -> None:
            found = self.repository(name)
            if found is not None:
                self.send_json([found.entry(path) for path in sorted(found.files)])

        def resolve(self, name: str, path: str) -> None:
            found = self.repository(name)
            if found is None:
                return
            if found.closed is not None:
                self.refuse(*found.closed)
            elif path not in found.files:
                self.refuse(404, "EntryNotFound")
            elif path.endswith(LARGE):
                content = found.files[path]
                size = found.sizes.get(path, len(content))
                headers = {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(size)}
                self.send(
                    302, b"", headers | {"X-Repo-Commit": COMMIT, "Location": f"{hub.store}/large/{name}/file/{path}"}
                )
            else:
                content = found.files[path]
                self.send_file(path, content, {"ETag": f'"{git_sha1(content)}"', "X-Repo-Commit": COMMIT})

        def large(self, name: str, path: str) -> None:
            content = hub.repositories[name].files[path]
            self.send_file(path, content, {"ETag": f'"{sha256(content)}"'})

        def send_file(self, path: str, content: bytes, headers: dict[str, str]) -> None:
            fault = hub.faults[path].pop(0) if self.command == "GET" and hub.faults[path] else Fault()
            if fault.status:
                return self.refuse(fault.status, "")
            if fault.flip >= 0:
                content = content[: fault.flip] + bytes([content[fault.flip] ^ 1]) + content[fault.flip + 1 :]
            status, start = 200, 0
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if asked:
                status, start = 206, int(asked[1])
                hub.ranges.append((path, start))
                headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            return self.send(status, content[start:], headers | {"Accept-Ranges": "bytes"}, path, fault)

        def refuse(self, status: int, code: str) -> None:
            message = {"X-Error-Code": code} if code else {}
            self.send(status, json.dumps({"error": code}).encode(), message)

        def send_json(self, value: object) -> None:
            self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def send(
            self, status: int, body: bytes, headers: dict[str, str], path: str = "", fault: Fault | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            cut = fault is not None and fault.cut >= 0
            if cut:
                body = body[: fault.cut]
            self.wfile.write(body)
            hub.served[path] += len(body)
            if cut:
                self.close_connection = True
                if fault.reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return Handler
