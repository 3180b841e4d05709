"""Training that goes on from weights of one's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from colorgan import color, io, paths
from colorgan.color import UInt8Array
from colorgan.config import Params
from colorgan.errors import ColorganError, ParamsError
from colorgan.model import Model, build_generator, pictures, save_model
from colorgan.spaces import get_space
from colorgan.tracking.run import Recorder, RunDescription
from colorgan.training import train as stage
from colorgan.training.initial_weights import read_initial_weights
from colorgan.training.step import TrainingStep
from servers import wait_for

WEIGHTS = "generator.safetensors"
ENCODER: dict[str, object] = {
    "model.generator": "encoder_unet", "model.ngf": 4, "model.encoder_weights": "none",
}  # fmt: skip


@pytest.fixture
def own(write_arrays: Callable[..., Path], run: Callable[..., None]) -> Path:
    """A folder with a model of lab."""
    write_arrays("lab")
    run("lab")
    return Path(shutil.copytree(paths.model("lab"), "own/first"))


@pytest.fixture
def described(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> list[RunDescription]:
    """What is said of each training as it begins."""
    seen: list[RunDescription] = []
    recorder = stage.open_recorder

    def observed(run: RunDescription, folder: Path, iteration: int, epoch: int) -> Recorder:
        seen.append(run)
        return recorder(run, folder, iteration, epoch)

    monkeypatch.setattr(stage, "open_recorder", observed)
    return seen


def test_training_begins_with_these_weights(own, run, described, monkeypatch) -> None:
    first: list[dict[str, Tensor]] = []
    train_step = TrainingStep.train_step

    def observed(self: TrainingStep, *given: object) -> Tensor:
        first.append({name: t.clone() for name, t in self.generator.state_dict().items()})
        return train_step(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingStep, "train_step", observed)
    run("lab", {"train.init": str(own)})
    expected = load_file(own / WEIGHTS)
    assert first[0].keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in first[0].items())
    assert not torch.equal(load_file(paths.model("lab") / WEIGHTS)["last.1.weight"],
                           expected["last.1.weight"])  # fmt: skip
    [run_of_it] = described
    assert run_of_it.tags["init"] == str(own)
    assert run_of_it.tags["init.generator_sha256"] == io.sha256(own / WEIGHTS)
    assert run_of_it.params["train.init"] == str(own)


def test_other_weights_are_another_training(own, run, described, make_params, monkeypatch) -> None:
    """Also where the folder keeps its name; its path may begin with the home folder's ~."""
    monkeypatch.setenv("HOME", str(own.parent.absolute()))
    run("lab", {"train.init": str(own)})
    run("lab", {"train.init": str(own)})
    assert len(described) == 1
    home = f"~/{own.name}"
    assert read_initial_weights(get_space("lab"), make_params({"train.init": home}).lab).sha256
    shutil.copy(paths.model("lab") / WEIGHTS, own / WEIGHTS)
    run("lab", {"train.init": str(own)})
    shas = [run.tags["init.generator_sha256"] for run in described]
    assert len(shas) == len(set(shas)) == 2


def refusal(params: Params, space: str = "lab") -> ColorganError:
    with pytest.raises(ColorganError) as refused:
        read_initial_weights(get_space(space), params.space(space))
    return refused.value


@pytest.fixture
def came_along(
    write_arrays: Callable[..., Path],
    run: Callable[..., None],
    make_params: Callable[..., Params],
    real_photos: UInt8Array,
) -> Path:
    """A model of lab in the place of the one that comes with the project, in half precision."""
    torch.manual_seed(1)
    lab, model = get_space("lab"), make_params(ENCODER).lab.model
    generator = build_generator(lab, model, 32)
    with torch.no_grad():
        generator.last.bias.copy_(torch.tensor([0.1, -0.2]))  # type: ignore[union-attr]
    folder = paths.model("pretrained")
    folder.mkdir(parents=True)
    save_model(folder, generator, lab, model, 32)
    state = load_file(folder / WEIGHTS)
    save_file({name: t.half() if t.ndim > 1 else t for name, t in state.items()}, folder / WEIGHTS)
    return folder


