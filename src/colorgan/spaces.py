"""The two formulations. RGB and LAB differ here, in params.yaml, and nowhere else.

A space says what is kept on disk of a photo, what the generator is given, what it must produce,
and how its output becomes a picture again::

    photo (H, W, 3) uint8 --arrays--> input (H, W), target (H, W, C) uint8       (on disk)
    (or the same from 8-bit Lab: a photo that is kept so is not converted to and fro)
    batches of those ----encode--> input (N, I, H, W), target (N, C, H, W) in [-1, 1]
    input, output    ----decode--> picture (N, H, W, 3), sRGB in 0..1

A photo to be coloured goes another way, of which a and b alone come back, for one photo of any
size, in NumPy::

    sRGB or gray (H, W[, 3]) --network_input--> (I, H, W)   output (C, H, W) --ab--> (H, W, 2)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from colorgan import color
from colorgan.color import FloatArray, UInt8Array
from colorgan.config import SPACES, SpaceName

if TYPE_CHECKING:
    # For the types alone: preprocess works without torch, in processes that start in no time.
    from torch import Tensor


class Space(ABC):
    """One formulation of colouring.

    Attributes:
        name: `rgb` or `lab`.
        in_channels: channels of the generator's input.
        out_channels: channels of its output, as many as the target array has.
    """

    name: SpaceName
    in_channels: int
    out_channels: int

    @abstractmethod
    def arrays(self, photo: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Split an sRGB photo `(H, W, 3)` into input `(H, W)` and target `(H, W, C)`, uint8."""

    def arrays_from_lab8(self, lab8: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Do the same with a photo in the 8-bit encoding of Lab `(H, W, 3)`."""
        return self.arrays(color.rgb8_from_lab8(lab8))

    @abstractmethod
    def encode_input(self, input: Tensor) -> Tensor:
        """Make the generator's input `(N, I, H, W)` in [-1, 1] of uint8 `(N, H, W)`."""

    @abstractmethod
    def encode_target(self, target: Tensor) -> Tensor:
        """Make the target `(N, C, H, W)` in [-1, 1] of uint8 `(N, H, W, C)`."""

    @abstractmethod
    def decode(self, input: Tensor, output: Tensor) -> Tensor:
        """Make pictures `(N, H, W, 3)`, sRGB in 0..1, of an encoded input and an output."""

    @abstractmethod
    def from_ab(self) -> Tensor:
        """Return `(C, 2)`, by which an output of LAB becomes nearly what is added to gray here."""

    @abstractmethod
    def network_input(self, srgb: FloatArray) -> FloatArray:
        """Make the generator's input `(I, H, W)` of sRGB `(H, W, 3)` or gray `(H, W)` in 0..1."""

    @abstractmethod
    def ab(self, output: FloatArray) -> FloatArray:
        """Return a and b `(H, W, 2)` of an output `(C, H, W)` of the generator."""

    def encode(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Encode both arrays of a batch: the generator's input and what it must produce."""
        return self.encode_input(input), self.encode_target(target)

    def gray_output(self, input: Tensor) -> Tensor:
        """Return the output that leaves an encoded input gray: the baseline of every measure."""
        return input.new_zeros(len(input), self.out_channels, *input.shape[2:])


class RGB(Space):
    """Gray (BT.601 luma) repeated to three channels in, RGB out."""

    name: SpaceName = "rgb"
    in_channels = 3
    out_channels = 3

    def arrays(self, photo: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Keep the luma and the photo itself."""
        return color.gray8_from_rgb8(photo), photo

    def encode_input(self, input: Tensor) -> Tensor:
        """Scale gray to [-1, 1] and repeat it three times."""
        gray: Tensor = color.centred_from_uint8(input, 127.5, 127.5)
        return gray.unsqueeze(1).expand(-1, 3, -1, -1)

    def encode_target(self, target: Tensor) -> Tensor:
        """Scale RGB to [-1, 1], channels first."""
        rgb: Tensor = color.centred_from_uint8(target, 127.5, 127.5)
        return rgb.movedim(-1, 1)

    def decode(self, input: Tensor, output: Tensor) -> Tensor:
        """Scale the output back to 0..1; the input is not needed: the network redraws the photo."""
        return ((output.float() + 1) / 2).clamp(0, 1).movedim(1, -1)

    def from_ab(self) -> Tensor:
        """Return the slope of sRGB over ab, where it is gray and of medium lightness."""
        import torch

        # Outputs are twice sRGB and ab by their scale.
        slope: Tensor = torch.from_numpy(2 * color.AB_SCALE * color.rgb_slope_over_ab())
        return slope

    def network_input(self, srgb: FloatArray) -> FloatArray:
        """Scale the luma to [-1, 1] and repeat it three times."""
        gray: FloatArray = 2 * color.luma_from_srgb(srgb) - 1
        return np.repeat(gray[None], 3, axis=0)

    def ab(self, output: FloatArray) -> FloatArray:
        """Return those of the picture the network drew; its lightness is not used."""
        drawn = np.clip((output + 1) / 2, 0, 1).transpose(1, 2, 0)
        ab: FloatArray = color.lab_from_rgb(drawn)[..., 1:]
        return ab

    def gray_output(self, input: Tensor) -> Tensor:
        """Return the gray input itself."""
        return input


class LAB(Space):
    """CIE L in, ab out: the lightness of the photo is kept, its colour is predicted."""

    name: SpaceName = "lab"
    in_channels = 1
    out_channels = 2

    def arrays(self, photo: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Keep L and ab in their 8-bit encodings."""
        return self.arrays_from_lab8(color.lab8_from_rgb8(photo))

    def arrays_from_lab8(self, lab8: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Keep L and ab as they are."""
        return lab8[..., 0], lab8[..., 1:]

    def encode_input(self, input: Tensor) -> Tensor:
        """Scale L to [-1, 1]: L / 50 - 1."""
        # 255 stands for L_MAX.
        lightness: Tensor = color.centred_from_uint8(input, 127.5, 127.5)
        return lightness.unsqueeze(1)

    def encode_target(self, target: Tensor) -> Tensor:
        """Scale ab by 1/110, channels first."""
        ab: Tensor = color.centred_from_uint8(target, color.AB_OFFSET, color.AB_SCALE)
        return ab.movedim(-1, 1)

    def decode(self, input: Tensor, output: Tensor) -> Tensor:
        """Join the input's L and the output's ab; what lies outside sRGB is clipped."""
        lightness = (input.float() + 1) * (color.L_MAX / 2)
        import torch

        lab = torch.cat((lightness, output.float() * color.AB_SCALE), dim=1)
        rgb: Tensor = color.rgb_from_lab(lab.movedim(1, -1))
        return rgb

    def network_input(self, srgb: FloatArray) -> FloatArray:
        """Scale L to [-1, 1]: L / 50 - 1."""
        lightness: FloatArray = color.lightness_from_srgb(srgb) / np.float32(color.L_MAX / 2) - 1
        return lightness[None]

    def ab(self, output: FloatArray) -> FloatArray:
        """Scale the output back by 110."""
        return output.transpose(1, 2, 0) * np.float32(color.AB_SCALE)

    def from_ab(self) -> Tensor:
        """Return the identity."""
        import torch

        return torch.eye(2)


def get_space(name: str) -> Space:
    """Return the space called `name`; ValueError for any other name."""
    for space in (RGB(), LAB()):
        if space.name == name:
            return space
    raise ValueError(f"no space is called {name!r}; there are {' and '.join(SPACES)}")
