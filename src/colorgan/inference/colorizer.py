"""`Colorizer`: colour images, arrays and encoded pictures of any size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorgan import paths
from colorgan.color import FloatArray, UInt8Array
from colorgan.errors import ColorganError
from colorgan.inference.backends import Network, load_network
from colorgan.inference.formats import WRITTEN_AS, ColoredPage, pages, write
from colorgan.inference.hint_files import with_hints
from colorgan.inference.hints import Hint
from colorgan.inference.image import Picture, turn_back
from colorgan.inference.metadata import srgb_profile
from colorgan.inference.prepare import PreparedInput, prepare_input
from colorgan.inference.recombine import recombine
from colorgan.inference.spread_hints import spread_hints

MAX_SATURATION = 4.0
P = TypeVar("P", Image.Image, npt.NDArray[Any])


@dataclass(frozen=True)
class ColoredFile:
    """A coloured picture as a file; `notes` are what should be said of it, such as damage."""

    format: str
    content: bytes
    notes: Sequence[str]


class Colorizer:
    """Colours pictures of any size, gray or in colour, with a trained generator.

    The network sees a small copy; the a and b that it predicts are enlarged along the picture's
    edges and recombined with the picture's own lightness.

    Example:
        >>> from PIL import Image
        >>> from colorgan import Colorizer
        >>> colorizer = Colorizer.load()
        >>> colorizer.colorize(Image.new("L", (40, 30), 128)).size
        (40, 30)

    Args:
        network: the trained generator.
        side: pixels on the shorter side of the small copy; 0 for the size it was trained on.
    """

    def __init__(self, network: Network, side: int = 0) -> None:
        self.network = network
        self.side = side or network.image_size

    @classmethod
    def load(
        cls, model: str | Path = paths.PRETRAINED, device: str = "auto", side: int = 0
    ) -> Colorizer:
        """Load a model, the bundled one by default; `backends.load_model` says what it can be."""
        return cls(load_network(model, device), side)

    @overload
    def colorize(self, picture: P, *, saturation: float = 1.0, hints: Sequence[Hint] = ()) -> P: ...
    @overload
    def colorize(
        self, picture: Sequence[Any], *, saturation: float = 1.0, hints: Sequence[Hint] = ()
    ) -> list[Any]: ...

    def colorize(self, picture: Any, *, saturation: float = 1.0, hints: Sequence[Hint] = ()) -> Any:
        """Colour a picture or several.

        Args:
            picture: a Pillow image of any mode; an array, gray `(H, W)` or `(H, W, 1)` or RGB
                `(H, W, 3)`, or with alpha as one channel more, of uint8, uint16, or floating point
                in 0..1; a batch of arrays `(N, H, W, C)`; or a list or tuple of any of these.
            saturation: factor of the predicted chroma, 0 to MAX_SATURATION.
            hints: colours of places; they are for a single picture.

        Returns:
            An RGB or RGBA image for an image; uint8 `(H, W, 3)`, or `(H, W, 4)` with alpha, for an
            array; for a batch or a sequence as many.

        Raises:
            ColorganError: it is no picture, or a hint is outside of it or in its border, or they
                are for several pictures or too many, or the model takes none.
            ValueError: the saturation is out of range.
        """
        # Not a batch of none, of which the size of a result could not be said.
        is_batch = isinstance(picture, np.ndarray) and picture.ndim >= 4 and len(picture)
        is_list = isinstance(picture, (list, tuple))
        sources = picture if is_batch or is_list else [picture]
        pictures = list(map(_picture, sources))
        colored = self.colorize_pictures(pictures, saturation, hints)
        results: list[Any] = list(map(_like_source, sources, pictures, colored))
        if is_list:
            return results
        return np.stack(results) if is_batch else results[0]

    def colorize_bytes(
        self,
        content: bytes,
        *,
        saturation: float = 1.0,
        format: str = "",
        hints: Sequence[Hint] = (),
    ) -> ColoredFile:
        """Colour an encoded picture, which keeps its size, lightness, format and metadata.

        Args:
            content: the file.
            saturation: factor of the predicted chroma, 0 to MAX_SATURATION.
            format: of formats.SUFFIX_OF; empty keeps that of the picture.
            hints: colours of places of the first page; the file keeps them in its XMP.

        Raises:
            ColorganError: the model's output is not finite, or as `colorize` for hints.
            UnreadablePhoto: it is no picture, damaged, or larger than `Image.MAX_IMAGE_PIXELS`.
            ValueError: the picture is too large for the format, or the saturation out of range.
        """
        first = next(self.colored_pages(content, saturation, hints))
        metadata = first[2]
        format = format or WRITTEN_AS.get(metadata.format, metadata.format)
        further = self.colored_pages(content, saturation, start=1)
        buffer = BytesIO()
        write(buffer, chain([first], further), format)
        notes, lost = metadata.notes(format), metadata.lost(format)
        if lost:
            notes.append(f"not kept in {format}: {', '.join(lost)}")
        return ColoredFile(format, buffer.getvalue(), notes)

    def colored_pages(
        self,
        content: bytes,
        saturation: float = 1.0,
        hints: Sequence[Hint] = (),
        *,
        start: int = 0,
    ) -> Iterator[ColoredPage]:
        """Colour the pages of a TIFF one by one, or the one picture of another file."""
        for picture, metadata in pages(content, start):
            [colored] = self.colorize_pictures([picture], saturation, hints)
            yield picture, colored, with_hints(metadata, hints, picture.size)

    def colorize_pictures(
        self, pictures: Sequence[Picture], saturation: float = 1.0, hints: Sequence[Hint] = ()
    ) -> list[UInt8Array]:
        """Return the pictures in colour, sRGB `(H, W, 3)`."""
        # Written so that NaN is refused too.
        if not 0 <= saturation <= MAX_SATURATION:
            raise ValueError(f"saturation should be a number from 0 to {MAX_SATURATION:g}")
        if hints and len(pictures) != 1:
            raise ColorganError(f"hints are for one picture, and these are {len(pictures)}")
        prepared = [self.prepare(picture, hints) for picture in pictures]
        return [
            recombine(picture, one.small, ab, saturation, one.box, one.spots)
            for picture, one, ab in zip(pictures, prepared, self.predict(prepared), strict=True)
        ]

    def prepare(self, picture: Picture, hints: Sequence[Hint] = ()) -> PreparedInput:
        """Make the network's input of a picture; `with_hints` of the result changes the hints."""
        space, multiple = self.network.space, self.network.multiple
        return prepare_input(picture, space, self.side, multiple).with_hints(hints)

    def predict(self, inputs: Sequence[PreparedInput], batch_size: int = 8) -> list[FloatArray]:
        """Return a and b `(h, w, 2)` of small copies; inputs of one size share a batch."""
        same_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
        predicted: dict[int, FloatArray] = {}
        for i, one in enumerate(inputs):
            if len(one.spots):
                predicted[i] = self._predict_hinted(one)
            else:
                same_size[one.input.shape].append(i)
        for indices in same_size.values():
            for start in range(0, len(indices), batch_size):
                batch = indices[start : start + batch_size]
                outputs = self.network.predict(np.stack([inputs[i].input for i in batch]))
                for i, output in zip(batch, outputs, strict=True):
                    predicted[i] = inputs[i].ab(self.network.space.ab(output))
        return [predicted[i] for i in range(len(inputs))]

    def _predict_hinted(self, one: PreparedInput) -> FloatArray:
        places = one.hint_places()
        hints = one.hint_input(places)
        [output], [features] = self.network.predict_hinted(one.input[None], hints[None])
        ab = self.network.space.ab(output)
        return one.ab(spread_hints(ab, one.input[0], features, places))


def _picture(source: Any) -> Picture:
    if isinstance(source, np.ndarray):
        return Picture.from_array(source)
    if isinstance(source, Image.Image) and all(source.size):
        return Picture.from_image(source)
    what = "an image without a pixel" if isinstance(source, Image.Image) else type(source).__name__
    advice = ", such as tensor.permute(1, 2, 0).numpy()" if what == "Tensor" else ""
    raise ColorganError(
        f"{what} is no picture; it should be a Pillow image, a NumPy array (H, W) or (H, W, C)"
        f"{advice}, or a list of them"
    )


def _like_source(source: Any, picture: Picture, colored: UInt8Array) -> Image.Image | UInt8Array:
    """Add the alpha of a picture; return an image with the source's information for an image."""
    pixels = colored if picture.alpha is None else np.dstack((colored, picture.alpha))
    if not isinstance(source, Image.Image):
        return pixels
    image = Image.fromarray(turn_back(pixels, picture.orientation))
    image.info = {k: v for k, v in source.info.items() if k in ("exif", "dpi", "xmp")}
    if "icc_profile" in source.info:
        image.info["icc_profile"] = srgb_profile()
    return image
