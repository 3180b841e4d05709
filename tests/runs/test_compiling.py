"""torch.compile: the real thing on the CPU, and the trial that `auto` makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from colorgan.runs.compiling import (
    LONG_RUN,
    choose_mode,
    compile_failure,
    compiler_missing,
    require_compiler,
)
from torch import Tensor

from colorgan.config import Params
from colorgan.errors import ColorganError, ParamsError
from colorgan.runs import compiling
from colorgan.runs.runtime import Runtime
from colorgan.tracking.run import Recorder, RunDescription
from colorgan.training import train as stage
from colorgan.training.step import Pix2Pix

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RUNTIME = Runtime(CPU, "off", False, None)
KEPT = Path(".resume/compile.json")
needs_compiler = pytest.mark.skipif(
    compiler_missing(CPU) is not None, reason=f"there is no {compiler_missing(CPU)}"
)


@needs_compiler
@pytest.mark.slow
def test_a_compiled_network_computes_the_same(
    make_step: Callable[..., Pix2Pix],
    batch: Callable[..., tuple[Tensor, Tensor]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The discriminator alone: the generator's thirty kernels would take a minute."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    tiny = {"model__ndf": 1, "model__norm": "none"}
    eager, step = make_step(**tiny), make_step(**tiny, compile="default")
    assert step.run_discriminator is step.group_discriminator is not step.discriminator
    generator = step.generator
    step = replace(step, run_generator=generator, group_generator=generator)
    for iteration in range(2):
        expected = eager.train_step(*batch(), iteration)
        found = step.train_step(*batch(), iteration)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert list((tmp_path / "inductor").rglob("*.so")), "nothing was compiled"
    assert_same_networks(step, eager)
    torch.compiler.reset()


@pytest.mark.parametrize("changes", [{}, {"train__accumulation_steps": 2}], ids=str)
def test_networks_that_are_traced_are_the_same(
    make_step: Callable[..., Pix2Pix],
    batch: Callable[..., tuple[Tensor, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
) -> None:
    """Both, as torch.compile sees them, and run without its compiler."""
    torch_compile, asked = torch.compile, []

    def traced(network: Any, mode: str | None, dynamic: bool) -> Any:
        asked.append((mode, dynamic))
        return torch_compile(network, backend="aot_eager", dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", traced)
    eager, step = make_step(**changes), make_step(**changes, compile="default")
    assert asked == [(None, False)] * 2
    for iteration in range(2):
        expected = eager.train_step(*batch(), iteration)
        torch.testing.assert_close(step.train_step(*batch(), iteration), expected)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    assert_same_networks(step, eager)
    torch.compiler.reset()


def assert_same_networks(step: Pix2Pix, other: Pix2Pix) -> None:
    """What is trained, validated and saved is the network itself, under its own names."""
    for name in ("generator", "discriminator"):
        state, expected = (getattr(one, name).state_dict() for one in (step, other))
        assert state.keys() == expected.keys()
        for key, tensor in state.items():
            torch.testing.assert_close(tensor, expected[key], atol=2e-4, rtol=1e-3, msg=key)


def test_the_other_mode_has_cuda_graphs(
    make_step: Callable[..., Pix2Pix], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr(torch, "compile", lambda network, mode, dynamic: asked.append(mode))
    make_step(compile="reduce-overhead")
    assert asked == ["reduce-overhead"] * 2


@dataclass
class Builds:
    """Stands for building networks; how long each mode then takes is given.

    Attributes:
        seconds: of a step, by mode; an error where the mode fails.
        built: the modes that were tried.
    """

    seconds: dict[str, float | Exception]
    built: list[str]

    def __call__(self, runtime: Runtime) -> Any:
        assert runtime.compile
        assert runtime.group.world_size == 1
        self.built.append(runtime.compile)
        seconds = self.seconds[runtime.compile]
        if isinstance(seconds, Exception):
            raise seconds
        return seconds


@pytest.fixture
def builds(project: Path, monkeypatch: pytest.MonkeyPatch) -> Builds:
    """Steps of 10 ms, compiled 5 ms after 2 s of compiling; on a machine with a compiler."""
    builds = Builds({"off": 0.010, "default": 0.005, "reduce-overhead": 0.004}, [])
    first = {"off": 0.03, "default": 2.0, "reduce-overhead": 3.0}

    def timed(seconds: float, batch: object) -> tuple[float, float]:
        return first[builds.built[-1]], seconds

    monkeypatch.setattr(compiling, "_time", timed)
    monkeypatch.setattr(compiling, "compiler_missing", lambda device: None)
    return builds


NO_BATCH = torch.zeros(0), torch.zeros(0)


def choose(builds: Builds, params: Params, left: int = LONG_RUN, runtime: Runtime = RUNTIME) -> str:
    return choose_mode(builds, NO_BATCH, runtime, params.lab, left)


def test_a_short_run_is_not_tried(builds: Builds, make_params: Callable[..., Params]) -> None:
    assert choose(builds, make_params(), LONG_RUN - 1) == "off"
    assert builds.built == []
    assert not KEPT.exists()


def test_nothing_is_tried_without_a_compiler(
    builds: Builds, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "compiler_missing", lambda device: "a C++ compiler")
    assert choose(builds, make_params()) == "off"
    assert builds.built == []


def test_a_long_run_is_tried_and_says_what_came_out(
    builds: Builds, make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose(builds, make_params()) == "default"
    assert builds.built == ["off", "default"]
    assert capsys.readouterr().out.splitlines() == [
        "trial of compile off: first step 0.0 s, then 10.0 ms each",
        "trial of compile default: first step 2.0 s, then 5.0 ms each",
        "train.compile auto: default",
    ]


def test_a_trial_forgets_what_it_compiled(
    builds: Builds, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would count against the graphs that the training itself may have."""
    after: list[list[str]] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: after.append([*builds.built]))
    choose(builds, make_params())
    assert after == [["off"], ["off", "default"]]


