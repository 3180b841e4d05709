"""Save, load and run a trained generator: generator.safetensors and config.json in a folder."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from colorgan import color, io, paths
from colorgan.color import UInt8Array
from colorgan.config import SPACES, ModelParams
from colorgan.data.arrays import Split
from colorgan.errors import ColorganError
from colorgan.networks import EncoderUNet, UNet
from colorgan.networks.layers import channels_last
from colorgan.spaces import Space, get_space

WEIGHTS = "generator.safetensors"
CONFIG = "config.json"
CONFIG_VERSION = 4
# Parameters of the model since each version, with their values in older models.
SINCE = {
    2: {"encoder": "tf_efficientnet_lite0", "encoder_weights": "none"},
    3: {"discriminator": "patch"},
    4: {"color_queries": 0},
}


def build_generator(space: Space, model: ModelParams, image_size: int) -> nn.Module:
    """Build the generator that `model` describes, with random weights."""
    if model.generator == "encoder_unet":
        return EncoderUNet(
            space.in_channels, space.out_channels, model.ngf, model.encoder, model.color_queries
        )
    return UNet(
        space.in_channels,
        space.out_channels,
        ngf=model.ngf,
        image_size=image_size,
        dropout=model.dropout,
        norm=model.norm,
    )


@dataclass(frozen=True)
class Model:
    """A trained generator and its space.

    Attributes:
        generator: the network, in evaluation mode.
        space: encodes its inputs and decodes its outputs.
        image_size: side in pixels of its training photos.
        sha256: SHA-256 of its weights file; MLflow tags the training run with it.
        device: the device it runs on.
    """

    generator: nn.Module
    space: Space
    image_size: int
    sha256: str
    device: torch.device

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Model:
        """Load generator.safetensors and config.json of `folder`.

        Raises:
            ColorganError: a file is missing, damaged or of a newer version.
        """
        config = _read_config(folder / CONFIG)
        weights = folder / WEIGHTS
        try:
            space = get_space(config["space"])
            model = ModelParams.model_validate(config["model"])
            generator = build_generator(space, model, config["image_size"])
            generator.load_state_dict(load_file(weights))
        except FileNotFoundError:
            raise ColorganError(f"{weights} does not exist: {_train_first(folder)}") from None
        except (KeyError, TypeError, ValueError) as error:
            lacks = f"it lacks {error}" if isinstance(error, KeyError) else _reason(error)
            raise ColorganError(f"{folder / CONFIG} does not describe a model: {lacks}") from None
        except (SafetensorError, RuntimeError) as error:
            raise ColorganError(
                f"{weights} does not hold the weights that {CONFIG} describes: {_reason(error)}"
            ) from None
        generator.to(device).eval().requires_grad_(False)
        sha256 = io.sha256(weights)
        return cls(generator, space, config["image_size"], sha256, torch.device(device))

    @property
    def multiple(self) -> int:
        """Height and width of an input must be multiples of this."""
        return int(self.generator.multiple)  # type: ignore[arg-type]

    @torch.inference_mode()
    def predict(self, input: Tensor) -> Tensor:
        """Run the generator: encoded inputs `(N, I, H, W)` to encoded outputs `(N, C, H, W)`."""
        output: Tensor = self.generator(channels_last(input.to(self.device)))
        return output

    def colorize_batch(self, input: Tensor) -> Tensor:
        """Colour uint8 inputs `(N, H, W)` (gray or 8-bit L): uint8 sRGB `(N, H, W, 3)`."""
        encoded = self.space.encode_input(input.to(self.device))
        return pictures(self.space, encoded, self.predict(encoded))

    def colorize_split(self, split: Split, batch_size: int) -> Iterator[ColoredBatch]:
        """Colour the photos of a split in order, a batch at a time."""
        for start in range(0, len(split), batch_size):
            rows = slice(start, start + batch_size)
            # Copied, because torch does not take a read-only memory map.
            input = torch.from_numpy(split.input[rows].copy())
            target = torch.from_numpy(split.target[rows].copy())
            generated = self.colorize_batch(input)
            encoded, wanted = self.space.encode(input, target)
            yield ColoredBatch(
                gray=pictures(self.space, encoded, self.space.gray_output(encoded)).numpy(),
                truth=pictures(self.space, encoded, wanted).numpy(),
                generated=generated.cpu().numpy(),
            )


@dataclass(frozen=True)
class ColoredBatch:
    """The same photos in gray, as they are and as generated, each `(N, H, W, 3)` uint8 sRGB."""

    gray: UInt8Array
    truth: UInt8Array
    generated: UInt8Array


def pictures(space: Space, encoded: Tensor, output: Tensor) -> Tensor:
    """Decode encoded inputs and outputs of the generator to uint8 sRGB `(N, H, W, 3)`."""
    rgb: Tensor = color.uint8_from_unit(space.decode(encoded, output))
    return rgb


def save_model(
    folder: Path, generator: nn.Module, space: Space, model: ModelParams, image_size: int
) -> None:
    """Write generator.safetensors and config.json into `folder`."""
    state = {name: tensor.contiguous().cpu() for name, tensor in generator.state_dict().items()}
    # Not by safetensors.save_file, which makes the file readable for its owner alone.
    (folder / WEIGHTS).write_bytes(save(state))
    io.write_json(
        folder / CONFIG,
        {
            "version": CONFIG_VERSION,
            "space": space.name,
            "image_size": image_size,
            "model": model.model_dump(),
        },
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ColorganError(f"{path} does not exist: {_train_first(path.parent)}") from None
    except ValueError as error:
        raise ColorganError(f"{path} is not valid JSON: {error}") from None
    version = config.get("version") if isinstance(config, dict) else None
    if not isinstance(version, int) or not 1 <= version <= CONFIG_VERSION:
        raise ColorganError(f"{path} is of version {version}, this code reads {CONFIG_VERSION}")
    for later in range(version + 1, CONFIG_VERSION + 1):
        if isinstance(config.get("model"), dict):
            config["model"] = SINCE[later] | config["model"]
    return config


def _reason(error: Exception) -> str:
    """Return an error in one line; the first line of torch's and pydantic's says too little."""
    return textwrap.shorten(str(error), 240, placeholder=" ...")


def _train_first(folder: Path) -> str:
    if folder not in map(paths.model, SPACES):
        return f"a model is a folder with {WEIGHTS} and {CONFIG}"
    return (
        f"run `dvc repro train_{folder.name}` (or `python -m colorgan train {folder.name}`) first"
    )
