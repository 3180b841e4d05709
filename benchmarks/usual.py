"""pix2pix colouring as it is usually written: the baseline of benchmarks/optimizations.py.

The data come as in tutorials, a photo at a time: opened with PIL, resized, flipped at random,
converted by `skimage.color.rgb2lab`, to tensor. The step is that of the authors' PyTorch code, in
its order, in float32 with PyTorch's default Adam; every loss is read at every step, to print it.
The networks are the paper's, layer by layer the same as this project's, of PyTorch's own modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.color import rgb2lab
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

LAMBDA_L1 = 100.0

Batch = dict[str, torch.Tensor]


class ColorizationDataset(Dataset[Batch]):
    """Photos as L and ab in [-1, 1], read and converted whenever they are asked for."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths = paths
        self.transforms = transforms.Compose(
            [
                transforms.Resize((size, size), transforms.InterpolationMode.BICUBIC),
                transforms.RandomHorizontalFlip(),
            ]
        )
        self.to_tensor = transforms.ToTensor()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Batch:
        image = self.transforms(Image.open(self.paths[index]).convert("RGB"))
        lab = self.to_tensor(rgb2lab(np.array(image)).astype("float32"))
        return {"L": lab[[0]] / 50.0 - 1.0, "ab": lab[[1, 2]] / 110.0}


class UnetBlock(nn.Module):
    """A down and an up convolution with what lies between them; joined to what came in."""

    def __init__(
        self, outer: int, inner: int, inside: nn.Module | None, dropout: bool = False
    ) -> None:
        super().__init__()
        innermost = inside is None
        down: list[nn.Module] = [
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(outer, inner, 4, 2, 1, bias=False),
        ]
        up: list[nn.Module] = [
            nn.ReLU(True),
            nn.ConvTranspose2d(inner if innermost else 2 * inner, outer, 4, 2, 1, bias=False),
            nn.BatchNorm2d(outer),
        ]
        if inside is not None:
            down.append(nn.BatchNorm2d(inner))
            up = [inside, *up]
        self.model = nn.Sequential(*down, *up, *[nn.Dropout(0.5)] * dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what came in and what became of it, as channels side by side."""
        return torch.cat([x, self.model(x)], 1)


class UnetGenerator(nn.Module):
    """The U-Net, built from the innermost block outwards; `num_downs` is 7 at 128 px."""

    def __init__(self, num_downs: int, ngf: int) -> None:
        super().__init__()
        block = UnetBlock(ngf * 8, ngf * 8, None)
        for _ in range(num_downs - 5):
            block = UnetBlock(ngf * 8, ngf * 8, block, dropout=True)
        for factor in (4, 2, 1):
            block = UnetBlock(ngf * factor, ngf * factor * 2, block)
        self.model = nn.Sequential(
            nn.Conv2d(1, ngf, 4, 2, 1, bias=False),
            block,
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, 2, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map L to ab."""
        return self.model(x)


def patch_discriminator(ndf: int) -> nn.Sequential:
    """Return the 70x70 PatchGAN on L and ab."""

    def layer(before: int, after: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(before, after, 4, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2, True),
        ]

    return nn.Sequential(
        nn.Conv2d(3, ndf, 4, 2, 1),
        nn.LeakyReLU(0.2, True),
        *layer(ndf, ndf * 2, 2),
        *layer(ndf * 2, ndf * 4, 2),
        *layer(ndf * 4, ndf * 8, 1),
        nn.Conv2d(ndf * 8, 1, 4, 1, 1),
    )


def init_weights(module: nn.Module) -> None:
    """Draw the weights as the paper does."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.0)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.constant_(module.bias, 0.0)


class GANLoss(nn.Module):
    """Binary cross-entropy of logits against a label as large as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("real_label", torch.tensor(1.0))
        self.register_buffer("fake_label", torch.tensor(0.0))
        self.loss = nn.BCEWithLogitsLoss()

    def forward(self, prediction: torch.Tensor, real: bool) -> torch.Tensor:
        """Return the mean over all patches."""
        label = self.real_label if real else self.fake_label
        return self.loss(prediction, label.expand_as(prediction))


class UsualPix2Pix:
    """The model and its training, one object as in the authors' code."""

    def __init__(
        self, paths: list[Path], size: int, batch_size: int, ngf: int, num_workers: int
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.loader = DataLoader(
            ColorizationDataset(paths, size),
            batch_size=batch_size,
            shuffle=True,
            num_workers=num_workers,
            drop_last=True,
        )
        self.net_g = UnetGenerator(size.bit_length() - 1, ngf).to(self.device)
        self.net_d = patch_discriminator(ngf).to(self.device)
        self.net_g.apply(init_weights)
        self.net_d.apply(init_weights)
        self.criterion_gan = GANLoss().to(self.device)
        self.criterion_l1 = nn.L1Loss()
        self.optimizer_g = torch.optim.Adam(self.net_g.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_d = torch.optim.Adam(self.net_d.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def batches(self) -> Iterator[Batch]:
        """Yield batches epoch after epoch."""
        while True:
            yield from self.loader

    def step(self, batch: Batch) -> torch.Tensor:
        """Update both networks; return the losses as they were printed."""
        real_a, real_b = batch["L"].to(self.device), batch["ab"].to(self.device)
        fake_b = self.net_g(real_a)

        for parameter in self.net_d.parameters():
            parameter.requires_grad = True
        self.optimizer_d.zero_grad()
        fake_ab = torch.cat([real_a, fake_b], 1)
        real_ab = torch.cat([real_a, real_b], 1)
        loss_d_fake = self.criterion_gan(self.net_d(fake_ab.detach()), False)
        loss_d_real = self.criterion_gan(self.net_d(real_ab), True)
        loss_d = (loss_d_fake + loss_d_real) * 0.5
        loss_d.backward()
        self.optimizer_d.step()

        for parameter in self.net_d.parameters():
            parameter.requires_grad = False
        self.optimizer_g.zero_grad()
        loss_g_gan = self.criterion_gan(self.net_d(fake_ab), True)
        loss_g_l1 = self.criterion_l1(fake_b, real_b) * LAMBDA_L1
        loss_g = loss_g_gan + loss_g_l1
        loss_g.backward()
        self.optimizer_g.step()

        losses = (loss_g_gan, loss_g_l1, loss_d_real, loss_d_fake)
        return torch.tensor([loss.item() for loss in losses])