def test_a_gpu_is_tried_with_cuda_graphs_too(
    builds: Builds, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "device_name", lambda device: "a GPU")
    assert choose(builds, make_params(), runtime=replace(RUNTIME, device=CUDA)) == "reduce-overhead"
    assert builds.built == ["off", "default", "reduce-overhead"]


def test_what_came_out_is_kept_and_reused(
    builds: Builds, make_params: Callable[..., Params]
) -> None:
    assert choose(builds, make_params()) == "default"
    assert list(json.loads(KEPT.read_text()).values()) == ["default"]
    builds.built.clear()
    builds.seconds["default"] = 1.0
    assert choose(builds, make_params({"train.lr": 0.1, "train.epochs": 9})) == "default"
    assert builds.built == []


@pytest.mark.parametrize(
    "changes", [{"model.ngf": 3}, {"train.batch_size": 8}, {"lab.image_size": 64}], ids=str
)
def test_other_networks_are_tried_anew(
    builds: Builds, make_params: Callable[..., Params], changes: dict[str, object]
) -> None:
    choose(builds, make_params())
    builds.seconds["default"] = 1.0
    assert choose(builds, make_params(changes)) == "off"
    assert sorted(json.loads(KEPT.read_text()).values()) == ["default", "off"]


@pytest.mark.parametrize(
    ("seconds", "left", "chosen"),
    [
        # Not faster by 5 %, compiling included.
        (0.0096, 100_000, "off"),
        (0.0094, 100_000, "default"),
        # 2 s of compiling are to be won back first: 5 ms in 5,000 iterations are 25 s.
        (0.0095, 5000, "off"),
        (0.0090, 5000, "default"),
    ],
)
def test_compiling_has_to_pay(
    builds: Builds,
    make_params: Callable[..., Params],
    seconds: float,
    left: int,
    chosen: str,
) -> None:
    builds.seconds["default"] = seconds
    assert choose(builds, make_params(), left) == chosen


def test_a_compiler_that_fails_is_left_out(
    builds: Builds, make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    builds.seconds["default"] = RuntimeError("ld: cannot find -lm\nand much more")
    assert choose(builds, make_params()) == "off"
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "torch.compile (default) failed and is left out: ld: cannot find -lm"
    ]
    assert said.out.endswith("train.compile auto: off\n")


