"""Metadata of picture files (EXIF, XMP, IPTC, ...): read it, and write it to another format."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from PIL import ExifTags, ImageCms, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from colorgan.data.decode import ORIENTATION, Page
from colorgan.data.mend import PNG_START
from colorgan.data.tiff import ICC_PROFILE, IPTC, PHOTOSHOP, XMP

KEPT = {
    "JPEG": ("EXIF", "XMP", "IPTC", "comment", "resolution", "colour profile"),
    "PNG": ("EXIF", "XMP", "comment", "text", "resolution", "colour profile"),
    "WEBP": ("EXIF", "XMP", "resolution", "colour profile"),
    "TIFF": ("EXIF", "XMP", "IPTC", "resolution", "colour profile"),
    "AVIF": ("EXIF", "XMP", "resolution", "colour profile"),
    "BMP": ("resolution",),
}
"""The kinds of metadata that a format holds."""
UPRIGHT_ONLY = ("BMP", "AVIF")
"""Formats written upright. BMP has no orientation; for that of an AVIF, Pillow rewrites the EXIF,
with captions in ASCII."""
NO_TEXTS = ("XML:com.adobe.xmp", "Raw profile type exif")
"""Texts of a PNG that are XMP and EXIF."""
CREDENTIALS, PHOTOSHOP_DATA = "content credentials", "Photoshop data"
EMBEDDED, DAMAGED = "embedded pictures", "damaged EXIF tags"
"""Kinds of metadata that no format keeps. Credentials are signed, and not for the new pixels."""
MARKS = (
    (CREDENTIALS, b"jumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71"),
    (CREDENTIALS, bytes.fromhex("d8fec3d61b0e483c92975828877ec481")),  # AVIF, HEIC
    (CREDENTIALS, b"C2PA_GIF"),
    ("extended XMP", b"http://ns.adobe.com/xmp/extension/\0"),
    (EMBEDDED, b"hdrgm:Version"),  # in XMP: a gain map follows
    (EMBEDDED, b"MotionPhoto"),
    (EMBEDDED, b"MicroVideo"),
    ("XMP of GIF", b"XMP DataXMP"),
    ("IPTC of JPEG 2000", bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")),
)
"""Bytes by which such a kind is found."""
LOST_TAGS = {37724: PHOTOSHOP_DATA, 52545: CREDENTIALS}
PHOTOSHOP_READ = {0x3ED, 0x404, 0x409, 0x40C, 0x40F, 0x422, 0x423, 0x424, 0x425}
"""Photoshop's resolution, IPTC, thumbnails, colour profile, EXIF and XMP, which stand elsewhere."""
JPEG_SEGMENT = 65_000
"""Bytes of metadata that fit into a segment of a JPEG."""
SUB_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
"""EXIF tags that hold further tags."""
RESOLUTION_TAGS = (282, 283, 296)
LAYOUT_TAGS = frozenset(
    {*range(254, 267), 273, *range(277, 282), 284, *range(288, 294), *range(317, 326), 330}
    | {*range(332, 348), *range(512, 522), *range(529, 533)}
)
"""TIFF tags that say how pixels are stored; the new file has its own. Thumbnails are among them."""
IPTC_HEAD = b"8BIM\x04\x04\0\0"
"""What stands before IPTC records, and their length, among what Photoshop writes."""
TIFF_HEAD = b"II*\0\x08\0\0\0"
XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:=["']|>))\d""")
"""The orientation in XMP, which Pillow and others read where EXIF has none."""

Tags = dict[int, Any]


