"""Colour thousands of damaged pictures: each is coloured or named, and nothing crashes.

    python benchmarks/fuzz.py --files ../shared/cases    # five minutes for 2,000 files

Bundled photos in many formats, and the files of a folder, are damaged at random. Fails if a run of
`colorgan colorize FOLDER` ends in a traceback, a crash or a hang, or leaves a file out without a
word; such files are copied into ./fuzz.
"""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer
from PIL import Image

from colorgan import paths

KINDS = ("coloured", "coloured with a warning", "refused with a sentence", "crash, hang or no word")
MADE: list[tuple[str, str, dict[str, Any]]] = [
    *((mode, suffix, {}) for mode in ("L", "RGB") for suffix in
      (".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".jp2", ".avif", ".ppm")),
    *(("RGB", ".tif", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "jpeg")),
    ("L", ".jpg", {"progressive": True}), ("CMYK", ".jpg", {}), ("RGBA", ".png", {}),
]  # fmt: skip
WORDS = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def whole_files(folder: Path) -> list[tuple[str, bytes]]:
    """Return suffix and content of a few photos in all formats, and of the files of a folder."""
    files = []
    for photo in sorted(paths.SAMPLE.glob("*/*.webp"))[::40]:
        with Image.open(photo) as image:
            image.thumbnail((200, 200))
        for mode, suffix, options in MADE:
            format = Image.registered_extensions()[suffix]
            image.convert(mode).save(file := io.BytesIO(), format, **options)
            files.append((suffix, file.getvalue()))
    given = [path for path in sorted(folder.rglob("*.*")) if path.suffix not in (".md", ".csv")]
    return files + [(path.suffix, path.read_bytes()) for path in given if path.is_file()]


def damage(data: bytes, other: bytes, draw: random.Random) -> bytes:
    """Return a file with one kind of damage; most of it in the first kilobyte."""
    damaged, end = bytearray(data), 1024 if draw.random() < 0.6 else len(data)
    place = draw.randrange(min(len(data), end) - 4)
    match draw.choice(("flip", "cut", "insert", "head", "value", "tag", "tag")):
        case "flip":
            for _ in range(draw.choice((1, 4, 30))):
                damaged[min(place + draw.randrange(64), len(data) - 1)] = draw.randrange(256)
        case "cut":
            del damaged[place : draw.choice((len(data), place + draw.randrange(500)))]
        case "insert":
            damaged[place:place] = draw.randbytes(draw.choice((1, 4, 100)))
        case "head":
            damaged[: place // 4] = other[: place // 4]
        case "tag" if data[:4] in (b"II*\0", b"MM\0*"):
            order = "<" if data[:2] == b"II" else ">"
            (start,) = struct.unpack_from(order + "I", data, 4)
            (n_tags,) = struct.unpack_from(order + "H", data, start)
            # Of a tag of 12 bytes, the type, the count or the value.
            word = start + 2 + 12 * draw.randrange(n_tags) + draw.choice((2, 4, 8, 8))
            struct.pack_into(order + "I", damaged, word, draw.choice(WORDS))
        case "tag" if data[1:4] == b"PNG":
            damaged[draw.randrange(16, 29)] = draw.choice((0, 1, 3, 8, 16, 255))
            damaged[29:33] = struct.pack(">I", zlib.crc32(damaged[12:29]))
        case _:
            struct.pack_into(draw.choice("<>") + "I", damaged, place, draw.choice(WORDS))
    return bytes(damaged)


def colour(folder: Path, names: Sequence[str], work: Path) -> dict[str, str]:
    """Colour files of a folder in one run; return what became of each, one of KINDS."""
    photos, out = work / "photos", work / "out"
    for place in (photos, out):
        shutil.rmtree(place, ignore_errors=True)
    photos.mkdir()
    for name in names:
        shutil.copy(folder / name, photos)
    command = [sys.executable, "-m", "colorgan", "colorize", str(photos), "-o", str(out)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60 + len(names))
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(command, -1, b"", b"")
    said = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode not in (0, 1) or "Traceback" in said:
        if len(names) == 1:
            return {names[0]: KINDS[3]}
        half = len(names) // 2  # to find out which file it was
        return colour(folder, names[:half], work) | colour(folder, names[half:], work)
    written = {path.name[:4] for path in out.rglob("*")}
    # By whether it is written, then by whether it is named.
    kinds = ((KINDS[3], KINDS[2]), (KINDS[0], KINDS[1]))
    return {name: kinds[name[:4] in written][name in said] for name in names}


def main(files: Path = paths.SAMPLE, count: int = 2000, seed: int = 0, per_run: int = 200) -> None:
    """Damage files, of FILES too, colour them and print how many ended how."""
    draw, whole, found = random.Random(seed), whole_files(files), dict[str, str]()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary, "damaged")
        folder.mkdir()
        for i in range(count):
            suffix, data = draw.choice(whole)
            made = damage(data, draw.choice(whole)[1], draw)
            (folder / f"{i:04}{suffix}").write_bytes(made)
        names = sorted(path.name for path in folder.iterdir())
        for start in range(0, count, per_run):
            found |= colour(folder, names[start : start + per_run], Path(temporary))
        if bad := [name for name, kind in found.items() if kind == KINDS[3]]:
            Path("fuzz").mkdir(exist_ok=True)
        for name in bad:
            shutil.copy(folder / name, "fuzz")
    for kind in KINDS:
        print(f"{kind:25} {Counter(found.values())[kind]:5}")
    if bad:
        sys.exit(f"{len(bad)} files in ./fuzz: {' '.join(bad[:20])}")


if __name__ == "__main__":
    typer.run(main)
