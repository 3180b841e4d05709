"""Two generators, and two runs: by how much they differ, and what might be the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

# Packages that compute weights; names that begin so count as well (nvidia-cudnn-cu12).
COMPUTING = ("torch==", "numpy==", "triton==", "nvidia-")
# What the tags call that which decides the bits.
MACHINE = {
    "device_name": "device",
    "device": "kind of device",
    "devices": "processes",
    "precision": "precision",
    "compile": "torch.compile",
}
SHOWN_TENSORS = 3


@dataclass(frozen=True)
class Difference:
    """By how much the values of two sets of weights differ.

    Attributes:
        values: how many values there are.
        differing: how many of them differ in any bit.
        largest: the largest absolute difference; infinite where one of the two is not a number.
        relative: the largest difference in relation to the greater of the two values, up to 2.
        tensors: the tensors that differ with their largest absolute difference, greatest first.
    """

    values: int
    differing: int
    largest: float
    relative: float
    tensors: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        share = 100 * self.differing / max(self.values, 1)
        return (
            f"{share:.3g}% of {self.values} values, by up to {self.largest:.3g} "
            f"(relative {self.relative:.3g})"
        )

    def lines(self) -> list[str]:
        """Return the tensors that differ most, one a line."""
        shown = [f"{name}: up to {size:.3g}" for name, size in self.tensors[:SHOWN_TENSORS]]
        more = len(self.tensors) - len(shown)
        return [*shown, f"and {more} tensors more"] if more else shown


def compare_weights(recorded: Path, repeated: Path) -> Difference | str:
    """Compare two generator.safetensors, value by value; a sentence if they are not comparable."""
    ours, theirs = load_file(recorded), load_file(repeated)
    shapes = ({k: (v.shape, v.dtype) for k, v in one.items()} for one in (ours, theirs))
    if dict.__ne__(*shapes):
        return "the two are networks of different shape or type of number"
    values = differing = 0
    relative = 0.0
    tensors: list[tuple[str, float]] = []
    for name in ours:
        values += ours[name].size
        n_differing, largest, ratio = _difference(ours[name], theirs[name])
        if n_differing:
            differing += n_differing
            relative = max(relative, ratio)
            tensors.append((name, largest))
    tensors.sort(key=lambda tensor: -tensor[1])
    largest = tensors[0][1] if tensors else 0.0
    return Difference(values, differing, largest, relative, tuple(tensors))


def _difference(a: NDArray[Any], b: NDArray[Any]) -> tuple[int, float, float]:
    """Return how many elements differ in a bit, and the largest differences, absolute, relative."""
    rows = (np.ascontiguousarray(x).view(np.uint8).reshape(x.size, -1) for x in (a, b))
    where = np.not_equal(*rows).any(axis=1)
    if not where.any():
        return 0, 0.0, 0.0
    x, y = (one.reshape(-1)[where].astype(np.float64) for one in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.abs(x - y)
        ratio = gap / np.maximum(np.abs(x), np.abs(y))
    gap[np.isnan(gap)] = np.inf
    # 0 and -0 differ in a bit and in nothing else.
    ratio[gap == 0] = 0.0
    ratio[~np.isfinite(gap)] = np.inf
    return int(where.sum()), float(gap.max()), float(ratio.max())


def compare_losses(
    recorded: Mapping[str, Mapping[int, float]], repeated: Mapping[str, Mapping[int, float]]
) -> str:
    """Say from which iteration on the losses of two runs part; empty if there is nothing to say."""
    pairs = [
        (step, name, value, repeated[name][step])
        for name in recorded.keys() & repeated.keys()
        for step, value in recorded[name].items()
        if step in repeated[name]
    ]
    parted = sorted(pair for pair in pairs if pair[2] != pair[3])
    if not pairs:
        return ""
    if not parted:
        return f"the losses agree at all {len({pair[0] for pair in pairs})} recorded iterations"
    step, name, before, now = parted[0]
    return f"the losses part at iteration {step}: {name} was {before:.7g}, it is {now:.7g} now"


def likely_reasons(
    recorded_tags: Mapping[str, str],
    repeated_tags: Mapping[str, str],
    recorded_environment: str,
    environment: str,
    params: Mapping[str, Any],
) -> list[str]:
    """Return what in the records of two runs may explain that they differ, most likely first."""
    reasons = [
        f"another {what}: {recorded_tags[tag]} then, {repeated_tags[tag]} now"
        for tag, what in MACHINE.items()
        if tag in recorded_tags
        and tag in repeated_tags
        and recorded_tags[tag] != repeated_tags[tag]
    ]
    then, now = _computing(recorded_environment), _computing(environment)
    if then:
        for name in sorted(then.keys() | now.keys()):
            if then.get(name) != now.get(name):
                reasons.append(
                    f"{name} {then.get(name, 'not there')} then, {now.get(name, 'not there')} now"
                )
    device = recorded_tags.get("device", "cpu")
    return reasons if device == "cpu" else [*reasons, *_of_cudnn(device, params)]


def _of_cudnn(device: str, params: Mapping[str, Any]) -> list[str]:
    """Return which of cuDNN's settings let the same run end in other bits; it takes both."""
    found = []
    if not params.get("train.cudnn_deterministic", False):
        found.append("train.cudnn_deterministic is off")
    if params.get("train.cudnn_benchmark", False):
        # Also among the deterministic ones.
        found.append("train.cudnn_benchmark is on and chooses algorithms by the clock")
    return [f"{', '.join(found)}: on {device} the same run may end in other bits"] if found else []


def _computing(environment: str) -> dict[str, str]:
    """Return what computes weights in environment.txt, with its version."""
    lines = environment.splitlines()
    if not lines:
        return {}
    found = {"Python": lines[0].removeprefix("Python ")}
    if len(lines) > 1:
        found["platform"] = lines[1]
    for line in lines:
        if line.lower().startswith(COMPUTING):
            name, _, version = line.partition("==")
            found[name] = version
    return found
