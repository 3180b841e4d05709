"""Generators as ONNX files: written with torch, read and run without it."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colorgan import io
from colorgan.color import FloatArray
from colorgan.errors import ColorganError
from colorgan.spaces import Space, get_space

if TYPE_CHECKING:
    from colorgan.model import Model

KEY = "colorgan"
"""Under which an ONNX file says what it is, as JSON."""
VERSION = 1
INPUT, OUTPUT = "input", "output"
TOLERANCE = 1e-3
"""How far an exported network may be from that of torch; outputs are in -1..1, and a byte is
a 128th of that."""


@dataclass(frozen=True)
class Exported:
    """What came of an export.

    Attributes:
        path: the ONNX file.
        difference: the largest difference of its outputs from those of torch.
        inputs: how many inputs, of how many sizes, that was looked for in.
    """

    path: Path
    difference: float
    inputs: int


class OnnxNetwork:
    """A generator that ONNX Runtime runs on the CPU; see `coloring.network.Network`."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Read the file; `name` is what it is called where that is not its path.

        Raises:
            ColorganError: it is not there, no ONNX file, or one of something else.
        """
        self.name = name or str(path)
        if not path.is_file():
            raise ColorganError(f"--model {path} does not exist; `colorgan export` writes one")
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise ColorganError(
                f"--model {path} needs onnxruntime, which is not installed: pip install onnxruntime"
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # Its threads would hold a core while they wait, which what reads and writes photos wants.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ColorganError(
                f"--model {path} is no ONNX file that can be read: {reason}"
            ) from None
        told = self._session.get_modelmeta().custom_metadata_map.get(KEY, "")
        self.space, self.image_size, self.multiple = _what_it_is(told, path)
        # Metadata can be copied onto any graph.
        if _signature(self._session) != (
            [(INPUT, "tensor(float)", self.space.in_channels)],
            [(OUTPUT, "tensor(float)", self.space.out_channels)],
        ):
            raise _something_else(path)

    space: Space
    image_size: int
    multiple: int

    def predict(self, input: FloatArray) -> FloatArray:
        """Map `(N, I, H, W)` to `(N, C, H, W)`."""
        [output] = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(input)})
        return np.asarray(output, np.float32)


def export(model: Model, path: Path, real: Sequence[FloatArray] = ()) -> Exported:
    """Write a generator as ONNX, batch, height and width open, and compare it with torch.

    Args:
        model: the trained generator.
        path: file to write, aside and then renamed.
        real: inputs `(I, H, W)` of real photos to compare on, beside random ones of three sizes.

    Raises:
        ColorganError: what writes ONNX is not installed, or the outputs differ by more than
            TOLERANCE; nothing is written then.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it, and says so much less clearly
    except ModuleNotFoundError as error:
        raise ColorganError(
            f"export needs {error.name}, which is not installed: pip install 'colorgan[onnx]'"
        ) from None
    program = _graph(model)
    graph: Any = program.model_proto
    _forget_where(graph)
    entry = graph.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(_described(model))
    with io.file_aside(path) as aside:
        # ONNX Runtime wants the suffix.
        named = aside.with_suffix(".onnx")
        try:
            onnx.save(graph, str(named))
            exported = _compared(model, named, real)
            named.replace(aside)
        finally:
            named.unlink(missing_ok=True)
    return Exported(path, *exported)


def _described(model: Model) -> dict[str, Any]:
    return {
        "version": VERSION,
        "space": model.space.name,
        "image_size": model.image_size,
        "multiple": model.multiple,
        "sha256": model.sha256,
    }


def _what_it_is(told: str, path: Path) -> tuple[Space, int, int]:
    try:
        content = json.loads(told)
        if content["version"] != VERSION:
            raise ColorganError(
                f"--model {path} is of version {content['version']}, this code reads {VERSION}"
            )
        return get_space(content["space"]), int(content["image_size"]), int(content["multiple"])
    except (ValueError, KeyError, TypeError):
        raise _something_else(path) from None


def _something_else(path: Path) -> ColorganError:
    return ColorganError(
        f"--model {path} is an ONNX file of something else; it should be one that "
        "`colorgan export` has written"
    )


def _signature(session: Any) -> tuple[list[Any], list[Any]]:
    """Return name, type and channels of each input and each output."""
    inputs, outputs = (
        [(one.name, one.type, one.shape[1] if len(one.shape) == 4 else 0) for one in tensors]
        for tensors in (session.get_inputs(), session.get_outputs())
    )
    return inputs, outputs


def _graph(model: Model) -> Any:
    import torch

    from colorgan.networks.depthwise import pad_evenly

    network = copy.deepcopy(model.generator).cpu()
    pad_evenly(network)
    side = 4 * model.multiple
    example = torch.zeros(2, model.space.in_channels, side, 2 * side)
    free = torch.export.Dim.DYNAMIC
    return torch.onnx.export(
        network, (example,), dynamo=True, dynamic_shapes=({0: free, 2: free, 3: free},),
        input_names=[INPUT], output_names=[OUTPUT], verbose=False,
    )  # fmt: skip


def _forget_where(model: Any) -> None:
    """Leave out from which lines of which files each node comes: paths of this machine."""
    graph = model.graph
    parts = (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer)
    for part in (graph, *parts):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _compared(model: Model, path: Path, real: Sequence[FloatArray]) -> tuple[float, int]:
    """Return the largest difference from torch, and of how many inputs."""
    import torch

    network = OnnxNetwork(path)
    random, multiple = np.random.default_rng(0), network.multiple
    sizes = ((1, 4, 4), (3, 8, 5), (2, 1, 8))
    inputs: list[FloatArray] = [
        2 * random.random((n, model.space.in_channels, h * multiple, w * multiple), np.float32) - 1
        for n, h, w in sizes
    ]
    inputs += [photo[None] for photo in real]
    differences = []
    for input in inputs:
        wanted = model.predict(torch.from_numpy(input)).float().cpu().numpy()
        differences.append(float(np.abs(network.predict(input) - wanted).max()))
    if not max(differences) <= TOLERANCE:
        raise ColorganError(
            f"the exported network is off by {max(differences):.2g} from torch's, more than "
            f"{TOLERANCE:g}: {path.name} was not written"
        )
    return max(differences), sum(map(len, inputs))
