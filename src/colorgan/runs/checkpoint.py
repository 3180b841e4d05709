"""Checkpoints: all that a training needs to resume, in one safetensors file.

Its tensors are `<part>.<name>`, for Adam's state of the i-th parameter `<optimizer>.<i>.<name>`,
and the position: `iteration`, `epoch` and `since_log`, the losses since the last log. Random
numbers and the learning rate are functions of the position.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from colorgan.errors import ColorganError, say
from colorgan.io import file_aside, sync
from colorgan.runs.runtime import Group

VERSION = 4
"""Of the format; another one makes another training."""
Parts = Mapping[str, nn.Module | Optimizer | GradScaler]
"""All of a training that has a `state_dict`, by name."""


@dataclass
class Position:
    """Finished iterations, finished and validated epochs, and the losses since the last log.

    The losses lie on the device, a tensor for each iteration.
    """

    iteration: int = 0
    epoch: int = 0
    since_log: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file, on the CPU; `made_with` is what `made_with` returned."""

    tensors: dict[str, Tensor]
    made_with: str

    @classmethod
    def of(cls, parts: Parts, position: Position) -> Checkpoint:
        """Return the present state; on a CPU it shares memory with what is trained."""
        values: dict[str, Any] = {"iteration": position.iteration, "epoch": position.epoch}
        if position.since_log:
            values["since_log"] = torch.stack(position.since_log)
        for part, stateful in parts.items():
            state = stateful.state_dict()
            if isinstance(stateful, Optimizer):
                # Its param_groups follow from the parameters.
                state = {
                    f"{i}.{name}": value
                    for i, of_weight in state["state"].items()
                    for name, value in of_weight.items()
                }
            values |= {f"{part}.{name}": value for name, value in state.items()}
        # The position and the state of a GradScaler are numbers.
        tensors = {name: torch.as_tensor(value).cpu() for name, value in values.items()}
        return cls({name: tensor.contiguous() for name, tensor in tensors.items()}, made_with())

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint; ColorganError if it is not whole."""
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return cls(tensors, file.metadata()["made_with"])
        except SafetensorError as error:
            raise ColorganError(f"{path} is not a whole checkpoint ({error})") from None

    def write(self, path: Path) -> None:
        """Write it aside, flush it to the disk, then rename it: the file is always whole."""
        with file_aside(path) as aside:
            save_file(self.tensors, aside, {"made_with": self.made_with})
            sync(aside)

    def restore(self, parts: Parts, device: torch.device) -> Position:
        """Load the state into newly built networks and optimizers; return the position."""
        for part, stateful in parts.items():
            prefix = f"{part}."
            state = {
                name.removeprefix(prefix): tensor
                for name, tensor in self.tensors.items()
                if name.startswith(prefix)
            }
            if isinstance(stateful, GradScaler):
                stateful.load_state_dict({name: value.item() for name, value in state.items()})
            elif isinstance(stateful, Optimizer):
                _restore_adam(stateful, state)
            else:
                stateful.load_state_dict(state)
        iteration, epoch = (int(self.tensors[name]) for name in ("iteration", "epoch"))
        losses = self.tensors.get("since_log", torch.zeros(0)).to(device)
        return Position(iteration, epoch, list(losses.unbind()))


def _restore_adam(optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
    """Set Adam's state; its `load_state_dict` would not keep the memory layout of the weights."""
    weights = optimizer.param_groups[0]["params"]
    for key, value in state.items():
        i, _, name = key.partition(".")
        weight = weights[int(i)]
        moment = torch.empty_like(weight) if value.ndim else torch.empty((), device=weight.device)
        optimizer.state[weight][name] = moment.copy_(value)


def made_with() -> str:
    """Return what can change the bits of a training besides parameters, data and code."""
    return f"torch {torch.__version__}, {Group.of_environment().world_size} process(es)"


class Checkpoints:
    """Writes a checkpoint every few minutes. `title` is what is trained, such as `train lab`."""

    def __init__(self, path: Path, title: str, minutes: float) -> None:
        self._path, self._title, self._seconds = path, title, minutes * 60
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, parts: Parts, position: Position) -> None:
        """Write the state; a failure is only printed, and the checkpoint before stays."""
        try:
            Checkpoint.of(parts, position).write(self._path)
        except (OSError, SafetensorError) as error:
            previous = "the one before it stays" if self._path.exists() else "there is none yet"
            say(f"{self._title}: {self._path} could not be written ({error}); {previous}")
        self._last = time.monotonic()
