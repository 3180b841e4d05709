"""Build the networks, losses and optimizers of the step; check that the parameters fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam

from colorgan import paths
from colorgan.config import ModelParams, SpaceParams, TrainParams
from colorgan.data.arrays import DatasetInfo
from colorgan.errors import ColorganError, ParamsError
from colorgan.model import build_generator
from colorgan.networks import EncoderUNet, PatchGAN, ProjectedDiscriminator, initialise
from colorgan.networks.backbones import load_backbone, weights_of
from colorgan.networks.patchgan import most_layers
from colorgan.runs.runtime import Runtime, choose_precision
from colorgan.spaces import Space
from colorgan.training.losses import ColorfulnessLoss, PerceptualLoss, PictureLoss, l1_loss
from colorgan.training.step import TrainingStep


def check_compatible(
    cfg: SpaceParams, info: DatasetInfo, n_photos: int, device: torch.device, processes: int
) -> None:
    """Check the parameters of a space against its training photos and the machine.

    ColorganError or ParamsError if one does not fit.
    """
    size, batch_size = cfg.data.image_size, cfg.train.batch_size
    if info.image_size != size:
        raise ColorganError(
            f"{paths.processed(info.space) / 'dataset.json'} is for {info.image_size} px, "
            f"params.yaml says {info.space}.image_size is {size}: run "
            f"`dvc repro preprocess@{info.space}` first"
        )
    if cfg.model.n_layers > most_layers(size):
        raise ParamsError(
            f"params.yaml: model.n_layers is {cfg.model.n_layers}, which leaves no patch of "
            f"{size} px; it should be at most {most_layers(size)}"
        )
    if n_photos < batch_size:
        raise ParamsError(
            f"params.yaml: train.batch_size is {batch_size}, which is more than the "
            f"{n_photos} training photos of {info.space}; it should be at most {n_photos}"
        )
    if batch_size % processes:
        raise ParamsError(
            f"params.yaml: train.batch_size is {batch_size}, which {processes} processes cannot "
            f"share evenly; it should be a multiple of {processes}"
        )
    choose_precision(cfg.train.amp, device)


def build_step(
    space: Space,
    cfg: SpaceParams,
    image_size: int,
    runtime: Runtime,
    weights: Mapping[str, Tensor] | None = None,
    per_epoch: int = 0,
    discriminator_weights: Mapping[str, Tensor] | None = None,
) -> TrainingStep:
    """Build both networks with their losses and optimizers.

    Without `weights` and `discriminator_weights` the seed decides the initial weights. `per_epoch`
    is the number of iterations in an epoch, by which the shares of `gan_start` become iterations.
    """
    train = cfg.train
    torch.manual_seed(train.seed)
    generator, discriminator = _networks(space, cfg.model, image_size, weights)
    if discriminator_weights is not None:
        discriminator.load_state_dict(discriminator_weights)
    if train.freeze_encoder and isinstance(generator, EncoderUNet):
        generator.freeze_encoder()
    # Channels-last weights are faster on a GPU; on a CPU Adam would copy them to and fro.
    last = train.channels_last and runtime.device.type == "cuda"
    layout = torch.channels_last if last else torch.contiguous_format
    for network in (generator, discriminator):
        network.to(device=runtime.device, memory_format=layout)  # type: ignore[call-overload]
    # The trainer sets the learning rate before each step.
    betas, betas_d = (train.beta1, train.beta2), (train.beta1_d, train.beta2_d)
    optimizer_g = Adam(generator.parameters(), train.lr, betas, fused=True)
    optimizer_d = Adam(discriminator.parameters(), train.lr, betas_d, fused=True)
    generate, discriminate_local = (
        _compiled(network, runtime) for network in (generator, discriminator)
    )
    return TrainingStep(
        space=space,
        train=train,
        runtime=runtime,
        generator=generator,
        discriminator=discriminator,
        generate=_distributed(generate, runtime),
        discriminate=_distributed(discriminate_local, runtime),
        discriminate_local=discriminate_local,
        optimizer_g=optimizer_g,
        optimizer_d=optimizer_d,
        scaler=GradScaler(runtime.device.type, enabled=runtime.precision == "fp16"),
        picture_losses=_picture_losses(space, train, runtime),
        average=deepcopy(generator).requires_grad_(False) if train.ema_decay else None,
        gan_start=round(train.gan_start * (train.epochs * per_epoch)),
    )


def build_discriminator(space: Space, model: ModelParams) -> nn.Module:
    """Build the discriminator that `model` describes, with random weights."""
    match model.discriminator:
        case "projected":
            return ProjectedDiscriminator(space.decode, model.ndf)
        case "patch":
            channels = space.in_channels + space.out_channels
            return PatchGAN(channels, model.ndf, model.n_layers, model.norm)


def _networks(
    space: Space, model: ModelParams, image_size: int, weights: Mapping[str, Tensor] | None
) -> tuple[nn.Module, nn.Module]:
    """Build generator and discriminator; the random weights are drawn in any case."""
    generator = build_generator(space, model, image_size)
    discriminator = build_discriminator(space, model)
    if not isinstance(generator, EncoderUNet):
        initialise(generator)
    elif weights is None and model.encoder_weights != "none":
        backbone = weights_of(model.encoder_weights, model.encoder)
        load_backbone(generator.encoder, backbone, model.encoder_weights)
    if isinstance(discriminator, PatchGAN):
        initialise(discriminator)
    if weights is not None:
        generator.load_state_dict(weights)
    return generator, discriminator


def _picture_losses(
    space: Space, train: TrainParams, runtime: Runtime
) -> dict[str, tuple[float, PictureLoss]]:
    """Return L1, and the losses whose weight is not 0."""
    losses: dict[str, tuple[float, PictureLoss]] = {"loss_G_L1": (train.lambda_l1, l1_loss)}
    if train.lambda_color:
        losses["loss_G_color"] = train.lambda_color, ColorfulnessLoss(space)
    if train.lambda_perceptual:
        perceptual = PerceptualLoss(space, runtime, train.perceptual_size)
        losses["loss_G_perceptual"] = train.lambda_perceptual, perceptual
    return losses


def _compiled(network: nn.Module, runtime: Runtime) -> Callable[..., Tensor]:
    """Return the network in the chosen mode of torch.compile; it compiles on the first batch."""
    if runtime.compile == "off":
        return network
    mode = None if runtime.compile == "default" else runtime.compile
    return cast(Callable[..., Tensor], torch.compile(network, mode=mode, dynamic=False))


def _distributed(network: Callable[..., Tensor], runtime: Runtime) -> Callable[..., Tensor]:
    """Return the network with its gradients averaged over the processes, if there are several."""
    if runtime.group.world_size == 1:
        return network
    assert isinstance(network, nn.Module)
    return DistributedDataParallel(
        network,
        device_ids=[runtime.device.index] if runtime.device.type == "cuda" else None,
        # Buffers are running statistics, which no gradient depends on; those of rank 0 are kept.
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )
