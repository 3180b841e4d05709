"""Each format keeps each kind of metadata that docs/colorize.md says it keeps."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drawn import Colorize, draw, encoded, gray, lightness_off, names_in, pixels
from PIL import Image, ImageOps, PngImagePlugin

from colorgan.data.decode import opened
from colorgan.inference.metadata import KEPT, Metadata, exif_bytes, srgb_profile

DOCS = Path(__file__).parents[2] / "docs" / "colorize.md"
KINDS = ("EXIF", "XMP", "IPTC", "comment", "text", "resolution", "colour profile")
SUFFIX = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "AVIF": "avif", "BMP": "bmp"}
XMP_PACKET = "<x:xmpmeta xmlns:x='adobe:ns:meta/'>Größe</x:xmpmeta>".encode()
IPTC_RECORDS = b"\x1c\x02x\x00\x0aOma Gr\xc3\xb6\xc3\x9fe"
CAPTIONS = {"UTF-8": "Omaöß 1931".encode(), "Latin-1": "Omaöß 1931".encode("latin-1")}
TAKEN, PLACE = "1931:06:01 12:00:00", (48.0, 8.0, 30.5)


def photoshop(iptc: bytes) -> bytes:
    block = b"8BIM\x04\x04\0\0" + struct.pack(">L", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    content = b"Photoshop 3.0\0" + block
    return b"\xff\xed" + struct.pack(">H", len(content) + 2) + content


def source(format: str, caption: bytes = CAPTIONS["UTF-8"]) -> Path:
    """Write a picture with all the metadata that a format can hold."""
    data = Image.Exif()
    data[0x10F], data[0x10E] = "Leica", caption
    data.get_ifd(0x8769)[0x9003] = TAKEN
    data.get_ifd(0x8825)[2] = PLACE
    options: dict[str, Any] = {"dpi": (300, 300), "icc_profile": srgb_profile()}
    options |= {"exif": data.tobytes(), "xmp": XMP_PACKET}
    image = Image.fromarray(gray()).convert("RGB")
    if format == "JPEG":
        options |= {"comment": b"box 7", "extra": photoshop(IPTC_RECORDS)}
    if format == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Comment", "box 7")
        texts.add_itxt("Title", "Größe")
        texts.add_itxt("XML:com.adobe.xmp", XMP_PACKET.decode())
        options["pnginfo"] = texts
    if format != "TIFF":
        return draw(f"a.{SUFFIX[format]}", image, **options)
    path = Path("a.tif")
    tags = [
        (270, "s", 0, caption, True), (271, "s", 0, b"Leica", True),
        (700, "B", 0, XMP_PACKET, True), (33723, "B", 0, IPTC_RECORDS, True),
    ]  # fmt: skip
    resolution = {"resolution": (300, 300), "resolutionunit": "inch"}
    tifffile.imwrite(
        path, np.asarray(image), extratags=tags, metadata=None, iccprofile=srgb_profile(),
        photometric="rgb", **resolution,
    )  # fmt: skip
    return path


def metadata(path: Path) -> Metadata:
    with opened(path.read_bytes()) as pages:
        pages[0].load()
        return Metadata.from_page(pages[0], path.read_bytes())


def documented() -> dict[str, dict[str, bool]]:
    """Return the table of docs/colorize.md: kinds of metadata by format."""
    rows = [line.strip("| ").split(" | ") for line in DOCS.read_text().splitlines()]
    [head] = [row for row in rows if row[0] == "kept in"]
    table = {row[0]: row[1:] for row in rows if row[0] in KINDS}
    return {
        format.upper(): {kind: table[kind][i].startswith("yes") for kind in KINDS}
        for i, format in enumerate(head[1:])
    }


@pytest.mark.parametrize("into", KEPT)
@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_true(colorize: Colorize, kind: str, into: str) -> None:
    kept = documented()[into][kind]
    assert kept == (kind in KEPT[into])
    path = source("PNG" if kind == "text" else "JPEG")
    said = colorize(path, "-o", f"out/a.{SUFFIX[into]}")
    assert said.code == 0
    assert (f"{kind} in {into}" in said.out) == (not kept)
    before, after = metadata(path), metadata(Path("out", f"a.{SUFFIX[into]}"))
    if kind == "EXIF":
        assert after.exif.get(0x10F, "") == ("Leica" if kept else "")
        assert after.exif.get(0x8769, {}).get(0x9003) == (TAKEN if kept else None)
        assert after.exif.get(0x8825, {}).get(2) == (PLACE if kept else None)
    elif kind == "resolution":
        exif_x = after.exif.get(282, 0)
        assert round(float(after.dpi[0] if after.dpi else exif_x)) == 300
    else:
        name = {"colour profile": "had_profile"}.get(kind, kind.lower())
        assert getattr(before, name)
        assert getattr(after, name) == (
            getattr(before, name) if kept else type(getattr(before, name))()
        )


def test_what_a_file_has_twice_stays(colorize: Colorize) -> None:
    draw("a.jpg", comment=b"box 7", extra=b"\xff\xfe\0\x07box 8")
    assert colorize("a.jpg", "-o", "out/b.jpg").code == 0
    assert metadata(Path("out/b.jpg")).comment == b"box 8\nbox 7"
    texts = PngImagePlugin.PngInfo()
    long = "Opa" * 500_000  # Pillow refuses a compressed text of 1 MB
    for name, text in (("Title", "Oma"), ("Comment", "7"), ("Title", long), ("Comment", "8")):
        texts.add_text(name, text, zip=text == long)
    draw("c.png", pnginfo=texts)
    said = colorize("c.png", "-o", "out")
    assert said.out == "colorize: 1 coloured, in out\n"
    after = metadata(Path("out/c.png"))
    assert after.text == (("Title", "Oma"), ("Title", long))
    assert after.comment == b"7\n8"


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", 8 + len(content)) + kind + content


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def tagged(code: int, content: bytes) -> bytes:
    tifffile.imwrite("tagged.tif", gray(), extratags=[(code, "B", 0, content, True)], metadata=None)
    return Path("tagged.tif").read_bytes()


C2PA = b"c2pa" + bytes.fromhex("00110010800000aa00389b71")
STORE = box(b"jumb", box(b"jumd", C2PA + b"\3c2pa\0") + b"claims")
IN_UUID = box(b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + b"claims")
PATH = b"8BIM\x07\xd0\0\0\0\0\0\4path"
JPEG_PARTS = {
    "content credentials": segment(0xEB, b"JP\0\1\0\0\0\1" + STORE),
    "extended XMP": segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + bytes(8)),
    "Photoshop data": segment(0xED, b"Photoshop 3.0\0" + PATH),
    "embedded pictures": segment(
        0xE1, b'http://ns.adobe.com/xap/1.0/\0<rdf:Description hdrgm:Version="1.0"/>'
    ),
}
PNG_CREDENTIALS = (
    struct.pack(">L", 6) + b"caBXclaims" + struct.pack(">L", zlib.crc32(b"caBXclaims"))
)
OTHER_PARTS = {
    ("a.png", "content credentials"): lambda png: png[:33] + PNG_CREDENTIALS + png[33:],
    ("a.webp", "content credentials"): lambda webp: webp + b"C2PA" + struct.pack("<L", 99) + STORE,
    ("a.avif", "content credentials"): lambda avif: avif + IN_UUID,
    ("a.gif", "content credentials"): lambda gif: gif[:-1] + b"!\xff\x0bC2PA_GIF\1\0\0\1x\0;",
    ("a.gif", "XMP of GIF"): lambda gif: gif[:-1] + b"!\xff\x0bXMP DataXMP\1x\0;",
    ("a.tif", "content credentials"): lambda _: tagged(52545, STORE),
    ("a.tif", "Photoshop data"): lambda _: tagged(37724, b"layers"),
    ("b.tif", "Photoshop data"): lambda _: tagged(34377, PATH),
    ("a.jp2", "IPTC of JPEG 2000"): lambda jp2: jp2 + box(
        b"uuid", bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38") + IPTC_RECORDS
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "add"),
    [
        *(("a.jpg", kind, lambda jpg, part=part: jpg[:2] + part + jpg[2:])
          for kind, part in JPEG_PARTS.items()),
        *((*key, add) for key, add in OTHER_PARTS.items()),
    ],
)  # fmt: skip
def test_what_no_format_keeps_is_said(
    colorize: Colorize, name: str, kind: str, add: Callable[[bytes], bytes]
) -> None:
    said = colorize(draw(name), "-o", "without")
    assert said.out == "colorize: 1 coloured, in without\n"
    Path(name).write_bytes(add(Path(name).read_bytes()))
    said = colorize(name, "-o", "out")
    [result] = Path("out").iterdir()
    with Image.open(result) as image:
        assert (
            said.out
            == f"colorize: 1 coloured, in out\ncolorize: not kept: {kind} in {image.format}\n"
        )
    content = result.read_bytes()
    assert b"claims" not in content
    assert b"c2pa" not in content
    with opened(content) as pages:
        pages[0].load()
        assert not Metadata.from_page(pages[0], content).unkept - {"embedded pictures"}


@pytest.mark.parametrize("kind", ["aux", "depth_images"])
def test_a_gain_map_and_a_map_of_depth_of_heic_are_said(project: Path, kind: str) -> None:
    content = draw("a.jpg").read_bytes()
    with opened(content) as pages:
        pages[0].info[kind] = {
            "urn:com:apple:photo:2020:aux:hdrgainmap": [1]
        }  # as pillow-heif says
        assert Metadata.from_page(pages[0], content).lost("JPEG") == ["embedded pictures"]


def test_exif_stays_whatever_the_formats(colorize: Colorize) -> None:
    """With a maker's note, the place and, in an AVIF, the caption though it is turned."""
    tags = {
        270: CAPTIONS["UTF-8"], 274: 6, 40091: b"a\0b\0", 34853: {1: "N", 2: PLACE},
        34665: {37500: b"Leica\0" + bytes(range(200)), 37380: -0.5, 40965: {1: "R98"}},
    }  # fmt: skip
    draw("a.jpg", exif=exif_bytes(tags))
    for suffix in ("png", "tif", "webp", "avif", "jpg"):
        assert colorize("a.jpg", "-o", f"out/a.{suffix}").code == 0
        after = metadata(Path(f"out/a.{suffix}"))
        assert {tag: after.exif[tag] for tag in (270, 40091, 34853)} == {
            tag: tags[tag] for tag in (270, 40091, 34853)
        }
        inside = after.exif[34665]
        assert (inside[37500], inside[37380]) == (tags[34665][37500], -0.5)
        assert inside.get(40965) == (None if suffix == "tif" else {1: "R98"})
        with Image.open(f"out/a.{suffix}") as image:
            assert ImageOps.exif_transpose(image).size == (40, 56)


@pytest.mark.parametrize("caption", CAPTIONS.values(), ids=CAPTIONS)
@pytest.mark.parametrize("into", ["TIFF", "JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("of", ["TIFF", "JPEG", "PNG", "WEBP"])
def test_a_caption_stays_byte_for_byte(
    colorize: Colorize, of: str, into: str, caption: bytes
) -> None:
    result = Path("out", f"a.{SUFFIX[into]}")
    assert colorize(source(of, caption), "-o", result).code == 0
    assert metadata(result).exif[0x10E] == caption
    assert metadata(result).xmp == XMP_PACKET
    if {of, into} <= {"TIFF", "JPEG"}:
        assert metadata(result).iptc == IPTC_RECORDS


def test_the_boxes_of_a_jpeg_2000_are_read(colorize: Colorize) -> None:
    """Its EXIF, XMP and profile, in a box whose length is in 32 or 64 bits or left out."""
    of_jpeg = metadata(source("JPEG"))
    path = draw("a.jp2", Image.fromarray(gray()).convert("RGB"))
    content, profile = path.read_bytes(), srgb_profile()
    colr = struct.pack(">L4s3s", 11 + len(profile), b"colr", b"\2\0\0") + profile
    xmp = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + XMP_PACKET
    exif = b"JpgTiffExif->JP2" + exif_bytes(of_jpeg.exif).removeprefix(b"Exif\0\0")
    [colors] = re.findall(rb"....colr.{7}", content, re.S)
    head = content.index(b"jp2h") - 4
    old = int.from_bytes(content[head : head + 4], "big")
    new = old + len(colr) - len(colors)
    content = content.replace(colors, colr).replace(
        struct.pack(">L4s", old, b"jp2h"), struct.pack(">L4s", new, b"jp2h")
    )
    at = content.index(b"jp2c") - 4
    long = struct.pack(">L4sQ", 1, b"uuid", 16 + len(xmp)) + xmp
    content = content[:at] + long + content[at:] + struct.pack(">L4s", 0, b"uuid") + exif
    path.write_bytes(content)
    assert colorize(path, "-o", "out").code == 0
    after = metadata(Path("out/a.png"))
    assert (after.xmp, after.had_profile) == (XMP_PACKET, True)
    assert after.exif.get(0x8769, {}).get(0x9003) == TAKEN


def test_a_tiff_is_coloured_page_by_page(colorize: Colorize) -> None:
    pages = [gray(40, 30), gray(33, 64)[::-1], np.uint16(257) * gray(50, 41)]
    with tifffile.TiffWriter("a.tif", bigtiff=True, byteorder=">") as tif:
        tif.write(gray(10, 8), subfiletype=1, metadata=None)
        for number, page in enumerate(pages):
            tif.write(page, description=f"page {number}", metadata=None)
    said = colorize("a.tif", "-o", "out")
    assert (said.code, said.out) == (0, "colorize: 1 coloured, in out\n")
    with Image.open("out/a.tif") as result:
        assert getattr(result, "n_frames", 1) == 3
        for number, page in enumerate(pages):
            result.seek(number)
            assert result.size == page.shape[::-1]
            assert result.tag_v2[270] == f"page {number}"
            shown = np.asarray(result.convert("L")).astype(int)
            assert np.abs(shown - page // (257 if page.dtype == np.uint16 else 1)).mean() < 8
    said = colorize("a.tif", "-o", "first.jpg")
    assert "a.tif: its first picture was coloured, 2 more were not" in said.out


def test_a_page_that_fails_is_named_and_nothing_is_written(colorize: Colorize) -> None:
    with tifffile.TiffWriter("a.tif") as tif:
        tif.write(gray(), metadata=None)
        tif.write(gray().astype(np.int16), metadata=None)
    said = colorize("a.tif", "-o", "out")
    assert said.code == 1
    assert "a.tif: page 2 of 2: a TIFF of 16-bit signed integers" in said.err
    assert names_in("out") == []


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_a_page_that_cannot_be_found_is_named(
    colorize: Colorize, bigtiff: bool, order: str
) -> None:
    with tifffile.TiffWriter("whole.tif", bigtiff=bigtiff, byteorder=order) as tif:
        for _ in range(3):
            tif.write(gray(), metadata=None)
    with tifffile.TiffFile("whole.tif") as tif:
        third = tif.pages[2].offset
    for end in (third, third + 1, third + 90):
        Path("cut.tif").write_bytes(Path("whole.tif").read_bytes()[:end])
        said = colorize("cut.tif", "-o", "out", "--overwrite")
        assert (said.code, said.err) == (0, "")
        note = "colorize: cut.tif: damaged: its page 3 cannot be found; coloured all the same\n"
        assert note in said.out
        with Image.open("out/cut.tif") as result:
            assert getattr(result, "n_frames", 1) == 2


@pytest.mark.parametrize(
    ("name", "result"),
    [("a.gif", "a.png"), ("a.png", "a.png"), ("a.webp", "a.webp"), ("a.avif", "a.avif"),
     ("a.mpo", "a.jpg")],
)  # fmt: skip
def test_of_several_frames_the_first_is_coloured(
    colorize: Colorize, name: str, result: str
) -> None:
    frames = [Image.fromarray(gray()[::-1]), Image.fromarray(gray() // 3)]
    image = Image.fromarray(gray()).convert("RGB")
    said = colorize(draw(name, image, save_all=True, append_images=frames), "-o", "out")
    assert said.code == 0
    left = f"{name}: its first picture was coloured, 2 more were not" in said.out
    assert left == (name != "a.mpo")  # the others of an MPO are previews or maps of depth
    assert ("not kept: embedded pictures in JPEG" in said.out) == (name == "a.mpo")
    assert names_in("out") == [result]
    assert lightness_off(pixels(name), pixels(f"out/{result}")) < (1 if name == "a.gif" else 25)


def test_damage_that_leaves_the_picture_whole_is_said(colorize: Colorize) -> None:
    Path("scans").mkdir()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "Oma")
    png = encoded(Image.fromarray(gray()), "PNG", pnginfo=texts)
    Path("scans/end.jpg").write_bytes(encoded(Image.fromarray(gray()), "JPEG")[:-2])
    Path("scans/text.png").write_bytes(png.replace(b"Oma", b"Opa"))
    said = colorize("scans", "-o", "out")
    assert (said.code, said.err) == (0, "")
    for name, damage in (("end.jpg", "its end is missing"), ("text.png", "its chunk tEXt is brok")):
        assert f"colorize: scans/{name}: damaged: {damage}" in said.out
    assert said.out.count("; coloured all the same\n") == 2
    assert names_in("out") == ["end.jpg", "text.png"]
