"""TIFF files of every kind: read as they are meant, or refused by what they are."""

from __future__ import annotations

import io
import struct
import tracemalloc
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, ImageCms

from colorgan.data.decode import UPRIGHT, UnreadablePhoto, decode, opened, read_head
from colorgan.inference.image import Picture

Array = npt.NDArray[Any]
HEIGHT, WIDTH = 37, 53
GRAY8 = np.clip(np.add.outer(np.arange(HEIGHT) * 3, np.arange(WIDTH) * 3) - 5, 0, 255)
GRAY8 = GRAY8.astype(np.uint8)
GRAY16 = GRAY8.astype(np.uint16) * 257
RGB8 = np.dstack((GRAY8, GRAY8[::-1], GRAY8[:, ::-1]))
RGB16 = RGB8.astype(np.uint16) * 257
ALPHA16 = GRAY16[::-1]
DEFLATE = {"compression": "zlib", "predictor": True}
WHITE = {"photometric": "miniswhite"}
ONE_WIDTH, TWO_WIDTHS = b"\0\1\4\0\1\0\0\0", b"\0\1\4\0\2\0\0\0"
TAG_262_TO_263 = b"\x06\x01\x03\0", b"\x07\x01\x03\0"


def written(*pages: Array, file: dict[str, Any] | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **(file or {})) as tif:
        for page in pages:
            tif.write(page, **{"metadata": None, "photometric": "minisblack", **options})
    return buffer.getvalue()


def pictures(content: bytes) -> list[Picture]:
    with opened(content) as pages:
        return [Picture.from_page(page) for page in pages]


def assert_looks(content: bytes, wanted: Array, off: float = 0.6 / 255) -> Picture:
    """Assert what the first page looks like, in bytes or in 0..1."""
    picture = pictures(content)[0]
    pixels, wanted = (x / 255 if x.dtype == np.uint8 else x for x in (picture.pixels, wanted))
    assert pixels.shape == wanted.shape
    assert np.abs(pixels - wanted).max() <= off
    return picture


def without_last_strip() -> bytes:
    content = written(GRAY16, rowsperstrip=5)
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        tag = tif.pages[0].tags["StripByteCounts"]
    end = tag.valueoffset + tag.valuebytecount
    return content[: end - 2] + b"\0\0" + content[end:]


def refused(content: bytes) -> str:
    with pytest.raises(UnreadablePhoto) as caught:
        pictures(content)
    return str(caught.value)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        DEFLATE,
        {"compression": "lzw"},
        {"compression": "zstd"},
        {"tile": (16, 16), **DEFLATE},
        {"rowsperstrip": 5},
    ],
    ids=["raw", "deflate", "lzw", "zstd", "tiles", "strips"],
)
@pytest.mark.parametrize("white", [False, True], ids=["black is 0", "white is 0"])
def test_gray_of_any_depth(options: dict[str, Any], order: str, white: bool) -> None:
    file = {"byteorder": order}
    for deep in (GRAY8, GRAY16, GRAY16.astype(np.uint32) * 65537):
        stored = np.iinfo(deep.dtype).max - deep if white else deep
        more = options | (WHITE if white else {})
        assert_looks(written(stored, file=file, **more), GRAY8)
    for kind in (np.float16, np.float32, np.float64):
        unit = (GRAY8 / 255).astype(kind)
        more = options | (WHITE if white else {})
        if kind == np.float16 and "predictor" in options:
            more = more | {"predictor": False}
        assert_looks(written(1 - unit if white else unit, file=file, **more), GRAY8, 0.002)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
@pytest.mark.parametrize("white", [False, True], ids=["black is 0", "white is 0"])
def test_bits_packed_tightly(bits: int, white: bool) -> None:
    most = 2**bits - 1
    levels = (GRAY8.astype(np.uint16) >> 8 - bits) if bits < 8 else GRAY16 >> 16 - bits
    stored = (most - levels if white else levels).astype(np.uint8 if bits <= 8 else np.uint16)
    more = WHITE if white else {}
    content = written(stored == 1 if bits == 1 else stored, bitspersample=bits, **more)
    assert_looks(content, levels / most)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits"])