@dataclass(frozen=True)
class Metadata:
    """The metadata that a coloured picture keeps of its source file, and warnings about the file.

    Attributes:
        format: of the source, as Pillow calls it.
        exif: EXIF tags, those of SUB_IFDS in dictionaries of their own, without tags of the pixel
            layout and without the (gray) thumbnail; texts that are not ASCII as bytes.
        dpi: horizontal and vertical resolution.
        xmp: XMP packet.
        iptc: IPTC records.
        comment: comments of a JPEG or GIF, or texts `Comment` of a PNG, a line each.
        text: further texts of a PNG, with their names.
        had_profile: whether an ICC profile was embedded.
        unkept: kinds of metadata that no format keeps.
        n_pages: pages of a TIFF that follow.
        n_left: further pictures of another file.
        warning: what of the file is damaged, though not this picture.
    """

    format: str
    exif: Tags = field(default_factory=dict)
    dpi: tuple[float, float] | None = None
    xmp: bytes = b""
    iptc: bytes = b""
    comment: bytes = b""
    text: tuple[tuple[str, str], ...] = ()
    had_profile: bool = False
    unkept: frozenset[str] = frozenset()
    n_pages: int = 0
    n_left: int = 0
    warning: str = ""

    @classmethod
    def from_page(cls, page: Page, content: bytes, n_pages: int = 0) -> Metadata:
        """Read the metadata of a decoded page of a file, which `n_pages` more follow."""
        info, blocks = page.info, list(_blocks(page.format, content))
        texts = _png_texts(blocks)
        comments = [block for kind, block in blocks if kind == "COM"]
        comments += [text.encode() for name, text in texts if name == "Comment"]
        if page.format == "GIF":
            comments.append(info.get("comment", b""))
        xmp = info.get("xmp") or b""
        xmp = xmp.encode() if isinstance(xmp, str) else xmp.rstrip(b"\0")
        if page.format == "TIFF":
            xmp = _upright(xmp)
        exif, unkept = _exif(page)
        unkept |= {what for what, mark in MARKS for _, block in blocks if mark in block}
        if any(kind == "caBX" or (kind == "APP11" and b"jumb" in block) for kind, block in blocks):
            unkept.add(CREDENTIALS)
        if not _photoshop_codes(info) <= PHOTOSHOP_READ:
            unkept.add(PHOTOSHOP_DATA)
        if page.format == "MPO" or info.get("aux") or info.get("depth_images"):
            unkept.add(EMBEDDED)
        return cls(
            format=page.format,
            exif=exif,
            dpi=_resolution(info),
            xmp=xmp,
            iptc=_iptc(info),
            comment=b"\n".join(comments),
            text=tuple(text for text in texts if text[0] not in ("Comment", *NO_TEXTS)),
            had_profile="icc_profile" in info,
            unkept=frozenset(unkept),
            n_pages=n_pages,
            n_left=page.n_left,
            warning=page.warning,
        )

    def notes(self, format: str) -> list[str]:
        """Return what should be said of the picture, coloured and written in a format."""
        notes = [f"{self.warning}; coloured all the same"] if self.warning else []
        if n_left := self.n_left + (self.n_pages if format != "TIFF" else 0):
            notes.append(f"its first picture was coloured, {n_left} more were not")
        return notes

    def lost(self, format: str) -> list[str]:
        """Return the kinds of metadata that a file of this format cannot keep."""
        sizes = {
            "EXIF": len(exif_bytes(self.exif)) if self.exif else 0, "XMP": len(self.xmp),
            "IPTC": len(self.iptc), "comment": len(self.comment), "text": len(self.text),
            "resolution": int(self.dpi is not None), "colour profile": int(self.had_profile),
        }  # fmt: skip
        most = JPEG_SEGMENT if format == "JPEG" else 2**62
        lost = [kind for kind in sizes if sizes[kind] > (most if kind in KEPT[format] else 0)]
        return [*lost, *sorted(self.unkept)]

    def save_options(self, format: str) -> dict[str, Any]:
        """Return what a format other than TIFF can hold, as arguments of `Image.save`."""
        kept = {*KEPT[format]}.difference(self.lost(format))
        has_dpi = format in ("JPEG", "PNG", "BMP")
        exif = self.exif if has_dpi else self._exif_with_resolution()
        if "EXIF" not in kept:  # as it is too long for a JPEG
            exif = {tag: value for tag, value in exif.items() if tag == ORIENTATION}
        xmp = self.xmp if "XMP" in kept and format != "PNG" else b""
        if format in UPRIGHT_ONLY:
            exif = {tag: value for tag, value in exif.items() if tag != ORIENTATION}
            xmp = _upright(xmp)
        options = {
            "exif": exif_bytes(exif) if exif else b"",
            "dpi": self.dpi if has_dpi else None,
            "icc_profile": srgb_profile() if self.had_profile and "colour profile" in kept else b"",
            "xmp": xmp,
            "comment": self.comment if "comment" in kept and format != "PNG" else b"",
            "extra": _photoshop_segment(self.iptc) if self.iptc and "IPTC" in kept else b"",
            "pnginfo": self._png_texts() if format == "PNG" else None,
        }
        return {name: value for name, value in options.items() if value}

    def tiff_tags(self) -> Tags:
        """Return the metadata as the tags of a TIFF."""
        blocks = {XMP: self.xmp, IPTC: self.iptc}
        blocks[ICC_PROFILE] = srgb_profile() if self.had_profile else b""
        tags = self._exif_with_resolution()
        return tags | {tag: block for tag, block in blocks.items() if block}

    def _exif_with_resolution(self) -> Tags:
        """Return EXIF with the resolution, for formats that have no other place for it."""
        if self.dpi is None or any(tag in self.exif for tag in RESOLUTION_TAGS):
            return self.exif
        return self.exif | dict(zip(RESOLUTION_TAGS, (*self.dpi, 2), strict=True))

    def _png_texts(self) -> PngImagePlugin.PngInfo:
        texts = PngImagePlugin.PngInfo()
        comment = [("Comment", _text(self.comment))] if self.comment else []
        for name, value in (*comment, *self.text):
            texts.add_text(name, value)
        if self.xmp:
            texts.add_itxt("XML:com.adobe.xmp", _text(self.xmp))
        return texts


def exif_bytes(tags: Tags) -> bytes:
    """Encode EXIF tags."""
    return b"Exif\0\0" + TIFF_HEAD + directory(tags).tobytes(len(TIFF_HEAD))


