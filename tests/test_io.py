"""Files and folders are whole or not there."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from colorgan import io

FAILURES = [OSError(errno.ENOSPC, "no space left"), KeyboardInterrupt()]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with io.file_aside(path) as aside:
        aside.write_text("whole")
        assert aside.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(tmp_path) == ["new", "new/a.txt"]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_what_failed_leaves_the_old_one(tmp_path: Path, failure: BaseException) -> None:
    path, folder = tmp_path / "a.txt", tmp_path / "lab"
    path.write_text("old")
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(type(failure)), io.file_aside(path) as aside:  # noqa: PT012
        aside.write_text("ha")
        raise failure
    with pytest.raises(type(failure)), io.folder_aside(folder) as aside:  # noqa: PT012
        (aside / "new").touch()
        raise failure
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt", "lab", "lab/old"]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out" / "lab"
    for name in ("old", "new"):
        with io.folder_aside(path) as aside:
            (aside / name).touch()
    assert names(tmp_path) == ["out", "out/lab", "out/lab/new"]


def test_a_folder_that_cannot_be_named_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one is out of the way by then, and has to come back."""
    path = tmp_path / "lab"
    path.mkdir()
    (path / "old").touch()
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise PermissionError(errno.EACCES, "refused")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError), io.folder_aside(path) as aside:
        (aside / "new").touch()
    assert names(tmp_path) == ["lab", "lab/old"]


def test_json_is_readable_text(tmp_path: Path) -> None:
    io.write_json(tmp_path / "a.json", {"b": "ü", "a": [1]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "b": "ü",\n  "a": [\n    1\n  ]\n}\n'
    assert json.loads(text) == {"b": "ü", "a": [1]}


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".lab.x1.part", ".lab.x2.old", ".losses.csv.77.part", ".rgb.x3.part"):
        (tmp_path / name / "inside").mkdir(parents=True)
    (tmp_path / ".lab.4711.part").touch()
    (tmp_path / "lab").mkdir()
    io.remove_asides(tmp_path, "lab")
    assert {path.name for path in tmp_path.iterdir()} == {
        ".losses.csv.77.part", ".rgb.x3.part", "lab",
    }  # fmt: skip
    io.remove_asides(tmp_path)
    assert names(tmp_path) == ["lab"]
