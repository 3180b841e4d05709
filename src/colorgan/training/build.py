"""Both networks with their optimizers, on their device, compiled and grouped as was decided."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam

from colorgan.config import ModelParams, SpaceParams, TrainParams
from colorgan.model import build_generator
from colorgan.networks import EncoderUNet, PatchGAN, ProjectedDiscriminator, initialise
from colorgan.networks.backbones import load_backbone, weights_of
from colorgan.runs.runtime import Runtime
from colorgan.spaces import Space
from colorgan.training.ema import WeightAverage
from colorgan.training.losses import ColorfulnessLoss, PerceptualLoss, PictureLoss, gan_loss
from colorgan.training.step import Pix2Pix


def build_step(
    space: Space,
    params: SpaceParams,
    image_size: int,
    runtime: Runtime,
    weights: Mapping[str, Tensor] | None = None,
    iterations: int = 0,
) -> Pix2Pix:
    """Build both networks with their optimizers; the same seed gives the same weights.

    Args:
        space: what is learnt.
        params: the parameters of this space.
        image_size: side of the photos in pixels.
        runtime: where and how it runs.
        weights: the generator's first weights by name; drawn at random where there are none.
        iterations: those of an epoch, for the epochs without a discriminator.
    """
    train, model = params.train, params.model
    torch.manual_seed(train.seed)
    generator = build_generator(space, model, image_size)
    discriminator = _build_discriminator(space, model)
    if isinstance(generator, EncoderUNet):
        if weights is None and model.encoder_weights != "none":
            taken = weights_of(model.encoder_weights, model.encoder)
            load_backbone(generator.encoder, taken, model.encoder_weights)
    else:
        initialise(generator)
    if isinstance(discriminator, PatchGAN):
        initialise(discriminator)
    if weights is not None:
        generator.load_state_dict(weights)
    if train.sync_batchnorm and runtime.group.world_size > 1:
        generator, discriminator = (
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
            for network in (generator, discriminator)
        )
    # Channels-last weights too on a GPU; a CPU's Adam would copy them to and fro.
    last = train.channels_last and runtime.device.type == "cuda"
    layout = torch.channels_last if last else torch.contiguous_format
    for network in (generator, discriminator):
        network.to(device=runtime.device, memory_format=layout)  # type: ignore[call-overload]
    optimizer_g, optimizer_d = (
        Adam(network.parameters(), train.lr, (train.beta1, train.beta2), fused=True)
        for network in (generator, discriminator)
    )
    run_generator, run_discriminator = (
        compiled(network, runtime) for network in (generator, discriminator)
    )
    return Pix2Pix(
        generator,
        discriminator,
        optimizer_g,
        optimizer_d,
        GradScaler(runtime.device.type, enabled=runtime.precision == "fp16"),
        gan_loss(train.gan_loss),
        train.lambda_l1,
        runtime,
        run_generator,
        run_discriminator,
        _grouped(run_generator, runtime),
        _grouped(run_discriminator, runtime),
        WeightAverage(generator, train.ema_decay) if train.ema_decay else None,
        train.grad_clip,
        seed=train.seed,
        pretrain_iterations=train.pretrain_epochs * iterations,
        picture_losses=_picture_losses(space, train, runtime),
    )


def _build_discriminator(space: Space, model: ModelParams) -> nn.Module:
    if model.discriminator == "projected":
        return ProjectedDiscriminator(space.decode, model.ndf)
    channels = space.in_channels + space.out_channels
    return PatchGAN(channels, model.ndf, model.n_layers, model.norm)


def _picture_losses(space: Space, train: TrainParams, runtime: Runtime) -> tuple[PictureLoss, ...]:
    """Return the losses that have a weight."""
    losses = []
    if train.lambda_color:
        losses.append(PictureLoss("loss_G_color", train.lambda_color, ColorfulnessLoss(space)))
    if train.lambda_perceptual:
        perceptual = PerceptualLoss(space, runtime, train.perceptual_size)
        losses.append(PictureLoss("loss_G_perceptual", train.lambda_perceptual, perceptual))
    return tuple(losses)


def compiled(network: nn.Module, runtime: Runtime) -> Callable[..., Tensor]:
    """Return the network in the decided mode of torch.compile; compilation waits for a batch."""
    if runtime.compile in (None, "off"):
        return network
    mode = None if runtime.compile == "default" else runtime.compile
    run: Callable[..., Tensor] = torch.compile(network, mode=mode, dynamic=False)
    return run


def _grouped(network: Callable[..., Tensor], runtime: Runtime) -> Callable[..., Tensor]:
    """Return the network with its gradients averaged over the group, if there is one."""
    if runtime.group.world_size == 1:
        return network
    assert isinstance(network, nn.Module)
    # Buffers are batch norm's running statistics, which no gradient depends on: rank 0's count.
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: False}
    return DistributedDataParallel(
        network,
        device_ids=[runtime.device.index] if runtime.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **options,
    )
