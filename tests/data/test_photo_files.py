"""Which files of a folder are photos: one rule for colouring and for training."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from colorgan.data.photo_files import find_files


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
    # A folder that is named is searched, whatever its name.
    names = [f"home/.cache/@eaDir/1/x.{suffix}" for suffix in named.split()]
    put(*names)
    photos = found("home/.cache/@eaDir")
    assert len(photos) == len(names)
    assert set(photos.values()) == {""}


def test_what_systems_leave_is_left_out() -> None:
    wanted = {
        "._a.jpg": "a hidden file",
        "Thumbs.db": "suffix not read: .db",
        "README": "suffix not read: none",
        "clip.MP4": "suffix not read: .mp4",
        ".@__thumb": "a hidden folder: .@__thumb",
        # Names that people give.
        "#1 Oma/@home.jpg": "",
        "~1950/$5.jpg": "",
    }
    for name in ("x/@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "__MACOSX", "lost+found"):
        wanted[name] = f"a folder of the system: {Path(name).name}"
    for name, reason in wanted.items():
        put(f"home/{name}/a.jpg" if "folder" in reason else f"home/{name}")
    assert found() == wanted


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


def test_what_cannot_be_read_is_named_and_the_search_goes_on(monkeypatch) -> None:
    put("home/closed/a.jpg", "home/open/b.jpg")
    os.mkfifo("home/pipe.jpg")
    here, name = Path.cwd(), "d" * 240
    os.chdir("home")
    for _ in range(20):  # a path that is too long
        Path(name).mkdir()
        os.chdir(name)
    os.chdir(here)
    listdir = os.listdir

    def refuse(path: Path) -> list[str]:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    reasons = found()
    assert reasons.pop(max(reasons, key=len)) == "unreadable: File name too long"
    assert reasons == {
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