def directory(tags: Tags) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Return tags as Pillow writes them."""
    written = TiffImagePlugin.ImageFileDirectory_v2(TIFF_HEAD)
    for tag, value in tags.items():
        written[tag] = value
    return written


def srgb_profile() -> bytes:
    """Return the ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _blocks(format: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of a JPEG's segments or a PNG's sound chunks, without pixels.

    Of a format whose pixels take little, the whole file.
    """
    if format in ("JPEG", "MPO"):
        yield from JpegImagePlugin.JpegImageFile(io.BytesIO(content)).applist
    elif format == "PNG":
        at = len(PNG_START)
        while at + 12 <= len(content):
            length, kind = struct.unpack_from(">L4s", content, at)
            chunk, at = content[at + 4 : at + 8 + length], at + 12 + length
            is_sound = zlib.crc32(chunk).to_bytes(4, "big") == content[at - 4 : at]
            if is_sound and kind != b"IDAT":
                yield kind.decode("latin-1"), chunk[4:]
    elif format not in ("TIFF", "BMP", "PPM"):
        yield "", content


def _png_texts(blocks: Iterable[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """Read the texts of a PNG; `Image.text` has one of each name."""
    texts: list[tuple[str, str]] = []
    for kind, block in blocks:
        if kind in ("tEXt", "zTXt", "iTXt"):
            stream = PngImagePlugin.PngStream(io.BytesIO(block))
            stream.call(kind.encode(), 0, len(block))
            texts += stream.im_text.items()
    return texts


def _exif(page: Page) -> tuple[Tags, set[str]]:
    """Read EXIF tags, and the kinds of what is not among them. Damage must not stop a picture."""
    unread = {*LAYOUT_TAGS, XMP, IPTC, PHOTOSHOP, ICC_PROFILE, *LOST_TAGS}
    if page.format == "TIFF":
        unread.add(ORIENTATION)  # its pixels are turned upright
    tags: Tags = {}
    unkept: set[str] = set()
    try:
        exif = page.exif()
        unkept |= {kind for tag, kind in LOST_TAGS.items() if tag in exif}
        tags = {tag: exif[tag] for tag in {*exif} - unread}
        tags |= {tag: dict(exif.get_ifd(tag)) for tag in SUB_IFDS}
        if ExifTags.IFD.Interop in (inner := tags[ExifTags.IFD.Exif]):
            interop = {} if page.format == "TIFF" else exif.get_ifd(ExifTags.IFD.Interop)
            inner[ExifTags.IFD.Interop] = dict(interop)
        tags = _with_bytes(tags)
        exif_bytes(tags)
    except Exception:
        unkept.add(DAMAGED)
        tags = _sound(_with_bytes(tags))
    return tags, unkept


def _with_bytes(tags: Tags) -> Tags:
    """Turn texts back to the bytes of the file: of texts, Pillow would write ASCII alone."""
    encoded: Tags = {}
    for tag, value in tags.items():
        if isinstance(value, str) and not value.isascii():
            value = value.encode("latin-1", "replace")
        encoded[tag] = _with_bytes(value) if isinstance(value, dict) else value
    return {tag: value for tag, value in encoded.items() if value != {}}


def _sound(tags: Tags) -> Tags:
    """Return the tags that can be written."""
    sound: Tags = {}
    for tag, value in tags.items():
        with suppress(Exception):
            one = {tag: _sound(value) if isinstance(value, dict) else value}
            exif_bytes(one)
            sound |= one
    return sound


def _upright(xmp: bytes) -> bytes:
    """Let an XMP packet say that the picture is upright, if it says anything of that."""
    return XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def _resolution(info: dict[Any, Any]) -> tuple[float, float] | None:
    try:
        x, y = map(float, info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None


def _iptc(info: dict[Any, Any]) -> bytes:
    """Return the IPTC records: a tag of a TIFF, or a block in what Photoshop writes."""
    blocks = info.get("photoshop", b"")
    if isinstance(blocks, dict):
        found = blocks.get(0x0404, b"")
        return found if isinstance(found, bytes) else b""
    block = blocks.partition(IPTC_HEAD)[2]
    own: bytes = info.get("iptc", b"")
    return own or block[4 : 4 + int.from_bytes(block[:4], "big")]


def _photoshop_codes(info: dict[Any, Any]) -> set[int]:
    blocks = info.get("photoshop", {})
    if isinstance(blocks, dict):
        return {*blocks}
    return {int.from_bytes(code) for code in re.findall(rb"8BIM(..)", blocks, re.DOTALL)}


def _photoshop_segment(iptc: bytes) -> bytes:
    """Return the segment of a JPEG that holds IPTC records."""
    block = IPTC_HEAD + struct.pack(">L", len(iptc)) + iptc
    content = b"Photoshop 3.0\0" + block + b"\0" * (len(block) % 2)
    return b"\xff\xed" + struct.pack(">H", len(content) + 2) + content


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
