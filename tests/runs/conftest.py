"""Fixtures that train tiny networks."""

from __future__ import annotations

from tiny_training import batch, make_step, run, run_anew

__all__ = ["batch", "make_step", "run", "run_anew"]
