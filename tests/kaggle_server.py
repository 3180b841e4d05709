"""A server on the loopback that plays Kaggle for kagglehub's real client.

It answers the two calls that `kagglehub.dataset_download` makes (GetDataset for the current
version, DownloadDataset for the archive, which is a redirect to a storage address as Kaggle's own
is), and the storage address itself with Range requests and the checksum header of Google's storage.

The client is led here by its environment alone, see `environment`: with `LOCALHOST` it asks for
http://localhost, and an HTTP proxy leads it to any port. (`TEST` has a fixed port, and makes the
client print every answer, so that it never resumes.)
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from colorgan.color import UInt8Array, lab8_from_rgb8

VERSION = 3
LIFETIME_S = 120.0
"""The server ends after this time even if nobody ends it."""

_NO_PROXY = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def layout(photos: UInt8Array) -> dict[str, bytes]:
    """Return the set's files for sRGB photos `(N, H, W, 3)`, split 2:2:1 as its own are."""
    lab = lab8_from_rgb8(photos)
    part = 2 * len(lab) // 5
    arrays = {
        "l/gray_scale.npy": lab[..., 0],
        "ab/ab/ab1.npy": lab[:part, ..., 1:],
        "ab/ab/ab2.npy": lab[part : 2 * part, ..., 1:],
        "ab/ab/ab3.npy": lab[2 * part :, ..., 1:],
    }
    return {name: npy(array) for name, array in arrays.items()}


def npy(array: np.ndarray[Any, Any], allow_pickle: bool = False) -> bytes:
    """Return the content of an .npy file."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array), allow_pickle=allow_pickle)
    return file.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return an archive as Kaggle makes them; stored, so that its size is that of the files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name, content in files.items():
            file.writestr(zipfile.ZipInfo(name), content)
    return archive.getvalue()


class KaggleServer:
    """Serves one archive on 127.0.0.1 while its `with` block runs.

    Attributes:
        archive: what the data set's archive holds.
        status: the API's answer to every call, instead of 200.
        breaks: so many answers with the archive end half-way.
        checksum: base64 of the MD5 that the storage names; that of `archive` unless told.
        seen: method and path of each request, and its Range header if it has one.
    """

    def __init__(self, archive: bytes = b"") -> None:
        self.archive = archive
        self.status = 200
        self.breaks = 0
        self.checksum = ""
        self.seen: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False

    @property
    def environment(self) -> dict[str, str]:
        """What leads kagglehub here; an empty string is for a variable that must not be there."""
        port = self._server.server_address[1]
        proxies = {name: "" for upper in _NO_PROXY for name in (upper, upper.lower())}
        address = f"http://127.0.0.1:{port}"
        return proxies | {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "http_proxy": address}

    @property
    def downloads(self) -> list[str]:
        """The requests for the archive, at the API or at the storage."""
        return [seen for seen in self.seen if "DownloadDataset" in seen or "/storage/" in seen]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self._end = threading.Timer(LIFETIME_S, self._server.shutdown)
        self._end.daemon = True
        self._end.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.cancel()
        self._server.shutdown()
        self._server.server_close()


def _handler_of(server: KaggleServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            path = self._seen()
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            call = path.rpartition("/")[2]
            if server.status != 200:
                self._json(server.status, {"code": server.status, "message": "refused by the test"})
            elif call == "GetDataset":
                self._json(200, {"currentVersionNumber": VERSION})
            elif call == "DownloadDataset":
                self.send_response(302)
                self.send_header("Location", "http://localhost/storage/archive.zip?signed=1")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._json(404, {"code": 404, "message": f"no call {call}"})

        def do_GET(self) -> None:
            if not self._seen().startswith("/storage/"):
                self._json(404, {"code": 404, "message": "no such file"})
                return
            self._send_archive(self.headers.get("Range", ""))

        def _send_archive(self, wanted: str) -> None:
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            content = server.archive[start:]
            md5 = base64.b64encode(hashlib.md5(server.archive).digest()).decode()
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("X-Goog-Hash", f"crc32c=AAAAAA==,md5={server.checksum or md5}")
            self.send_header("X-Kaggle-HubVersion", "99.0.0")
            if wanted:
                last = len(server.archive) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
            self.end_headers()
            if server.breaks > 0:
                server.breaks -= 1
                content = content[: len(content) // 2]
                self.close_connection = True
            try:
                self.wfile.write(content)
            except OSError:
                # A client that resumes lets go of the first answer without reading it.
                self.close_connection = True

        def _json(self, status: int, content: Mapping[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _seen(self) -> str:
            # A client that speaks to a proxy sends the whole address.
            path = urlsplit(self.path).path
            ranged = self.headers.get("Range")
            server.seen.append(f"{self.command} {path}" + (f" {ranged}" if ranged else ""))
            return path

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
