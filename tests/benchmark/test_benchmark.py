"""The benchmark: real processes, the real step, on networks of a few channels."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from colorgan.benchmark import command, page
from colorgan.benchmark.clock import CpuClock
from colorgan.benchmark.flops import count_flops
from colorgan.benchmark.machine import Machine, describe
from colorgan.benchmark.measure import CHILD, Child, FailedError, Turns, figures, measure_all
from colorgan.benchmark.variants import BASE, Setting, Variant, all_variants
from colorgan.data.arrays import open_split
from colorgan.errors import ParamsError

TINY = Setting("lab", 32, 4, 4, 3)
CPU = replace(describe(torch.device("cpu")), arithmetics=("float32",))
GPU = Machine("cuda", "NVIDIA H200", "2.11", "Linux", 8, ("float32", "tf32", "bf16", "fp16"))


def names(machine: Machine, *, missing: bool) -> set[str]:
    return {v.name for v in all_variants(machine) if bool(v.missing(machine)) == missing}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of the base, a variant that can be measured, one that cannot and one that fails."""
    variants = (
        next(v for v in all_variants(CPU) if v.name == "all"),
        next(v for v in all_variants(CPU) if v.name == "amp_fp16"),
        Variant("unknown", "one that no process knows"),
    )
    said: list[str] = []
    result = measure_all(TINY, CPU, variants, 0.1, 2, said.append)
    assert said == ["the matrix peak", "all together", "one that no process knows"]
    return result


def test_a_run_measures_what_can_be_measured_and_says_why_not(measured: dict[str, Any]) -> None:
    base, together, fp16, unknown = measured["variants"]
    assert base["ratio"] == 1
    for row in (base, together):
        assert row["images_per_second"] == pytest.approx(4 / (row["ms"] / 1e3))
        assert row["ms_quartiles"][0] <= row["ms"] <= row["ms_quartiles"][1]
        assert row["steps"] >= 4
        assert 0 < row["waiting"] < 1
        assert row["warmup_seconds"] > 0
    assert fp16["missing"].startswith("not on this device: ")
    assert unknown["missing"] == "failed: KeyError: 'unknown'"


def test_the_share_of_the_peak_is_that_of_the_flops(measured: dict[str, Any]) -> None:
    base, peak = measured["variants"][0], measured["peaks"]["float32"]
    assert base["share_of_peak"] == pytest.approx(
        measured["flops"] / (base["ms"] / 1e3) / peak, rel=1e-9
    )
    assert peak > 1e9


def test_the_flops_of_a_step_are_those_of_its_convolutions(measured: dict[str, Any]) -> None:
    batch, taps = 4, 16
    # (pixels of the smaller side, channels in, channels out), 32 px, ngf 4.
    down = [(256, 1, 4), (64, 4, 8), (16, 8, 16), (4, 16, 32), (1, 32, 32)]
    up = [(1, 32, 32), (4, 64, 16), (16, 32, 8), (64, 16, 4), (256, 8, 2)]
    generator = [pixels * i * o for pixels, i, o in down + up]
    critic = [p * i * o for p, i, o in [(256, 3, 4), (64, 4, 8), (16, 8, 16), (9, 16, 32),
                                        (4, 32, 1)]]  # fmt: skip
    # The generator: forward, gradients of weights and inputs, but not of its own input.
    products = 3 * sum(generator) - generator[0]
    # The discriminator: three times forward; gradients of weights twice, of inputs of all layers
    # but the first twice, and of all once, on the way to the generator.
    products += (3 + 2 + 2 + 1) * sum(critic) - 2 * critic[0]
    assert measured["flops"] == 2 * batch * taps * products


def test_flops_of_a_matrix_product() -> None:
    a, b = torch.ones(2, 3, requires_grad=True), torch.ones(3, 5)
    assert count_flops(lambda: (a @ b).sum().backward()) == 2 * 2 * 3 * 5 * 2


def test_a_cpu_has_no_gpu_rows_and_the_other_way_round() -> None:
    assert names(CPU, missing=True) >= {
        "pin_memory", "cudnn_benchmark", "cudnn_deterministic", "allow_tf32", "amp_fp16",
        "amp_bf16", "compile_graphs", "all_graphs",
    }  # fmt: skip
    assert names(CPU, missing=False) >= {
        "num_workers_2", "num_workers_8", "channels_last", "fused_adam", "device_cache", "all",
    }  # fmt: skip
    assert names(GPU, missing=True) == {"flush_denormal", "keep_memory", "products"}
    lacking = replace(GPU, compiler_missing="the package triton")
    assert {"compile", "all_compile"} <= names(lacking, missing=True)


def test_all_together_computes_in_what_the_device_is_fast_at() -> None:
    for there, expected in (
        (("float32",), ("off", "float32")),
        (("float32", "bf16"), ("bf16", "bf16")),
        (("float32", "fp16"), ("fp16", "fp16")),
    ):
        machine = replace(GPU, arithmetics=there)
        together = next(v for v in all_variants(machine) if v.name == "all")
        assert (together.train["amp"], together.arithmetic) == expected


