"""Export a generator as an ONNX file and compare its outputs with PyTorch's."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colorgan import io
from colorgan.color import FloatArray
from colorgan.errors import ColorganError
from colorgan.inference.backends import INPUT, METADATA, OUTPUT, OnnxNetwork, TorchNetwork

if TYPE_CHECKING:
    from colorgan.model import Model

TOLERANCE = 1e-3
"""Largest difference allowed from PyTorch. Outputs are in -1..1, where a byte is 1/128."""


def export(model: Model, path: Path, real: Sequence[FloatArray] = ()) -> tuple[float, int]:
    """Write a generator as ONNX with dynamic batch, height and width, if it agrees with PyTorch.

    They are compared on 6 random inputs of three sizes and on `real` ones `(I, H, W)`.

    Returns:
        The largest difference of an output from PyTorch's, and the number of inputs compared.

    Raises:
        ColorganError: the outputs differ by more than TOLERANCE; nothing is written then.
    """
    import onnx
    import onnxscript  # noqa: F401 - torch.onnx needs it; its own error is less clear

    graph = _to_onnx(model)
    metadata = {
        "version": 1, "space": model.space.name, "image_size": model.image_size,
        "multiple": model.multiple, "sha256": model.sha256,
    }  # fmt: skip
    onnx.helper.set_model_props(graph, {METADATA: json.dumps(metadata)})
    with io.file_aside(path) as aside:
        onnx.save(graph, str(aside))
        network = OnnxNetwork(aside)
        inputs = _random_inputs(model) + [photo[None] for photo in real]
        difference = max(
            float(np.abs(network.predict(input) - TorchNetwork(model, "").predict(input)).max())
            for input in inputs
        )
        if not difference <= TOLERANCE:
            raise ColorganError(
                f"the exported network is off by {difference:.2g} from torch's, more than "
                f"{TOLERANCE:g}: {path.name} was not written"
            )
    return difference, sum(map(len, inputs))


def _to_onnx(model: Model) -> Any:
    import torch

    from colorgan.model import WithGain
    from colorgan.networks.layers import pad_evenly

    network: torch.nn.Module = copy.deepcopy(model.generator).cpu()
    pad_evenly(network)
    network = WithGain(network, model.space, model.gain).eval()
    side = 4 * model.multiple
    example = torch.zeros(2, model.space.in_channels, side, 2 * side)
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        network, (example,), dynamo=True, dynamic_shapes=({0: free, 2: free, 3: free},),
        input_names=[INPUT], output_names=[OUTPUT], verbose=False,
    )  # fmt: skip
    assert program is not None
    content: Any = program.model_proto
    graph = content.graph
    parts = (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer)
    # Remove source files and lines, which are paths of this machine.
    for part in (graph, *parts):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return content


def _random_inputs(model: Model) -> list[FloatArray]:
    random, multiple, channels = np.random.default_rng(0), model.multiple, model.space.in_channels
    return [
        2 * random.random((n, channels, h * multiple, w * multiple), np.float32) - 1
        for n, h, w in ((1, 4, 4), (3, 8, 5), (2, 1, 8))
    ]
