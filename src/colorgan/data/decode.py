"""Open and decode picture files (JPEG, PNG, TIFF, ...), or refuse them with a reason.

Colouring and training read pictures here and nowhere else: `opened` gives the pages of a file, and
`decode` makes of the first one a photo to train on.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any, Literal

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from colorgan.color import UInt8Array
from colorgan.data import mend, tiff

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
"""The formats that are tried, whatever the file's name, besides HEIC. Not all that Pillow knows:
EPS runs Ghostscript, and some formats are plain text, for which any text file could be taken."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
JPEG2000_SIZE = b"\xff\x4f\xff\x51"
"""Where the codestream of a JPEG 2000 begins, with sizes and bits."""
PNM_NEXT = rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})"
PNM_HEAD = re.compile(rb"\s*P(?:4|([56]))" + 2 * PNM_NEXT + rb"(?(1)" + PNM_NEXT + rb")\s")
JPEG2000_UUIDS = {
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
}
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""How a picture with an EXIF orientation is turned upright."""
OPAQUE_FROM = 250
"""Alpha from which on a pixel counts as opaque; scanners and editors leave 254 behind."""

# Pillow logs oddities of a TIFF; without any handler, logging would print them to the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())
# A text of 1 MB, as some programs write, is no reason to refuse a PNG; Pillow limits their sum too.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


class UnreadablePhoto(Exception):  # noqa: N818 - a finding about a photo, not a fault
    """A photo cannot be used; its text is the reason, the same whenever the bytes are."""


class Page:
    """A picture of an open file; `load` decodes it.

    Attributes:
        format, size, info: as in Pillow's `Image`; `info` is complete after `load`.
        is_gray: whether it has no colours.
        orientation: of EXIF, 1 to 8; 1 if there is none.
        n_left: further pictures of the file that `opened` does not give.
        warning: what of the file is damaged, though not this picture; known after `load`.
    """

    def __init__(self, content: bytes, image: Image.Image, warning: str = "") -> None:
        self._content, self._image = content, image
        if image.format == "JPEG2000":
            image.info |= _jpeg2000_info(memoryview(content))
        self._is_png16 = image.format == "PNG" and content[24] == 16
        self.format, self.size = image.format or "", image.size
        self.info: dict[Any, Any] = image.info
        self.is_gray = image.mode in GRAY_MODES or (self._is_png16 and content[25] in (0, 4))
        self.orientation = orientation(image)
        # MPO is a JPEG with another picture after it, a preview or a map of depth (phones).
        n_frames = _pnm_count(content) if image.format == "PPM" else getattr(image, "n_frames", 1)
        self.n_left = 0 if image.format == "MPO" else n_frames - 1
        self.warning = warning

    def exif(self) -> Image.Exif:
        """Read its EXIF data."""
        return self._image.getexif()

    def load(self, side: int = 0) -> tuple[Image.Image, UInt8Array | None]:
        """Decode it to an image without palette and alpha, and its alpha `(H, W)` if it has one.

        A JPEG much larger than `side` comes at a half, quarter or eighth of its size.
        """
        image = self._image
        if self.format == "JPEG2000" and len(image.getbands()) > 1:
            bits = jpeg2000_bits(self._content, self.size)
            if bits > 8:
                return self._load_deep(bits)
        # Both sides stay at least `side` long.
        draft = (None, (side, side)) if side and image.format in ("JPEG", "MPO") else None
        if draft:
            image.draft(*draft)
        try:
            image.load()
        except OSError:
            whole = mend.whole_jpeg(self._content, draft) if image.format == "JPEG" else None
            if whole is None:
                raise
            image, self.warning = whole, "damaged: its end is missing"
        if self._is_png16:
            return self._load_deep(16)
        last_row = image.crop((0, image.height - 1, *image.size))
        if self.format == "PNG" and last_row.getbbox(alpha_only=False) is None:
            import imagecodecs

            # Fails if rows are missing, which Pillow makes black.
            imagecodecs.png_decode(self._content)
        return split_alpha(image)

    def _load_deep(self, bits: int) -> tuple[Image.Image, UInt8Array | None]:
        """Decode more than 8 bits.

        Of a PNG Pillow drops the rest, and takes transparency for that of 8 bits. Of a JPEG 2000
        it makes white black, as it rounds 255.5 up to 256.
        """
        import imagecodecs

        is_png, mode = self.format == "PNG", self._image.mode
        decoder = imagecodecs.png_decode if is_png else imagecodecs.jpeg2k_decode
        samples = np.atleast_3d(decoder(self._content))
        if mode in ("CMYK", "YCbCr") or samples.dtype.kind != "u":
            raise ValueError(
                f"a {self.format} of {bits} bits in {mode} and {samples.dtype}, which is not read"
            )
        n_samples = samples.shape[2]
        alpha = n_samples - 1 if n_samples in (2, 4) else None
        pixels, alphas = tiff.scaled(samples, 1 if n_samples <= 2 else 3, 0, 2**bits - 1, alpha)
        del samples  # for the peak of memory
        colors = Image.fromarray(pixels)
        colors.info = self.info
        return colors, alphas


class TiffPage(Page):
    """A page of a TIFF, left to Pillow where that reads it right; `load` turns it upright."""

    def __init__(self, content: bytes, page: Any, warning: str) -> None:
        self._content, self._page, self.warning = content, page, warning
        turned = tiff.number(page, ORIENTATION, 1)
        self._turn = UPRIGHT.get(turned)
        self.format, self.info = "TIFF", tiff.info(page)
        self.size = _upright_size((page.imagewidth, page.imagelength), turned)
        self.is_gray = page.photometric in (tiff.WHITE_IS_ZERO, tiff.BLACK_IS_ZERO)
        self.orientation, self.n_left = 1, 0

    def exif(self) -> Image.Exif:
        """Read its tags."""
        return tiff.exif(self._content, self._page)

    def load(self, side: int = 0) -> tuple[Image.Image, UInt8Array | None]:
        """Decode it in its full size."""
        # Pillow opens no file of which the first page is too much for it.
        with suppress(UnidentifiedImageError):
            if tiff.is_plain(self._page):
                stored = Image.open(io.BytesIO(self._content), formats=("TIFF",))
                stored.seek(self._page.index)
                stored.load()  # turns it upright
                return split_alpha(stored)
        image, alpha = tiff.load(self._page)
        if self._turn is not None:
            image = image.transpose(self._turn)
            if alpha is not None:
                alpha = np.asarray(Image.fromarray(alpha).transpose(self._turn))
        image.info = self.info
        return image, alpha


@dataclass(frozen=True)
class DecodedPhoto:
    """A decoded photo: three bytes a pixel, and what they mean."""

    image: Image.Image  # mode RGB, whatever the encoding
    encoding: Literal["srgb", "lab"]  # `lab`: in 8 bits, L*255/100, a+128, b+128
    size: tuple[int, int]  # width and height before it was decoded to a smaller photo


def decode(content: bytes, side: int) -> DecodedPhoto:
    """Decode a picture file to sRGB, upright: the first picture where it holds several.

    Embedded colour profiles are converted to sRGB; CMYK without one by Pillow's plain formula. Gray
    and transparent pictures are refused: they do not hold a whole photo in colour.
    """
    with opened(content) as pages:
        page = pages[0]
        if page.is_gray:
            raise UnreadablePhoto("gray: it has no colour to learn from")
        image, alpha = page.load(side)
        if alpha is not None and alpha.min() < OPAQUE_FROM:
            raise UnreadablePhoto("transparent: parts of the picture are not there")
        upright = srgb(image)
        if page.orientation in UPRIGHT:
            upright = upright.transpose(UPRIGHT[page.orientation])
        return DecodedPhoto(upright, "srgb", _upright_size(page.size, page.orientation))


@dataclass(frozen=True)
class RawPhoto:
    """A photo of a data source, not decoded yet."""

    content: bytes  # empty where the source could not get them
    name: str  # where it lies in its source, for messages and rejected.csv
    label: str = ""  # its class
    split: str | None = None  # train, val or test where the source has splits of its own
    problem: str = ""  # why it cannot be used, where the source knows that already
    decoder: Callable[[bytes, int], DecodedPhoto] = decode

    @property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of its bytes: the same photo has the same id anywhere.

        Of its name where there are no bytes, so that such photos are no duplicates.
        """
        content = self.content or self.name.encode("utf-8", "surrogateescape")
        return hashlib.sha256(content).hexdigest()[:16]

    def decode(self, side: int) -> DecodedPhoto:
        """Decode it, to no less than `side` pixels on the shorter side where it has as many."""
        if self.problem:
            raise UnreadablePhoto(self.problem)
        return self.decoder(self.content, side)


