"""Colour hints: a place gets the colour that was asked, by library, command and file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import Array, draw, encoded
from PIL import Image, ImageOps
from skimage.color import deltaE_ciede2000

from colorgan import Colorizer, Hint, color
from colorgan.color import UInt8Array
from colorgan.config import Params, SpaceName
from colorgan.data.decode import opened
from colorgan.errors import ColorganError
from colorgan.inference.backends import OnnxNetwork, load_network
from colorgan.inference.export import export
from colorgan.inference.hint_files import IN_XMP, HintFile, hints_as_json, read_hints
from colorgan.inference.hints import MOST_HINTS
from colorgan.inference.image import Picture, turn_back
from colorgan.inference.metadata import Metadata
from colorgan.model import Model, build_generator, save_model
from colorgan.spaces import get_space
from trained import save_tiny

GREEN = "#2e6b3f"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF>%s</rdf:RDF></x:xmpmeta>"


def save_hinted(folder: Path, space: SpaceName, params: Params, strength: float = 0.0) -> Path:
    """Save a random network that takes hints, which change its output by `strength`."""
    torch.manual_seed(0)
    kind, model = get_space(space), params.space(space).model
    generator = build_generator(kind, model, 64)
    for layer in generator.hints.last:
        torch.nn.init.normal_(layer.weight, 0, strength)
    folder.mkdir(parents=True)
    save_model(folder, generator, kind, model, 64, 1.3)
    return folder


@pytest.fixture
def params(make_params: Callable[..., Params]) -> Params:
    return make_params({"model.generator": "encoder_unet", "model.hints": True, "model.ngf": 8})


@pytest.fixture
def model(project: Path, params: Params) -> Path:
    """A network that has not learnt what hints are."""
    return save_hinted(Path("hinted"), "lab", params)


@pytest.fixture
def photo(real_photos: UInt8Array) -> Image.Image:
    """A photo of 300 x 200 pixels, larger than the network's copy."""
    return Image.fromarray(real_photos[5]).resize((300, 200), Image.Resampling.BICUBIC)


def off(picture: Array, colored: Array, hint: Hint) -> float:
    """Return the CIEDE2000 from what was asked, at its place, as far as L allows it."""
    height, width = colored.shape[:2]
    x, y = hint.fractions(width, height)
    at = np.s_[int(y * height), int(x * width)]
    lightness = color.lightness_from_srgb(picture)[at]
    asked = color.within_srgb(np.array([[lightness, *hint.ab()]], np.float32))[0]
    found = color.lab_from_rgb(colored / np.float32(255))[at]
    return float(deltaE_ciede2000(asked, found))


@pytest.mark.parametrize(("space", "strength"), [("lab", 0.0), ("lab", 3.0), ("rgb", 3.0)])
def test_a_place_has_the_colour_that_was_asked(
    tmp_path: Path, params: Params, photo: Image.Image, space: SpaceName, strength: float
) -> None:
    """Also if the network has not learnt what hints are."""
    colorizer = Colorizer.load(save_hinted(tmp_path / "m", space, params, strength), "cpu")
    hints = [Hint(40, 150, GREEN), Hint(0.5, 0.25, "navy"), Hint(52, 160, (60.0, 40.0))]
    hints.append(Hint(299, 0, "gold"))
    plain = np.asarray(colorizer.colorize(photo))
    colored = np.asarray(colorizer.colorize(photo, hints=hints))
    assert max(off(np.asarray(photo), plain, hint) for hint in hints) > 10
    for hint in hints:
        assert off(np.asarray(photo), colored, hint) < 3
    # Whatever the saturation; and it spreads, but not over all of the photo.
    gray = np.asarray(colorizer.colorize(photo, hints=hints[:1], saturation=0))
    assert off(np.asarray(photo), gray, hints[0]) < 3
    chroma = np.ptp(gray.astype(int), axis=-1)
    assert chroma[145:156, 35:46].mean() > 10
    assert chroma[:60, 200:].max() <= 2