def test_each_variant_changes_the_step_as_it_says(tmp_path: Path) -> None:
    """In a process of its own, for flags of torch are set."""
    script = """
import sys, torch
from pathlib import Path
from colorgan.benchmark.machine import describe
from colorgan.benchmark.variants import Setting, variant
from colorgan.benchmark.workload import Workload, write_photos
from colorgan.networks import convolution
setting, folder = Setting("lab", 32, 4, 4, 2), Path(sys.argv[1])
write_photos(setting, folder)
cpu, most = torch.device("cpu"), convolution.MOST_PIXELS
def denormals(): return (torch.tensor([2e-38]) * 0.1).item() != 0
for name in ("base", "fused_adam", "flush_denormal", "products", "channels_last"):
    convolution.MOST_PIXELS = most
    work = Workload(setting, variant(name, describe(cpu)), cpu, folder)
    print(name, bool(work._step.optimizer_g.defaults["fused"]), denormals(),
          convolution.MOST_PIXELS > 0, work._train.channels_last, work._train.amp)
batches = work.batches()
losses = [work.step(next(batches)) for _ in range(5)]
print(len({tuple(x.tolist()) for x in losses}))
"""
    import subprocess

    folder = tmp_path / "lab"
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "base False True False False off",
        "fused_adam True True False False off",
        "flush_denormal False False False False off",
        "products False True True False off",
        "channels_last False True False True off",
        "5",
    ]
    split = open_split(folder, "train")
    assert len(split) == 8
    assert np.unique(split.target).size > 200


def test_a_process_that_dies_is_a_sentence(tmp_path: Path) -> None:
    dying = (sys.executable, "-c", "import sys; sys.exit('no luck today')")
    with Child(dying, tmp_path, "dying") as child, pytest.raises(FailedError) as error:
        child.ask(measure=1)
    assert str(error.value) == "its process ended with code 1: no luck today"


def test_figures_are_those_of_all_turns() -> None:
    turns = [Turns({"steps": [1.0, 2.0], "waits": [0.5, 0.5]}),
             Turns({"steps": [3.0, 4.0, 10.0], "waits": [0.0, 0.0, 1.0]})]  # fmt: skip
    row = figures(turns, TINY, 0.0, None)
    assert (row["ms"], row["ms_quartiles"], row["steps"]) == (3000, [2000, 4000], 5)
    assert row["waiting"] == 2 / 20


def test_memory_is_the_growth_of_the_process() -> None:
    clock = CpuClock()
    if clock.peak_bytes() is None:
        pytest.skip("the system does not tell the peak of a process")
    before = clock.peak_bytes() or 0
    # Above the highest point so far, which may have been long before.
    taken = torch.ones((1 << 25) + max(0, before) // 4)
    assert (clock.peak_bytes() or 0) >= 4 * (1 << 25)
    del taken


def made_up(measured: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    return {**measured, "quick": False, "machine": {**measured["machine"], "kind": kind,
                                                    "name": name}}  # fmt: skip


def test_the_page_has_a_table_a_device_and_says_what_is_missing(
    measured: dict[str, Any], project: Path
) -> None:
    machine = replace(CPU, name="Some CPU, 2 cores")
    result = made_up(measured, "cpu", machine.name)
    written = command.keep(result, machine, TINY)
    assert written == command.FOLDER / "performance-some-cpu-2-cores.json"
    assert json.loads(written.read_text(encoding="utf-8"))["peaks"] == measured["peaks"]
    text = page.PAGE.read_text(encoding="utf-8")
    assert "## Some CPU, 2 cores: LAB, U-Net and PatchGAN at 32 px, ngf and ndf 4, batch 4" in text
    assert "| all together | " in text
    assert "- AMP fp16: not on this device: " in text
    assert "No CUDA GPU has been measured yet." in text
    assert "No CPU has been measured yet." not in text
    image = page.IMAGES / "performance-some-cpu-2-cores.png"
    assert f"](images/{image.name})" in text
    assert image.read_bytes().startswith(b"\x89PNG")

    other = replace(GPU, name="Some GPU")
    command.keep(made_up(measured, "cuda", other.name), other, TINY)
    text = page.PAGE.read_text(encoding="utf-8")
    assert text.index("## Some CPU") < text.index("## Some GPU")
    assert "has been measured yet" not in text


def test_other_settings_do_not_replace_the_usual_ones(
    measured: dict[str, Any], project: Path
) -> None:
    result = made_up(measured, "cpu", "Some CPU")
    machine = replace(CPU, name="Some CPU")
    usual = command.keep(result, machine, TINY)
    quick = command.keep({**result, "quick": True}, machine, TINY)
    other = command.keep(result, machine, replace(TINY, ngf=64))
    assert usual.name == "performance-some-cpu.json"
    assert quick.name == other.name == "performance-some-cpu-lab-32px-ngf4-batch4.json"
    assert page.PAGE.read_text(encoding="utf-8").count("## Some CPU") == 2


def test_the_page_without_matplotlib(
    measured: dict[str, Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    command.keep(made_up(measured, "cpu", "Some CPU"), replace(CPU, name="Some CPU"), TINY)
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.NO_PLOT in text
    assert "](images/" not in text


def test_the_whole_step_has_its_section(measured: dict[str, Any], project: Path) -> None:
    row = {**measured["variants"][0], "label": "usual way, 2 workers", "ratio": 1.0}
    ours = {**measured["variants"][1], "label": "colorgan", "ratio": 2.5}
    command.FOLDER.mkdir(parents=True)
    step = {key: measured[key] for key in ("machine", "setting")} | {"ways": [row, ours]}
    (command.FOLDER / page.STEP).write_text(json.dumps(step), encoding="utf-8")
    text = page.write(command.FOLDER).read_text(encoding="utf-8")
    assert "## The whole step against the usual way" in text
    assert "| 2.50 |" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_size": 100}, "--image-size: image_size is 100; it should be a multiple of 32"),
        ({"device": "cuda"}, "'cuda', which this machine does not have"),
    ],
)
def test_what_does_not_fit_is_refused(
    options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParamsError, match=said):
        command.benchmark(**options)


def test_the_base_is_what_everything_is_held_against() -> None:
    assert (BASE.train, BASE.runtime, BASE.fused, BASE.arithmetic) == ({}, {}, False, "float32")
    assert CHILD[1:] == ("-m", "colorgan.benchmark.child")
