"""What `auto` comes to, and what this machine does not have."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from colorgan.config import Params
from colorgan.errors import ColorganError, ParamsError
from colorgan.runs import runtime
from colorgan.runs.runtime import LONG_RUN, Runtime

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.fixture(autouse=True)
def _flags_as_before() -> object:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(deterministic)
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


def machine(
    monkeypatch: pytest.MonkeyPatch, *there: str, bf16: bool = False, count: int = 4
) -> None:
    """Let the machine have these devices, `count` of each kind."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(runtime.os, "cpu_count", lambda: count)
    monkeypatch.setattr(runtime, "cpu_computes_bf16", lambda: bf16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)


@pytest.mark.parametrize(
    ("there", "device", "processes", "precision", "with_bf16"),
    [
        (("cuda", "mps"), CUDA, 4, "fp16", "bf16"),
        (("mps",), MPS, 1, "off", "off"),
        ((), CPU, 1, "off", "bf16"),
    ],
)
def test_auto_takes_the_fastest_of_what_there_is(
    monkeypatch, there, device, processes, precision, with_bf16
) -> None:
    machine(monkeypatch, *there)
    assert (runtime.choose_device("auto"), runtime.choose_device("cpu")) == (device, CPU)
    assert runtime.choose_devices("auto", device) == processes
    assert runtime.choose_devices(processes, device) == processes
    assert runtime.choose_precision("auto", device) == precision
    machine(monkeypatch, *there, bf16=True)
    assert runtime.choose_precision("auto", device) == with_bf16


def test_what_the_machine_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    assert runtime.choose_precision("fp16", CUDA) == "fp16"
    for refused, sentence in {
        lambda: runtime.choose_device("cuda"): "runtime.device is 'cuda', which this machine does "
        "not have; it should be auto or one of cpu",
        lambda: runtime.choose_precision("fp16", MPS): "train.amp is 'fp16', which needs a CUDA "
        "device (this one is mps); it should be auto, bf16 or off",
        lambda: runtime.choose_devices(5, CUDA): "runtime.devices is 5; it should be auto, or on "
        "this machine (cuda) at most 4",
    }.items():
        with pytest.raises(ParamsError) as refusal:
            refused()
        assert str(refusal.value) == f"params.yaml: {sentence}"


@pytest.mark.parametrize("on", [True, False])
def test_flags_are_those_of_the_parameters(make_params: Callable[..., Params], on: bool) -> None:
    names = ("cudnn_benchmark", "cudnn_deterministic", "allow_tf32")
    params = make_params({f"train.{name}": on for name in names})
    Runtime.decide(params.rgb.train, params.runtime)
    assert torch.backends.cudnn.benchmark is on
    assert torch.backends.cudnn.deterministic is on
    assert torch.backends.cudnn.allow_tf32 is on
    assert torch.backends.cuda.matmul.allow_tf32 is on
    assert torch.are_deterministic_algorithms_enabled() is on


def test_compile_auto_is_for_long_runs_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.choose_compile("auto", CPU, 10 * LONG_RUN) == "off"
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: name)
    assert runtime.choose_compile("auto", CUDA, LONG_RUN - 1) == "off"
    assert runtime.choose_compile("auto", CUDA, LONG_RUN) == "default"
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    assert runtime.choose_compile("auto", CUDA, LONG_RUN) == "off"
    assert runtime.choose_compile("reduce-overhead", CPU, 1) == "reduce-overhead"


def test_a_failure_of_torch_compile_is_one_sentence() -> None:
    from torch._inductor.exc import InductorError

    with pytest.raises(ColorganError) as refusal, runtime.compile_errors("default"):
        raise InductorError(RuntimeError("no space\nleft"), None)
    start = "train.compile is default, and torch.compile failed on this machine ("
    assert str(refusal.value).startswith(start)
    assert str(refusal.value).endswith("); set it to off in params.yaml")
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="mine"), runtime.compile_errors("default"):
        raise ValueError("mine")