@pytest.mark.parametrize("size", [(4, 5), (12, 9), (900, 60)])
def test_small_and_long_pictures_keep_hints_too(
    model: Path, photo: Image.Image, size: tuple[int, int]
) -> None:
    """A pixel may be many of the network's copy, or several pixels one of it."""
    gray = np.asarray(photo.convert("L").resize(size))
    width, height = size
    hints = [Hint(0, 0, GREEN), Hint(width - 1, height - 1, "navy")]
    hints.append(Hint(width // 2, height // 2, "brown"))
    colored = Colorizer.load(model, "cpu").colorize(gray, hints=hints)
    for hint in hints:
        assert off(gray, colored, hint) < 3


@pytest.mark.parametrize("orientation", [1, 5, 6, 8])
@pytest.mark.parametrize("wide", [0, 25])
def test_the_place_is_that_of_the_picture_as_seen(
    model: Path, photo: Image.Image, orientation: int, wide: int
) -> None:
    seen = np.pad(np.asarray(photo), ((wide, wide), (wide, wide), (0, 0)), constant_values=250)
    exif = Image.Exif()
    exif[274] = orientation
    lying = encoded(Image.fromarray(turn_back(seen, orientation)), "PNG", exif=exif)
    height, width = seen.shape[:2]
    colorizer = Colorizer.load(model, "cpu")
    hint = Hint(wide + 230, wide + 30, "red")
    for same in (hint, Hint((wide + 230.5) / width, (wide + 30.5) / height, "red")):
        done = colorizer.colorize_bytes(lying, saturation=0, hints=[same])
        upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(done.content))))
        assert off(seen, upright, hint) < 3
        assert np.ptp(upright[wide + 100 :, : wide + 100].astype(int), axis=-1).max() <= 2
    if wide:
        with pytest.raises(ColorganError, match=r"^hint 3,9=red: in the border of the picture"):
            colorizer.colorize_bytes(lying, hints=[Hint(3, 9, "red")])


def test_the_network_is_given_the_hint_at_its_place(model: Path, photo: Image.Image) -> None:
    prepared = Colorizer.load(model, "cpu").prepare(Picture(np.asarray(photo)))
    prepared = prepared.with_hints([Hint(230, 30, "red")])
    mask = prepared.hint_input(prepared.hint_places())[2]
    height, width = prepared.small.shape[:2]
    row, column = int(30.5 / 200 * height), int(230.5 / 300 * width)
    assert mask[prepared.top + row, prepared.left + column] == 1
    assert mask.sum() == 25


def hint(x: Any = 0.5, y: Any = 0.5, colour: Any = "red") -> Callable[[], object]:
    return lambda: Hint(x, y, colour)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (hint(x=float("nan")), "hint nan,0.5=red: x should be a whole number of pixels, from 0, "),
        (hint(y=-1), "hint 0.5,-1=red: y should be a whole number of pixels, from 0"),
        (hint(x=1.5), "hint 1.5,0.5=red: x should be"),
        (hint(x="1"), "hint 1,0.5=red: x should be"),
        (hint(colour="redd"), "hint 0.5,0.5=redd: the colour should be #rrggbb, a CSS name such"),
        (hint(colour=(1, 2, 3)), "hint 0.5,0.5=(1, 2, 3): the colour should be #rrggbb"),
        (hint(colour=7), "hint 0.5,0.5=7: the colour should be #rrggbb"),
        (hint(colour=(1, np.nan)), "hint 0.5,0.5=(1, nan): a and b should be finite numbers"),
        (lambda: Hint.parse("1,2"), "hint 1,2=: the colour should be"),
        (lambda: Hint.parse("1;2=red"), "hint '1;2=red': it should be X,Y=COLOUR, such as 420,310"),
        (lambda: Hint(300, 9, "red").fractions(300, 200),
         "hint 300,9=red: outside of the picture, which has 300 x 200 pixels"),
    ],
)  # fmt: skip
def test_a_hint_that_is_none_is_named(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ColorganError) as refusal:
        make()
    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value)


FILE = {"version": 1, "width": 30, "height": 20, "hints": [{"x": 3, "y": 0.5, "colour": "red"}]}