def test_an_error_without_compiling_is_no_compilers(
    builds: Builds, make_params: Callable[..., Params]
) -> None:
    """Such as too little memory for the batch: it is the user's to know."""
    builds.seconds["off"] = MemoryError("too large a batch")
    with pytest.raises(MemoryError, match="too large a batch"):
        choose(builds, make_params())
    assert not KEPT.exists()


def test_the_trial_times_real_steps(
    make_step: Callable[..., Pix2Pix],
    batch: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    step = make_step()
    before = [weight.detach().clone() for weight in step.generator.parameters()]
    first, each = compiling._time(step, batch())
    assert 0 < each < first
    pairs = zip(before, step.generator.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs)


def test_the_stage_trains_as_the_trial_said(
    builds: Builds,
    write_arrays: Callable[..., Path],
    make_params: Callable[..., Params],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And records it; a short run is not tried, and `off` is what it says."""
    write_arrays("lab", train=4, val=0)
    described: list[RunDescription] = []
    compiled: list[str | None] = []
    recorder, build = stage.open_recorder, stage.build_step

    def observed(run: RunDescription) -> Recorder:
        described.append(run)
        return recorder(run)

    def without_compiler(network: Any, mode: str | None, dynamic: bool) -> Any:
        compiled.append(mode)
        return network

    def trial_or_build(space: Any, params: Any, side: int, runtime: Runtime, *others: Any) -> Any:
        tried = len(described) == 1 and len(builds.built) < 2
        return builds(runtime) if tried else build(space, params, side, runtime, *others)

    monkeypatch.setattr(stage, "open_recorder", observed)
    monkeypatch.setattr(torch, "compile", without_compiler)
    run("lab", {"train.compile": "auto"})
    assert described[0].extra["compile"] == "off"
    assert builds.built == compiled == []
    monkeypatch.setattr(compiling, "LONG_RUN", 2)
    monkeypatch.setattr(stage, "build_step", trial_or_build)
    builds.seconds["default"] = 0.0
    builds.seconds["off"] = 100.0
    run("lab", {"train.compile": "auto", "train.seed": 2})
    assert builds.built == ["off", "default"]
    assert described[1].extra["compile"] == "default"
    assert compiled == [None, None]


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)


@pytest.mark.usefixtures("no_compiler")
def test_a_mode_asked_for_without_a_compiler(
    write_arrays: Callable[..., Path], run: Callable[..., None]
) -> None:
    write_arrays("lab")
    with pytest.raises(ParamsError) as refusal:
        run("lab", {"train.compile": "default"})
    assert str(refusal.value) == (
        "params.yaml: train.compile is 'default', which needs a C++ compiler (g++ or clang++); "
        "install it, or set train.compile to auto or off"
    )
    for mode in ("auto", "off"):
        require_compiler(mode, CPU)
    run("lab", {"train.compile": "auto"})


@pytest.mark.usefixtures("no_compiler")
def test_the_compiler_that_cxx_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "my-c++"
    monkeypatch.setenv("CXX", str(compiler))
    assert compiler_missing(CPU)
    compiler.touch(0o755)
    assert compiler_missing(CPU) is None


def test_a_gpu_needs_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParamsError, match="which needs the package triton; install it"):
        require_compiler("reduce-overhead", CUDA)


def test_a_failure_of_torch_compile_is_one_sentence() -> None:
    from torch._dynamo.exc import BackendCompilerFailed
    from torch._inductor.exc import CppCompileError, InductorError

    errors = [
        InductorError(RuntimeError("no space\nleft"), None),
        CppCompileError(["g++"], "it crashed"),
        BackendCompilerFailed(lambda graph: None, RuntimeError("odd"), None),
    ]
    for error in errors:
        with pytest.raises(ColorganError) as refusal, compile_failure("default"):
            raise error
        said = str(refusal.value)
        assert said.startswith(
            "train.compile is default, and torch.compile failed on this machine ("
        )
        assert said.endswith("); set it to off in params.yaml")
        assert "\n" not in said


@pytest.mark.parametrize("mode", ["off", "default"])
@pytest.mark.parametrize("error", [ValueError("mine"), ColorganError("mine"), KeyboardInterrupt()])
def test_other_errors_are_left_alone(mode: str, error: BaseException) -> None:
    with pytest.raises(type(error)) as found, compile_failure(mode):
        raise error
    assert found.value is error