@dataclass(frozen=True)
class PhotoList:
    """Photos that are read one by one: `read_one(*place)` reads the photo at a place."""

    read_one: Callable[..., RawPhoto]
    places: Sequence[tuple[Any, ...]]

    def __len__(self) -> int:
        return len(self.places)

    def read(self, rows: Sequence[int]) -> Iterator[RawPhoto]:
        """Yield the photos at `rows`."""
        return (self.read_one(*self.places[row]) for row in rows)


@contextmanager
def opened(content: bytes) -> Iterator[list[Page]]:
    """Open a picture file without decoding its pixels: all pages of a TIFF, else the first picture.

    Any exception inside the block counts as a fault of the file, and becomes an UnreadablePhoto.
    """
    if not content:
        raise UnreadablePhoto("unreadable: the file is empty")
    try:
        with warnings.catch_warnings():
            # Half-known metadata is no reason to leave a photo out.
            warnings.simplefilter("ignore")
            file, warning = io.BytesIO(content), ""
            if content.startswith(TIFF_STARTS):
                with tiff.opened(file) as (pages, missing):
                    for page in pages:
                        _check_size((page.imagewidth, page.imagelength))
                        _check_size((page.tilewidth, page.tilelength))
                    yield [TiffPage(content, page, missing) for page in pages]
                return
            if content.startswith(mend.PNG_START):
                content, warning = mend.mended_png(content)
                file = io.BytesIO(content)
            with _image(file) as image:
                _check_size(image.size)
                yield [Page(content, image, warning)]
    except UnreadablePhoto:
        raise
    except Exception as error:
        # Decoders raise nearly anything for damaged files: OSError, SyntaxError, struct.error, ...
        reason = f"unreadable: {' '.join(str(error).split()) or type(error).__name__}"
        if isinstance(error, Image.DecompressionBombError):
            reason = f"too large: over {Image.MAX_IMAGE_PIXELS} pixels"
        elif isinstance(error, UnidentifiedImageError):
            # Pillow's own text holds an address in memory, another one each time.
            reason = f"unreadable: not a {', '.join(FORMATS)} or HEIC, or a damaged one"
            if content.startswith(b"\xff\xd8\xff"):
                deep = re.search(rb"\xff[\xc0-\xc3]\0.([\x09-\x10])", content, re.DOTALL)
                what = f"of {deep[1][0]} bits, which is not read" if deep else "that is damaged"
                reason = f"unreadable: a JPEG {what}"
        raise UnreadablePhoto(reason) from error


