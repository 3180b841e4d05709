"""Metadata of picture files (EXIF, XMP, IPTC, ...): read it, and write it to another format."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from PIL import ExifTags, ImageCms, PngImagePlugin, TiffImagePlugin

from colorgan.data.decode import ORIENTATION, Page
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
NO_TEXTS = ("XML:com.adobe.xmp", "Raw profile type exif")
"""Texts of a PNG that are XMP and EXIF."""
JPEG_SEGMENT = 65_000
"""Bytes of metadata that fit into a segment of a JPEG."""
SUB_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
"""EXIF tags that hold further tags."""
RESOLUTION_TAGS = (282, 283, 296)
LAYOUT_TAGS = frozenset(
    {*range(254, 267), 273, *range(277, 282), 284, *range(288, 294), *range(317, 326), 330}
    | {*range(332, 348), *range(512, 522), *range(529, 533), 37724}
)
"""TIFF tags that say how pixels are stored; the new file has its own. Thumbnails and the layers of
Photoshop are among them."""
IPTC_HEAD = b"8BIM\x04\x04\0\0"
"""What stands before IPTC records, and their length, among what Photoshop writes."""
TIFF_HEAD = b"II*\0\x08\0\0\0"

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
        comment: comment of a JPEG or GIF, or the text `Comment` of a PNG.
        text: further texts of a PNG.
        had_profile: whether an ICC profile was embedded.
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
    text: dict[str, str] = field(default_factory=dict)
    had_profile: bool = False
    n_pages: int = 0
    n_left: int = 0
    warning: str = ""

    @classmethod
    def from_page(cls, page: Page, n_pages: int = 0) -> Metadata:
        """Read the metadata of a decoded page, which `n_pages` more follow."""
        info = page.info
        texts = info.items() if page.format == "PNG" else ()
        text = {name: x for name, x in texts if isinstance(x, str) and name not in NO_TEXTS}
        comment = info.get("comment", b"") if page.format in ("JPEG", "MPO", "GIF") else b""
        xmp = info.get("xmp") or b""
        return cls(
            format=page.format,
            exif=_exif(page),
            dpi=_resolution(info),
            xmp=xmp.encode() if isinstance(xmp, str) else xmp.rstrip(b"\0"),
            iptc=_iptc(info),
            comment=comment or text.pop("Comment", "").encode(),
            text=text,
            had_profile="icc_profile" in info,
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
        return [
            kind for kind, size in sizes.items() if size > (most if kind in KEPT[format] else 0)
        ]

    def save_options(self, format: str) -> dict[str, Any]:
        """Return what a format other than TIFF can hold, as arguments of `Image.save`."""
        kept = {*KEPT[format]}.difference(self.lost(format))
        has_dpi = format in ("JPEG", "PNG", "BMP")
        exif = self.exif if has_dpi else self._exif_with_resolution()
        options = {
            "exif": exif_bytes(exif) if exif and "EXIF" in kept else b"",
            "dpi": self.dpi if has_dpi else None,
            "icc_profile": srgb_profile() if self.had_profile and "colour profile" in kept else b"",
            "xmp": self.xmp if "XMP" in kept and format != "PNG" else b"",
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
        comment = {"Comment": _text(self.comment)} if self.comment else {}
        for name, value in (comment | self.text).items():
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


def _exif(page: Page) -> Tags:
    """Read EXIF tags, none if they are damaged: that must not stop a picture."""
    try:
        exif = page.exif()
        dropped = {*LAYOUT_TAGS, XMP, IPTC, PHOTOSHOP, ICC_PROFILE}
        if page.format == "TIFF":
            dropped.add(ORIENTATION)  # its pixels are turned upright
        tags: Tags = {tag: value for tag, value in exif.items() if tag not in dropped}
        for tag in SUB_IFDS:
            if inside := exif.get_ifd(tag):
                tags[tag] = _with_bytes(inside)
        if ExifTags.IFD.Interop in (inner := tags.get(ExifTags.IFD.Exif, {})):
            inner[ExifTags.IFD.Interop] = dict(exif.get_ifd(ExifTags.IFD.Interop))
        tags = _with_bytes(tags)
        exif_bytes(tags)
    except Exception:
        return {}
    return tags


def _with_bytes(tags: Tags) -> Tags:
    """Turn texts back to the bytes of the file: of texts, Pillow would write ASCII alone."""
    texts = {tag: x for tag, x in tags.items() if isinstance(x, str) and not x.isascii()}
    return {**tags, **{tag: text.encode("latin-1", "replace") for tag, text in texts.items()}}


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
