"""Make the bundled sample photographs in ``data/sample`` from Debian packages.

The photographs come from Debian 12 packages, unpacked over each other into one folder::

    mkdir packages
    apt-get download gcompris-qt-data plasma-workspace-data lomiri-wallpapers-16.04 \\
        palapeli-data python3-skimage python3-sklearn
    for deb in *.deb; do dpkg -x "$deb" packages; done
    python scripts/make_sample.py --packages packages --out data/sample

``sample_choice.csv`` beside this script lists every photograph that was looked at: the chosen
ones with label, name and title, and the ones left out with the reason. ``file`` is a path in the
unpacked packages; what follows a ``!`` is a path inside a Qt resource file (.rcc). Where author,
licence and source are empty they are read from the README that lies beside the photograph in the
resource file. That README is used and not Debian's copyright file, because GCompris replaced many
photographs and the copyright file still describes the old ones.

Needs Pillow (and zstandard, if a resource file is packed with it). The same Pillow version gives
the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import struct
import sys
import textwrap
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

CHOICE = Path(__file__).with_name("sample_choice.csv")
LONG_SIDE = 320
RCC_PREFIX = "/gcompris/src/activities/"
COLUMNS = ["file", "title", "author", "licence", "source", "label"]
LICENCE = re.compile(r"CC0-1\.0|Public-Domain|CC-BY(-SA)?-[1-4]\.[05]")

README = """\
# Sample photographs

{total} colour photographs to train and try colorgan on without a download: WebP, sRGB, at most
{side} pixels on the long side, one folder per label. `attribution.csv` names title, author,
licence and source of each.

The photographs keep their own licences; the MIT licence of the code does not cover them. All were
scaled down and compressed again; many were cropped and sharpened by the project they come from.
Those under a CC-BY-SA licence may be passed on only under the same terms, with the author named.

They come from Debian packages of GCompris, KDE Plasma, Lomiri, Palapeli, scikit-image and
scikit-learn. `scripts/make_sample.py` makes this folder; `scripts/sample_choice.csv` holds the
choice, with the reason for each photograph left out.

{labels}

{licences}
"""


class SampleError(Exception):
    """Something in the packages or in the choice is not as it should be."""


def unpack(raw: bytes, flags: int, name: str) -> bytes:
    """Undo the compression of one entry of a Qt resource file."""
    if flags & 1:  # zlib, after four bytes that give the unpacked size
        return zlib.decompress(raw[4:])
    if flags & 4:
        try:
            import zstandard
        except ImportError:
            raise SampleError(f"{name} is packed with zstd: install zstandard") from None
        return zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    return raw


def rcc_entries(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Give path, flags and packed bytes of each file in a Qt resource file (big-endian)."""
    if data[:4] != b"qres":
        raise ValueError("no 'qres' header")
    version, tree, payload, names = struct.unpack_from(">4I", data, 4)
    node_size = 22 if version >= 2 else 14  # from version 2 a node ends with a time stamp
    waiting = [(0, "")]
    while waiting:
        index, parent = waiting.pop()
        node = tree + index * node_size
        name_at, flags, first, second = struct.unpack_from(">IHII", data, node)
        (length,) = struct.unpack_from(">H", data, names + name_at)
        text = data[names + name_at + 6 : names + name_at + 6 + 2 * length]  # after a hash
        path = f"{parent}/{text.decode('utf-16-be')}" if index else ""
        if flags & 2:  # a folder: number of children, index of the first one
            waiting += [(child, path) for child in range(second, second + first)]
        else:  # a file: country and language (not used), offset of its data
            (size,) = struct.unpack_from(">I", data, payload + second)
            start = payload + second + 4
            yield path, flags, data[start : start + size]


@cache
def read_rcc(path: Path) -> dict[str, bytes]:
    """Read the photographs and README files of one resource file."""
    try:
        return {
            name.removeprefix(RCC_PREFIX): unpack(raw, flags, name)
            for name, flags, raw in rcc_entries(path.read_bytes())
            if name.endswith((".webp", "/README"))
        }
    except (struct.error, ValueError, zlib.error) as error:
        raise SampleError(f"{path} is not a readable Qt resource file: {error}") from error


def read_member(packages: Path, file: str) -> bytes:
    """Read one photograph from the unpacked packages."""
    outer, _, inner = file.partition("!")
    path = packages / outer
    if not path.is_file():
        raise SampleError(f"{path} is missing: unpack the packages named in the docstring")
    if not inner:
        return path.read_bytes()
    try:
        return read_rcc(path)[inner]
    except KeyError:
        raise SampleError(f"{path} has no file {inner}") from None


