"""Checkpoints: everything that a training needs to go on, in one safetensors file.

::

    generator.<name>  discriminator.<name>  average.<name>    weights and running statistics
    optimizer_g.<i>.<name>  optimizer_d.<i>.<name>            Adam's state of the i-th parameter
    since_log                                                 losses (n, 3 or 4) since the last log

The metadata says the rest: version, position, the GradScaler's state, what `auto` came to.
Random numbers are functions of the position, the learning rate too.
"""

from __future__ import annotations

import errno
import json
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from colorgan.errors import ColorganError
from colorgan.io import file_aside, sync
from colorgan.training.step import Pix2Pix

VERSION = 1


@dataclass
class Position:
    """How far a training has come.

    Attributes:
        iteration: finished iterations.
        epoch: epochs that are finished with their validation.
        since_log: losses `(3,)` of the iterations since the last log, still on the device.
    """

    iteration: int = 0
    epoch: int = 0
    since_log: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds, on the CPU.

    Attributes:
        iteration, epoch: the position.
        decisions: what `auto` came to (`Runtime.decisions`).
        scaler: state of the GradScaler.
        torch: the version of torch that wrote it.
        tensors: the rest, by the names above.
    """

    iteration: int
    epoch: int
    decisions: dict[str, str]
    scaler: dict[str, Any]
    torch: str
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, step: Pix2Pix, position: Position) -> Checkpoint:
        """Copy the present state to the CPU's memory, where nothing changes it any more."""
        tensors = {name: _copy(tensor) for name, tensor in _live(step).items()}
        tensors["since_log"] = (
            torch.stack(position.since_log).cpu()
            if position.since_log
            else torch.zeros(0, len(step.losses))
        )
        return cls(
            position.iteration,
            position.epoch,
            step.runtime.decisions(),
            step.scaler.state_dict(),
            str(torch.__version__),
            tensors,
        )

    @classmethod
    def read(cls, path: Path) -> Checkpoint | None:
        """Read a checkpoint; None if there is none.

        Raises:
            CutShort: it is no whole safetensors file.
            ColorganError: it is of another version.
        """
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                version = metadata.get("version", "none")
                if version != str(VERSION):
                    raise ColorganError(
                        f"{path} is of version {version}, this code reads {VERSION}: finish that "
                        f"training with the code that began it, or remove {path.parent} to begin "
                        "anew"
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(**json.loads(metadata["state"]), tensors=tensors)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise CutShort(f"{path} is not a whole checkpoint ({error})") from None

    def write(self, path: Path) -> None:
        """Write it aside, to the disk itself, then rename it: it is there whole or not at all."""
        state = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "tensors"}
        metadata = {"version": str(VERSION), "state": json.dumps(state)}
        with file_aside(path) as aside:
            try:
                save_file(self.tensors, aside, metadata)
            except SafetensorError as error:
                raise OSError(errno.EIO, str(error), str(path)) from None
            sync(aside)

    def restore(self, step: Pix2Pix) -> Position:
        """Put the state into freshly built networks and optimizers.

        Raises:
            CutShort: it lacks something that these networks need.
        """
        try:
            for name, network in _networks(step).items():
                state = {key: self.tensors[f"{name}.{key}"] for key in network.state_dict()}
                network.load_state_dict(state)
            for name, optimizer in _optimizers(step).items():
                self._restore_optimizer(name, optimizer)
        except (KeyError, RuntimeError) as error:
            reason = str(error).partition("\n")[0].rstrip(":")
            raise CutShort(f"the checkpoint does not fit these networks ({reason})") from None
        step.scaler.load_state_dict(self.scaler)
        losses = self.tensors["since_log"].to(step.runtime.device).unbind()
        return Position(self.iteration, self.epoch, list(losses))

    def _restore_optimizer(self, name: str, optimizer: Optimizer) -> None:
        content = optimizer.state_dict()
        weights = optimizer.param_groups[0]["params"]
        for i, weight in enumerate(weights):
            own = {}
            for key in ("step", "exp_avg", "exp_avg_sq"):
                saved = self.tensors[f"{name}.{i}.{key}"]
                # In the layout of the weight, as Adam itself makes them.
                own[key] = torch.empty_like(weight).copy_(saved) if saved.ndim else saved
            content["state"][i] = own
        optimizer.load_state_dict(content)


class CutShort(ColorganError):  # noqa: N818 (it says what is wrong)
    """A checkpoint that cannot be gone on from, though there is one."""


def _networks(step: Pix2Pix) -> dict[str, torch.nn.Module]:
    networks = {"generator": step.generator, "discriminator": step.discriminator}
    if step.average is not None:
        networks["average"] = step.average.network
    return networks


def _optimizers(step: Pix2Pix) -> dict[str, Optimizer]:
    return {"optimizer_g": step.optimizer_g, "optimizer_d": step.optimizer_d}


def _live(step: Pix2Pix) -> dict[str, Tensor]:
    """Return the tensors of networks and optimizers by name, as they are, uncopied."""
    tensors = {
        f"{name}.{key}": tensor
        for name, network in _networks(step).items()
        for key, tensor in network.state_dict().items()
    }
    for name, optimizer in _optimizers(step).items():
        for i, own in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{i}.{key}": value for key, value in own.items()}
    return tensors


def _copy(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU, in the plain layout that safetensors wants."""
    copy = tensor.detach().to("cpu", memory_format=torch.contiguous_format)
    return copy.clone() if copy.data_ptr() == tensor.data_ptr() else copy


class Checkpoints:
    """Writes a checkpoint now and then; the training waits for the copy, not for the disk.

    Args:
        path: the file.
        title: what a person calls the training.
        minutes: time between two checkpoints.
        iterations: iterations between two, besides; 0 for the time alone.
    """

    def __init__(self, path: Path, title: str, minutes: float, iterations: int) -> None:
        self._path = path
        self._title = title
        self._seconds = minutes * 60
        self._iterations = iterations
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="colorgan-checkpoint")
        self._writing: Future[None] | None = None
        self._written_at = time.monotonic()
        self._last = 0
        self.seconds = 0.0
        """Time that the training has waited for checkpoints."""

    def due(self, iteration: int) -> bool:
        """Say whether it is time for one after `iteration` finished iterations."""
        by_count = self._iterations and iteration - self._last >= self._iterations
        return bool(by_count) or time.monotonic() - self._written_at >= self._seconds

    def save(self, step: Pix2Pix, position: Position, *, wait: bool = False) -> None:
        """Copy the state and write it, on a thread unless `wait`; a failure is said, not raised."""
        began = time.monotonic()
        self._finish_writing()
        checkpoint = Checkpoint.of(step, position)
        self._last, self._written_at = position.iteration, time.monotonic()
        self._writing = self._thread.submit(checkpoint.write, self._path)
        if wait:
            self._finish_writing()
        self.seconds += time.monotonic() - began

    def close(self) -> None:
        """Wait for the last one."""
        self._finish_writing()
        self._thread.shutdown()

    def _finish_writing(self) -> None:
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        try:
            writing.result()
        except OSError as error:
            there = "the one before it stays" if self._path.exists() else "there is none yet"
            print(
                f"{self._title}: {self._path} could not be written "
                f"({error.strerror or error}); {there}",
                file=sys.stderr,
                flush=True,
            )
