"""Colour photos of any size: what the command, the app and the server stand on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from colorgan import paths
from colorgan.color import UInt8Array
from colorgan.errors import ColorganError
from colorgan.inference.backends import Network, load_network
from colorgan.inference.image import Photo
from colorgan.inference.prepare import Fitted, fit
from colorgan.inference.recombine import merge

BATCH_SIZE = 8
KEPT = ("exif", "dpi", "xmp")
"""What a coloured Pillow image keeps of the information of the gray one."""


class Colorizer:
    """Colours photos: gray or in colour, of any size, with the weights that come along or others.

    The network sees a copy with `side` pixels on the shorter side; its colours are brought up along
    the edges of the photo and joined with the photo's own lightness.

    Example:
        >>> from PIL import Image
        >>> from colorgan import Colorizer
        >>> colorizer = Colorizer.load()
        >>> colorizer.colorize(Image.new("L", (40, 30), 128)).size
        (40, 30)

    Args:
        network: the trained generator.
        side: pixels on the shorter side of what it sees; 0 for those it is best at.
    """

    def __init__(self, network: Network, side: int = 0) -> None:
        self.network = network
        self.side = side or network.image_size

    @classmethod
    def load(
        cls, model: str | Path = paths.PRETRAINED, device: str = "auto", side: int = 0
    ) -> Colorizer:
        """Load a model, see `coloring.network.load_network`; the bundled one without arguments.

        Raises:
            ColorganError: there is no such model, or it cannot be read.
        """
        return cls(load_network(model, device), side)

    @overload
    def colorize(self, picture: Image.Image, *, saturation: float = 1.0) -> Image.Image: ...
    @overload
    def colorize(self, picture: npt.NDArray[Any], *, saturation: float = 1.0) -> UInt8Array: ...
    @overload
    def colorize(
        self, picture: Sequence[Any], *, saturation: float = 1.0
    ) -> list[Image.Image | UInt8Array]: ...

    def colorize(self, picture: Any, *, saturation: float = 1.0) -> Any:
        """Colour a picture, or several.

        Args:
            picture: a Pillow image of any mode; an array, gray `(H, W)` or `(H, W, 1)` or RGB
                `(H, W, 3)`, either with alpha as one channel more, uint8, uint16 or floating
                point in 0..1; a batch of arrays `(N, H, W, C)`; or a sequence of any of these.
            saturation: what the predicted chroma is multiplied by.

        Returns:
            For an image an RGB or RGBA image of the same size; for an array uint8 `(H, W, 3)`, or
            `(H, W, 4)` if it had alpha; for a batch or a sequence as many.

        Raises:
            ColorganError: it is no picture; says what would be one.
        """
        if isinstance(picture, Image.Image):
            photo = Photo.of_image(picture)
            [colored] = self.colorize_photos([photo], saturation)
            return _image_like(picture, photo, colored)
        if isinstance(picture, np.ndarray) and picture.ndim < 4:
            photo = Photo.of_array(picture)
            [colored] = self.colorize_photos([photo], saturation)
            return _with_alpha(photo, colored)
        if isinstance(picture, (str, bytes, Path)) or not hasattr(picture, "__len__"):
            raise ColorganError(
                f"{type(picture).__name__} is no picture; it should be a Pillow image, an array, "
                "or a sequence of them"
            )
        return self._several(picture, saturation)

    def _several(self, pictures: Sequence[Any], saturation: float) -> Any:
        photos = [
            Photo.of_image(one) if isinstance(one, Image.Image) else Photo.of_array(one)
            for one in pictures
        ]
        results: list[Any] = [
            _image_like(one, photo, colored)
            if isinstance(one, Image.Image)
            else _with_alpha(photo, colored)
            for one, photo, colored in zip(
                pictures, photos, self.colorize_photos(photos, saturation), strict=True
            )
        ]
        return np.stack(results) if isinstance(pictures, np.ndarray) else results

    def colorize_photos(
        self, photos: Sequence[Photo], saturation: float = 1.0, batch_size: int = BATCH_SIZE
    ) -> list[UInt8Array]:
        """Return the photos in colour, sRGB `(H, W, 3)`, laid out as they are.

        At most `batch_size` go through the network at once: those of one size together.
        """
        fitted = [fit(p, self.network.space, self.side, self.network.multiple) for p in photos]
        outputs = self.predict(fitted, batch_size)
        return [
            merge(photo, small.srgb, ab, saturation, small.box)
            for photo, small, ab in zip(photos, fitted, outputs, strict=True)
        ]

    def predict(self, fitted: Sequence[Fitted], batch_size: int) -> list[npt.NDArray[np.float32]]:
        """Return a and b `(h, w, 2)` of small copies, laid out as they are."""
        same_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, one in enumerate(fitted):
            same_size[one.input.shape].append(row)
        found: dict[int, npt.NDArray[np.float32]] = {}
        for rows in same_size.values():
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                outputs = self.network.predict(np.stack([fitted[row].input for row in batch]))
                for row, output in zip(batch, outputs, strict=True):
                    found[row] = fitted[row].ab(output, self.network.space)
        return [found[row] for row in range(len(fitted))]


def _with_alpha(photo: Photo, colored: UInt8Array) -> UInt8Array:
    return colored if photo.alpha is None else np.dstack((colored, photo.alpha))


def _image_like(picture: Image.Image, photo: Photo, colored: UInt8Array) -> Image.Image:
    """Return a coloured photo as an image with the information of the gray one."""
    image = Image.fromarray(_with_alpha(photo, colored))
    image.info = {name: picture.info[name] for name in KEPT if name in picture.info}
    if "icc_profile" in picture.info:
        image.info["icc_profile"] = srgb_profile()
    return image


def srgb_profile() -> bytes:
    """Return the ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
