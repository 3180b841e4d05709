"""Read TIFF files: full-size pages, and samples that Pillow does not read or reads wrongly."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, TiffImagePlugin

from colorgan.color import FloatArray, UInt8Array, uint8_from_uint16, uint8_from_unit

if TYPE_CHECKING:
    from tifffile import TiffPage

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
"""Values of PhotometricInterpretation that are read."""
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, CIELAB: 3, ICCLAB: 3}
PILLOW_READS = {
    (WHITE_IS_ZERO, 1, ()), (BLACK_IS_ZERO, 1, ()), (WHITE_IS_ZERO, 8, ()), (BLACK_IS_ZERO, 8, ()),
    (RGB, 8, ()), (RGB, 8, (1,)), (RGB, 8, (2,)), (CMYK, 8, ()), (YCBCR, 8, ()), (CIELAB, 8, ()),
}  # fmt: skip
"""Interpretation, bits and extra samples of what is left to Pillow, unless planar or signed."""
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
TYPES = {UNSIGNED: "unsigned integers", SIGNED: "signed integers", FLOAT: "floats"}
"""By SampleFormat."""
JPEG = 7
COMPRESSIONS = frozenset({1, 2, 3, 4, 5, JPEG, 8, 32773, 32946, 34925, 50000})
"""Compressions that are read: none, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard."""
OLD_JPEG = 6
"""That is read by Pillow alone."""
MAX_SAMPLES = 16
STRIP_PIXELS = 1 << 18
ASSOCIATED, UNASSOCIATED = 1, 2
"""Values of ExtraSamples that mean alpha; the first is multiplied into the colours."""
OVERSHOOT = 0.1
"""By how much floats may lie outside 0..1, as they do after resizing."""
ICC_PROFILE, XMP, IPTC, PHOTOSHOP = 34675, 700, 33723, 34377
"""TIFF tags."""
SUBFILE_TYPE, INTERPRETATION, INK_SET, SMIN, SMAX = 255, 262, 332, 340, 341

# tifffile logs oddities; without any handler, logging would print them to the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@contextmanager
def opened(file: IO[bytes]) -> Iterator[tuple[list[TiffPage], str]]:
    """Open a TIFF; yield its full-size pages, and which one is missing, if one is.

    If there is no full-size page, the largest thumbnail. One may have the full size among its
    SubIFDs.
    """
    from tifffile import TiffFile, TiffFileError

    with TiffFile(file) as tif:
        pages: list[TiffPage] = []
        is_cut = False
        try:
            for page in (page.aspage() for page in tif.pages):
                pages += [page] if _is_full_size(page) else [page, *(page.pages or ())]
        except TiffFileError:
            is_cut = True
        if not pages:
            raise ValueError("a TIFF without a page that can be found")
        # A damaged tag may hold several numbers, or none.
        if any({type(page.imagewidth), type(page.imagelength)} != {int} for page in pages):
            raise ValueError("a TIFF whose width or height is no number")
        # tifffile ends quietly at a link to a page outside the file; the last page has a link to 0.
        tif.filehandle.seek(tif.pages.next_page_offset or 0)
        is_cut = is_cut or any(tif.filehandle.read(tif.tiff.offsetsize))
        full = [page for page in pages if _is_full_size(page)]
        largest = max(pages, key=lambda page: page.imagewidth * page.imagelength)
        missing = f"damaged: its page {len(full) + 1} cannot be found" if is_cut else ""
        yield full or [largest], missing


def is_plain(page: TiffPage) -> bool:
    """Return whether Pillow reads the page correctly."""
    kind = (page.photometric, page.bitspersample, tuple(page.extrasamples))
    is_chunky = page.planarconfig == 1 or page.photometric == YCBCR
    is_flat = len(page.treeindex) == 1 and page.imagedepth == 1 and INTERPRETATION in page.tags
    is_read = kind in PILLOW_READS and page.compression in COMPRESSIONS | {OLD_JPEG}
    return is_read and page.sampleformat == UNSIGNED and is_chunky and is_flat


def load(page: TiffPage) -> tuple[Image.Image, UInt8Array | None]:
    """Decode a page with tifffile; return its colours, and its alpha `(H, W)` if it has one.

    The colours are of mode RGB, CMYK, LAB, or, for gray of any depth, F in 0..1.

    Raises:
        ValueError: it is of a kind that is not read; the text says which.
        DecompressionBombError: its tiles are larger than they say, or than Pillow's limit.
    """
    _check_kind(page)
    _check_tiles(page)
    array = page.asarray(squeeze=False, maxworkers=1)
    if not array.size:
        raise ValueError("a TIFF without pixels")
    array = array[:, 0]
    samples = np.moveaxis(array[..., 0], 0, -1) if len(array) > 1 else array[0]
    channels = CHANNELS[page.photometric]
    extras = enumerate(page.extrasamples, channels)
    alphas = (one for one in extras if one[1] in (ASSOCIATED, UNASSOCIATED))
    i, meaning = next(alphas, (None, 0))
    if page.photometric in (PALETTE, CIELAB, ICCLAB):
        is_palette, most = page.photometric == PALETTE, 2.0**page.bitspersample - 1
        image = (
            Image.fromarray(_colormap(page)[samples[..., 0]]) if is_palette else _lab(samples, page)
        )
        return image, None if i is None else uint8_from_unit(_unit(samples[..., i], 0, most))
    low, high = _range(page, samples)
    colors, alpha = scaled(samples, channels, low, high, i, meaning == ASSOCIATED)
    del array, samples  # for the peak of memory
    if page.photometric == WHITE_IS_ZERO:
        colors = 1 - colors
    return Image.fromarray(colors, "CMYK" if channels == 4 else None), alpha


def scaled(
    samples: npt.NDArray[Any],
    channels: int,
    low: float,
    high: float,
    alpha: int | None = None,
    is_associated: bool = False,
) -> tuple[npt.NDArray[Any], UInt8Array | None]:
    """Scale samples `(H, W, S)` to gray in 0..1 or 8-bit colours, and alpha `(H, W)`.

    Strip by strip, as in float32 they would take twice their memory and more.

    Args:
        samples: first those of `channels`, 1 for gray.
        low: what becomes 0.
        high: what becomes 1.
        alpha: which sample is alpha.
        is_associated: whether alpha is multiplied into the colours.
    """
    shape = samples.shape[:2]
    colors = (
        np.empty(shape, np.float32) if channels == 1 else np.empty((*shape, channels), np.uint8)
    )
    alphas = None if alpha is None else np.empty(shape, np.uint8)
    n_rows = max(1, STRIP_PIXELS // shape[1])
    for top in range(0, shape[0], n_rows):
        rows = slice(top, top + n_rows)
        unit = _unit(samples[rows], low, high)
        color = unit[..., :channels]
        if alphas is not None:
            opacity = unit[..., alpha]
            alphas[rows] = uint8_from_unit(opacity)
            if is_associated:
                color = np.clip(color / np.maximum(opacity[..., None], np.float32(1e-6)), 0, 1)
        colors[rows] = color[..., 0] if channels == 1 else uint8_from_unit(color)
    return colors, alphas


def exif(content: bytes, page: Any) -> Image.Exif:
    """Read the tags of a page, also of a big-endian BigTIFF, which Pillow does not know."""
    head = b"II*\0\0\0\0\0" if page.parent.byteorder == "<" else b"MM\0*\0\0\0\0"

    def tags(offset: int) -> dict[int, Any]:
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        directory._bigtiff = page.parent.is_bigtiff
        file = io.BytesIO(content)
        file.seek(offset)
        directory.load(file)
        return dict(directory)

    found, main = Image.Exif(), tags(page.offset)
    for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if tag in main:
            found.get_ifd(tag).update(tags(main.pop(tag)))
    found.update(main)
    return found


def info(page: Any) -> dict[Any, Any]:
    """Return metadata of the tags, under the names of Pillow's `Image.info`."""
    found: dict[Any, Any] = {}
    names = {"icc_profile": ICC_PROFILE, "xmp": XMP, "iptc": IPTC, "photoshop": PHOTOSHOP}
    for name, code in names.items():
        if (tag := page.tags.get(code)) is not None:
            page.parent.filehandle.seek(tag.valueoffset)
            found[name] = page.parent.filehandle.read(tag.valuebytecount)
    inches = {2: 1.0, 3: 2.54}.get(number(page, 296, 2))
    if inches and 282 in page.tags and 283 in page.tags:
        found["dpi"] = tuple(number(page, code, 0) * inches for code in (282, 283))
    return found