def readme_stanzas(text: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Give the fields and the file names of each stanza of a GCompris README."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        for line in stanza.splitlines():
            key, colon, value = line.partition(": ")
            if colon and key.isalpha():
                fields[key] = value.strip()
        yield fields, re.findall(r"[\w./-]+\.webp", stanza)


def readme_record(packages: Path, file: str) -> dict[str, str]:
    """Find author, licence and source of a photograph in the README beside it."""
    outer, _, inner = file.partition("!")
    entries = read_rcc(packages / outer)
    for folder in Path(inner).parents:
        readme = entries.get(f"{folder.as_posix()}/README")
        if readme is None:
            continue
        name = Path(inner).relative_to(folder).as_posix()
        for fields, names in readme_stanzas(readme.decode("utf-8", "replace")):
            if name in names:
                # The README files spell a licence as "Public domain" or "CC-BY-SA 4.0" too.
                licence = fields.get("License", "").replace(" ", "-").replace("-domain", "-Domain")
                author = re.sub(r"^© \d{4} |, \d{4}$", "", fields.get("Copyright", ""))
                return {
                    "author": author,
                    "licence": licence,
                    "source": fields.get("Source", ""),
                }
    raise SampleError(f"no README in {outer} names {inner}")


def to_srgb(image: Image.Image) -> Image.Image:
    """Turn upright, convert to sRGB by the embedded profile and drop the alpha channel."""
    image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    rgb = image.convert("RGB")
    if profile:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        rgb = ImageCms.profileToProfile(rgb, source, target, outputMode="RGB") or rgb
    return rgb


def make_photo(raw: bytes, target: Path) -> None:
    """Scale one photograph down and write it as WebP without metadata."""
    with Image.open(io.BytesIO(raw)) as opened:
        image = to_srgb(opened)
    # Below the target size an upscaled copy would only cost bytes, so it is kept as it is.
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS, reducing_gap=None)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A fresh image, so that no profile or EXIF block of the source travels along.
    clean = Image.frombytes("RGB", image.size, image.tobytes())
    clean.save(target, "WEBP", quality=90, method=6)


def read_choice() -> list[dict[str, str]]:
    """Read the chosen photographs, sorted by the file they become."""
    with CHOICE.open(encoding="utf-8", newline="") as handle:
        chosen = [row for row in csv.DictReader(handle) if not row["left_out"]]
    for row in chosen:
        row["member"], row["file"] = row["file"], f"{row['label']}/{row['name']}.webp"
    return sorted(chosen, key=lambda row: row["file"])


def add_photo(packages: Path, out: Path, row: dict[str, str]) -> None:
    """Complete the record of one photograph, check its licence and write it."""
    raw = read_member(packages, row["member"])
    if not row["licence"]:
        row.update(readme_record(packages, row["member"]))
    empty = [column for column in COLUMNS if not row[column]]
    if empty:
        raise SampleError(f"{row['member']} has no {empty[0]}")
    if not LICENCE.fullmatch(row["licence"]):
        raise SampleError(f"{row['member']} has the licence {row['licence']}, not an allowed one")
    try:
        make_photo(raw, out / row["file"])
    except (ImageCms.PyCMSError, UnidentifiedImageError, ValueError, OSError) as error:
        raise SampleError(f"{row['member']} is not usable: {error}") from error


def counted(rows: list[dict[str, str]], column: str) -> str:
    """Write the counts of one column as a paragraph."""
    counts = sorted(Counter(row[column] for row in rows).items())
    text = f"{column.capitalize()}s: " + ", ".join(f"`{value}` {count}" for value, count in counts)
    return textwrap.fill(text + ".", 100, break_on_hyphens=False)


def write_texts(out: Path, rows: list[dict[str, str]]) -> None:
    """Write attribution.csv and README.md."""
    with (out / "attribution.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    text = README.format(
        total=len(rows),
        side=LONG_SIDE,
        labels=counted(rows, "label"),
        licences=counted(rows, "licence"),
    )
    (out / "README.md").write_text(text, encoding="utf-8", newline="\n")


def make_sample(packages: Path, out: Path) -> int:
    """Make the whole folder and return the number of photographs."""
    if not packages.is_dir():
        raise SampleError(f"{packages} is not a folder")
    rows = read_choice()
    for row in rows:
        add_photo(packages, out, row)
    wanted = {out / row["file"] for row in rows}
    for old in set(out.glob("*/*.webp")) - wanted:  # from an earlier choice, no longer listed
        old.unlink()
    write_texts(out, rows)
    return len(rows)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Make the bundled sample photographs.")
    parser.add_argument("--packages", type=Path, required=True, help="the unpacked packages")
    parser.add_argument("--out", type=Path, default=Path("data/sample"), help="target folder")
    options = parser.parse_args()
    try:
        count = make_sample(options.packages, options.out)
    except (SampleError, OSError) as error:
        print(f"make_sample: {error}", file=sys.stderr)
        return 1
    print(f"{count} photographs in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
