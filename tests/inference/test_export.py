"""Models as ONNX files: with the outputs of torch, used without torch; files of other kinds."""

from __future__ import annotations

import json
import math
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
    assert export(model, file) < 1e-3
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


TOLD = {"version": 1, "space": "lab", "image_size": 64, "multiple": 8, "sha256": "0"}
TWICE = helper.make_node("Concat", ["input", "input"], ["output"], axis=1)
NAN = helper.make_node("Constant", [], ["nan"], value_float=math.nan)
SHAPE = helper.make_node("Constant", [], ["shape"], value_ints=[3, 5, 7, 11])


def graph(path: Path, told: object, *nodes: onnx.NodeProto, channels: int = 1) -> Path:
    """Write a network that is none of ours; `told` is its metadata."""
    input = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", channels, "h", "w"])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    made = helper.make_graph(list(nodes or [TWICE]), "g", [input], [output])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"colorgan": told if isinstance(told, str) else json.dumps(told)})
    onnx.save(model, str(path))
    return path


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    with pytest.raises(ColorganError, match="does not exist"):
        load_network(file)
    file.write_text("garbage")
    with pytest.raises(ColorganError, match="no ONNX file that can be read"):
        load_network(file)
    assert load_network(graph(file, TOLD)).predict(np.ones((3, 1, 8, 16), "f")).shape[1] == 2


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("[" * 100_000, "no JSON"),
        (TOLD | {"version": 9}, "version is 9; it should be 1"),
        (TOLD | {"space": "hsv"}, "space is 'hsv'; it should be 'rgb' or 'lab'"),
        ({}, "version is missing"),
        (TOLD | {"multiple": 0}, "multiple is 0; it should be greater than or equal to 1"),
        (TOLD | {"image_size": math.nan}, "image_size is nan; it should be a valid integer"),
    ],
    ids=range(6),
)
def test_metadata_of_another_kind_is_refused(tmp_path: Path, told: object, why: str) -> None:
    with pytest.raises(ColorganError) as refusal:
        load_network(graph(tmp_path / "m.onnx", told))
    start = f"--model {tmp_path / 'm.onnx'} is an ONNX file of something else (of its metadata "
    assert str(refusal.value).startswith(f"{start}'colorgan': {why}")
    assert str(refusal.value).endswith("it should be one that `colorgan export` has written")


@pytest.mark.parametrize(
    ("nodes", "channels", "sentence"),
    [
        ([helper.make_node("Neg", ["input"], ["output"])], 1,
         "makes (1, 1, 8, 8) of (1, 1, 8, 8); it should be (1, 2, 8, 8)"),
        ([NAN, helper.make_node("Mul", ["input", "nan"], ["x"]),
          helper.make_node("Concat", ["x", "x"], ["output"], axis=1)], 1,
         "gives values that are not finite (NaN or inf): its weights are damaged"),
        ([SHAPE, helper.make_node("Reshape", ["input", "shape"], ["output"])], 1,
         "fails on an input of (1, 1, 8, 8): "),
        ([TWICE], 3, "fails on an input of (1, 1, 8, 8): "),
    ],
    ids=["channels", "nan", "fails", "input"],
)  # fmt: skip
def test_a_graph_that_does_not_colour_is_refused(
    tmp_path: Path, nodes: list[onnx.NodeProto], channels: int, sentence: str
) -> None:
    with pytest.raises(ColorganError) as refusal:
        load_network(graph(tmp_path / "m.onnx", TOLD, *nodes, channels=channels))
    assert str(refusal.value).startswith(f"--model {tmp_path / 'm.onnx'} {sentence}")
    assert "\n" not in str(refusal.value)


def test_a_network_that_came_out_otherwise_is_not_written(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = OnnxNetwork.predict
    monkeypatch.setattr(OnnxNetwork, "predict", lambda self, input: exact(self, input) + 0.01)
    with pytest.raises(ColorganError, match=r"off by 0.01 .* more than 0.001: .*was not written"):
        export(model, tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir() if "onnx" in path.name] == []