def number(page: Any, code: int, default: float) -> Any:
    """Return the number of a tag, the default where it is missing or damaged."""
    value = page.tags.valueof(code, default)
    try:
        return value[0] / value[1] if isinstance(value, tuple) else value
    except (IndexError, TypeError, ZeroDivisionError):
        return default


def _is_full_size(page: TiffPage) -> bool:
    old = page.tags.get(SUBFILE_TYPE)
    return not page.subfiletype & 0b101 and (old is None or old.value != 2)


def _check_kind(page: TiffPage) -> None:
    """Raise ValueError with what the page is, if it is of a kind that is not read."""
    from tifffile import COMPRESSION, PHOTOMETRIC

    bits, samples, photometric = page.bitspersample, page.samplesperpixel, page.photometric
    inks = page.tags.get(INK_SET)
    what = ""
    if INTERPRETATION not in page.tags:
        what = "no photometric interpretation"
    elif photometric not in CHANNELS:
        what = f"the photometric interpretation {_name(PHOTOMETRIC, photometric)}, {bits} bits"
    elif page.compression not in COMPRESSIONS:
        what = f"the compression {_name(COMPRESSION, page.compression)}"
    elif page.sampleformat not in TYPES or page.dtype is None:
        what = f"samples of {bits} bits and SampleFormat {page.sampleformat}"
    elif not all(page.databytecounts):
        what = "strips or tiles without data"  # tifffile would make them black
    elif page.imagedepth > 1:
        what = f"a volume of {page.imagedepth} slices"
    elif not CHANNELS[photometric] <= samples <= MAX_SAMPLES or (inks and inks.value == 2):
        what = f"{samples} samples a pixel"
    elif photometric in (PALETTE, CIELAB, ICCLAB) and bits not in (1, 2, 4, 8, 16):
        what = f"{_name(PHOTOMETRIC, photometric)} of {bits} bits"
    if what:
        raise ValueError(f"a TIFF of {what}, which is not read")


def _name(names: Any, value: int) -> str:
    return str(names(value).name) if value in list(names) else str(value)


def _check_tiles(page: TiffPage) -> None:
    """Refuse a bomb: tiles above the limit, or a JPEG larger than the tile or strip it is."""
    limit = Image.MAX_IMAGE_PIXELS or 2**62
    most = max(page.tilewidth * page.tilelength, page.imagewidth * page.imagelength)
    if most > limit:
        raise Image.DecompressionBombError
    if page.compression == JPEG:
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            page.parent.filehandle.seek(offset)
            data = page.parent.filehandle.read(count)
            for height, width in re.findall(rb"\xff[\xc0-\xc3]..[\x08-\x10](..)(..)", data, re.S):
                if int.from_bytes(height, "big") * int.from_bytes(width, "big") > most:
                    raise Image.DecompressionBombError


def _range(page: TiffPage, samples: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the samples that mean 0 and 1: what the tags say, else by the type."""
    smin, smax = (page.tags.get(code) for code in (SMIN, SMAX))
    if smax is not None:
        low = float(np.min(smin.value)) if smin is not None else 0.0
        high = float(np.max(smax.value))
        if np.isfinite([low, high]).all() and high > low:
            return low, high
    bits = page.bitspersample
    if page.sampleformat == UNSIGNED:
        return 0.0, 2.0**bits - 1
    what = f"a TIFF of {bits}-bit {TYPES[page.sampleformat]}"
    if page.sampleformat == SIGNED:
        raise ValueError(f"{what} without their range (SMinSampleValue, SMaxSampleValue)")
    is_finite = np.isfinite(samples)
    lowest = float(samples.min(where=is_finite, initial=np.inf))
    highest = float(samples.max(where=is_finite, initial=-np.inf))
    if lowest < -OVERSHOOT or highest > 1 + OVERSHOOT:
        raise ValueError(
            f"{what} from {lowest:g} to {highest:g} without their range (SMinSampleValue, "
            "SMaxSampleValue), which would be 0 to 1"
        )
    return 0.0, 1.0


def _unit(samples: npt.NDArray[Any], low: float, high: float) -> FloatArray:
    """Scale samples to 0..1 as float32; what is no number becomes 0."""
    unit = (samples.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    clipped: FloatArray = np.clip(np.nan_to_num(unit, nan=0.0, posinf=0.0, neginf=0.0), 0, 1)
    return clipped


def _colormap(page: TiffPage) -> UInt8Array:
    """Return the colours `(n, 3)` of a palette, which has 16 bits or, in old files, 8."""
    if page.colormap is None:
        raise ValueError("a TIFF with a palette that is missing")
    colors = page.colormap.T
    if colors.max() >= 256:
        colors = uint8_from_uint16(colors)
    return np.ascontiguousarray(colors, dtype=np.uint8)


def _lab(samples: npt.NDArray[Any], page: TiffPage) -> Image.Image:
    """Return CIE Lab in Pillow's mode LAB: a and b are signed in CIELAB, plus 128 in ICCLAB."""
    lightness, ab = samples[..., :1].astype(np.float32), samples[..., 1:3]
    is_signed, is_deep = page.photometric == CIELAB, page.bitspersample == 16
    if is_signed:
        ab = ab.astype(np.int16 if is_deep else np.int8)
    ab = ab.astype(np.float32) / (256 if is_deep else 1) - (0 if is_signed else 128)
    if is_deep:
        lightness /= np.float32(257 if is_signed else 256)
    rounded = np.rint(np.concatenate((lightness, np.clip(ab, -128, 127)), -1))
    lab = np.ascontiguousarray(rounded.astype(np.int16).astype(np.uint8))
    return Image.frombytes("LAB", (lab.shape[1], lab.shape[0]), lab.tobytes(), "raw", "LAB")
