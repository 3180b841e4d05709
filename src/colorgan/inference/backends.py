"""What colours a small copy: a network of torch or an ONNX file, from wherever it is named."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from colorgan import paths
from colorgan.color import FloatArray
from colorgan.config import SPACES
from colorgan.errors import ColorganError
from colorgan.spaces import Space

if TYPE_CHECKING:
    from colorgan.model import Model


class Network(Protocol):
    """A trained generator, whatever runs it.

    Attributes:
        space: what it is given and what it gives.
        image_size: side in pixels of the photos it was trained on.
        multiple: what both sides of its input are multiples of.
        name: what it is called, for messages.
    """

    space: Space
    image_size: int
    multiple: int
    name: str

    def predict(self, input: FloatArray) -> FloatArray:
        """Map `(N, I, H, W)` to `(N, C, H, W)`, as the space has it."""


class TorchNetwork:
    """A generator that torch runs."""

    def __init__(self, model: Model, name: str) -> None:
        self._model, self.name = model, name
        self.space, self.image_size = model.space, model.image_size
        self.multiple = model.multiple

    def predict(self, input: FloatArray) -> FloatArray:
        """Map `(N, I, H, W)` to `(N, C, H, W)`."""
        import torch

        output: FloatArray = self._model.predict(torch.from_numpy(input)).cpu().numpy()
        return output


def load_network(model: str | Path = paths.PRETRAINED, device: str = "auto") -> Network:
    """Load the network that `model` names, an ONNX file or what `load_model` takes.

    ONNX Runtime colours with the bundled model, unless a GPU is asked for: it does without
    torch, whose import takes longer than a photo, and is faster on a CPU.

    Raises:
        ColorganError: there is no such model, or it cannot be read.
    """
    name = str(model)
    if name.endswith(".onnx"):
        return _of_onnx(Path(name), name)
    quicker = paths.pretrained() / paths.ONNX
    if name == paths.PRETRAINED and device in ("auto", "cpu") and _runs_onnx(quicker):
        return _of_onnx(quicker, name)
    return TorchNetwork(load_model(name, device), name)


def _of_onnx(file: Path, name: str) -> Network:
    from colorgan.inference.onnx_file import OnnxNetwork

    return OnnxNetwork(file, name)


def _runs_onnx(file: Path) -> bool:
    # There are machines that ONNX Runtime has no package for.
    return file.is_file() and importlib.util.find_spec("onnxruntime") is not None


def load_model(name: str, device: str = "auto") -> Model:
    """Load a generator with torch.

    Args:
        name: `pretrained`, `rgb` or `lab` (of models/), a folder with generator.safetensors and
            config.json, `runs:/ID` of an MLflow training run, the name of a run, or
            `models:/colorgan-lab@champion` of MLflow's registry.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        ColorganError: there is no such model, or it cannot be read.
    """
    if name == paths.PRETRAINED:
        return _of_folder(paths.pretrained(), device)
    for folder in (Path(name), paths.model(name)):
        if folder.is_dir():
            return _of_folder(folder, device)
    return _of_run(name, device)


def _of_folder(folder: Path, device: str) -> Model:
    from colorgan.model import CONFIG, WEIGHTS, Model
    from colorgan.runs.runtime import choose_device

    for file in (folder / CONFIG, folder / WEIGHTS):
        # safetensors says of any file that it cannot open that it is not there; what is not there,
        # Model.load names.
        try:
            file.open("rb").close()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ColorganError(f"{file} cannot be read: {error.strerror}") from None
    return Model.load(folder, choose_device(device, "--device"))


def _of_run(name: str, device: str) -> Model:
    from colorgan.model import CONFIG, WEIGHTS

    try:
        from colorgan.tracking.mlflow_read import TrainingRuns
    except ModuleNotFoundError:
        raise _no_model(name, "and MLflow, where it may be a run, is not installed") from None
    wanted = name.removeprefix("runs:/").partition("/")[0]
    if name.startswith("models:/"):
        with TemporaryDirectory() as into:
            return _of_folder(TrainingRuns().registered(name, Path(into)), device)
    try:
        runs = TrainingRuns()
        run = runs.of_any([f"train_{space}" for space in SPACES], wanted)
    except ColorganError as error:
        raise _no_model(name, f"nor a training run ({error})") from None
    with TemporaryDirectory() as into:
        if None in [runs.artifact(run, f"model/{file}", Path(into)) for file in (WEIGHTS, CONFIG)]:
            raise ColorganError(f"--model {name}: {run} has no model in MLflow")
        return _of_folder(Path(into) / "model", device)


def _no_model(name: str, further: str) -> ColorganError:
    if name.endswith((".safetensors", ".pt", ".pth")):
        return ColorganError(f"--model {name} is a file; it should be the folder it lies in")
    return ColorganError(
        f"--model {name}: no folder of this name, here or in {paths.MODELS}, {further}; it should "
        "be pretrained, rgb, lab, a folder with generator.safetensors and config.json, an ONNX "
        "file, or a run"
    )