def test_a_file_has_places_in_pixels_or_fractions() -> None:
    assert HintFile.parse(json.dumps(FILE).encode(), "f").hints == [Hint(3.5 / 30, 0.5, "red")]
    hints = [Hint(7, 19, (10.5, -3.0)), Hint(0.25, 1.0, GREEN)]
    again = HintFile.parse(hints_as_json(hints, 30, 20).encode(), "f").hints
    assert [one.colour for one in again] == [(10.5, -3.0), GREEN]
    np.testing.assert_allclose(
        [one.fractions(60, 40) for one in again], [(0.25, 0.975), (0.25, 1)], atol=1e-6
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "f is no file of hints: it is not JSON"),
        ("[" * 9999, "f is no file of hints: it is not JSON"),
        (FILE | {"version": 2}, "f is no file of hints: version is 2; it should be 1"),
        ({"version": 1}, "f is no file of hints: width is missing"),
        (
            FILE | {"hints": [{"x": 30, "y": 1, "colour": "red"}]},
            "f: hint 30,1=red: outside of the",
        ),
        (FILE | {"hints": [{"x": 3, "y": 1, "colour": "x"}]}, "f: hint 3,1=x: the colour should"),
        (FILE | {"hints": [{"x": 3, "y": 1}]}, "f is no file of hints: hints.0.colour is missing"),
    ],
)
def test_a_file_of_another_kind_is_refused(content: Any, sentence: str) -> None:
    with pytest.raises(ColorganError) as refusal:
        HintFile.parse(
            content.encode() if isinstance(content, str) else json.dumps(content).encode(), "f"
        )
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("earlier", [XMP % b"<dc:title>Oma</dc:title>", b"<damaged/>", b""])
def test_a_result_keeps_its_hints_and_its_xmp(
    model: Path, photo: Image.Image, format: str, earlier: bytes
) -> None:
    colorizer, content = Colorizer.load(model, "cpu"), encoded(photo, "JPEG", xmp=earlier)
    for hints in ([Hint(40, 150, GREEN)], [Hint(41, 150, "red")], []):
        content = colorizer.colorize_bytes(content, format=format, hints=hints).content
        with opened(content) as pages:
            xmp = Metadata.from_page(pages[0], content).xmp
        assert xmp.startswith(earlier.partition(b"</rdf")[0])
        assert len(IN_XMP.findall(xmp)) == len(hints)
        Path("result").write_bytes(content)
        if hints:
            [hint] = read_hints(Path("result"))
            assert hint.fractions(1, 1) == pytest.approx(hints[0].fractions(300, 200), abs=1e-5)
    with pytest.raises(ColorganError, match="has no hints in its XMP"):
        read_hints(Path("result"))


def test_the_commands_of_the_page_colour_the_same_places(
    colorize: Callable[..., Any], photo: Image.Image
) -> None:
    draw("scan.jpg", photo.resize((600, 400)))
    draw("second_scan.tif", photo)
    commands = (
        "python -m colorgan colorize scan.jpg -o coloured --hint 420,310=#2e6b3f "
        "--hint 0.5,0.2=navy",
        "python -m colorgan colorize second_scan.tif -o coloured --hints-from coloured/scan.jpg",
    )
    for command in commands:
        said = colorize(*command.split()[4:])
        assert said.code == 0, said.err
    first, second = (read_hints(Path("coloured") / x) for x in ("scan.jpg", "second_scan.tif"))
    assert [hint.colour for hint in first] == ["#2e6b3f", "navy"]
    assert first == second
    colored = np.asarray(Image.open("coloured/second_scan.tif"))
    assert max(off(np.asarray(photo), colored, hint) for hint in first) < 3


