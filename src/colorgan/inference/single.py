"""One encoded picture in, one out: what the page and the service do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from colorgan.color import UInt8Array
from colorgan.data import decode as encoded
from colorgan.inference.colorizer import Colorizer
from colorgan.inference.formats import SUFFIX_OF, Metadata, encode, written_as
from colorgan.inference.image import Photo

MOST_SATURATED = 4.0


@dataclass(frozen=True)
class Colored:
    """A picture that was coloured.

    Attributes:
        photo: what it was.
        pixels: its colours, sRGB `(H, W, 3)`, laid out as the photo is.
        format: of SUFFIX_OF.
        content: the new file.
    """

    photo: Photo
    pixels: UInt8Array
    format: str
    content: bytes

    def name(self, of: str, by: str = "") -> str:
        """Return the name for the new file of a picture called `of`, coloured by a model `by`."""
        return f"{PurePath(of or 'photo').stem}_colored{by and '_' + by}{SUFFIX_OF[self.format]}"


def colorize_bytes(
    content: bytes,
    colorizer: Colorizer,
    *,
    saturation: float = 1.0,
    format: str = "",
    quality: int = 95,
) -> Colored:
    """Colour an encoded picture; it keeps size, lightness, format and metadata.

    Args:
        content: the file.
        colorizer: what colours it.
        saturation: what the chroma is multiplied by, 0 to MOST_SATURATED.
        format: of SUFFIX_OF; empty keeps that of the picture.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        UnreadablePhoto: it is no picture, a damaged one, or larger than Pillow's limit.
        ValueError: the format does not hold a picture of this size, or the saturation is none.
    """
    # Also refuses what is not a number.
    if not 0 <= saturation <= MOST_SATURATED:
        raise ValueError(f"saturation should be a number from 0 to {MOST_SATURATED:g}")
    with encoded.opened(content) as image:
        kept = written_as(image.format)
        photo = Photo.of_image(image)
        metadata = Metadata.of_image(image)
    [pixels] = colorizer.colorize_photos([photo], saturation)
    format = format or kept
    return Colored(photo, pixels, format, encode(photo, pixels, metadata, format, quality))
