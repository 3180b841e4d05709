"""Export a generator as an ONNX file and compare its outputs with PyTorch's."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colorgan import io
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
        difference = _difference(OnnxNetwork(aside), TorchNetwork(model, ""))
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


def _difference(one: Network, other: Network) -> float:
    """Return the largest difference of the outputs of random inputs, with and without hints."""
    random, side, difference = np.random.default_rng(0), one.multiple, 0.0
    for n, h, w in ((1, 4, 4), (3, 8, 5), (2, 1, 8)):
        shape = h * side, w * side
        input = 2 * random.random((n, one.space.in_channels, *shape), np.float32) - 1
        pairs = [(one.predict(input), other.predict(input))]
        if one.takes_hints:
            mask = random.random((n, 1, *shape)) < 0.01
            hints = random.uniform(-1, 1, (n, 3, *shape)).astype(np.float32) * mask
            hints[:, 2:] = mask
            pairs += zip(
                one.predict_hinted(input, hints), other.predict_hinted(input, hints), strict=True
            )
        difference = max(difference, *(float(np.abs(x - y).max()) for x, y in pairs))
    return difference
