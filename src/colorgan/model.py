"""Save, load and run a trained generator: generator.safetensors and config.json in a folder."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from colorgan import color, io, paths
from colorgan.color import UInt8Array
from colorgan.config import (
    SPACES,
    ImageSize,
    ModelParams,
    Section,
    SpaceName,
    first_problem,
    shortened,
)
from colorgan.data.arrays import Split
from colorgan.errors import ColorganError
from colorgan.networks import EncoderUNet, UNet
from colorgan.networks.layers import channels_last
from colorgan.spaces import Space, get_space

WEIGHTS = "generator.safetensors"
CONFIG = "config.json"
CONFIG_VERSION = 6
# Parameters of the model since each version, with their values in older models.
SINCE: dict[int, dict[str, Any]] = {
    2: {"encoder": "tf_efficientnet_lite0", "encoder_weights": "none"},
    3: {"discriminator": "patch"},
    5: {"decoder_blocks": 4},
    6: {"hints": False},
}


class ModelConfig(Section):
    """The content of config.json."""

    version: int
    space: SpaceName
    image_size: ImageSize
    gain: Annotated[float, Field(ge=0, le=4)]
    model: ModelParams


def build_generator(space: Space, model: ModelParams, image_size: int) -> nn.Module:
    """Build the generator that `model` describes, with random weights."""
    channels = space.in_channels, space.out_channels
    match model.generator:
        case "encoder_unet":
            return EncoderUNet(
                *channels,
                model.ngf,
                model.encoder,
                model.decoder_blocks,
                model.hints,
            )
        case "unet":
            return UNet(*channels, model.ngf, image_size, model.dropout, model.norm)


@dataclass(frozen=True)
class Model:
    """A trained generator and its space.

    Attributes:
        generator: the network, in evaluation mode.
        space: encodes its inputs and decodes its outputs.
        image_size: side in pixels of its training photos.
        sha256: SHA-256 of its weights file; MLflow tags the training run with it.
        device: the device it runs on.
        gain: factor on the colours that the network predicts.
    """

    generator: nn.Module
    space: Space
    image_size: int
    sha256: str
    device: torch.device
    gain: float = 1.0

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Model:
        """Load generator.safetensors and config.json of `folder`.

        Needs no connection, and takes no memory for weights that the file lacks.

        Raises:
            ColorganError: a file is missing, damaged or of a newer version, or holds weights of
                another network or that are not finite.
        """
        config, weights = _read_config(folder / CONFIG), folder / WEIGHTS
        space, image_size = get_space(config.space), config.image_size
        try:
            with torch.device("meta"):
                wanted = build_generator(space, config.model, image_size).state_dict()
            state = load_file(weights)
            check_weights(state, wanted)
        except FileNotFoundError:
            raise ColorganError(f"{weights} does not exist: {_train_first(folder)}") from None
        except ColorganError as error:
            said = str(error).removeprefix("params.yaml: ")
            raise ColorganError(f"{folder / CONFIG} does not describe a model: {said}") from None
        except (SafetensorError, OSError, ValueError) as error:
            raise ColorganError(
                f"{weights} does not hold the weights that {CONFIG} describes: "
                f"{textwrap.shorten(str(error), 240, placeholder=' ...')}"
            ) from None
        generator = build_generator(space, config.model, image_size)
        generator.load_state_dict(state)
        generator.to(device).eval().requires_grad_(False)
        device = torch.device(device)
        return cls(generator, space, image_size, io.sha256(weights), device, config.gain)

    @property
    def multiple(self) -> int:
        """Height and width of an input must be multiples of this."""
        return int(self.generator.multiple)  # type: ignore[arg-type]

    @property
    def takes_hints(self) -> bool:
        """Whether the generator takes colour hints."""
        return getattr(self.generator, "hints", None) is not None

    @torch.inference_mode()
    def predict(self, input: Tensor) -> Tensor:
        """Run the generator: encoded inputs `(N, I, H, W)` to encoded outputs `(N, C, H, W)`."""
        input = input.to(self.device)
        output: Tensor = WithGain(self.generator, self.space, self.gain)(channels_last(input))
        return output

    @torch.inference_mode()
    def predict_hinted(self, input: Tensor, hints: Tensor) -> tuple[Tensor, Tensor]:
        """Run a generator that takes hints; return its outputs, and features of the encoder.

        `hints` `(N, 3, H, W)` are ab / 110 and a mask of the pixels whose colour is given. The
        features are `(N, K, H / 8, W / 8)`.
        """
        network = WithGain(self.generator, self.space, self.gain)
        input, hints = input.to(self.device), hints.to(self.device)
        output: tuple[Tensor, Tensor] = network(channels_last(input), hints)
        return output

    def colorize_split(self, split: Split, batch_size: int) -> Iterator[ColoredBatch]:
        """Colour the photos of a split in order, a batch at a time."""
        for start in range(0, len(split), batch_size):
            rows = slice(start, start + batch_size)
            # Copied, because torch does not take a read-only memory map.
            input = torch.from_numpy(split.input[rows].copy())
            target = torch.from_numpy(split.target[rows].copy())
            seen = self.space.encode_input(input.to(self.device))
            output = self.predict(seen)
            lightness, ab = self.space.lab_of(seen, output)
            encoded, wanted = self.space.encode(input, target)
            yield ColoredBatch(
                gray=pictures(self.space, encoded, self.space.gray_output(encoded)).numpy(),
                truth=pictures(self.space, encoded, wanted).numpy(),
                generated=pictures(self.space, seen, output).cpu().numpy(),
                lightness=lightness.cpu(),
                ab=ab.cpu(),
            )


class WithGain(nn.Module):
    """A generator whose colours are multiplied by a factor."""

    def __init__(self, generator: nn.Module, space: Space, gain: float) -> None:
        super().__init__()
        self.generator, self.space, self.gain = generator, space, gain

    def forward(self, input: Tensor, hints: Tensor | None = None) -> Any:
        """Map encoded inputs `(N, I, H, W)` to encoded outputs `(N, C, H, W)`.

        With hints as for `Model.predict_hinted` also return the features of the encoder.
        """
        if hints is None:
            return self.space.with_chroma(input, self.generator(input), self.gain)
        # So that the output, and not what is multiplied, has the colours of the hints.
        share = 1 / self.gain if self.gain else 1.0
        paler = torch.cat((hints[:, :2] * share, hints[:, 2:]), dim=1)
        output, features = self.generator.with_features(input, paler)  # type: ignore[operator]
        return self.space.with_chroma(input, output, self.gain), features


@dataclass(frozen=True)
class ColoredBatch:
    """The same photos in gray, as they are and as generated, each `(N, H, W, 3)` uint8 sRGB.

    Attributes:
        lightness: L / 50 - 1 of the gray photos, `(N, 1, H, W)`.
        ab: generated ab / 110, `(N, 2, H, W)`.
    """

    gray: UInt8Array
    truth: UInt8Array
    generated: UInt8Array
    lightness: Tensor
    ab: Tensor


def pictures(space: Space, encoded: Tensor, output: Tensor) -> Tensor:
    """Decode encoded inputs and outputs of the generator to uint8 sRGB `(N, H, W, 3)`."""
    rgb: Tensor = color.uint8_from_unit(space.decode(encoded, output))
    return rgb


def save_model(
    folder: Path,
    generator: nn.Module,
    space: Space,
    model: ModelParams,
    image_size: int,
    gain: float = 1.0,
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
            "gain": gain,
            "model": model.model_dump(),
        },
    )


def _read_config(path: Path) -> ModelConfig:
    try:
        config: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ColorganError(f"{path} does not exist: {_train_first(path.parent)}") from None
    except (ValueError, RecursionError) as error:
        raise ColorganError(f"{path} is not valid JSON: {error}") from None
    version = config.get("version") if isinstance(config, dict) else None
    if not isinstance(version, int) or not 1 <= version <= CONFIG_VERSION:
        raise ColorganError(
            f"{path} is of version {shortened(version)}, this code reads {CONFIG_VERSION}"
        )
    if version < CONFIG_VERSION:
        config.setdefault("gain", 1.0)
    if isinstance(model := config.get("model"), dict):
        for later in range(version + 1, CONFIG_VERSION + 1):
            model = SINCE.get(later, {}) | model
        # Models of versions 4 to 6 may say that they have no colour queries, which are gone.
        config["model"] = {k: v for k, v in model.items() if (k, v) != ("color_queries", 0)}
    try:
        return ModelConfig.model_validate(config)
    except ValidationError as error:
        raise ColorganError(f"{path} does not describe a model: {first_problem(error)}") from None


def check_weights(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Check names, shapes and kinds of weights, and that they are finite; ValueError if not."""
    for name in sorted(wanted.keys() ^ state.keys()):
        raise ValueError(f"{name} is {'missing' if name in wanted else 'not part of it'}")
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            sizes = tuple(wanted[name].shape), tuple(tensor.shape)
            raise ValueError(f"{name} should be of the size {sizes[0]}, it is {sizes[1]}")
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise ValueError(f"{name} is of type {tensor.dtype}; it should be {wanted[name].dtype}")
        if not tensor.to(wanted[name].dtype).isfinite().all():
            raise ValueError(f"{name} has values that are not finite (NaN or inf)")


def _train_first(folder: Path) -> str:
    if folder not in map(paths.model, SPACES):
        return f"a model is a folder with {WEIGHTS} and {CONFIG}"
    return (
        f"run `dvc repro train_{folder.name}` (or `python -m colorgan train {folder.name}`) first"
    )
