"""The two formulations, RGB and LAB. They differ here and in params.yaml, and nowhere else.

A space defines the arrays on disk, the input and the target of the generator, and how its output
becomes a picture. In training and evaluation (torch)::

    photo (H, W, 3) uint8    --arrays-->  input (H, W), target (H, W, C) uint8, on disk
    a batch of these         --encode-->  input (N, I, H, W), target (N, C, H, W) in [-1, 1]
    input, generator output  --decode-->  pictures (N, H, W, 3), sRGB in 0..1

To colour a photo of any size, only a and b are taken from the output (NumPy)::

    sRGB or gray (H, W[, 3]) --network_input-->  (I, H, W)
    output (C, H, W)         --ab-->             (H, W, 2)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from colorgan import color
from colorgan.color import FloatArray, UInt8Array
from colorgan.config import SpaceName

if TYPE_CHECKING:
    # Preprocess does not import torch, so that its worker processes start fast.
    from torch import Tensor


class Space(ABC):
    """One formulation of colouring: its arrays, and the generator's inputs and outputs.

    Attributes:
        name: `rgb` or `lab`.
        in_channels: channels I of the generator's input.
        out_channels: channels C of its output and of the target array.
        target_zero, target_scale: the generator learns (target - target_zero) / target_scale.
    """

    name: SpaceName
    in_channels: int
    out_channels: int
    target_zero: float
    target_scale: float

    @abstractmethod
    def arrays(self, photo: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Split an sRGB photo `(H, W, 3)` into input `(H, W)` and target `(H, W, C)`, uint8."""

    def arrays_from_lab8(self, lab8: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Split a photo in 8-bit Lab `(H, W, 3)` into input and target, as `arrays`."""
        return self.arrays(color.rgb8_from_lab8(lab8))

    def encode_input(self, input: Tensor) -> Tensor:
        """Convert uint8 inputs `(N, H, W)` to `(N, I, H, W)` in [-1, 1]."""
        # In place, so that there is one allocation.
        scaled = input.float().sub_(127.5).div_(127.5)
        return scaled.unsqueeze(1).expand(-1, self.in_channels, -1, -1)

    def encode(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Encode uint8 inputs and targets; targets `(N, H, W, C)` become `(N, C, H, W)`."""
        scaled = target.float().sub_(self.target_zero).div_(self.target_scale)
        return self.encode_input(input), scaled.movedim(-1, 1)

    @abstractmethod
    def decode(self, input: Tensor, output: Tensor) -> Tensor:
        """Convert encoded inputs and generator outputs to sRGB in 0..1 `(N, H, W, 3)`."""

    @abstractmethod
    def lab_of(self, input: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return L / 50 - 1 `(N, 1, H, W)` of inputs and ab / 110 `(N, 2, H, W)` of outputs."""

    @abstractmethod
    def from_ab(self) -> FloatArray:
        """Return the `(C, 2)` matrix that maps outputs of LAB to residuals to gray in this space.

        With it the output layer of a LAB model initialises that of a model of this space.
        """

    @abstractmethod
    def network_input(self, srgb: FloatArray) -> FloatArray:
        """Convert sRGB `(H, W, 3)` or gray `(H, W)` in 0..1 to an encoded input `(I, H, W)`."""

    @abstractmethod
    def ab(self, output: FloatArray) -> FloatArray:
        """Return a and b `(H, W, 2)` of a generator output `(C, H, W)`."""

    def gray_output(self, input: Tensor) -> Tensor:
        """Return the output that decodes to the gray photo: the baseline of all metrics."""
        return input.new_zeros(len(input), self.out_channels, *input.shape[2:])

    def with_chroma(self, input: Tensor, output: Tensor, factor: float) -> Tensor:
        """Multiply the colours of an output by `factor`: its difference from gray."""
        if factor == 1:  # the sum below would round
            return output
        gray = self.gray_output(input)
        return gray + factor * (output - gray)


class RGB(Space):
    """Gray (BT.601 luma) repeated to three channels in, RGB out."""

    name: SpaceName = "rgb"
    in_channels = 3
    out_channels = 3
    target_zero = target_scale = 127.5

    def arrays(self, photo: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Return the luma and the photo itself."""
        return color.gray8_from_rgb8(photo), photo

    def decode(self, input: Tensor, output: Tensor) -> Tensor:
        """Scale the output to 0..1; the input is not used."""
        return ((output.float() + 1) / 2).clamp(0, 1).movedim(1, -1)

    def lab_of(self, input: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """Convert the gray input and the RGB output to Lab; the output's L is not used."""
        gray, lab = (color.lab_from_rgb(self.decode(input, x)) for x in (input, output))
        lightness, ab = gray[..., :1] / (color.L_MAX / 2) - 1, lab[..., 1:] / color.AB_SCALE
        return lightness.movedim(-1, 1), ab.movedim(-1, 1)

    def from_ab(self) -> FloatArray:
        """Return the derivative of RGB by ab at a medium gray, an approximation elsewhere."""
        # Outputs are 2 * sRGB - 1 here, and ab / AB_SCALE in LAB.
        return 2 * color.AB_SCALE * color.rgb_slope_over_ab()

    def network_input(self, srgb: FloatArray) -> FloatArray:
        """Scale the luma to [-1, 1] and repeat it to three channels."""
        return np.repeat(2 * color.luma_from_srgb(srgb)[None] - 1, 3, axis=0)

    def ab(self, output: FloatArray) -> FloatArray:
        """Convert the RGB output to Lab; its L is not used."""
        rgb = np.clip((output + 1) / 2, 0, 1).transpose(1, 2, 0)
        ab: FloatArray = color.lab_from_rgb(rgb)[..., 1:]
        return ab

    def gray_output(self, input: Tensor) -> Tensor:
        """Return the gray input itself."""
        return input


class LAB(Space):
    """CIE L in, ab out: the photo keeps its lightness, the generator predicts its colour."""

    name: SpaceName = "lab"
    in_channels = 1
    out_channels = 2
    target_zero = color.AB_OFFSET
    target_scale = color.AB_SCALE

    def arrays(self, photo: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Return L and ab of the photo in 8-bit Lab."""
        return self.arrays_from_lab8(color.lab8_from_rgb8(photo))

    def arrays_from_lab8(self, lab8: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
        """Return L and ab."""
        return lab8[..., 0], lab8[..., 1:]

    def decode(self, input: Tensor, output: Tensor, gain: float = 1.0) -> Tensor:
        """Convert L of the input and `gain` times the output's ab; clip colours outside sRGB."""
        import torch

        lightness = (input.float() + 1) * (color.L_MAX / 2)
        lab = torch.cat((lightness, output.float() * (gain * color.AB_SCALE)), dim=1)
        rgb: Tensor = color.rgb_from_lab(lab.movedim(1, -1))
        return rgb

    def lab_of(self, input: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return input and output as they are."""
        return input.float(), output.float()

    def network_input(self, srgb: FloatArray) -> FloatArray:
        """Scale L to [-1, 1]: L / 50 - 1."""
        return color.lightness_from_srgb(srgb)[None] / np.float32(color.L_MAX / 2) - 1

    def ab(self, output: FloatArray) -> FloatArray:
        """Multiply the output by 110."""
        return output.transpose(1, 2, 0) * np.float32(color.AB_SCALE)

    def from_ab(self) -> FloatArray:
        """Return the identity."""
        return np.eye(2, dtype=np.float32)


def get_space(name: SpaceName) -> Space:
    """Return the space called `name`."""
    return {"rgb": RGB, "lab": LAB}[name]()
