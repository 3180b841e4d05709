"""The generator's first weights: the project's, or those of a model folder or an MLflow run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from colorgan import paths
from colorgan.config import ModelParams, SpaceParams
from colorgan.errors import ColorganError, ParamsError
from colorgan.io import sha256
from colorgan.model import CONFIG, WEIGHTS, Model, build_generator
from colorgan.networks.encoder_unet import OF_COLORS
from colorgan.spaces import Space

NONE = "none"


@dataclass(frozen=True)
class FirstWeights:
    """Weights that a training begins with.

    Attributes:
        state: the generator's weights by name; None for random ones.
        sha256: SHA-256 of their file, or of that of the backbone's alone; empty without a file.
        source: where they come from, for the record.
    """

    state: dict[str, Tensor] | None = None
    sha256: str = ""
    source: str = NONE

    def described(self) -> dict[str, str]:
        """Return the lineage as tags."""
        if self.state is None:
            return {}
        return {"init": self.source, "init.generator_sha256": self.sha256}


def first_weights(space: Space, params: SpaceParams) -> FirstWeights:
    """Read the weights that `train.init` names.

    Raises:
        ColorganError: there is no such folder or run, or its network is not the one to be trained.
    """
    init = params.train.init
    if init == NONE:
        return FirstWeights(sha256=_of_backbone(params.model))
    if init == paths.PRETRAINED:
        return _pretrained(space, params)
    folder = Path(init)
    # Also where it is not there: DVC has removed it by now.
    if folder.resolve() == paths.model(space.name).resolve():
        raise ParamsError(
            f"params.yaml: train.init is {init}, which this stage writes itself, and which "
            "DVC removes before; copy that folder and name the copy, or name the MLflow run "
            "that made it"
        )
    if folder.is_dir():
        return _checked(folder, init, space, params)
    with TemporaryDirectory() as into:
        return _checked(_of_run(init, space, Path(into)), init, space, params)


def _pretrained(space: Space, params: SpaceParams) -> FirstWeights:
    """Return the weights that come with the project, their ab turned into what the space adds."""
    folder = paths.pretrained()
    model = Model.load(folder)
    state = model.generator.state_dict()
    for name in state.keys() & OF_COLORS:
        state[name] = torch.tensordot(space.from_ab(), state[name], dims=1)
    _require_same_shapes(state, folder, model.image_size, paths.PRETRAINED, space, params)
    return FirstWeights(state, model.sha256, paths.PRETRAINED)


def _of_backbone(model: ModelParams) -> str:
    """Return what tells the content of a file of backbone weights, so that another is noticed."""
    file = Path(model.encoder_weights)
    return sha256(file) if model.generator == "encoder_unet" and file.is_file() else ""


def _of_run(init: str, space: Space, into: Path) -> Path:
    """Bring the model of an MLflow run into a folder and return the folder."""
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


def _checked(folder: Path, init: str, space: Space, params: SpaceParams) -> FirstWeights:
    model = Model.load(folder)
    if model.space.name != space.name:
        raise ColorganError(
            f"train.init names {init}, a generator of the space {model.space.name}; "
            f"it should be one of {space.name}"
        )
    state = model.generator.state_dict()
    _require_same_shapes(state, folder, model.image_size, init, space, params)
    return FirstWeights(state, model.sha256, init)


def _require_same_shapes(
    state: dict[str, Tensor],
    folder: Path,
    image_size: int,
    init: str,
    space: Space,
    params: SpaceParams,
) -> None:
    """Require that these are weights of the network that params.yaml describes."""
    wanted = build_generator(space, params.model, params.data.image_size).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in wanted.items()}:
        raise ColorganError(
            f"train.init names {init}, a network of another shape (for {image_size} px); model.* "
            f"and {space.name}.image_size in params.yaml should be those in {folder / CONFIG}"
        )
