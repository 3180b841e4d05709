"""Backends that run a trained generator, PyTorch or ONNX Runtime, and loading one by its name."""

from __future__ import annotations

import json
import textwrap
from abc import ABC, abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError

from colorgan import paths
from colorgan.color import FloatArray
from colorgan.config import SPACES, ImageSize, Section, SpaceName, first_problem
from colorgan.errors import ColorganError
from colorgan.spaces import Space, get_space

if TYPE_CHECKING:
    from colorgan.model import Model

METADATA = "colorgan"
"""Key of an ONNX file's metadata under which `export` writes JSON: space, sizes, version."""
INPUT, HINTS, OUTPUT, FEATURES = "input", "hints", "output", "features"


class Network(ABC):
    """A trained generator, whatever runs it.

    It was trained on photos of `image_size` pixels a side; both sides of its input must be
    multiples of `multiple`. `name` is that in messages.
    """

    space: Space
    image_size: int
    multiple: int
    name: str
    takes_hints: bool

    def predict(self, input: FloatArray) -> FloatArray:
        """Map inputs `(N, I, H, W)` in [-1, 1] to outputs `(N, C, H, W)`; ColorganError if not."""
        return self._checked(input, self._run(input, None)[0])

    def predict_hinted(self, input: FloatArray, hints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return outputs with colour hints, and features of the pictures `(N, K, h, w)`.

        `hints` `(N, 3, H, W)` are ab / 110 and a mask of the pixels whose colour is given.
        """
        if not self.takes_hints:
            raise ColorganError(
                f"--model {self.name} takes no hints; it should be pretrained, or one trained with "
                "model.hints"
            )
        output, features = self._run(input, hints)
        return self._checked(input, output), features

    def _checked(self, input: FloatArray, output: FloatArray) -> FloatArray:
        wanted = (len(input), self.space.out_channels, *input.shape[2:])
        if output.shape != wanted:
            raise ColorganError(
                f"--model {self.name} makes {output.shape} of {input.shape}; it should be {wanted}"
            )
        if not np.isfinite(output).all():
            raise ColorganError(
                f"--model {self.name} gives values that are not finite (NaN or inf): its weights "
                "are damaged"
            )
        return output

    @abstractmethod
    def _run(self, input: FloatArray, hints: FloatArray | None) -> list[FloatArray]:
        """Return the output, and with hints the features."""


class OnnxMetadata(Section, extra="ignore"):
    """What the metadata of an ONNX file says of the network."""

    version: Literal[1]
    space: SpaceName
    image_size: ImageSize
    multiple: Annotated[int, Field(ge=1, le=256)]
    hints: bool = False


class TorchNetwork(Network):
    """A generator that PyTorch runs."""

    def __init__(self, model: Model, name: str) -> None:
        self._model, self.name = model, name
        self.space, self.image_size = model.space, model.image_size
        self.multiple, self.takes_hints = model.multiple, model.takes_hints

    def _run(self, input: FloatArray, hints: FloatArray | None) -> list[FloatArray]:
        import torch

        seen = torch.from_numpy(input)
        if hints is None:
            return [self._model.predict(seen).cpu().numpy()]
        return [x.cpu().numpy() for x in self._model.predict_hinted(seen, torch.from_numpy(hints))]


class OnnxNetwork(Network):
    """A generator that ONNX Runtime runs on the CPU; ColorganError if `path` holds none."""

    def __init__(self, path: Path, name: str = "", threads: int = 0) -> None:
        self.name = name or str(path)
        if not path.is_file():
            raise ColorganError(f"--model {path} does not exist; `colorgan export` writes one")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        # Threads that spin while they wait would take the cores that read and write photos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            why = textwrap.shorten(str(error), 200)
            raise ColorganError(f"--model {path} is no ONNX file that can be read: {why}") from None
        metadata = self._session.get_modelmeta().custom_metadata_map.get(METADATA, "")
        try:
            told = OnnxMetadata.model_validate(json.loads(metadata))
        except (ValueError, RecursionError) as error:
            why = first_problem(error) if isinstance(error, ValidationError) else "no JSON"
            raise ColorganError(
                f"--model {self.name} is an ONNX file of something else (of its metadata "
                f"{METADATA!r}: {why}); it should be one that `colorgan export` has written"
            ) from None
        self.space, self.image_size = get_space(told.space), told.image_size
        self.multiple, self.takes_hints = told.multiple, told.hints
        # It may still be a graph that cannot run, or of another space.
        shape = (1, self.space.in_channels, self.multiple, self.multiple)
        self.predict(np.zeros(shape, np.float32))

    def _run(self, input: FloatArray, hints: FloatArray | None) -> list[FloatArray]:
        wanted = [OUTPUT] if hints is None else [OUTPUT, FEATURES]
        given = {INPUT: np.ascontiguousarray(input)}
        if hints is not None:
            given[HINTS] = np.ascontiguousarray(hints)
        try:
            return [np.asarray(x, np.float32) for x in self._session.run(wanted, given)]
        except Exception as error:  # ONNX Runtime raises many types
            why = textwrap.shorten(str(error), 200)
            raise ColorganError(
                f"--model {self.name} fails on an input of {input.shape}: {why}"
            ) from None


def load_network(
    model: str | Path = paths.PRETRAINED, device: str = "auto", threads: int = 0
) -> Network:
    """Load a network from an ONNX file or anything that `load_model` takes.

    `threads` is how many ONNX Runtime uses; 0 is one a core. PyTorch has a setting of its own.

    The bundled model runs in ONNX Runtime unless a GPU is asked for: on a CPU that is faster than
    PyTorch, whose import alone takes longer than a photo.
    """
    name, bundled = str(model), paths.pretrained() / paths.ONNX
    if name.endswith(".onnx"):
        return OnnxNetwork(Path(name), threads=threads)
    if name == paths.PRETRAINED and device in ("auto", "cpu") and bundled.is_file():
        return OnnxNetwork(bundled, name, threads)
    return TorchNetwork(load_model(name, device), name)


def load_model(name: str, device: str = "auto") -> Model:
    """Load a generator with PyTorch.

    Args:
        name: `pretrained`, `rgb` or `lab` (of models/), a folder with generator.safetensors and
            config.json, the name or `runs:/ID` of an MLflow training run, or
            `models:/colorgan-lab@champion` of MLflow's registry.
        device: `auto`, `cpu`, `cuda` or `mps`.
    """
    from colorgan.model import Model
    from colorgan.runs.runtime import choose_device

    folders = [paths.pretrained()] if name == paths.PRETRAINED else [Path(name), paths.model(name)]
    with TemporaryDirectory() as scratch:
        found = next(filter(Path.is_dir, folders), None) or _download(name, Path(scratch))
        return Model.load(found, choose_device(device, "--device"))


def _download(name: str, folder: Path) -> Path:
    """Download the model of an MLflow run or of MLflow's registry; return its folder."""
    try:
        from colorgan.tracking.mlflow_read import TrainingRuns

        runs = TrainingRuns()
        if name.startswith("models:/"):
            return runs.registered(name, folder)
        # runs:/ID/model is MLflow's way; in a name, / is part of it: `batch-32 / train_lab`.
        wanted = name.split("/")[1] if name.startswith("runs:/") else name
        run = runs.named(wanted, *(f"train_{space}" for space in SPACES))
        return runs.model(run, folder)
    except (ColorganError, ModuleNotFoundError) as error:
        raise ColorganError(
            f"--model {name}: no folder of this name, here or in {paths.MODELS}, nor a training "
            f"run ({error}); it should be pretrained, rgb, lab, a folder with "
            "generator.safetensors and config.json, an ONNX file, or a run"
        ) from None
