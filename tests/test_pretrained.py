"""The networks that come with the project: their size, their colours, the ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from safetensors.torch import load_file

from colorgan import Colorizer, color, io, paths
from colorgan.color import UInt8Array
from colorgan.errors import ColorganError
from colorgan.evaluation.metrics import ciede2000, colorfulness
from colorgan.inference.backends import OnnxNetwork, TorchNetwork, load_network
from colorgan.inference.formats import pages
from colorgan.inference.prepare import prepare_input
from colorgan.model import Model

ROOT = Path(__file__).parents[1]
PRETRAINED = ROOT / "models" / "pretrained"


def test_they_are_small_and_half_as_precise_but_for_norms_and_biases() -> None:
    generator, discriminator = (
        PRETRAINED / f"{name}.safetensors" for name in ("generator", "discriminator")
    )
    assert generator.stat().st_size <= 25_000_000
    assert generator.stat().st_size + discriminator.stat().st_size <= 30_000_000
    assert sum(t.numel() for t in load_file(generator).values()) <= 12_000_000
    for name, tensor in (*load_file(generator).items(), *load_file(discriminator).items()):
        assert tensor.isfinite().all(), name
        wanted = torch.float16 if tensor.ndim > 1 else torch.float32
        assert tensor.dtype == wanted or name.endswith("num_batches_tracked"), name
    assert json.loads((PRETRAINED / "config.json").read_text())["space"] == "lab"
    assert (PRETRAINED / "README.md").is_file()


def test_it_colours_photos_it_never_saw_better_than_gray() -> None:
    """Every sixth bundled photo at 256 px, gray, as a user would have it coloured."""
    photos = []
    for path in sorted((ROOT / "data" / "sample").glob("*/*.webp"))[::6]:
        with Image.open(path) as image:
            photos.append(np.asarray(ImageOps.fit(image.convert("RGB"), (256, 256))))
    lab8 = color.lab8_from_rgb8(np.stack(photos))
    truth = color.rgb8_from_lab8(lab8)
    lab8[..., 1:] = 128
    gray = color.rgb8_from_lab8(lab8)
    colorizer, gain = Colorizer.load(PRETRAINED, "cpu"), Model.load(PRETRAINED).gain
    error = ciede2000(gray, truth).mean()
    vivid, pale = colorizer.colorize(gray), colorizer.colorize(gray, saturation=1 / gain)
    assert ciede2000(pale, truth).mean() < 0.92 * error
    # As strong as those of photographs, colours that are wrong cost more.
    assert ciede2000(vivid, truth).mean() < 0.97 * error
    assert 0.7 < colorfulness(vivid).mean() / colorfulness(truth).mean() < 1


@pytest.mark.parametrize("tone", [20, 128, 200, 255])
def test_an_even_page_stays_even(tone: int) -> None:
    assert mean_chroma(np.full((300, 200), tone, np.uint8)) < 2


def test_a_scan_of_a_printed_page_stays_gray() -> None:
    page = Image.new("L", (400, 600), 235)
    text = "\n".join(["The quick brown fox jumps over the lazy dog."] * 27)
    ImageDraw.Draw(page).multiline_text((30, 30), text, 40, ImageFont.load_default(14))
    light = np.linspace(0, -20, 400) + np.random.default_rng(0).normal(0, 3, (600, 400))
    assert mean_chroma((page + light).clip(0, 255).astype(np.uint8)) < 2


def mean_chroma(page: UInt8Array) -> float:
    lab = color.lab_from_rgb(color.unit_from_uint8(Colorizer.load().colorize(page)))
    return float(color.chroma_and_hue(lab)[0].mean())


def test_the_onnx_file_beside_it_is_the_same_network() -> None:
    """The metadata names the weights it was made of; its own are in half precision."""
    weights, onnx = Colorizer.load(PRETRAINED).network, Colorizer.load().network
    assert isinstance(weights, TorchNetwork)
    assert isinstance(onnx, OnnxNetwork)
    session = onnxruntime.InferenceSession(
        PRETRAINED / "generator.onnx", providers=["CPUExecutionProvider"]
    )
    told = json.loads(session.get_modelmeta().custom_metadata_map["colorgan"])
    assert told["sha256"] == io.sha256(PRETRAINED / "generator.safetensors")
    assert (onnx.space.name, onnx.image_size, onnx.multiple) == (
        weights.space.name,
        weights.image_size,
        weights.multiple,
    )
    apart, gain = [], Model.load(PRETRAINED).gain
    for path in sorted((ROOT / "data" / "sample").glob("*/*.webp"))[::8]:
        picture, _ = next(pages(path.read_bytes()))
        input = prepare_input(picture, onnx.space, onnx.image_size, onnx.multiple).input[None]
        apart.append(110 / gain * np.abs(onnx.predict(input) - weights.predict(input)))
    # In units of a and b, of which a byte is one.
    assert max(difference.max() for difference in apart) < 2
    assert np.mean([difference.mean() for difference in apart]) < 0.1


def test_the_folder_is_of_the_project_or_else_of_the_wheel(project, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(paths, "IN_THE_WHEEL", tmp_path / "wheel")
    monkeypatch.setattr(paths, "IN_THE_CHECKOUT", tmp_path / "checkout")
    assert paths.pretrained() == paths.model("pretrained")
    (tmp_path / "wheel").mkdir()
    assert paths.pretrained() == tmp_path / "wheel"
    paths.model("pretrained").mkdir(parents=True)
    assert paths.pretrained() == paths.model("pretrained")


def test_a_gpu_is_asked_of_torch() -> None:
    assert isinstance(load_network("pretrained", "cpu"), OnnxNetwork)
    with pytest.raises(ColorganError, match="--device is 'cuda', which this machine does not have"):
        load_network("pretrained", "cuda" if not torch.cuda.is_available() else "mps")
