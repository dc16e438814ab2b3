"""A small server for tests: HTTP with ranges, which counts what it sends, and fails when it is told to."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Served:
    """A folder at a URL, what was asked of it, and how it answers.

    `answers` says, from the path of a file, with which status a request is refused; None: it is not. With
    `breaks_off`, half of a body is sent and the connection closed; one that `is_gone` closes it at once.
    """

    folder: Path
    url: str = ""
    has_ranges: bool = True
    answers: Callable[[str], int | None] = lambda path: None
    breaks_off: bool = False
    is_gone: bool = False
    requests: list[tuple[str, int]] = field(default_factory=list)
    """The path and the bytes sent of every request."""

    def forget(self) -> None:
        """Count from here."""
        self.requests.clear()

    @property
    def bytes_sent(self) -> int:
        return sum(size for _, size in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, served: Served, *request: object) -> None:
        self.served = served
        super().__init__(*request)  # type: ignore[arg-type]  # the server's three

    def do_GET(self) -> None:
        if self.served.is_gone:
            self.close_connection = True
            return
        status = self.served.answers(self.path)
        path = self.served.folder / self.path.lstrip("/")
        if status is not None or not path.is_file():
            self._send(status or HTTPStatus.NOT_FOUND, b"")
            return
        content = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked or not self.served.has_ranges:
            self._send(HTTPStatus.OK, content)
            return
        start, last = int(asked[1]), int(asked[2])
        if start >= len(content):
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"")
            return
        body = content[start: last + 1]
        self._send(HTTPStatus.PARTIAL_CONTENT, body, f"bytes {start}-{start + len(body) - 1}/{len(content)}")

    def _send(self, status: int, body: bytes, content_range: str | None = None) -> None:
        self.served.requests.append((self.path, len(body)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.served.breaks_off:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def http_server(folder: Path, **how: bool) -> Iterator[Served]:
    """Serve a folder on this machine for as long as the block lasts."""
    served = Served(folder, **how)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, served))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        served.is_gone = True  # also on connections that are open
        server.shutdown()
        server.server_close()
        thread.join()