def test_a_file_beside_a_picture_is_used_and_said(
    colorize: Callable[..., Any], photo: Image.Image
) -> None:
    for name in ("a", "b", "c", "d", "e"):
        draw(f"in/{name}.png", photo)
    hints = hints_as_json([Hint(40, 150, GREEN)], 300, 200)
    Path("in/a.hints.json").write_text(hints, encoding="utf-8-sig")
    many = [Hint(0.1, 0.1, "red")] * 10_000
    Path("in/b.hints.json").write_text(hints_as_json(many, 300, 200))
    Path("in/lost.hints.json").write_text("{}")
    os.mkfifo("in/d.hints.json")
    Path("in/e.hints.json").mkdir()
    said = colorize("in", "-o", "out", "--saturation", 0)
    assert said.code == 1
    assert "colorize: in/a.png: coloured with the hints of a.hints.json, 1 in number" in said.out
    assert f"in/b.png: 10000 hints are too many; it should be up to {MOST_HINTS}" in said.err
    assert "in/d.png: in/d.hints.json is no file of hints, but a pipe" in said.err
    assert "in/e.png: in/e.hints.json cannot be read: Is a directory" in said.err
    # Of the four files the one that no picture goes with.
    assert "1 left out: suffix not read: .json" in said.out
    assert off(np.asarray(photo), np.asarray(Image.open("out/a.png")), Hint(40, 150, GREEN)) < 3
    assert np.ptp(np.asarray(Image.open("out/c.png")).astype(int), axis=-1).max() <= 1
    # What the command says counts instead.
    said = colorize("in/b.png", "-o", "o.bmp", "--hint", "0.5,0.5=red")
    assert said.code == 0
    assert "not kept: XMP in BMP" in said.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("in", "--hint", "1,2=red"), "--hint and --hints-from are for a single picture; for "),
        (("in/a.png", "--hint", "1,2=reddish"), "hint 1,2=reddish: the colour should be "),
        (("in/a.png", "--hint", "1,900=red"), "in/a.png: hint 1,900=red: outside of the picture, "),
        (("in/a.png", "--hints-from", "in/a.png"), "in/a.png has no hints in its XMP; it should "),
        (("in/a.png", "--hints-from", "in/no"), "in/no cannot be read: No such file"),
        (("in/a.png", "--hints-from", "in/x.txt"), "in/x.txt is neither a picture nor a file of "),
    ],
)
def test_the_command_says_what_is_wrong(
    colorize: Callable[..., Any], photo: Image.Image, arguments: tuple[str, ...], sentence: str
) -> None:
    draw("in/a.png", photo)
    Path("in/x.txt").write_text("x")
    said = colorize(*arguments, "-o", "out")
    assert said.code == 1
    assert said.err.startswith(f"colorgan: {sentence}")


def test_a_model_without_hints_says_so(
    tmp_path: Path, make_params: Callable[..., Params], photo: Image.Image
) -> None:
    folder = save_tiny(tmp_path / "m", "lab", make_params(), seed=0)
    colorizer = Colorizer.load(folder, "cpu")
    with pytest.raises(ColorganError, match=r"--model .* takes no hints; it should be pretrained"):
        colorizer.colorize(photo, hints=[Hint(1, 2, "red")])
    with pytest.raises(ColorganError, match="hints are for one picture, and these are 2"):
        colorizer.colorize([photo, photo], hints=[Hint(1, 2, "red")])


@pytest.mark.slow
def test_onnx_takes_hints_or_none(tmp_path: Path, params: Params) -> None:
    model = Model.load(save_hinted(tmp_path / "m", "rgb", params, 3.0))
    file = tmp_path / "m.onnx"
    difference = export(model, file)
    assert difference < 1e-3
    network = load_network(file)
    assert isinstance(network, OnnxNetwork)
    assert network.takes_hints
    random = np.random.default_rng(0)
    input = random.random((2, model.space.in_channels, 64, 96), np.float32) * 2 - 1
    hints = np.zeros((2, 3, 64, 96), np.float32)
    plain = network.predict(input)
    np.testing.assert_array_equal(network.predict_hinted(input, hints)[0], plain)
    hints[1, :, 20:25, 30:35] = np.array((0.5, -0.4, 1))[:, None, None]
    hinted, features = network.predict_hinted(input, hints)
    assert np.abs(hinted[1] - plain[1]).max() > 0.003
    np.testing.assert_allclose(hinted[0], plain[0], atol=1e-5)
    wanted = model.predict_hinted(torch.from_numpy(input), torch.from_numpy(hints))
    np.testing.assert_allclose(hinted, wanted[0].numpy(), atol=1e-3)
    assert features.shape[2:] == (8, 12)
    np.testing.assert_allclose(features, wanted[1].numpy(), atol=1e-3)
