"""Encoded pictures of any kind to sRGB pixels, or a reason why not."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from colorgan.data import encoded
from colorgan.data.encoded import GRAY_MODES, TURNED, UPRIGHT, UnreadablePhoto
from colorgan.data.sources.base import Pixels, content_id

OPAQUE_FROM = 250
"""Alpha from which on a pixel counts as opaque; scanners and editors leave 254 behind."""


@dataclass(frozen=True)
class EncodedPhoto:
    """A photo as the bytes of a picture file.

    Attributes:
        problem: why there are no bytes, where the source could not get them; empty otherwise.
    """

    content: bytes
    name: str
    label: str
    split: str | None
    problem: str = ""

    @property
    def id(self) -> str:
        """A hash of the bytes; of the name where there are none, which makes no duplicates."""
        return content_id(self.content or self.name.encode("utf-8", "surrogateescape"))

    def decode(self, side: int) -> Pixels:
        """Decode the bytes; see `decode`."""
        if self.problem:
            raise UnreadablePhoto(self.problem)
        return decode(self.content, side)


def decode(content: bytes, side: int) -> Pixels:
    """Decode a picture file to sRGB, upright: the first picture where it holds several.

    A JPEG much larger than `side` is decoded at a half, quarter or eighth of its size. Embedded
    colour profiles are converted to sRGB; CMYK without one by Pillow's plain formula. Gray and
    transparent pictures are refused, for there is no (whole) photo in colour in them.

    Raises:
        UnreadablePhoto: with the reason, which is the same whenever the bytes are.
    """
    with encoded.opened(content) as image:
        return _upright_srgb(image, side)


def _upright_srgb(image: Image.Image, side: int) -> Pixels:
    if image.mode in GRAY_MODES:
        raise UnreadablePhoto(f"gray: mode {image.mode} has no colour to learn from")
    size = image.size
    orientation = encoded.orientation(image)
    # MPO is a JPEG with another picture after it, as many phones write.
    if image.format in ("JPEG", "MPO"):
        # Both sides stay at least `side` long: the cosine transform does the first halvings.
        image.draft(None, (side, side))
    encoded.load(image)
    upright = encoded.srgb(_opaque(image))
    if orientation in UPRIGHT:
        upright = upright.transpose(UPRIGHT[orientation])
    return Pixels(upright, "srgb", size[::-1] if orientation in TURNED else size)


def _opaque(image: Image.Image) -> Image.Image:
    """Return the picture without palette and alpha; refuse one that shows what is behind it."""
    if "transparency" in image.info and image.mode in ("P", "RGB"):
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    if image.mode in ("RGBA", "RGBa", "PA"):
        image = image.convert("RGBA")
        lowest, _ = image.getchannel("A").getextrema()
        if float(lowest) < OPAQUE_FROM:  # type: ignore[arg-type]
            raise UnreadablePhoto("transparent: parts of the picture are not there")
        image = image.convert("RGB")
    return image
