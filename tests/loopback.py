"""A small web server on the loopback that plays the download sites, with their faults."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

BLOCK = 1 << 16


@dataclass(frozen=True)
class Asked:
    """A request: header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Page:
    """What the server answers under a path.

    Attributes:
        content: bytes, or the file they are in.
        status: anything but 200 is answered with the content as its body.
        ranges: answer a Range with a part of the content.
        breaks: how many answers are still to break off, each after `breaks_after` bytes.
        headers: further ones, such as Location or Last-Modified.
    """

    content: bytes | Path = b""
    status: int = 200
    ranges: bool = True
    breaks: int = 0
    breaks_after: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """Return the content."""
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


class Loopback:
    """The server, on 127.0.0.1 and a free port or the one given; a context manager.

    It ends with the block, and after `seconds` whatever happens.

    Attributes:
        pages: what is answered under each path (without the query); a function may make it from
            the request. All else is 404.
        log: the requests so far.
    """

    def __init__(self, port: int = 0, seconds: float = 120) -> None:
        self.pages: dict[str, Page | Callable[[Asked], Page]] = {}
        self.log: list[Asked] = []
        outer = self

        class Handler(_Handler):
            loopback = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.daemon = True
        self._end = threading.Timer(seconds, self._server.shutdown)
        self._end.daemon = True

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def page(self, asked: Asked) -> Page:
        """Return the answer to a request."""
        found = self.pages.get(asked.path, Page(b"no such page", status=404))
        return found(asked) if callable(found) else found

    def __enter__(self) -> Self:
        self._thread.start()
        self._end.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.cancel()
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
        address = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, address.path, address.query, headers, sent)
        self.loopback.log.append(asked)
        page = self.loopback.page(asked)
        body = page.body()
        start = self._start(page, asked, len(body))
        if start is None:
            self._head(page, page.status, {"Content-Length": str(len(body))})
            self._send(page, body)
        elif start >= len(body):
            self._head(page, 416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
        else:
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._head(page, 206, {"Content-Range": span, "Content-Length": f"{len(body) - start}"})
            self._send(page, body[start:])

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815 (http.server's names)

    def _start(self, page: Page, asked: Asked, size: int) -> int | None:
        """Return the first byte that is asked for, None for the whole."""
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        if not wanted or not page.ranges or page.status != 200:
            return None
        return int(wanted[1])

    def _head(self, page: Page, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        if page.ranges:
            headers["Accept-Ranges"] = "bytes"
        for name, value in {**headers, **page.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, page: Page, body: bytes) -> None:
        self.close_connection = True
        if self.command == "HEAD":
            return
        if page.breaks:
            page.breaks -= 1
            body = body[: page.breaks_after]
        try:
            for start in range(0, len(body), BLOCK):
                self.wfile.write(body[start : start + BLOCK])
        except (BrokenPipeError, ConnectionResetError):
            pass  # The client has gone, as it may.
