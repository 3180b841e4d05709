"""Which files of a folder are photos: one rule for colouring and for training."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from colorgan.data.photo_files import SUFFIXES, find_files


def put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(root: str = "home") -> dict[str, str]:
    """The reason of each file, by its path in `root`; empty for a photo."""
    files = list(find_files(Path(root)))
    assert all((file.kind == "photo") == (file.reason == "") for file in files)
    assert [file.path for file in files] == sorted(file.path for file in files)
    return {file.path.relative_to(root).as_posix(): file.reason for file in files}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("home").mkdir()


def test_every_format_that_cameras_and_archives_write() -> None:
    named = "jpg JPEG jpe jfif mpo png TIF tiff webp bmp gif avif heic HIF jp2 j2k jpx pgm pnm"
    names = [f"home/1/2/x.{suffix}" for suffix in named.split()]
    put(*names)
    assert set(found("home/1").values()) == {""}
    assert len(found()) == len(names)
    assert all(suffix == suffix.lower() for suffix in SUFFIXES)


@pytest.mark.parametrize(
    ("name", "entry", "reason"),
    [
        ("._a.jpg", "._a.jpg", "a hidden file"),
        (".DS_Store", ".DS_Store", "a hidden file"),
        ("Thumbs.db", "Thumbs.db", "suffix not read: .db"),
        ("README", "README", "suffix not read: none"),
        ("clip.MP4", "clip.MP4", "suffix not read: .mp4"),
        (".thumbnails/1.jpg", ".thumbnails", "a hidden folder: .thumbnails"),
        (".@__thumb/1.jpg", ".@__thumb", "a hidden folder: .@__thumb"),
        ("x/@eaDir/a.jpg/THUMB_XL.jpg", "x/@eaDir", "a folder of the system: @eaDir"),
        ("@Recycle/a.jpg", "@Recycle", "a folder of the system: @Recycle"),
        ("#recycle/a.jpg", "#recycle", "a folder of the system: #recycle"),
        ("$RECYCLE.BIN/a.jpg", "$RECYCLE.BIN", "a folder of the system: $RECYCLE.BIN"),
        ("__MACOSX/a.jpg", "__MACOSX", "a folder of the system: __MACOSX"),
        ("lost+found/a.jpg", "lost+found", "a folder of the system: lost+found"),
        # Names that people give.
        ("#1 Oma/@home.jpg", "#1 Oma/@home.jpg", ""),
        ("~1950/$5.jpg", "~1950/$5.jpg", ""),
    ],
)
def test_what_systems_leave_is_left_out(name: str, entry: str, reason: str) -> None:
    put(f"home/{name}")
    assert found() == {entry: reason}


def test_a_folder_that_is_named_is_searched_whatever_its_name() -> None:
    put("home/.cache/@eaDir/a.jpg")
    assert found("home/.cache/@eaDir") == {"a.jpg": ""}


def test_links_are_followed_and_loops_are_not() -> None:
    put("home/a.jpg", "home/x/b.jpg", "far/c.jpg")
    for link, target in {
        "b.jpg": "a.jpg",
        "y": "x",
        "far": "../far",
        "x/up": "..",
        "x/root": "/",
        "gone.jpg": "nowhere",
        "round": "round",
        ".gone": "nowhere",
    }.items():
        Path("home", link).symlink_to(target)
    loop = "a link to a folder above it: "
    assert found() == {
        ".gone": "a hidden file",
        "a.jpg": "",
        "b.jpg": "",
        "far/c.jpg": "",
        "gone.jpg": "unreadable: a broken link",
        "round": "unreadable: a broken link",
        "x/b.jpg": "",
        "x/root": loop + "root",
        "x/up": loop + "up",
        "y/b.jpg": "",
        "y/root": loop + "root",
        "y/up": loop + "up",
    }


def test_what_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    put("home/closed/a.jpg", "home/open/b.jpg")
    os.mkfifo("home/pipe.jpg")
    listdir = os.listdir

    def refuse(path: Path) -> list[str]:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert found() == {
        "closed": "unreadable: Permission denied",
        "open/b.jpg": "",
        "pipe.jpg": "unreadable: not a regular file",
    }
    assert {file.kind for file in find_files(Path("home"))} == {"photo", "unreadable"}


def test_names_that_are_no_text_and_folders_too_deep_for_recursion() -> None:
    deep = Path("home", *["d"] * 900)
    deep.mkdir(parents=True)
    (deep / os.fsdecode(b"\xff.jpg")).touch()
    assert list(found()) == [f"{'d/' * 900}\udcff.jpg"]


def test_a_path_that_is_too_long_is_named_and_the_search_goes_on() -> None:
    put("home/a.jpg", "home/z.jpg")
    here, name = Path.cwd(), "d" * 240
    os.chdir("home")
    for _ in range(20):
        Path(name).mkdir()
        os.chdir(name)
    os.chdir(here)
    first, long, last = found().values()
    assert (first, last) == ("", "")
    assert long == "unreadable: File name too long"
