"""What has to fit together before a training begins."""

from __future__ import annotations

import torch

from colorgan import paths
from colorgan.config import SpaceParams
from colorgan.data.arrays import DatasetInfo, Split
from colorgan.errors import ColorganError, ParamsError
from colorgan.networks.patchgan import most_layers
from colorgan.runs.compiling import require_compiler
from colorgan.runs.runtime import choose_precision


def check_fit(
    info: DatasetInfo, photos: Split, own: SpaceParams, device: torch.device, processes: int
) -> None:
    """Check the parameters of a space against its arrays and the machine.

    Raises:
        ColorganError: the arrays are of other parameters.
        ParamsError: a parameter does not fit the photos, the device or the number of processes.
    """
    if info.image_size != own.data.image_size:
        raise ColorganError(
            f"{paths.processed(info.space) / 'dataset.json'} is for {info.image_size} px, "
            f"params.yaml says {info.space}.image_size is {own.data.image_size}: run "
            f"`dvc repro preprocess@{info.space}` first"
        )
    n_layers, most = own.model.n_layers, most_layers(own.data.image_size)
    if n_layers > most:
        raise ParamsError(
            f"params.yaml: model.n_layers is {n_layers}, which leaves no patch of "
            f"{own.data.image_size} px; it should be at most {most}"
        )
    _check_batch(info, photos, own, processes)
    choose_precision(own.train.amp, device)
    require_compiler(own.train.compile, device)
    if own.train.sync_batchnorm and device.type != "cuda":
        raise ParamsError(
            "params.yaml: train.sync_batchnorm is true, which works on GPUs alone (this device is "
            f"{device.type}); it should be false"
        )


def _check_batch(info: DatasetInfo, photos: Split, own: SpaceParams, processes: int) -> None:
    batch_size = own.train.batch_size
    if len(photos) < batch_size:
        raise ParamsError(
            f"params.yaml: train.batch_size is {batch_size}, which is more than the "
            f"{len(photos)} training photos of {info.space}; it should be at most {len(photos)}"
        )
    if batch_size % processes:
        raise ParamsError(
            f"params.yaml: train.batch_size is {batch_size}, which {processes} processes cannot "
            f"share evenly; it should be a multiple of {processes}"
        )
