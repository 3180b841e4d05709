"""The wheel as a user installs it: alone with what it says it needs, it colours a photo."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
COLOURS = """
from PIL import Image
from colorgan import Colorizer
with Image.open("photo.png") as image:
    Colorizer.load().colorize(image).save("by python.png")
"""
OPTIONAL = {"mlflow", "dvc", "starlette", "uvicorn", "onnx", "psutil", "selenium"}


class Installed(NamedTuple):
    """An environment with the wheel in it, and the packages that were put beside it."""

    scripts: Path
    packages: set[str]

    def run(self, folder: Path, program: str, *arguments: str) -> str:
        """Run one of its programs where nothing of the checkout is in reach."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [self.scripts / program, *arguments],
            cwd=folder, env=kept, text=True, capture_output=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel by pip, and by links what its metadata requires: to download torch takes long."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    place = folder / "environment"
    venv.create(place, symlinks=os.name != "nt", with_pip=True)
    base = {"base": str(place), "platbase": str(place)}
    scripts = Path(sysconfig.get_path("scripts", "venv", base))
    pip = [scripts / "python", "-m", "pip", "install", "-q", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    packages = Path(sysconfig.get_path("purelib", "venv", base))
    [own] = metadata.distributions(name="colorgan", path=[str(packages)])
    links = folder / "links"
    links.mkdir()
    for distribution in needed(own):
        link(distribution, links)
    (packages / "needed.pth").write_text(f"{links}\n", encoding="utf-8")
    return Installed(scripts, {path.name for path in links.iterdir()})


def needed(own: metadata.Distribution) -> list[metadata.Distribution]:
    """Return what a distribution requires, and what that requires, without extras unless named."""
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = [Requirement(line) for line in own.requires or []]
    todo = [one for one in todo if applies(one, "")]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        distribution = metadata.distribution(name)
        assert wanted.specifier.contains(distribution.version, prereleases=True), wanted
        found[name] = distribution
        for extra in {"", *wanted.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            lines = distribution.requires or []
            todo += [one for one in map(Requirement, lines) if applies(one, extra)]
    return list(found.values())


def applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def link(distribution: metadata.Distribution, into: Path) -> None:
    """Link all that a distribution has installed into a folder of packages."""
    for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        place = into / top
        if not place.exists():
            place.symlink_to(Path(str(distribution.locate_file(top))))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    source = next((ROOT / "data" / "sample").glob("landscape/*.webp"))
    with Image.open(source) as image:
        image.convert("L").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_only_what_it_requires_is_there(installed: Installed) -> None:
    assert {"torch", "PIL", "numpy", "typer"} <= installed.packages
    assert not installed.packages & (OPTIONAL | {"colorgan"})
    where = "import colorgan; print(colorgan.__file__)"
    assert str(installed.scripts.parent) in installed.run(Path.home(), "python", "-c", where)


def test_it_colours_a_photo_by_python_and_by_the_command(installed: Installed, photo: Path) -> None:
    installed.run(photo.parent, "python", "-c", COLOURS)
    command = ("colorize", photo.name, "-o", "by command.png")
    said = installed.run(photo.parent, "colorgan", *command)
    assert said == "colorize: 1 coloured, in by command.png\n"
    with Image.open(photo) as image:
        size = image.size
    results = []
    for name in ("by python.png", "by command.png"):
        with Image.open(photo.with_name(name)) as colored:
            assert (colored.size, colored.mode) == (size, "RGB")
            results.append(np.asarray(colored).astype(int))
    assert np.ptp(results[0], axis=-1).mean() > 4
    assert (results[0] == results[1]).all()
