"""The stage preprocess on two nodes: the same bytes as on one machine, whatever dies."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorgan import paths
from servers import wait_for
from tiny_project import listing

pytestmark = pytest.mark.slow
N_PHOTOS = 2000


@pytest.fixture
def locally(project, write_params, colorgan) -> dict[str, bytes]:
    """What the local stage makes of 2,000 photos, some of them to be rejected; it is removed."""
    rng = np.random.default_rng(0)
    for i in range(N_PHOTOS):
        path = Path("photos") / f"label {i % 7}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 8 if i % 50 == 0 else 64
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels if i % 60 else pixels[..., 0]).save(path, compress_level=1)
    shutil.copy("photos/label 1/1.png", "photos/label 2/again.png")
    Path("photos/damaged.jpg").write_bytes(b"no picture")
    write_params({"lab.source": "folder", "lab.path": "photos", "lab.image_size": 128})
    assert colorgan("download", "lab").code == 0
    assert colorgan("preprocess", "lab").code == 0
    made = listing(paths.processed("lab"))
    assert made["rejected.csv"].count(b"\n") > 60
    shutil.rmtree(paths.processed("lab"))
    return made


@pytest.mark.parametrize("dies", ["", "worker", "node"])
def test_the_arrays_are_those_of_the_local_stage(locally, start, two_nodes, dies) -> None:
    command = start("preprocess", "lab")
    if dies:
        wait_for(lambda: two_nodes.workers("MapWorker") or command.ended(), 300)
        scratch = paths.processed("lab").parent
        files = scratch.glob
        wait_for(lambda: any(f.stat().st_size for f in files(".*/scratch")) or command.ended(), 300)
        assert not command.ended(), command.wait()
        two_nodes.kill_node() if dies == "node" else two_nodes.workers("MapWorker")[0].kill()
    code, out, err = command.wait()
    assert code == 0, out + err
    assert listing(paths.processed("lab")) == locally


def test_what_cannot_be_converted_is_one_sentence(two_nodes, project, colorgan) -> None:
    said = colorgan("cluster", "preprocess", "lab")
    assert said.code == 1
    assert "run `dvc repro download@lab`" in said.err.splitlines()[-1]
    assert not paths.processed("lab").exists()
