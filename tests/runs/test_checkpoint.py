"""A checkpoint holds all that a training needs; one that cannot be read or written is said."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from colorgan import io
from colorgan.errors import ColorganError
from colorgan.runs.checkpoint import VERSION, Checkpoint, Checkpoints, CutShort, Position
from colorgan.training.step import Pix2Pix

MakeStep = Callable[..., Pix2Pix]
Batch = Callable[..., tuple[Tensor, Tensor]]
# 64 px: the depth at which the U-Net drops out.
EVERYTHING = {
    "side": 64,
    "model__dropout": 0.5,
    "train__amp": "bf16",
    "train__ema_decay": 0.9,
    "train__accumulation_steps": 2,
    "train__grad_clip": 1.0,
}

PROJECTED = {"model__discriminator": "projected", "train__gan_loss": "hinge"}


def train(step: Pix2Pix, batch: Batch, start: int, end: int) -> list[Tensor]:
    return [step.train_step(*batch(side=64), i) for i in range(start, end)]


def state(step: Pix2Pix) -> dict[str, Tensor]:
    """All weights, running statistics and moments."""
    return Checkpoint.of(step, Position()).tensors


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(
    "changes", [{}, EVERYTHING, {"train__channels_last": False}, PROJECTED], ids=len
)
def test_what_goes_on_is_bit_identical(
    make_step: MakeStep, batch: Batch, tmp_path: Path, changes: dict[str, object]
) -> None:
    changes = {"side": 64, "model__dropout": 0.5} | changes
    step = make_step(**changes)
    losses = train(step, batch, 0, 3)
    Checkpoint.of(step, Position(3, 1, losses[1:])).write(tmp_path / "checkpoint.safetensors")
    expected = torch.stack(train(step, batch, 3, 6))

    checkpoint = Checkpoint.read(tmp_path / "checkpoint.safetensors")
    assert checkpoint
    assert checkpoint.decisions == step.runtime.decisions()
    assert checkpoint.torch == torch.__version__
    again = make_step(**changes)
    assert not equal(state(again), state(step))
    torch.rand(7)
    position = checkpoint.restore(again)
    assert (position.iteration, position.epoch) == (3, 1)
    assert torch.equal(torch.stack(position.since_log), torch.stack(losses[1:]))
    for name in ("optimizer_g", "optimizer_d"):
        # A moment in another layout than its weight's would be slower, or add up differently.
        for weight, own in getattr(again, name).state.items():
            assert own["exp_avg"].stride() == own["exp_avg_sq"].stride() == weight.stride()
    assert torch.equal(torch.stack(train(again, batch, 3, 6)), expected)
    assert equal(state(again), state(step))


def test_it_is_a_copy_that_training_does_not_change(make_step: MakeStep, batch: Batch) -> None:
    step = make_step(side=64, train__ema_decay=0.9)
    train(step, batch, 0, 1)
    checkpoint = Checkpoint.of(step, Position(1))
    before = {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}
    train(step, batch, 1, 2)
    assert equal(checkpoint.tensors, before)
    assert not equal(state(step), before)


def test_one_before_the_first_update(make_step: MakeStep, tmp_path: Path) -> None:
    """Nothing is known of an optimizer that has never updated."""
    assert Checkpoint.read(tmp_path / "none.safetensors") is None
    Checkpoint.of(make_step(), Position()).write(tmp_path / "checkpoint.safetensors")
    checkpoint = Checkpoint.read(tmp_path / "checkpoint.safetensors")
    assert checkpoint
    assert checkpoint.iteration == 0
    assert checkpoint.tensors["since_log"].shape == (0, 3)


def test_it_is_no_pickle_and_says_what_it_is(make_step: MakeStep, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    Checkpoint.of(make_step(), Position(12, 3)).write(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["version"] == str(VERSION)
    content = json.loads(metadata["state"])
    assert (content["iteration"], content["epoch"]) == (12, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


# --- one that cannot be read ---


@pytest.fixture
def whole(make_step: MakeStep, batch: Batch, tmp_path: Path) -> Path:
    step = make_step(side=64)
    train(step, batch, 0, 1)
    path = tmp_path / "whole" / "checkpoint.safetensors"
    Checkpoint.of(step, Position(1)).write(path)
    return path


def test_cut_short_anywhere(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    lengths = [0, 1, 7, 8, 9, header // 2, header - 1, header, header + 1, len(content) - 1]
    cut = tmp_path / "cut.safetensors"
    for length in [*lengths, *range(0, len(content), len(content) // 50)]:
        cut.write_bytes(content[:length])
        with pytest.raises(CutShort) as said:
            Checkpoint.read(cut)
        assert str(said.value).startswith(f"{cut} is not a whole checkpoint (")
        assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    "damage", [b"\xff" * 100, b"\0" * 100, b"no checkpoint at all, but text"], ids=len
)
def test_overwritten_at_its_beginning(whole: Path, damage: bytes) -> None:
    whole.write_bytes(damage + whole.read_bytes()[len(damage) :])
    with pytest.raises(CutShort):
        Checkpoint.read(whole)


@pytest.mark.parametrize("metadata", [None, {}, {"version": "0"}, {"version": "2", "state": "{}"}])
def test_another_version(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "resume" / "checkpoint.safetensors"
    path.parent.mkdir()
    save_file({"a": torch.zeros(1)}, path, metadata)
    version = (metadata or {}).get("version", "none")
    with pytest.raises(ColorganError) as said:
        Checkpoint.read(path)
    assert not isinstance(said.value, CutShort)
    assert str(said.value) == (
        f"{path} is of version {version}, this code reads 1: finish that training with the code "
        f"that began it, or remove {path.parent} to begin anew"
    )


@pytest.mark.parametrize("lost", ["state", "a field", "a tensor", "a moment"])
def test_something_is_missing(make_step: MakeStep, whole: Path, lost: str) -> None:
    with safe_open(whole, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if lost == "state":
        del metadata["state"]
    elif lost == "a field":
        metadata["state"] = json.dumps({"iteration": 1})
    else:
        prefix = "generator." if lost == "a tensor" else "optimizer_g.1.exp_avg"
        del tensors[next(name for name in tensors if name.startswith(prefix))]
    save_file(tensors, whole, metadata)
    step = make_step(side=64)
    with pytest.raises(CutShort) as said:
        Checkpoint.read(whole).restore(step)  # type: ignore[union-attr]
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("changes", [{"model__ngf": 6}, {"model__ndf": 2}, {"model__norm": "none"}])
def test_networks_of_another_shape(
    make_step: MakeStep, whole: Path, changes: dict[str, object]
) -> None:
    checkpoint = Checkpoint.read(whole)
    assert checkpoint
    with pytest.raises(CutShort) as said:
        checkpoint.restore(make_step(side=64, **changes))
    assert "\n" not in str(said.value)


# --- a stage that meets such a one ---

CHANGES = {"runtime.progress": "lines", "train.epochs": 3, "train.ema_decay": 0.9}
OUT = Path("models/lab/generator.safetensors")


@pytest.fixture
def stopped(
    write_arrays: Callable[..., Path], run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, bytes]:
    """The checkpoint of a training that was stopped, and the weights that it should come to."""
    write_arrays("lab", train=20)
    run("lab", CHANGES)
    weights = OUT.read_bytes()
    shutil.rmtree(".resume")
    train_step = Pix2Pix.train_step

    def stopping(step: Pix2Pix, input: Tensor, target: Tensor, iteration: int = 0) -> Tensor:
        if iteration == 7:
            os.kill(os.getpid(), 2)
        return train_step(step, input, target, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(Pix2Pix, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run("lab", CHANGES)
    (checkpoint,) = Path(".resume").resolve().rglob("checkpoint.safetensors")
    return checkpoint, weights


@pytest.mark.parametrize("damage", ["cut", "of other networks"])
def test_a_broken_checkpoint_is_said_and_training_begins_anew(
    stopped: tuple[Path, bytes],
    run: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    checkpoint, weights = stopped
    if damage == "cut":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    else:
        with safe_open(checkpoint, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(
            {name: tensor.flatten()[:1] for name, tensor in tensors.items()}, checkpoint, metadata
        )
    capsys.readouterr()
    run("lab", CHANGES)
    out, err = capsys.readouterr()
    assert re.fullmatch(r"train lab: .*checkpoint.*: training begins anew\n", err)
    assert str(checkpoint) in err
    assert "goes on" not in out
    assert OUT.read_bytes() == weights
    losses = (checkpoint.parent / "losses.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in losses[1:]] == [str(i) for i in (*range(2, 15, 2), 15)]


def test_a_checkpoint_of_another_version_is_kept(
    stopped: tuple[Path, bytes], run: Callable[..., None]
) -> None:
    checkpoint, weights = stopped
    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    kept = checkpoint.read_bytes()
    save_file(tensors, checkpoint, metadata | {"version": "7"})
    future = checkpoint.read_bytes()
    with pytest.raises(ColorganError, match="is of version 7, this code reads 1"):
        run("lab", CHANGES)
    assert checkpoint.read_bytes() == future
    checkpoint.write_bytes(kept)
    run("lab", CHANGES)
    assert OUT.read_bytes() == weights


def test_another_torch_is_said(
    stopped: tuple[Path, bytes],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    capsys.readouterr()
    run("lab", CHANGES)
    out, err = capsys.readouterr()
    assert re.fullmatch(
        r"train lab: the checkpoint is of torch \S+, this is torch 9.9.9: the weights may differ "
        r"from those of an unbroken training\n",
        err,
    )
    assert "goes on from iteration 8 of 15" in out


# --- when one is due ---


def checkpoints(path: Path, minutes: float = 60, iterations: int = 0) -> Checkpoints:
    return Checkpoints(path / "checkpoint.safetensors", "train lab", minutes, iterations)


def test_due_by_iterations(make_step: MakeStep, tmp_path: Path) -> None:
    saved = checkpoints(tmp_path, iterations=5)
    step, at = make_step(), []
    for iteration in range(1, 18):
        if saved.due(iteration):
            saved.save(step, Position(iteration))
            at.append(iteration)
    saved.close()
    assert at == [5, 10, 15]


def test_due_by_minutes(
    make_step: MakeStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("colorgan.runs.checkpoint.time.monotonic", lambda: now)
    saved = checkpoints(tmp_path, minutes=2)
    assert not saved.due(10_000)
    now += 119
    assert not saved.due(10_001)
    now += 1
    assert saved.due(10_002)
    saved.save(make_step(), Position(10_002))
    assert not saved.due(10_003)
    now += 120
    assert saved.due(10_003)
    saved.close()


def test_every_iteration_where_no_time_may_pass(make_step: MakeStep, tmp_path: Path) -> None:
    saved = checkpoints(tmp_path, minutes=0)
    assert saved.due(1)
    saved.close()


def test_a_training_that_goes_on_writes_them_too(
    stopped: tuple[Path, bytes], run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    at: list[int] = []
    save = Checkpoints.save

    def noted(self: Checkpoints, step: Pix2Pix, position: Position, *, wait: bool = False) -> None:
        at.append(position.iteration)
        save(self, step, position, wait=wait)

    monkeypatch.setattr(Checkpoints, "save", noted)
    run("lab", CHANGES | {"runtime.checkpoint_iterations": 3})
    assert at
    assert set(np.diff(at)) == {3}
    assert at[0] <= 8 + 3


# --- a full disk ---


@pytest.fixture
def small_disk(project: Path) -> Iterator[Path]:
    """`.resume` as a disk of its own, too small for two checkpoints."""
    folder = project / ".resume"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root can mount a small disk, on Linux")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, left: int) -> None:
    """Leave so many bytes."""
    free = shutil.disk_usage(disk).free
    (disk / "ballast").write_bytes(bytes(max(0, free - left)))


def test_a_disk_that_is_full_for_a_while(
    make_step: MakeStep, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_disk / "checkpoint.safetensors"
    step = make_step()
    saved = Checkpoints(path, "train lab", 60, 1)
    fill(small_disk, 30_000)
    saved.save(step, Position(1), wait=True)
    said = capsys.readouterr().err
    assert re.fullmatch(
        rf"train lab: {path} could not be written \(.*No space left.*\); there is none yet\n", said
    )
    assert not path.exists()
    (small_disk / "ballast").unlink()
    saved.save(step, Position(2), wait=True)
    fill(small_disk, 30_000)
    saved.save(step, Position(3))
    saved.close()
    assert capsys.readouterr().err.endswith("; the one before it stays\n")
    checkpoint = Checkpoint.read(path)
    assert checkpoint
    assert checkpoint.iteration == 2
    assert sorted(file.name for file in small_disk.iterdir()) == ["ballast", path.name]


def test_training_goes_on_though_its_checkpoints_do_not_fit(
    small_disk: Path,
    write_arrays: Callable[..., Path],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The disk is full from iteration 5 on, but for the curves; then the model finds no place."""
    write_arrays("lab", train=20)
    changes = CHANGES | {"runtime.checkpoint_iterations": 4}
    train_step = Pix2Pix.train_step

    def filling(step: Pix2Pix, input: Tensor, target: Tensor, iteration: int = 0) -> Tensor:
        if iteration == 5:
            fill(small_disk, 12_000)
        return train_step(step, input, target, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(Pix2Pix, "train_step", filling)
        with pytest.raises(OSError, match="No space left"):
            run("lab", changes)
    out, err = capsys.readouterr()
    assert "iteration 15/15" in out
    failures = err.splitlines()
    assert len(failures) == 2
    assert all("No space left" in line and "the one before it stays" in line for line in failures)
    assert not OUT.exists()
    (small_disk / "ballast").unlink()
    assert not list(Path().rglob("*.part"))

    run("lab", changes)
    assert "goes on from iteration 4 of 15" in capsys.readouterr().out
    weights = OUT.read_bytes()
    subprocess.run(["rm", "-r", *map(str, small_disk.iterdir())], check=True)
    run("lab", changes)
    assert OUT.read_bytes() == weights


def test_a_full_disk_is_said_by_the_command(
    small_disk: Path,
    write_arrays: Callable[..., Path],
    write_params: Callable[..., None],
    run: Callable[..., None],
    colorgan: Callable[..., object],
) -> None:
    write_arrays("lab", train=20)
    write_params(CHANGES)
    fill(small_disk, 0)
    said = colorgan("train", "lab")
    assert said.code == 1  # type: ignore[attr-defined]
    assert "no space left on the disk of " in said.err  # type: ignore[attr-defined]
    assert said.err.count("\n") == 1  # type: ignore[attr-defined]
    (small_disk / "ballast").unlink()
    assert colorgan("train", "lab").code == 0  # type: ignore[attr-defined]
    assert io.sha256(OUT)
