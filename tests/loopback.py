"""A small web server on the loopback that plays the download sites, with their faults."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

BLOCK = 1 << 16


@dataclass(frozen=True)
class Asked:
    """A request: header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Page:
    """What the server answers under a path.

    Attributes:
        status: anything but 200 is answered with the content as its body.
        ranges: answer a Range with a part of the content.
        breaks: how many answers are still to break off, each after `breaks_after` bytes.
        headers: further ones, such as Location or Last-Modified.
    """

    content: bytes = b""
    status: int = 200
    ranges: bool = True
    breaks: int = 0
    breaks_after: int = 0
    headers: dict[str, str] = field(default_factory=dict)


class Loopback:
    """The server, on 127.0.0.1 and a free port; a context manager.

    Attributes:
        pages: what is answered under each path (without the query). All else is 404.
        log: the requests so far.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.log: list[Asked] = []
        handler = type("Handler", (_Handler,), {"loopback": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def page(self, asked: Asked) -> Page:
        """Return the answer to a request."""
        return self.pages.get(asked.path, Page(b"no such page", status=404))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.socket.close()


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the requests are in the log."""

    def _answer(self) -> None:
        # A client that speaks to a proxy sends the whole address.
        path = urlsplit(self.path).path
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, path, headers)
        self.loopback.log.append(asked)
        page = self.loopback.page(asked)
        body, status, headers = page.content, page.status, {}
        if page.ranges:
            headers["Accept-Ranges"] = "bytes"
            wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
            if wanted and status == 200:
                start, size = int(wanted[1]), len(body)
                status, span = (206, f"{start}-{size - 1}") if start < size else (416, "*")
                headers["Content-Range"] = f"bytes {span}/{size}"
                body = body[start:]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), **page.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(page, body)

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815 (http.server's names)

    def _send(self, page: Page, body: bytes) -> None:
        self.close_connection = True
        if self.command == "HEAD":
            return
        if page.breaks:
            page.breaks -= 1
            body = body[: page.breaks_after]
        with suppress(BrokenPipeError, ConnectionResetError):  # the client may go
            for start in range(0, len(body), BLOCK):
                self.wfile.write(body[start : start + BLOCK])
