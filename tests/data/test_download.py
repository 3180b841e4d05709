"""The stage download, with the source `sample`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from colorgan import io, paths
from colorgan.config import Params
from colorgan.data.download import download
from colorgan.errors import ColorganError
from tiny_project import listing

SAMPLE = paths.DATA / "sample"


@pytest.fixture
def params(project: Path, make_params: Callable[..., Params]) -> Params:
    return make_params()


def refused(params: Params, sentence: str) -> None:
    with pytest.raises(ColorganError) as refusal:
        download(params, "lab")
    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value)
    # Nothing is left behind, not even in parts.
    assert not list(paths.DATA.glob("raw/*")) + list(paths.DATA.glob("raw/.*"))


def test_photos_their_list_and_a_manifest(params, write_photos) -> None:
    names = write_photos(sea=2, forest=1)
    assert download(params, "lab") == 4
    raw = listing(paths.raw("lab"))
    manifest = json.loads(raw.pop("manifest.json"))
    assert raw == listing(SAMPLE)
    assert manifest["source"] == "sample"
    assert manifest["files"] == {
        name: io.sha256(SAMPLE / name) for name in sorted([*names, "attribution.csv"])
    }
    assert not paths.raw("rgb").exists()
    first = listing(paths.raw("lab"))
    (paths.raw("lab") / "left_over").touch()
    download(params, "lab")
    assert listing(paths.raw("lab")) == first


def test_a_list_and_photos_that_differ(params, write_photos) -> None:
    write_photos(sea=2)
    listed = f"should be there and be listed in {SAMPLE / 'attribution.csv'}, which names "
    (SAMPLE / "sea/mine.webp").touch()
    refused(params, f"{SAMPLE / 'sea/mine.webp'} {listed}")
    (SAMPLE / "sea/1.webp").rename(SAMPLE / "sea/mine.webp")
    refused(params, f"{SAMPLE / 'sea/1.webp'} {listed}")


def test_a_list_that_cannot_be_read(params, write_photos) -> None:
    write_photos(sea=2)
    for text in (b"\xff\xfe\x00", b"name\nx\n"):
        (SAMPLE / "attribution.csv").write_bytes(text)
        refused(params, f"{SAMPLE / 'attribution.csv'} cannot be read (")
    (SAMPLE / "attribution.csv").unlink()
    refused(params, f"{SAMPLE / 'attribution.csv'} cannot be read (")


def test_a_relative_path_is_warned_of(project, make_params, write_photos, capsys) -> None:
    write_photos(sea=2)
    for path, said in (("data/sample", True), (str(project / "data/sample"), False)):
        download(make_params({"lab.source": "folder", "lab.path": path}), "lab")
        absolute = f"{project / 'data/sample'} works everywhere"
        assert (absolute in capsys.readouterr().err) is said
