"""The stages train_rgb and train_lab: arrays in, a generator and its loss curves out."""

from __future__ import annotations

from colorgan import files, paths
from colorgan.colorizer import WEIGHTS, save_model
from colorgan.data.arrays import DatasetInfo, Split, open_split, read_info
from colorgan.data.loader import TrainingBatches
from colorgan.errors import ColorganError, ParamsError
from colorgan.networks.patchgan import most_layers
from colorgan.params import Params, SpaceName, SpaceParams, flat
from colorgan.runtime import Runtime
from colorgan.spaces import get_space
from colorgan.tracking.recorder import RunDescription, open_recorder
from colorgan.training.loop import Trainer, build_step
from colorgan.training.progress import training_progress


def train(params: Params, space_name: SpaceName) -> None:
    """Train the networks of one space; writes models/<space> and reports/<space>/*.csv.

    Raises:
        ColorganError: there are no arrays yet, they do not fit the parameters, or training
            diverged. What an earlier run wrote stays as it was.
    """
    space, own = get_space(space_name), params.space(space_name)
    folder = paths.processed(space_name)
    info = read_info(folder)
    photos, val = open_split(folder, "train"), open_split(folder, "val")
    _check_fit(info, photos, own)

    runtime = Runtime.decide(own.train, params.runtime)
    step = build_step(space, own, info.image_size, runtime)
    batches = TrainingBatches(
        photos,
        own.train.batch_size,
        own.train.seed,
        params.runtime.num_workers,
        runtime.pin_memory,
    )
    run = RunDescription(
        stage=f"train_{space_name}",
        space=space_name,
        params=flat(own) | _shared(params),
        dataset=info,
        extra=runtime.described(),
    )
    iterations = own.train.epochs * len(batches)
    with (
        open_recorder(run) as recorder,
        training_progress(
            params.runtime.progress,
            f"train {space_name}",
            iterations,
            own.train.epochs,
            own.train.batch_size,
        ) as progress,
    ):
        trainer = Trainer(space, own.train, step, batches, val, info.image_size, recorder, progress)
        trainer.fit()
        with files.folder_aside(paths.model(space_name)) as aside:
            save_model(aside, step.generator, space, own.model, info.image_size)
        model = paths.model(space_name)
        recorder.log_model(model, files.sha256(model / WEIGHTS))


def _shared(params: Params) -> dict[str, str | int | float | bool]:
    """Return the sections that both spaces share, by dotted path, for the record of a run."""
    return (
        flat(params.evaluate, "evaluate.")
        | flat(params.render, "render.")
        | flat(params.runtime, "runtime.")
    )


def _check_fit(info: DatasetInfo, photos: Split, own: SpaceParams) -> None:
    """Refuse arrays of other parameters, photos too few for a batch or too small to judge."""
    image_size, batch_size, n_layers = own.data.image_size, own.train.batch_size, own.model.n_layers
    if info.image_size != image_size:
        raise ColorganError(
            f"{paths.processed(info.space) / 'dataset.json'} is for {info.image_size} px, "
            f"params.yaml says {info.space}.image_size is {image_size}: run "
            f"`dvc repro preprocess@{info.space}` first"
        )
    if n_layers > most_layers(image_size):
        raise ParamsError(
            f"params.yaml: model.n_layers is {n_layers}, which leaves no patch of {image_size} px; "
            f"it should be at most {most_layers(image_size)}"
        )
    if len(photos) < batch_size:
        raise ParamsError(
            f"params.yaml: train.batch_size is {batch_size}, which is more than the "
            f"{len(photos)} training photos of {info.space}; it should be at most {len(photos)}"
        )
