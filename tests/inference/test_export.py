"""Models as ONNX files: with the outputs of torch, used without torch; files of other kinds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from colorgan import Colorizer
from colorgan.config import Params
from colorgan.errors import ColorganError
from colorgan.inference.backends import OnnxNetwork, load_network
from colorgan.inference.export import export
from colorgan.model import Model
from trained import save_tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(tmp_path: Path, make_params: Callable[..., Params]) -> Model:
    return Model.load(save_tiny(tmp_path / "trained", "rgb", make_params(), seed=0))


def test_an_exported_network_gives_what_torch_gives(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    difference, n_inputs = export(model, file, [np.zeros((model.space.in_channels, 32, 64), "f")])
    assert difference < 1e-3
    assert n_inputs == 1 + 3 + 2 + 1
    network = OnnxNetwork(file)
    assert (network.space.name, network.image_size) == ("rgb", 32)
    assert network.multiple == model.multiple
    for shape in ((1, 3, 2), (4, 1, 5)):
        n, *sides = shape
        height, width = (side * network.multiple for side in sides)
        input = torch.rand(n, model.space.in_channels, height, width) * 2 - 1
        wanted = model.predict(input).numpy()
        assert wanted.std() > 0.01
        np.testing.assert_allclose(network.predict(input.numpy()), wanted, atol=1e-3)
    assert not list(tmp_path.glob(".*"))
    # Nothing of where on this machine it was made.
    content = file.read_bytes()
    assert b"/networks/" not in content
    assert b"site-packages" not in content


@pytest.mark.slow
def test_the_bundled_model_is_exported_and_colours_without_torch(tmp_path: Path) -> None:
    """The commands of a user, in a process of their own."""
    python = [sys.executable, "-W", "ignore", "-m", "colorgan"]
    file = tmp_path / "colorgan.onnx"
    said = subprocess.run(
        [*python, "export", str(file)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "largest difference from torch" in said.stdout
    # 6 random inputs and some bundled photos.
    assert int(said.stdout.rsplit("on ", 1)[1].split()[0]) > 10
    again = subprocess.run([*python, "export", str(file)], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr
    photo = next((ROOT / "data" / "sample").glob("landscape/*.webp"))
    no_torch = (
        "import sys; sys.modules['torch'] = None; sys.argv[0] = 'colorgan'; "
        "from colorgan.__main__ import main; main()"
    )
    command = ["colorize", str(photo), "-o", str(tmp_path / "o.png"), "--model", str(file)]
    said = subprocess.run(
        [sys.executable, "-c", no_torch, *command], cwd=ROOT, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    with Image.open(photo) as image, Image.open(tmp_path / "o.png") as colored:
        wanted = Colorizer.load(device="cpu").colorize(image)
        assert np.abs(np.asarray(wanted).astype(int) - np.asarray(colored)).max() <= 2


def other_graph(path: Path, **told: str) -> Path:
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, told)
    onnx.save(model, str(path))
    return path


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    with pytest.raises(ColorganError, match="does not exist"):
        load_network(file)
    file.write_text("garbage")
    with pytest.raises(ColorganError, match="no ONNX file that can be read"):
        load_network(file)
    for told in ({}, {"colorgan": "{}"}):
        with pytest.raises(ColorganError, match="is an ONNX file of something else"):
            load_network(other_graph(file, **told))
    with pytest.raises(ColorganError, match="is of version 9"):
        load_network(other_graph(file, colorgan='{"version": 9}'))


def test_a_network_that_came_out_otherwise_is_not_written(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = OnnxNetwork.predict
    monkeypatch.setattr(OnnxNetwork, "predict", lambda self, input: exact(self, input) + 0.01)
    with pytest.raises(ColorganError, match=r"off by 0.01 .* more than 0.001: .*was not written"):
        export(model, tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir() if "onnx" in path.name] == []