def test_pages_of_a_fax(compression: str) -> None:
    bilevel = Image.fromarray(GRAY8).convert("1", dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    bilevel.save(buffer, "TIFF", compression=compression)
    assert_looks(buffer.getvalue(), np.asarray(bilevel) * np.uint8(255))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("options", [{}, DEFLATE, {"tile": (16, 32)}], ids=["raw", "zip", "tiles"])
@pytest.mark.parametrize("rgb", [RGB8, RGB16, (RGB8 / 255).astype(np.float32)], ids=str)
def test_colours_of_any_depth_and_layout(rgb: Array, options: dict[str, Any], planar: str) -> None:
    stored = np.moveaxis(rgb, -1, 0) if planar == "separate" else rgb
    content = written(stored, photometric="rgb", planarconfig=planar, **options)
    assert_looks(content, RGB8, 0)
    # Training sees the same.
    assert (np.asarray(decode(content, 8).image) == RGB8).all()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", ["gray", "rgb"])
@pytest.mark.parametrize("meaning", ["unspecified", "unassalpha", "assocalpha"])
def test_extra_samples(depth: int, kind: str, meaning: str) -> None:
    most = 2**depth - 1
    color, alpha = (RGB16 if kind == "rgb" else GRAY16[..., None]), np.full_like(GRAY16, 40000)
    stored = color
    if meaning == "assocalpha":
        stored = (color * (alpha[..., None] / 65535)).round()
    samples = np.concatenate((stored, alpha[..., None]), -1) / (65535 / most)
    samples = samples.round().astype(np.uint16 if depth == 16 else np.uint8)
    photometric = "rgb" if kind == "rgb" else "minisblack"
    content = written(samples, photometric=photometric, extrasamples=[meaning])
    picture = assert_looks(content, RGB8 if kind == "rgb" else GRAY8, 0.009)
    if meaning == "unspecified":
        assert picture.alpha is None
    else:
        assert picture.alpha is not None
        assert np.abs(picture.alpha.astype(int) - 40000 // 257).max() <= 1


@pytest.mark.parametrize("scale", [1, 257], ids=["8-bit palette", "16-bit palette"])
@pytest.mark.parametrize("options", [{}, DEFLATE], ids=["raw", "deflate"])
def test_palettes(scale: int, options: dict[str, Any]) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint16)
    content = written(GRAY8, photometric="palette", colormap=colors * np.uint16(scale), **options)
    assert_looks(content, colors.T[GRAY8].astype(np.uint8))


def test_a_palette_with_alpha() -> None:
    """tifffile writes none: two samples of gray, with the tags of a palette."""
    colors = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint16) * np.uint16(257)
    content = written(
        np.dstack((GRAY8, RGB8[..., 1])), planarconfig="contig", extrasamples=["unassalpha"],
        extratags=[(320, "H", 768, colors.ravel().tolist())],
    )  # fmt: skip
    gray, palette = (struct.pack("<HHLL", 262, 3, 1, kind) for kind in (1, 3))
    picture = assert_looks(
        content.replace(gray, palette), (colors.T[GRAY8] // 257).astype(np.uint8)
    )
    assert (picture.alpha == RGB8[..., 1]).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_cmyk(depth: int) -> None:
    cmyk = np.dstack((RGB8 // 2, GRAY8 // 3))
    wanted = np.asarray(Image.fromarray(cmyk, "CMYK").convert("RGB"))
    deep = cmyk if depth == 8 else cmyk.astype(np.uint16) * 257
    for planar, stored in (("contig", deep), ("separate", np.moveaxis(deep, -1, 0))):
        assert_looks(written(stored, photometric="separated", planarconfig=planar), wanted)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
def test_lab(depth: int, photometric: str) -> None:
    lab = np.empty((HEIGHT, WIDTH, 3))
    lab[..., 0], lab[..., 1], lab[..., 2] = GRAY8 / 2.55, 30, -20
    signed = photometric == "cielab"
    if depth == 8:
        stored = np.rint(lab * (2.55, 1, 1) + (0 if signed else (0, 128, 128)))
        stored = stored.astype(np.int16).astype(np.uint8)
    elif signed:
        stored = np.rint(lab * (655.35, 256, 256)).astype(np.int32).astype(np.uint16)
    else:
        stored = np.rint(lab * (652.8, 256, 256) + (0, 32768, 32768)).astype(np.uint16)
    srgb, source = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    as_pillow = np.rint(lab * (2.55, 1, 1) + (0, 128, 128)).astype(np.uint8)
    image = Image.frombytes("LAB", (WIDTH, HEIGHT), (as_pillow ^ np.uint8([0, 128, 128])).tobytes())
    transform = ImageCms.buildTransform(source, srgb, "LAB", "RGB")
    wanted = np.asarray(transform.apply(image))
    assert tuple(wanted[20, 40]) != (wanted[20, 40, 0],) * 3
    assert_looks(written(stored, photometric=photometric), wanted, 3 / 255)
    with_alpha = np.dstack((stored, GRAY8 if depth == 8 else GRAY16))
    options = {"photometric": photometric, "extrasamples": ["unassalpha"]}
    picture = assert_looks(written(with_alpha, planarconfig="contig", **options), wanted, 3 / 255)
    assert (picture.alpha == GRAY8).all()


def test_ycbcr_in_jpeg() -> None:
    buffer = io.BytesIO()
    smooth = Image.fromarray(RGB8).resize((160, 96))
    smooth.convert("YCbCr").save(buffer, "TIFF", compression="jpeg", quality=95)
    assert_looks(buffer.getvalue(), np.asarray(smooth), 0.15)


def test_a_range_in_the_tags_counts_and_never_the_brightest_pixel() -> None:
    dark = GRAY16 // 4
    assert_looks(written(dark), dark / 65535)
    ranges = [(340, "I", 1, 1000, True), (341, "I", 1, 4095, True)]
    stored = (1000 + GRAY8 / 255 * 3095).round()
    assert_looks(written(stored.astype(np.uint16), extratags=ranges), GRAY8, 0.001)
    assert_looks(written(stored.astype(np.int32), extratags=ranges), GRAY8, 0.001)
    assert_looks(written(stored.astype(np.float32), extratags=ranges), GRAY8, 0.001)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
def test_every_orientation_is_turned_upright(orientation: int, deep: bool) -> None:
    tags = [(274, "H", 1, orientation, True)]
    content = written(GRAY16 if deep else GRAY8, extratags=tags)
    upright = Image.fromarray(GRAY8)
    if orientation in UPRIGHT:
        upright = upright.transpose(UPRIGHT[orientation])
    picture = assert_looks(content, np.asarray(upright))
    assert picture.orientation == 1
    with opened(content) as pages:
        assert pages[0].size == picture.pixels.shape[1::-1]


def test_thumbnails_and_masks_are_no_pages() -> None:
    buffer = io.BytesIO()
    small = GRAY8[::4, ::4]
    with tifffile.TiffWriter(buffer, bigtiff=True) as tif:
        tif.write(small, subfiletype=1, metadata=None)
        tif.write(GRAY8, subifds=1, metadata=None)
        tif.write(small, subfiletype=1, metadata=None)
        tif.write(GRAY8 > 9, subfiletype=4, metadata=None)
        tif.write(small, extratags=[(255, "H", 1, 2, True)], metadata=None)
        tif.write(GRAY8[::-1], subfiletype=2, metadata=None)
    first, second = pictures(buffer.getvalue())
    assert (first.pixels == GRAY8).all()
    assert (second.pixels == GRAY8[::-1]).all()


def test_a_full_picture_among_the_pages_of_a_thumbnail() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tif:
        tif.write(GRAY8[::4, ::4], subfiletype=1, subifds=1, metadata=None)
        tif.write(GRAY8, metadata=None)
    [page] = pictures(buffer.getvalue())
    assert (page.pixels * np.float32(255)).round().astype(int).tolist() == GRAY8.tolist()
    [page] = pictures(written(GRAY8, subfiletype=1))
    assert page.pixels.shape == GRAY8.shape


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (lambda: written(GRAY16.astype(np.int16)), "16-bit signed integers without their range"),
        (lambda: written(GRAY8.astype(np.float32)), "32-bit floats from 0 to 255 without"),
        (lambda: written(GRAY8.astype(np.complex64)), "SampleFormat 6"),
        (lambda: written(GRAY16, photometric="cfa"), "interpretation CFA"),
        (lambda: written(RGB16, photometric="ycbcr"), "interpretation YCBCR, 16 bits"),
        (lambda: written(GRAY16, compression="jpeg2000"), "compression JPEG2000"),
        (lambda: written(RGB8, photometric="rgb", compression="webp"), "compression WEBP"),
        (lambda: written(np.stack([GRAY8] * 8), volumetric=True), "a volume of 8 slices"),
        (lambda: written(GRAY8).replace(ONE_WIDTH, TWO_WIDTHS), "width or height is no number"),
        (without_last_strip, "strips or tiles without data"),
        (lambda: written(GRAY8).replace(*TAG_262_TO_263), "no photometric interpretation"),
        (lambda: written(np.zeros((8, 9, 20), np.uint16), planarconfig="contig"), "20 samples"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_read_is_refused_by_what_it_is(content: Any, what: str) -> None:
    assert what in refused(content())


def test_the_head_of_a_file_with_two_widths_is_refused() -> None:
    """A plan with it would end the whole run."""
    with pytest.raises(ValueError, match="width or height is no number"):
        read_head(io.BytesIO(written(GRAY8).replace(ONE_WIDTH, TWO_WIDTHS)))


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    assert "too large" in refused(written(np.zeros((101, 100), np.uint16), compression="zlib"))
    assert "too large" in refused(written(GRAY16, tile=(128, 128), compression="zlib"))


def test_a_deep_picture_takes_no_more_memory_than_others() -> None:
    deep = np.zeros((1500, 2000, 3), np.uint16)
    for content in (written(deep, photometric="rgb"), imagecodecs.png_encode(deep)):
        tracemalloc.start()
        pictures(content)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 * 1500 * 2000


@pytest.mark.parametrize("options", [{}, DEFLATE, {"compression": "lzw"}], ids=str)
def test_a_cut_file_is_refused_quietly(
    options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    content = written(RGB16, photometric="rgb", **options)
    for end in (5, 20, 200, len(content) // 2, len(content) * 9 // 10):
        assert refused(content[:end]).startswith("unreadable: ")
    assert capfd.readouterr() == ("", "")
