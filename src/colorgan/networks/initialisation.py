"""Initial weights of the reference networks."""

from __future__ import annotations

from torch import nn


def initialise(network: nn.Module, std: float = 0.02) -> None:
    """Draw weights from N(0, std), those of batch norm from N(1, std); biases are 0, in place.

    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks",
    section 6.2 (and Radford et al., DCGAN).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, std)
            nn.init.zeros_(module.bias)
