"""A server on the loopback that plays Kaggle for kagglehub's real client.

It answers the two calls that `kagglehub.dataset_download` makes (GetDataset for the current
version, DownloadDataset for the archive, which is a redirect to a storage address as Kaggle's own
is), and the storage address itself with Range requests and the checksum header of Google's storage.

The client is led here by its environment alone, see `lead_here`: with `LOCALHOST` it asks for
http://localhost, and an HTTP proxy leads it to any port. (`TEST` has a fixed port, and makes the
client print every answer, so that it never resumes.)
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colorgan.color import UInt8Array, lab8_from_rgb8
from loopback import Asked, Loopback, Page


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


class KaggleServer(Loopback):
    """Serves one archive.

    Attributes:
        archive: what the data set's archive holds.
        status: the API's answer to every call, instead of 200.
        breaks: so many answers with the archive end early.
    """

    def __init__(self, archive: bytes = b"") -> None:
        super().__init__()
        self.archive = archive
        self.status = 200
        self.breaks = 0

    def lead_here(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        """Set the environment that leads kagglehub here, with credentials that are nobody's.

        Its cache is `home / "kagglehub"`.
        """
        for name in [*os.environ]:
            if name.upper().endswith("_PROXY") or name.startswith("KAGGLE"):
                monkeypatch.delenv(name)
        for name, value in {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": self.url(""),
            "HOME": str(home),
            "KAGGLE_CONFIG_DIR": str(home),
            "KAGGLE_USERNAME": "nobody",
            "KAGGLE_KEY": "nothing",
            "KAGGLEHUB_CACHE": str(home / "kagglehub"),
        }.items():
            monkeypatch.setenv(name, value)

    def page(self, asked: Asked) -> Page:
        """Answer as Kaggle's API and the storage behind it do."""
        if asked.path == "/storage/archive.zip":
            md5 = base64.b64encode(hashlib.md5(self.archive).digest()).decode()
            headers = {"X-Goog-Hash": f"crc32c=AAAAAA==,md5={md5}", "X-Kaggle-HubVersion": "99.0.0"}
            breaks = self.breaks > 0
            self.breaks -= breaks
            end = 2 * len(self.archive) // 3
            return Page(self.archive, breaks=breaks, breaks_after=end, headers=headers)
        if self.status != 200:
            return _json({"code": self.status, "message": "refused by the test"}, self.status)
        if asked.path.endswith("/GetDataset"):
            return _json({"currentVersionNumber": 3})
        if asked.path.endswith("/DownloadDataset"):
            there = "http://localhost/storage/archive.zip?signed=1"
            return Page(status=302, headers={"Location": there})
        return _json({"code": 404, "message": f"no call {asked.path}"}, 404)


def _json(content: Mapping[str, object], status: int = 200) -> Page:
    body = json.dumps(content).encode()
    return Page(body, status, ranges=False, headers={"Content-Type": "application/json"})
