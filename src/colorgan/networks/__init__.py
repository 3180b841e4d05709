"""Generators and discriminators."""

from __future__ import annotations

from colorgan.networks.encoder_unet import EncoderUNet
from colorgan.networks.layers import initialise
from colorgan.networks.patchgan import PatchGAN
from colorgan.networks.projected import ProjectedDiscriminator
from colorgan.networks.unet import UNet

__all__ = ["EncoderUNet", "PatchGAN", "ProjectedDiscriminator", "UNet", "initialise"]