def read_head(file: IO[bytes]) -> tuple[str, int]:
    """Return the format of a picture file, as Pillow calls it, and the pixels of its largest page.

    For no picture, and for a damaged one, decoders raise nearly anything.
    """
    start = file.read(4)
    file.seek(0)
    if start in TIFF_STARTS:
        with tiff.opened(file) as (pages, _):
            return "TIFF", max(page.imagewidth * page.imagelength for page in pages)
    with _image(file) as image:
        return image.format or "", image.width * image.height


def _image(file: IO[bytes]) -> Image.Image:
    """Open a file with Pillow."""
    start, formats = file.read(64), list(FORMATS)
    file.seek(0)
    if start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS and b"avif" not in start:
        try:
            import pillow_heif
        except ModuleNotFoundError:
            raise UnreadablePhoto(
                "not read: HEIC needs pillow-heif, which is not installed: pip install pillow-heif"
            ) from None
        pillow_heif.register_heif_opener()
        formats = ["HEIF"]
    return Image.open(file, formats=formats)


def _check_size(size: tuple[int, int]) -> None:
    # Up to twice its limit, Pillow only warns.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size[0] * size[1] > limit:
        raise Image.DecompressionBombError


def _upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if 5 <= orientation <= 8 else size


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 if there is none or the metadata is damaged."""
    # Not ImageOps.exif_transpose: it fails where it cannot write the other metadata back.
    try:
        found = int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1
    return found if found in UPRIGHT else 1


def jpeg2000_bits(content: bytes, size: tuple[int, int]) -> int:
    """Return the bits of a sample of a JPEG 2000; ValueError if it is not of this size."""
    start = content.index(JPEG2000_SIZE)
    right, bottom, left, top = struct.unpack_from(">4L", content, start + 8)
    if (right - left, bottom - top) != size:
        raise ValueError("a JPEG 2000 of another size than its head says")
    return (content[start + 42] & 0x7F) + 1


def _pnm_count(content: bytes) -> int:
    """Count the pictures of a PNM, of which Pillow reads the first; a plain one (text) has one."""
    count = end = 0
    while end < len(content) and (head := PNM_HEAD.match(content, end)):
        width, height, most = (int(number or 1) for number in head.groups()[1:])
        bits = (3 if head[1] == b"6" else 1) * (16 if most > 255 else 8 if head[1] else 1)
        count, end = count + 1, head.end() + height * -(-width * bits // 8)
    return max(count, 1)


def _jpeg2000_info(content: memoryview) -> dict[Any, Any]:
    """Read EXIF, XMP and colour profile from the boxes of a JPEG 2000, which Pillow does not."""
    found: dict[Any, Any] = {}
    while len(content) >= 16:
        length, kind, long_length = struct.unpack_from(">L4sQ", content)
        head = 16 if length == 1 else 8
        length = {0: len(content), 1: long_length}.get(length, length)
        box, content = content[head:length], content[max(length, head) :]
        if kind == b"jp2h":
            found |= _jpeg2000_info(box)
        elif kind == b"colr" and bytes(box[:1]) == b"\2":
            found["icc_profile"] = bytes(box[3:])
        elif kind == b"uuid" and (name := JPEG2000_UUIDS.get(bytes(box[:16]))):
            found[name] = bytes(box[16:])
    return found


def srgb(image: Image.Image) -> Image.Image:
    """Convert to sRGB by the embedded profile; by Pillow's formula where none fits."""
    profile = image.info.get("icc_profile")
    transform = _transform(profile, image.mode) if profile else None
    if transform is None and image.mode == "LAB":
        transform = _transform(b"", "LAB")
    if transform is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def split_alpha(image: Image.Image) -> tuple[Image.Image, UInt8Array | None]:
    """Split an image into one without palette and alpha, and its alpha `(H, W)`."""
    if not image.has_transparency_data:
        return image.convert("RGB") if image.mode == "P" else image, None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        is_opaque = np.asarray(image) != image.info["transparency"]
        return image, is_opaque.astype(np.uint8) * np.uint8(255)
    colors = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    image = image.convert(f"{colors}A")
    return image.convert(colors), np.asarray(image.getchannel("A"))


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB; cached, for photos of a camera share theirs.

    None for a damaged profile, or one for another mode: the pixels are still a photo. No bytes
    stand for CIE Lab.
    """
    try:
        lab = ImageCms.createProfile("LAB")
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile) if profile else lab)
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