@pytest.mark.parametrize("space", ["rgb", "lab"])
def test_the_pretrained_weights_colour_in_both_spaces(
    came_along, make_params, real_photos, described, run, write_arrays, space
) -> None:
    changes = ENCODER | {"train.init": "pretrained"}
    first = read_initial_weights(get_space(space), make_params(changes).space(space))
    assert first.sha256 == io.sha256(came_along / WEIGHTS)
    generator = build_generator(get_space(space), make_params(changes).space(space).model, 32)
    assert first.state is not None
    generator.load_state_dict(first.state)
    model = replace(Model.load(came_along), generator=generator.eval(),
                        space=get_space(space))  # fmt: skip
    input = np.stack([get_space(space).arrays(photo)[0] for photo in real_photos])
    encoded = model.space.encode_input(torch.from_numpy(input))
    shown = pictures(model.space, encoded, model.predict(encoded)).numpy()
    found = color.lab_from_rgb(shown / 255.0).mean(axis=(0, 1, 2))
    # 0.1 and -0.2 of ab's scale; less where it leaves sRGB.
    assert 6 < found[1] < 14
    assert -26 < found[2] < -14
    write_arrays(space)
    run(space, changes | {"train.epochs": 1})
    assert described[0].tags["init"] == "pretrained"


def test_weights_that_cannot_be_used(own: Path, make_params: Callable[..., Params]) -> None:
    said = refusal(make_params({"train.init": "own/first"}), "rgb")
    assert str(said) == (
        "train.init names own/first, a generator of the space lab; it should be one of rgb"
    )
    said = refusal(make_params({"train.init": "own/first", "lab.image_size": 64}))
    assert str(said) == (
        "train.init names own/first, a network of another shape (for 32 px); model.* and "
        "lab.image_size in params.yaml should be those in its config.json"
    )
    said = refusal(make_params({"train.init": "./models/lab/"}))
    assert isinstance(said, ParamsError)
    assert str(said) == (
        "params.yaml: train.init is ./models/lab/, which this stage writes itself, and which DVC "
        "removes before; copy that folder and name the copy, or name the MLflow run that made it"
    )
    said = refusal(make_params({"train.init_discriminator": "pretrained"}))
    assert "discriminator.safetensors holds no discriminator like that of model.*" in str(said)
    paths.model("pretrained").mkdir()
    (paths.model("pretrained") / "discriminator.safetensors").write_bytes(b"damaged")
    said = refusal(make_params({"train.init_discriminator": "pretrained"}))
    assert "of model.* in params.yaml (Error while deserializing header" in str(said)


def test_neither_a_folder_nor_a_run(project: Path, make_params: Callable[..., Params]) -> None:
    said = refusal(make_params({"train.init": "nowhere"}))
    assert isinstance(said, ParamsError)
    start = (
        "params.yaml: train.init is 'nowhere', which is no folder here; it should be none, "
        "pretrained, a folder with generator.safetensors and config.json, or the id or name of an "
        "MLflow run ("
    )
    assert str(said).startswith(start)
    assert f"{project / 'mlflow.db'} does not exist: no run was recorded yet" in str(said)
    assert "\n" not in str(said)


def test_the_model_of_a_recorded_run(project, write_arrays, make_params) -> None:
    """By its id and by its name; a run that came to nothing has none."""
    from colorgan.tracking import mlflow_log
    from colorgan.tracking.run import sync

    write_arrays("lab", train=4, val=0)
    stage.train(make_params({"train.epochs": 1}), "lab")
    # Making the store may take longer than a training waits for it; then a thread sends the run.
    wait_for(lambda: sync() and not list(paths.resume("unsent").glob("*")))
    sha256 = io.sha256(paths.model("lab") / WEIGHTS)
    expected = load_file(paths.model("lab") / WEIGHTS)
    # The model is MLflow's now; what lies here may be gone.
    shutil.rmtree(paths.MODELS)
    client, experiment_id = mlflow_log.connect()
    [recorded] = client.search_runs([experiment_id])
    for name in (recorded.info.run_id, recorded.info.run_name):
        found = read_initial_weights(get_space("lab"), make_params({"train.init": name}).lab)
        assert found.sha256 == sha256
        assert found.state is not None
        assert all(torch.equal(tensor, expected[key]) for key, tensor in found.state.items())
    said = refusal(make_params({"train.init": "ab" * 16}))
    assert "has the id or the name 'abab" in str(said)
    said = refusal(make_params({"train.init": recorded.info.run_id}), "rgb")
    assert "is of train_lab; name a run of train_rgb" in str(said)


def test_another_file_of_backbone_weights_is_another_training(make_params, tmp_path) -> None:
    file = tmp_path / "backbone.safetensors"
    found = []
    for content in (b"one", b"other"):
        file.write_bytes(content)
        changes = {"model.encoder_weights": str(file), "model.generator": "encoder_unet"}
        found.append(read_initial_weights(get_space("lab"), make_params(changes).lab).sha256)
    assert len(set(found)) == 2
    unet = make_params({"model.encoder_weights": str(file)}).lab
    assert read_initial_weights(get_space("lab"), unet).sha256 == ""
