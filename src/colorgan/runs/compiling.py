"""Whether torch.compile pays: a short trial, on long runs alone."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from colorgan import io, paths
from colorgan.config import SpaceParams, flat
from colorgan.errors import ColorganError, ParamsError
from colorgan.runs.runtime import CompileMode, Runtime, device_name
from colorgan.training.step import Pix2Pix

LONG_RUN = 5000
"""Iterations from which on a trial is made: below, compiling (a minute) cannot pay."""
MARGIN = 0.95
"""Share of the time without compiling that a mode has to stay under to be taken."""

Build = Callable[[Runtime], Pix2Pix]


def compiler_missing(device: torch.device) -> str | None:
    """Say what torch.compile lacks on this machine, None if it has what it needs."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "the package triton"
    names = (os.environ.get("CXX"), "g++", "clang++", "cl")
    if any(name and shutil.which(name) for name in names):
        return None
    return "a C++ compiler (g++ or clang++)"


def require_compiler(mode: str, device: torch.device) -> None:
    """Refuse a mode of torch.compile that this machine cannot compile in."""
    missing = compiler_missing(device)
    if mode not in ("auto", "off") and missing:
        raise ParamsError(
            f"params.yaml: train.compile is {mode!r}, which needs {missing}; install it, or set "
            "train.compile to auto or off"
        )


def choose_mode(
    build: Build, batch: tuple[Tensor, Tensor], runtime: Runtime, params: SpaceParams, left: int
) -> CompileMode:
    """Return the fastest mode for `left` iterations, by trial; what came out is kept and reused.

    Args:
        build: makes the networks for a runtime; those of a trial are thrown away.
        batch: an input and a target as the step takes them.
        runtime: as decided so far.
        params: those of the space.
        left: iterations still to come.
    """
    if left < LONG_RUN or compiler_missing(runtime.device):
        return "off"
    kept = paths.project_root() / ".resume" / "compile.json"
    key = _key(runtime, params, left)
    known: dict[str, CompileMode] = json.loads(kept.read_text()) if kept.exists() else {}
    if key not in known:
        known[key] = _trial(build, batch, runtime, left)
        io.write_json(kept, known)
    return known[key]


def _key(runtime: Runtime, params: SpaceParams, left: int) -> str:
    """Name machine, networks and iterations: for these the same choice is made again."""
    machine = [device_name(runtime.device), torch.__version__, str(runtime.group.world_size)]
    model = flat(params.model) | {
        name: value
        for name, value in flat(params.train).items()
        if name in ("batch_size", "amp", "channels_last")
    }
    text = json.dumps([machine, model, params.data.image_size, runtime.precision, left])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _trial(build: Build, batch: tuple[Tensor, Tensor], runtime: Runtime, left: int) -> CompileMode:
    modes: list[CompileMode] = ["off", "default"]
    if runtime.device.type == "cuda":
        modes.append("reduce-overhead")
    total: dict[CompileMode, float] = {}
    alone = replace(runtime, group=type(runtime.group)())
    for mode in modes:
        try:
            start, each = _time(build(replace(alone, compile=mode)), batch)
        except Exception as error:
            if mode == "off":
                raise
            # Compilers fail in many ways, and none is worth a training.
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error)
            print(f"torch.compile ({mode}) failed and is left out: {first}", file=sys.stderr)
            continue
        finally:
            # What a trial has compiled would count against the limit of the real training's graphs,
            # and its memory would stay taken.
            torch.compiler.reset()
            if runtime.device.type == "cuda":
                torch.cuda.empty_cache()
        total[mode] = start + left * each
        print(f"trial of compile {mode}: first step {start:.1f} s, then {each * 1000:.1f} ms each")
    best = min(total, key=lambda mode: total[mode])
    chosen = best if best == "off" or total[best] < MARGIN * total["off"] else "off"
    print(f"train.compile auto: {chosen}", flush=True)
    return chosen


def _time(step: Pix2Pix, batch: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Return the seconds of the first steps and of one afterwards (the median of five)."""
    began = time.perf_counter()
    for i in range(3):
        _step(step, batch, i)
    start = time.perf_counter() - began
    each = []
    for i in range(5):
        began = time.perf_counter()
        _step(step, batch, i)
        each.append(time.perf_counter() - began)
    return start, sorted(each)[2]


def _step(step: Pix2Pix, batch: tuple[Tensor, Tensor], iteration: int) -> None:
    # Reading the losses waits for the device.
    step.train_step(*batch, iteration).tolist()


@contextmanager
def compile_failure(mode: str) -> Iterator[None]:
    """Say in one sentence that a mode of torch.compile failed, as it does in many ways."""
    try:
        yield
    except Exception as error:
        kinds = {kind.__module__.split(".")[0:2][-1] for kind in type(error).__mro__}
        if mode == "off" or not kinds & {"_dynamo", "_inductor"}:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise ColorganError(
            f"train.compile is {mode}, and torch.compile failed on this machine ({reason}); set it "
            "to off in params.yaml"
        ) from error
