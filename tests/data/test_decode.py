"""Pictures of every kind to sRGB pixels, or a reason why not."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from colorgan.data.decode import RawPhoto, UnreadablePhoto, decode, opened, read_head
from colorgan.inference.image import Picture

ROOT = Path(__file__).parents[2]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
"""A profile in which red and blue have changed places."""
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8))


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A real photo, 200x140."""
    path = sorted((ROOT / "data/sample/bird").glob("*.webp"))[0]
    with Image.open(path) as image:
        return image.convert("RGB").resize((200, 140))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(content: bytes, side: int = 140) -> np.ndarray:
    decoded = decode(content, side)
    assert decoded.encoding == "srgb"
    assert decoded.image.mode == "RGB"
    return np.asarray(decoded.image).astype(int)


def mean_error(content: bytes, image: Image.Image) -> float:
    return float(np.abs(pixels(content) - np.asarray(image).astype(int)).mean())


def reason(content: bytes) -> str:
    with pytest.raises(UnreadablePhoto) as caught:
        decode(content, 64)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    # What stands in rejected.csv must not differ from run to run.
    assert "0x" not in text
    return text


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("kind", "options", "allowed"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 2.0),
        ("PNG", {}, 0.0),
        ("WEBP", {"lossless": True}, 0.0),
        ("TIFF", {}, 0.0),
        ("TIFF", {"compression": "tiff_lzw"}, 0.0),
        ("BMP", {}, 0.0),
        ("PPM", {}, 0.0),
        ("GIF", {}, 12.0),
        ("AVIF", {"quality": 95}, 3.0),
        ("HEIF", {"quality": 95}, 3.0),
        ("JPEG2000", {}, 3.0),
    ],
)
def test_formats(photo, kind, options, allowed) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    content = encoded(photo, kind, **options)
    assert mean_error(content, photo) <= allowed
    assert decode(content, 64).size == (200, 140)
    assert read_head(io.BytesIO(content)) == (kind, 200 * 140)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(photo: Image.Image, orientation: int) -> None:
    array = np.asarray(photo)
    turned = [array, array[:, ::-1], array[::-1, ::-1], array[::-1]]
    turned += [turned[i].swapaxes(0, 1) for i in (0, 3, 2, 1)]
    upright = Image.fromarray(np.ascontiguousarray(turned[orientation - 1]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photo, "JPEG", exif=exif, quality=95, subsampling=0)
    decoded = decode(content, 140)
    assert decoded.size == decoded.image.size == upright.size
    assert mean_error(content, upright) <= 2


def test_a_jpeg_keeps_at_least_the_wanted_side_and_its_real_size(photo: Image.Image) -> None:
    for width, height in ((2000, 1400), (130, 129), (1024, 1024)):
        exif = Image.Exif()
        exif[0x0112] = 6
        content = encoded(photo.resize((width, height)), "JPEG", exif=exif)
        decoded = decode(content, 128)
        assert decoded.size == (height, width)
        assert min(decoded.image.size) >= min(128, width, height)
    # A phone adds a second picture.
    large = photo.resize((2000, 1400))
    two = {"save_all": True, "append_images": [Image.new("RGB", (50, 50))]}
    for content in (encoded(large, "JPEG"), encoded(large, "MPO", **two)):
        decoded = decode(content, 64)
        assert (decoded.size, decoded.image.size) == ((2000, 1400), (250, 175))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_colour_profile_is_converted_to_srgb(kind: str) -> None:
    image = Image.new("RGB", (80, 80), (200, 90, 40))
    options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(kind, {})
    content = encoded(image, kind, icc_profile=SWAPPED, **options)
    assert np.abs(pixels(content)[40, 40] - (40, 90, 200)).max() <= 1


def test_cmyk_palettes_opaque_alpha_and_unfit_profiles_are_taken(photo: Image.Image) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (b"rubbish" * 50, lab, SWAPPED[:200]):
        assert mean_error(encoded(photo, "PNG", icc_profile=profile), photo) == 0
    cmyk, palette, nearly = photo.convert("CMYK"), photo.quantize(128), photo.convert("RGBA")
    assert mean_error(encoded(cmyk, "JPEG", quality=95, subsampling=0), photo) < 3
    nearly.putalpha(254)
    assert mean_error(encoded(palette, "PNG"), photo) < 12
    assert mean_error(encoded(palette, "PNG", transparency=bytes([255] * 128)), photo) < 12
    assert mean_error(encoded(nearly, "PNG"), photo) == 0
    assert mean_error(encoded(photo, "PNG", transparency=(1, 2, 3)), photo) == 0


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits(channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (9, 12, channels), np.uint16)
    content = imagecodecs.png_encode(values.squeeze())
    if channels == 3:
        assert (pixels(content) == np.rint(values / 257)).all()
    with opened(content) as pages:
        picture = Picture.from_page(pages[0])
    color = values[..., :3] if channels >= 3 else values[..., 0]
    shown = picture.pixels / (255 if channels >= 3 else 1)
    assert np.abs(shown - color / 65535).max() < (0.51 / 255 if channels >= 3 else 1e-6)
    assert (picture.alpha is None) == (channels in (1, 3))
    if channels in (2, 4):
        assert (picture.alpha == np.rint(values[..., -1] / 257)).all()


def test_the_transparent_colour_of_16_bits() -> None:
    rgb = np.full((9, 12, 3), (300, 40000, 500), ">u2")
    rgb[2, 3] = (301, 40000, 500)
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    content = png(12, 9, 16, rows)
    end = content.index(b"IDAT") - 4
    content = content[:end] + chunk(b"tRNS", rgb[2, 3].tobytes()) + content[end:]
    with opened(content) as pages:
        _, alpha = pages[0].load()
    assert alpha is not None
    assert (alpha == np.where((rgb == rgb[2, 3]).all(-1), 0, 255)).all()


def test_avif_above_8_bits(photo: Image.Image) -> None:
    for bits in (10, 12):
        deep = np.asarray(photo).astype(np.uint16) << bits - 8
        content = imagecodecs.avif_encode(deep, level=95, bitspersample=bits)
        assert mean_error(content, photo) < 3


@pytest.mark.parametrize("most", [255, 4095, 65535])
def test_pgm_and_jpeg_2000_are_scaled_by_their_type(most: int) -> None:
    gray = np.linspace(0, most // 4, 120).round().astype(np.uint16).reshape(10, 12)
    dtype = ">u2" if most > 255 else "u1"
    contents = [f"P5 12 10 {most}\n".encode() + gray.astype(dtype).tobytes()]
    samples = gray.astype(np.uint16 if most > 255 else np.uint8)
    bits = most.bit_length()
    contents.append(imagecodecs.jpeg2k_encode(samples, level=0, bitspersample=bits))
    for content in contents:
        with opened(content) as pages:
            shown = Picture.from_page(pages[0]).pixels
        unit = shown / 255 if shown.dtype == np.uint8 else shown
        assert np.abs(unit - gray / most).max() < 0.001


@pytest.mark.parametrize("kind", ["P4 #\n9 5 ", "P5 #P5\n9 5 255 ", "P5\n9 5 4095\n",
                                  "P6 9 5 255\n", "P6 #\r9 5 1023\n", "P2 9 5 255\n"])  # fmt: skip
def test_pictures_behind_the_first_of_a_pnm_are_counted(kind: str) -> None:
    n_bytes = {"4": 10, "5": 45 if "255" in kind else 90, "6": 135 if "255" in kind else 270}
    data = b"0 " * 45 if kind[1] == "2" else b"P" * n_bytes[kind[1]]
    for n_left in range(3):
        with opened((kind.encode() + data) * (n_left + 1)) as pages:
            assert pages[0].n_left == (0 if kind[1] == "2" else n_left)
    with opened(kind.encode() + data + b"P5#" * 100_000) as pages:  # in time
        assert pages[0].n_left == 0
    for number in ("9" * 11, "9" * 5000):
        with opened(kind.encode() + data + f"P5 {number} {number} 255 ".encode()) as pages:
            assert pages[0].n_left == 0


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_white_stays_white_in_jpeg_2000_above_8_bits(bits: int, channels: int) -> None:
    """Pillow rounds the lightest values up to 256, which becomes 0."""
    unit = np.tile(np.linspace(0, 1, 4096).reshape(64, 64, 1), channels)
    deep = np.rint(unit * (2**bits - 1)).astype(np.uint16)
    content = imagecodecs.jpeg2k_encode(deep, level=0, bitspersample=bits, reversible=True)
    with opened(content) as pages:
        picture = Picture.from_page(pages[0])
    shown = np.atleast_3d(picture.pixels / (255 if channels >= 3 else 1))
    assert np.abs(shown - unit[..., :1]).max() < 0.003
    assert picture.alpha is None or picture.alpha[-1, -1] == 255
    other_size = content.replace(b"\0\0\0@" * 2, b"\0\0\0@\0\0\0A", 1)
    if channels != 2:
        assert "another size than its head says" in reason(other_size)


def test_heic_without_its_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
    assert reason(content) == (
        "not read: HEIC needs pillow-heif, which is not installed: pip install pillow-heif"
    )


def test_deep_decoders_are_imported_when_needed() -> None:
    code = "import sys, colorgan.inference.colorizer as _; "
    code += "print({'tifffile', 'imagecodecs'} & {*sys.modules})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


def test_transparent_pictures_are_refused(photo: Image.Image) -> None:
    half = photo.convert("RGBA")
    half.putalpha(Image.new("L", photo.size, 255))
    half.putpixel((3, 3), (0, 0, 0, 100))
    palette = photo.quantize(16)
    hole = {"transparency": palette.getpixel((3, 3))}
    for content in (
        encoded(half, "PNG"),
        encoded(half, "WEBP"),
        encoded(half, "TIFF"),
        encoded(palette, "PNG", **hole),
        encoded(palette, "GIF", **hole),
        encoded(photo, "PNG", transparency=photo.getpixel((3, 3))),
    ):
        assert reason(content) == "transparent: parts of the picture are not there"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_gray_pictures_are_refused(photo: Image.Image, kind: str, mode: str) -> None:
    gray = photo.convert("L")
    if mode == "I;16":
        gray = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    content = encoded(gray if mode == "I;16" else gray.convert(mode), kind)
    assert reason(content) == "gray: it has no colour to learn from"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_truncated_files_are_refused_quietly(photo, kind, capfd) -> None:
    content = encoded(photo, kind)
    for end in (1, 10, 30, 100, len(content) // 2, len(content) * 9 // 10):
        assert reason(content[:end]).startswith("unreadable: ")
    assert capfd.readouterr() == ("", "")


def test_a_png_that_is_damaged_or_lacks_its_last_rows_is_refused(photo: Image.Image) -> None:
    """Of both Pillow alone makes a picture, black in part or nearly whole."""
    damaged = bytearray(encoded(photo, "PNG"))
    for at in range(200, 6_000, 97):
        damaged[at] ^= 0x5A
    assert "broken PNG" in reason(bytes(damaged))
    # All its checksums are right.
    rows = b"".join(b"\0" + bytes([90, 60, row % 7] * 30) for row in range(40))
    assert pixels(png(30, 40, 8, rows[:-91] + bytes(91))).shape == (40, 30, 3)
    assert reason(png(30, 41, 8, rows)) == "unreadable: Not enough image data"
    assert reason(png(30, 5000, 8, rows)) == "unreadable: Not enough image data"


def test_files_that_are_no_pictures_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert reason(b"") == "unreadable: the file is empty"
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    for content in (b"a text in a file called x.jpg\n" * 9, b"\0" * 5000, b"<svg/>", postscript):
        assert "not a JPEG, PNG" in reason(content)
    assert capfd.readouterr() == ("", "")


def test_what_is_not_read_is_refused_by_what_it_is() -> None:
    deep = imagecodecs.jpeg8_encode(np.full((16, 16, 3), 900, np.uint16), bitspersample=12)
    assert reason(deep) == "unreadable: a JPEG of 12 bits, which is not read"
    for side in (30_000, 10_000):
        assert reason(png(side, side, 8, bytes(100))) == "too large: over 89478485 pixels"


def test_the_id_and_the_problem_of_a_photo() -> None:
    one = RawPhoto(b"abc", "one")
    assert one.id == RawPhoto(b"abc", "two", "x", "val").id == "ba7816bf8f01cfea"
    # Files without content are no duplicates of one another.
    assert RawPhoto(b"", "one").id != RawPhoto(b"", "two").id
    assert len(RawPhoto(b"", "\udcff").id) == 16
    with pytest.raises(UnreadablePhoto, match=r"^unreadable: Permission denied$"):
        RawPhoto(b"", "x.jpg", "", None, "unreadable: Permission denied").decode(64)


# Harmless damage is mended; what loses pixels is refused.


@pytest.mark.parametrize(
    ("format", "options", "cuts"),
    [
        ("JPEG", {}, (1, 2)),
        ("JPEG", {"progressive": True}, (1, 2)),
        ("PNG", {}, (1, 4, 11, 12, 14)),
    ],
    ids=["jpeg", "progressive", "png"],
)
def test_a_missing_end_is_mended(format: str, options: dict[str, Any], cuts: Any) -> None:
    content = encoded(NOISE, format, **options)
    for cut in cuts:
        with opened(content[:-cut]) as pages:
            image, _ = pages[0].load()
        assert pages[0].warning == "damaged: its end is missing"
        assert (np.asarray(image) == np.asarray(decode(content, 0).image)).all()


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_rows": 1}),
        ("PNG", {}),
    ],
    ids=["jpeg", "progressive", "restart markers", "png"],
)
def test_missing_pixels_are_refused(format: str, options: dict[str, Any]) -> None:
    content = encoded(NOISE, format, **options)
    restarts = [len(content) - i for i in range(len(content) - 1) if content[i] == 0xFF]
    for cut in (200, 1000, *restarts[-9:-1], len(content) // 2, len(content) - 700):
        with pytest.raises(UnreadablePhoto, match="unreadable"):
            decode(content[:-cut], 90)
