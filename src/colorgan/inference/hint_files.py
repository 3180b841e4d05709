"""Read and write colour hints: as JSON, in a file beside a picture or in the XMP of a result."""

from __future__ import annotations

import codecs
import html
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import PositiveInt, ValidationError

from colorgan.config import Section, first_problem
from colorgan.data.decode import UnreadablePhoto, opened
from colorgan.errors import ColorganError
from colorgan.inference.hints import Hint
from colorgan.inference.metadata import Metadata

HINTS_SUFFIX = ".hints.json"
PACKET = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>'
    b'</x:xmpmeta><?xpacket end="w"?>'
)
"""An XMP packet without content."""
PROPERTY = (
    b'<rdf:Description rdf:about="" xmlns:colorgan="urn:colorgan:">'
    b"<colorgan:hints>%b</colorgan:hints></rdf:Description>"
)
IN_XMP = re.compile(PROPERTY.replace(b"%b", b"(.*?)"), re.DOTALL)


class HintFile(Section, extra="ignore"):
    """The JSON: places are as in `Hint`, pixels those of a picture of this width and height."""

    version: Literal[1]
    width: PositiveInt
    height: PositiveInt
    hints: list[Hint]

    @classmethod
    def parse(cls, content: bytes, name: str) -> Self:
        """Read JSON, which messages call `name`; the places become fractions."""
        try:
            told = cls.model_validate_json(content)
            size = told.width, told.height
            hints = [Hint(*hint.fractions(*size), hint.colour) for hint in told.hints]
            return told.model_copy(update={"hints": hints})
        except ValidationError as error:
            kind = error.errors()[0]["type"]
            why = "it is not JSON" if kind == "json_invalid" else first_problem(error)
            raise ColorganError(f"{name} is no file of hints: {why}") from None
        except ColorganError as error:
            raise ColorganError(f"{name}: {error}") from None


def beside(picture: Path) -> Path:
    """Return the file of hints that belongs to a picture: scan.hints.json to scan.jpg."""
    return picture.with_suffix(HINTS_SUFFIX)


def read_hints(path: Path) -> list[Hint]:
    """Read the hints of a JSON file, or those that a coloured picture was made with.

    Their places are fractions, so that they fit the same picture at another resolution.
    """
    if path.is_fifo():
        raise ColorganError(f"{path} is no file of hints, but a pipe")
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise ColorganError(f"{path} cannot be read: {error.strerror}") from None
    if not content.lstrip().startswith(b"{") and path.suffix != ".json":
        content = _of_result(content, path)
    return HintFile.parse(content, str(path)).hints


def hints_as_json(hints: Sequence[Hint], width: int, height: int) -> str:
    """Return the content of a file of hints of a picture, their places as fractions."""
    places = [hint.fractions(width, height) for hint in hints]
    entries = []
    for hint, place in zip(hints, places, strict=True):
        # Not 1.0, which JavaScript reads as 1, a pixel.
        x, y = (min(round(at, 6), 0.999999) for at in place)
        colour = hint.colour if isinstance(hint.colour, str) else hint.ab().tolist()
        entries.append({"x": x, "y": y, "colour": colour})
    return json.dumps({"version": 1, "width": width, "height": height, "hints": entries})


def with_hints(metadata: Metadata, hints: Sequence[Hint], size: tuple[int, int]) -> Metadata:
    """Return the metadata of a result, with these hints in its XMP and no earlier ones."""
    xmp = IN_XMP.sub(b"", metadata.xmp)
    if not hints:
        return replace(metadata, xmp=xmp)
    # What is damaged stays, and a packet follows it.
    packets = xmp if b"</rdf:RDF>" in xmp else xmp + PACKET
    before, end, after = packets.rpartition(b"</rdf:RDF>")
    content = html.escape(hints_as_json(hints, *size), quote=False)
    return replace(metadata, xmp=before + PROPERTY % content.encode() + end + after)


def _of_result(content: bytes, path: Path) -> bytes:
    try:
        with opened(content) as found:
            xmp = Metadata.from_page(found[0], content).xmp
    except UnreadablePhoto as error:
        raise ColorganError(f"{path} is neither a picture nor a file of hints: {error}") from None
    inside = IN_XMP.search(xmp)
    if inside is None:
        raise ColorganError(
            f"{path} has no hints in its XMP; it should be a picture that was coloured with hints, "
            f"or a file *{HINTS_SUFFIX}"
        )
    return html.unescape(inside[1].decode(errors="replace")).encode()
