"""What `auto` comes to, and what this machine does not have."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from colorgan import runtime
from colorgan.errors import ParamsError
from colorgan.params import Params
from colorgan.runtime import Runtime

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.fixture(autouse=True)
def _flags_as_before() -> object:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_fastest_device(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert runtime.choose_device("auto") == torch.device(chosen)
    assert runtime.choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    machine(monkeypatch, cuda=False, mps=False)
    with pytest.raises(ParamsError) as refusal:
        runtime.choose_device(name)
    assert str(refusal.value) == (
        f"params.yaml: runtime.device is '{name}', which this machine does not have; "
        "it should be auto or one of cpu"
    )


@pytest.mark.parametrize("device", [CPU, MPS])
def test_fp16_needs_cuda(device: torch.device) -> None:
    assert runtime.choose_precision("fp16", CUDA) == "fp16"
    with pytest.raises(ParamsError, match=r"train.amp is 'fp16', which needs a CUDA device"):
        runtime.choose_precision("fp16", device)


@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_what_is_asked_for_is_taken(amp: str, device: torch.device) -> None:
    assert runtime.choose_precision(amp, device) == amp


@pytest.mark.parametrize("has_it", [True, False])
def test_auto_takes_bf16_where_it_is_computed(
    monkeypatch: pytest.MonkeyPatch, has_it: bool
) -> None:
    monkeypatch.setattr(runtime, "cpu_computes_bf16", lambda: has_it)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_it)
    assert runtime.choose_precision("auto", CPU) == ("bf16" if has_it else "off")
    assert runtime.choose_precision("auto", CUDA) == ("bf16" if has_it else "fp16")
    assert runtime.choose_precision("auto", MPS) == "off"


def test_autocast_computes_in_the_precision_chosen() -> None:
    x = torch.ones(2, 2)
    with Runtime(CPU, "bf16", False).autocast():
        assert (x @ x).dtype == torch.bfloat16
    with Runtime(CPU, "off", False).autocast():
        assert (x @ x).dtype == torch.float32


@pytest.mark.parametrize("on", [True, False])
def test_flags_are_those_of_the_parameters(make_params: Callable[..., Params], on: bool) -> None:
    names = ("cudnn_benchmark", "cudnn_deterministic", "allow_tf32")
    params = make_params({f"train.{name}": on for name in names})
    Runtime.decide(params.rgb.train, params.runtime)
    assert torch.backends.cudnn.benchmark is on
    assert torch.backends.cudnn.deterministic is on
    assert torch.backends.cudnn.allow_tf32 is on
    assert torch.backends.cuda.matmul.allow_tf32 is on


def test_deciding_seeds_the_random_numbers(make_params: Callable[..., Params]) -> None:
    drawn = []
    for seed in (1, 1, 2):
        params = make_params({"train.seed": seed})
        Runtime.decide(params.rgb.train, params.runtime)
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(("asked", "pinned"), [("auto", False), (True, True), (False, False)])
def test_pin_memory(make_params: Callable[..., Params], asked: object, pinned: bool) -> None:
    params = make_params({"runtime.pin_memory": asked})
    decided = Runtime.decide(params.rgb.train, params.runtime)
    assert decided.pin_memory is pinned
    assert decided.described().keys() == {"device", "device_name", "precision", "pin_memory"}
    assert decided.described()["pin_memory"] == str(pinned).lower()
