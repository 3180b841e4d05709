"""Export a generator as an ONNX file and compare its outputs with PyTorch's."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colorgan import io
from colorgan.color import FloatArray
from colorgan.errors import ColorganError
from colorgan.inference.backends import (
    FEATURES,
    HINTS,
    INPUT,
    METADATA,
    OUTPUT,
    Network,
    OnnxNetwork,
    TorchNetwork,
)

if TYPE_CHECKING:
    from colorgan.model import Model

TOLERANCE = 1e-3
"""Largest difference allowed from PyTorch. Outputs are in -1..1, where a byte is 1/128."""


def export(model: Model, path: Path) -> float:
    """Write a generator as ONNX with dynamic batch, height and width, if it agrees with PyTorch.

    They are compared on random inputs of three sizes; if it takes hints, which are then an optional
    input, with random ones too. Returns the largest difference of an output from PyTorch's.

    Raises:
        ColorganError: the outputs differ by more than TOLERANCE; nothing is written then.
    """
    import onnx
    import onnxscript  # noqa: F401 - torch.onnx needs it; its own error is less clear

    graph = _to_onnx(model)
    metadata = {
        "version": 1, "space": model.space.name, "image_size": model.image_size,
        "multiple": model.multiple, "sha256": model.sha256, "hints": model.takes_hints,
    }  # fmt: skip
    onnx.helper.set_model_props(graph, {METADATA: json.dumps(metadata)})
    with io.file_aside(path) as aside:
        onnx.save(graph, str(aside))
        network = OnnxNetwork(aside)
        difference = max(
            float(np.abs(x - y).max())
            for input in _random_inputs(model)
            for x, y in zip(
                _outputs(network, input), _outputs(TorchNetwork(model, ""), input), strict=True
            )
        )
        if not difference <= TOLERANCE:
            raise ColorganError(
                f"the exported network is off by {difference:.2g} from torch's, more than "
                f"{TOLERANCE:g}: {path.name} was not written"
            )
    return difference


def _to_onnx(model: Model) -> Any:
    import torch

    from colorgan.model import WithGain
    from colorgan.networks.layers import pad_evenly

    network: torch.nn.Module = copy.deepcopy(model.generator).cpu()
    pad_evenly(network)
    side = 4 * model.multiple
    examples, names = [torch.zeros(2, model.space.in_channels, side, 2 * side)], [OUTPUT]
    if model.takes_hints:
        examples.append(torch.zeros(2, 3, side, 2 * side))
        names.append(FEATURES)
    network = WithGain(network, model.space, model.gain).eval()
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        network, tuple(examples), dynamo=True,
        dynamic_shapes=({0: free, 2: free, 3: free},) * len(examples),
        input_names=[INPUT, HINTS][: len(examples)], output_names=names, verbose=False,
    )  # fmt: skip
    assert program is not None
    content: Any = program.model_proto
    graph = content.graph
    if model.takes_hints:
        _make_optional(graph)
    parts = (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer)
    # Remove source files and lines, which are paths of this machine.
    for part in (graph, *parts):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return content


def _make_optional(graph: Any) -> None:
    """Let the input of hints be absent: an initializer that is an input too is its default."""
    from onnx import TensorProto, helper, numpy_helper

    [hints] = (input for input in graph.input if input.name == HINTS)
    shape = ("hints_n", 3, "hints_height", "hints_width")
    hints.CopyFrom(helper.make_tensor_value_info(HINTS, TensorProto.FLOAT, shape))
    absent, full = np.zeros((1, 3, 1, 1), np.float32), "hints_of_all_pixels"
    graph.initializer.append(numpy_helper.from_array(absent, HINTS))
    for node in graph.node:
        node.input[:] = [full if name == HINTS else name for name in node.input]
    # The sum has the size of the input, whatever the default's.
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    graph.node.insert(0, helper.make_node("Mul", [INPUT, "zero"], ["zeros"]))
    graph.node.insert(1, helper.make_node("Add", [HINTS, "zeros"], [full]))


def _outputs(network: Network, input: FloatArray) -> list[FloatArray]:
    """Return the output, and those with random hints where the network takes some."""
    if not network.takes_hints:
        return [network.predict(input)]
    random, (n, _, height, width) = np.random.default_rng(1), input.shape
    mask = random.random((n, 1, height, width)) < 0.01
    ab = random.uniform(-1, 1, (n, 2, height, width))
    hints = np.concatenate((ab * mask, mask), axis=1).astype(np.float32)
    return [network.predict(input), *network.predict_hinted(input, hints)]


def _random_inputs(model: Model) -> list[FloatArray]:
    random, multiple, channels = np.random.default_rng(0), model.multiple, model.space.in_channels
    return [
        2 * random.random((n, channels, h * multiple, w * multiple), np.float32) - 1
        for n, h, w in ((1, 4, 4), (3, 8, 5), (2, 1, 8))
    ]
