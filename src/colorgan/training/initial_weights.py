"""Initial weights: random, pretrained, from a model folder or an MLflow run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from colorgan import paths
from colorgan.config import SpaceParams
from colorgan.errors import ColorganError, ParamsError
from colorgan.io import sha256
from colorgan.model import CONFIG, WEIGHTS, Model, build_generator, check_weights
from colorgan.networks.encoder_unet import OF_COLORS, OF_HINTS
from colorgan.spaces import Space
from colorgan.training.build import build_discriminator

RANDOM = "none"
DISCRIMINATOR = "discriminator.safetensors"


@dataclass(frozen=True)
class InitialWeights:
    """Weights that a training starts from, by name, and the SHA-256 of their files."""

    state: dict[str, Tensor] | None = None  # of the generator; None for random ones
    sha256: str = ""  # also of a file with the backbone's weights alone
    discriminator: dict[str, Tensor] | None = None
    discriminator_sha256: str = ""


def read_initial_weights(space: Space, cfg: SpaceParams) -> InitialWeights:
    """Read the weights that `train.init` and `train.init_discriminator` name.

    ColorganError if there is no such folder or run, or its network is another one.
    """
    weights = _read_generator(space, cfg)
    if cfg.train.init_discriminator == RANDOM:
        return weights
    file = paths.pretrained() / DISCRIMINATOR
    wanted = build_discriminator(space, cfg.model).state_dict()
    try:
        state = load_file(file)
        check_weights(state, wanted)
    except (SafetensorError, OSError, ValueError) as error:
        raise ColorganError(
            f"train.init_discriminator is pretrained, but {file} holds no discriminator like that "
            f"of model.* in params.yaml ({error}); set it to none, or restore the file"
        ) from None
    return replace(weights, discriminator=state, discriminator_sha256=sha256(file))


def _read_generator(space: Space, cfg: SpaceParams) -> InitialWeights:
    init = cfg.train.init
    if init == RANDOM:
        # Another file of backbone weights makes another training.
        backbone = Path(cfg.model.encoder_weights)
        used = cfg.model.generator == "encoder_unet" and backbone.is_file()
        return InitialWeights(sha256=sha256(backbone) if used else "")
    folder = paths.pretrained() if init == paths.PRETRAINED else paths.expanded(init)
    # Also where it does not exist: DVC has removed it by now.
    if folder.resolve() == paths.model(space.name).resolve():
        raise ParamsError(
            f"params.yaml: train.init is {init}, which this stage writes itself, and which "
            "DVC removes before; copy that folder and name the copy, or name the MLflow run "
            "that made it"
        )
    with TemporaryDirectory() as into:
        if init != paths.PRETRAINED and not folder.is_dir():
            folder = _download(init, space, Path(into))
        model = Model.load(folder)
    state = model.generator.state_dict()
    if init == paths.PRETRAINED:
        # It produces ab, which either space can use.
        for name in state.keys() & OF_COLORS:
            state[name] = torch.tensordot(torch.from_numpy(space.from_ab()), state[name], dims=1)
    elif model.space.name != space.name:
        raise ColorganError(
            f"train.init names {init}, a generator of the space {model.space.name}; "
            f"it should be one of {space.name}"
        )
    wanted = build_generator(space, cfg.model, cfg.data.image_size).state_dict()
    if not model.takes_hints:
        # The new branch changes nothing, as its last layers are zero.
        state |= {name: x for name, x in wanted.items() if name.startswith(OF_HINTS)}
    if _shapes(state) != _shapes(wanted):
        raise ColorganError(
            f"train.init names {init}, a network of another shape (for {model.image_size} px); "
            f"model.* and {space.name}.image_size in params.yaml should be those in its {CONFIG}"
        )
    return InitialWeights(state, model.sha256)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _download(init: str, space: Space, into: Path) -> Path:
    """Download the model of an MLflow run into a folder and return the model's folder."""
    try:
        from colorgan.tracking.mlflow_read import TrainingRuns

        runs = TrainingRuns()
        run = runs.named(init, f"train_{space.name}")
    except (ModuleNotFoundError, ColorganError) as error:
        raise ParamsError(
            f"params.yaml: train.init is {init!r}, which is no folder here; it should be none, "
            f"{paths.PRETRAINED}, a folder with {WEIGHTS} and {CONFIG}, or the id or name of an "
            f"MLflow run ({error})"
        ) from None
    return runs.model(run, into)
