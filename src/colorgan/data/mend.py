"""Repair picture files with harmless damage, which still hold all their pixels."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

PNG_START = b"\x89PNG\r\n\x1a\n"
END_OF_PNG = b"\0\0\0\0IEND\xaeB`\x82"
END_OF_JPEG = b"\xff\xd9"
PROGRESSIVE = 0xC2
NOISE = b"\x5a\xc3\x96\x3a" * 64
TAILS = (b"", *(NOISE + b"\xff" + marker + NOISE for marker in (b"\xd0", b"\xd2", b"\xd4")))
"""What may follow a JPEG without its end. After one of these three restart markers any scan would
go on."""


def mended_png(content: bytes) -> tuple[bytes, str]:
    """Verify the checksums of a PNG, and repair it where that loses no pixels.

    Returns:
        The file without damaged chunks that do not matter and with its end; what was damaged.

    Raises:
        SyntaxError: a chunk that matters is damaged.
    """
    view = memoryview(content)
    kept: list[bytes | memoryview] = [PNG_START]
    position, damaged = len(PNG_START), ""
    while position + 8 <= len(content):
        length = int.from_bytes(view[position : position + 4], "big")
        kind = content[position + 4 : position + 8]
        chunk = view[position + 4 : position + 8 + length]
        position += 12 + length
        checksum = struct.pack(">I", zlib.crc32(chunk))
        if is_cut := position > len(content):
            damaged = "its end is missing"
        if not is_cut and view[position - 4 : position] != checksum:
            if not kind.isalpha() or kind[:1].isupper():
                raise SyntaxError(f"broken PNG: the checksum of {kind!r} is wrong")
            damaged = f"its chunk {kind.decode()} is broken"
        elif not is_cut or kind == b"IDAT":
            # Whether a chunk that is cut holds all pixels turns out when it is decoded.
            kept += struct.pack(">I", len(chunk) - 4), chunk, checksum
        if kind == b"IEND":
            break
    else:
        kept.append(END_OF_PNG)
        damaged = damaged or "its end is missing"
    return (b"".join(kept), f"damaged: {damaged}") if damaged else (content, "")


def whole_jpeg(content: bytes, draft: Any) -> Image.Image | None:
    """Decode a JPEG that lacks its last bytes, None if pixels are lost with them.

    Where a decoder needs more than there is, it depends on what follows: nothing or noise. The
    last scan must be one of a finished picture: up to coefficient 63 with all its bits, of all
    components or, in a progressive JPEG, of the first.
    """
    content = content.rstrip(b"\xff")
    scan = content.rfind(b"\xff\xda")
    frame = max(content.rfind(bytes((0xFF, kind))) for kind in (0xC0, 0xC1, 0xC2))
    end = content[scan + 4 : scan + 8 + 2 * content[scan + 4]][-2:]
    if scan < frame or end[:1] != b"\x3f" or end[1:] not in (b"\x00", b"\x10"):
        return None
    n_components = 1 if content[frame + 1] == PROGRESSIVE else content[frame + 9]
    if content[scan + 4] != n_components or content[scan + 5] != content[frame + 10]:
        return None
    images: list[Image.Image] = []
    for tail in TAILS:
        image = Image.open(io.BytesIO(content + tail + END_OF_JPEG), formats=("JPEG",))
        if draft:
            image.draft(*draft)
        image.load()
        images.append(image)
    return images[0] if len({image.tobytes() for image in images}) == 1 else None
