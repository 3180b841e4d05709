"""Checkpoints: all that a training needs to resume, in one safetensors file.

Its tensors are `<part>.<name>` for each network, `<optimizer>.<i>.<name>` for Adam's state of the
i-th parameter, and `since_log`, the losses since the last log. The metadata holds the rest as JSON:
version, position, the GradScaler's state, what `auto` was resolved to. Random numbers and the
learning rate are functions of the position.
"""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from colorgan.errors import ColorganError
from colorgan.io import file_aside, sync

VERSION = 2

Parts = Mapping[str, nn.Module | Optimizer | GradScaler]
"""All of a training that has a `state_dict`, by name."""


@dataclass
class Position:
    """How far a training has come.

    Attributes:
        iteration: finished iterations.
        epoch: epochs that are finished with their validation.
        since_log: losses of each iteration since the last log, on the device.
    """

    iteration: int = 0
    epoch: int = 0
    since_log: list[Tensor] = field(default_factory=list)


class UnusableCheckpointError(ColorganError):
    """A checkpoint exists but cannot be loaded."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file, on the CPU.

    Attributes:
        iteration, epoch: the position.
        decisions: what `auto` was resolved to (`Runtime.decisions`).
        made_with: version of torch and number of processes, in words.
        values: state that is no tensor, by `<part>.<name>`.
        tensors: the rest.
    """

    iteration: int
    epoch: int
    decisions: dict[str, str]
    made_with: str
    values: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, parts: Parts, position: Position, decisions: Mapping[str, str]) -> Checkpoint:
        """Copy the present state to the CPU; training does not change the copy."""
        values: dict[str, Any] = {}
        losses = torch.stack(position.since_log).cpu() if position.since_log else torch.zeros(0)
        tensors = {"since_log": losses}
        for part, stateful in parts.items():
            state = stateful.state_dict()
            if isinstance(stateful, Optimizer):
                # Its param_groups follow from the parameters.
                state = {
                    f"{i}.{name}": value
                    for i, moments in state["state"].items()
                    for name, value in moments.items()
                }
            for name, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"{part}.{name}"] = _copy(value)
                else:
                    values[f"{part}.{name}"] = value
        made_with = describe_maker(int(decisions["devices"]))
        return cls(position.iteration, position.epoch, dict(decisions), made_with, values, tensors)

    @classmethod
    def read(cls, path: Path) -> Checkpoint | None:
        """Read a checkpoint; None if there is none.

        Raises:
            UnusableCheckpointError: it is not whole, or of another version.
        """
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                version = metadata.get("version", "none")
                if version != str(VERSION):
                    raise UnusableCheckpointError(
                        f"{path} is of version {version}, this code reads {VERSION}"
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(**json.loads(metadata["state"]), tensors=tensors)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise UnusableCheckpointError(f"{path} is not a whole checkpoint ({error})") from None

    def write(self, path: Path) -> None:
        """Write it aside, flush it to the disk, then rename it: the file is always whole."""
        state = {name: value for name, value in vars(self).items() if name != "tensors"}
        metadata = {"version": str(VERSION), "state": json.dumps(state)}
        with file_aside(path) as aside:
            try:
                save_file(self.tensors, aside, metadata)
            except SafetensorError as error:
                raise OSError(errno.EIO, str(error), str(path)) from None
            sync(aside)

    def restore(self, parts: Parts, device: torch.device) -> Position:
        """Load the state into newly built networks and optimizers; return the position."""
        content = {**self.values, **self.tensors}
        for part, stateful in parts.items():
            prefix = f"{part}."
            state = {
                name.removeprefix(prefix): value
                for name, value in content.items()
                if name.startswith(prefix)
            }
            if isinstance(stateful, Optimizer):
                _load_optimizer(stateful, state)
            else:
                stateful.load_state_dict(state)
        losses = list(self.tensors["since_log"].to(device).unbind())
        return Position(self.iteration, self.epoch, losses)


def describe_maker(n_processes: int) -> str:
    """Return what else than parameters, data and code can change the last bits of a training."""
    return f"torch {torch.__version__}, {n_processes} process(es)"


def _load_optimizer(optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
    content = optimizer.state_dict()
    for i, weight in enumerate(optimizer.param_groups[0]["params"]):
        moments = {name: state[f"{i}.{name}"] for name in ("step", "exp_avg", "exp_avg_sq")}
        content["state"][i] = {
            # In the memory layout of the weight, as Adam itself creates them.
            name: torch.empty_like(weight).copy_(value) if value.ndim else value
            for name, value in moments.items()
        }
    optimizer.load_state_dict(content)


def _copy(tensor: Tensor) -> Tensor:
    """Return a contiguous copy on the CPU."""
    copy = tensor.detach().to("cpu", memory_format=torch.contiguous_format)
    return copy.clone() if copy.data_ptr() == tensor.data_ptr() else copy


class Checkpoints:
    """Writes a checkpoint now and then; training waits for the copy, not for the disk.

    Args:
        path: the file.
        title: what is trained, such as `train lab`.
        minutes: time between two checkpoints.
        iterations: iterations between two, besides; 0 for the time alone.
        decisions: what `auto` was resolved to.
    """

    def __init__(
        self,
        path: Path,
        title: str,
        minutes: float,
        iterations: int,
        decisions: Mapping[str, str],
    ) -> None:
        self._path = path
        self._title = title
        self._seconds = minutes * 60
        self._iterations = iterations
        self._decisions = decisions
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="colorgan-checkpoint")
        self._writing: Future[None] | None = None
        self._last_time = time.monotonic()
        self._last_iteration = 0

    def due(self, iteration: int) -> bool:
        """Whether it is time for a checkpoint after `iteration` finished iterations."""
        since = iteration - self._last_iteration
        by_count = self._iterations > 0 and since >= self._iterations
        return by_count or time.monotonic() - self._last_time >= self._seconds

    def save(self, parts: Parts, position: Position, *, wait: bool = False) -> None:
        """Copy the state and write it, on a thread unless `wait`; a failure is only printed."""
        self._finish_writing()
        checkpoint = Checkpoint.of(parts, position, self._decisions)
        self._last_iteration, self._last_time = position.iteration, time.monotonic()
        self._writing = self._thread.submit(checkpoint.write, self._path)
        if wait:
            self._finish_writing()

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
            previous = "the one before it stays" if self._path.exists() else "there is none yet"
            print(
                f"{self._title}: {self._path} could not be written "
                f"({error.strerror or error}); {previous}",
                file=sys.stderr,
                flush=True,
            )
