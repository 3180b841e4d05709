"""Initial weights of the generator: random, pretrained, from a model folder or an MLflow run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from colorgan import paths
from colorgan.config import SpaceParams
from colorgan.errors import ColorganError, ParamsError
from colorgan.io import sha256
from colorgan.model import CONFIG, WEIGHTS, Model, build_generator
from colorgan.networks.encoder_unet import OF_COLORS
from colorgan.spaces import Space

RANDOM = "none"


@dataclass(frozen=True)
class InitialWeights:
    """Weights that a training starts from.

    Attributes:
        state: the generator's weights by name; None for random ones.
        sha256: SHA-256 of their file, or of a file with the backbone's alone; empty without one.
        source: the value of `train.init`.
    """

    state: dict[str, Tensor] | None = None
    sha256: str = ""
    source: str = RANDOM

    def tags(self) -> dict[str, str]:
        """Return where they come from, as tags of the MLflow run."""
        if self.state is None:
            return {}
        return {"init": self.source, "init.generator_sha256": self.sha256}


def read_initial_weights(space: Space, params: SpaceParams) -> InitialWeights:
    """Read the weights that `train.init` names.

    Raises:
        ColorganError: there is no such folder or run, or its network is another one.
    """
    init = params.train.init
    if init == RANDOM:
        # Another file of backbone weights makes another training.
        backbone = Path(params.model.encoder_weights)
        used = params.model.generator == "encoder_unet" and backbone.is_file()
        return InitialWeights(sha256=sha256(backbone) if used else "")
    if init == paths.PRETRAINED:
        return _pretrained(space, params)
    folder = Path(init)
    # Also where it does not exist: DVC has removed it by now.
    if folder.resolve() == paths.model(space.name).resolve():
        raise ParamsError(
            f"params.yaml: train.init is {init}, which this stage writes itself, and which "
            "DVC removes before; copy that folder and name the copy, or name the MLflow run "
            "that made it"
        )
    if folder.is_dir():
        return _of_folder(folder, space, params)
    with TemporaryDirectory() as into:
        return _of_folder(_download(init, space, Path(into)), space, params)


def _pretrained(space: Space, params: SpaceParams) -> InitialWeights:
    """Return the pretrained weights, their ab output layer mapped to what the space produces."""
    folder = paths.pretrained()
    model = Model.load(folder)
    state = model.generator.state_dict()
    for name in state.keys() & OF_COLORS:
        state[name] = torch.tensordot(space.from_ab(), state[name], dims=1)
    _require_same_shapes(state, model, folder, space, params)
    return InitialWeights(state, model.sha256, paths.PRETRAINED)


def _of_folder(folder: Path, space: Space, params: SpaceParams) -> InitialWeights:
    init, model = params.train.init, Model.load(folder)
    if model.space.name != space.name:
        raise ColorganError(
            f"train.init names {init}, a generator of the space {model.space.name}; "
            f"it should be one of {space.name}"
        )
    state = model.generator.state_dict()
    _require_same_shapes(state, model, folder, space, params)
    return InitialWeights(state, model.sha256, init)


def _download(init: str, space: Space, into: Path) -> Path:
    """Download the model of an MLflow run into a folder and return the model's folder."""
    try:
        from colorgan.tracking.mlflow_read import TrainingRuns
    except ModuleNotFoundError:
        raise ParamsError(
            f"params.yaml: train.init is {init!r}, which is no folder here, and mlflow, which "
            "would know a run of that name, is not installed; it should be none, "
            f"{paths.PRETRAINED}, or a folder with {WEIGHTS} and {CONFIG}"
        ) from None
    try:
        runs = TrainingRuns()
        run = runs.named(f"train_{space.name}", init)
    except ColorganError as error:
        raise ParamsError(
            f"params.yaml: train.init is {init!r}, which is no folder here; it should be none, "
            f"{paths.PRETRAINED}, a folder with {WEIGHTS} and {CONFIG}, or the id or name of an "
            f"MLflow run ({error})"
        ) from None
    found = [runs.artifact(run, f"model/{name}", into) for name in (WEIGHTS, CONFIG)]
    if None in found:
        raise ColorganError(f"train.init names {run}, which has no model in MLflow")
    return into / "model"


def _require_same_shapes(
    state: dict[str, Tensor], model: Model, folder: Path, space: Space, params: SpaceParams
) -> None:
    """Raise ColorganError unless these are weights of the network that params.yaml describes."""
    wanted = build_generator(space, params.model, params.data.image_size).state_dict()
    shapes = {name: tensor.shape for name, tensor in state.items()}
    if shapes != {name: tensor.shape for name, tensor in wanted.items()}:
        raise ColorganError(
            f"train.init names {params.train.init}, a network of another shape (for "
            f"{model.image_size} px); model.* and {space.name}.image_size in params.yaml should "
            f"be those in {folder / CONFIG}"
        )
