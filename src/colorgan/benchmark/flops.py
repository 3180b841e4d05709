"""The arithmetic of a step, counted in floating-point operations."""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode


def count_flops(step: Callable[[], object]) -> int:
    """Return the FLOPs of the convolutions and matrix products of `step`, forward and backward.

    A multiplication and an addition are two. Taps that fall on padding count too; what is done to
    each value on its own (norms, activations, losses, Adam) does not.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())
