"""Prolific's API on this machine, as a program meets it that knows the real address alone: over TLS, behind a proxy.

    with ProlificServer(folder) as prolific:
        prolific.submissions["s1"] = {"participant_id": "w1", "study_id": "t1", "status": "ACTIVE"}
        subprocess.run(..., env=os.environ | prolific.environment)

The program asks the proxy for api.prolific.com, and the proxy answers in its place with a certificate that the environment
makes the program trust.
"""

from __future__ import annotations

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests import certificates

HOST = "api.prolific.com"
SUBMISSIONS = "/api/v1/submissions/"


class ProlificServer:
    """Serves from threads on 127.0.0.1 while the `with` block runs.

    Args:
        folder: for the certificates.
    """

    def __init__(self, folder: Path) -> None:
        self.submissions: dict[str, dict[str, str]] = {}
        """Id -> the API's description."""
        self.fault: tuple[int, dict[str, str], bytes] | None = None
        """Status, headers and body of every answer, in place of the right one."""
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and Authorization of each request."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority, chain, key = certificates.server(folder, HOST)
        self._context.load_cert_chain(chain, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.environment = {
            "HTTPS_PROXY": f"http://127.0.0.1:{self._server.server_port}",
            "SSL_CERT_FILE": str(authority),
        }

    def __enter__(self) -> ProlificServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if self.fault is not None:
            return self.fault
        found = (
            self.submissions.get(path.removeprefix(SUBMISSIONS).rstrip("/")) if path.startswith(SUBMISSIONS) else None
        )
        return (404, {}, b"{}") if found is None else (200, {}, json.dumps(found).encode())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                assert self.path == f"{HOST}:443", self.path
                self.send_response(200)
                self.end_headers()
                self.connection = outer._context.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
                self.close_connection = False

            def do_GET(self) -> None:
                outer.requests.append((self.command, self.path, self.headers.get("authorization", "")))
                status, headers, body = outer._answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
