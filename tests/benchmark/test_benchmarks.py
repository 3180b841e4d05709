"""The scripts of benchmarks/ at a tiny size, on whatever device there is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from colorgan.config import check_params
from colorgan.data.arrays import open_split
from colorgan.model import Model
from colorgan.networks import PatchGAN, UNet
from tiny_project import photo_arrays, tiny_params
from trained import save_tiny

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
HINTED = {"model.generator": "encoder_unet", "model.hints": True}


@pytest.fixture(autouse=True)
def _scripts_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_fuzz_damaged_pictures_are_coloured_or_named(monkeypatch, capsys) -> None:
    monkeypatch.chdir(ROOT)
    import fuzz

    fuzz.main(count=60, per_run=60)
    numbers = re.findall(r"(\d+)$", capsys.readouterr().out, re.MULTILINE)
    coloured, warned, refused, bad = map(int, numbers)
    assert coloured + warned + refused == 60
    assert min(coloured, refused) > 5
    assert bad == 0


def test_blind_test_hides_which_are_coloured_and_counts_the_answers(
    tmp_path, real_photos, capsys
) -> None:
    import blind_test

    model, sheets = tmp_path / "model", tmp_path / "sheets"
    save_tiny(model, "lab", check_params(tiny_params(HINTED)), seed=0)
    photo_arrays(tmp_path / "lab", "lab", real_photos[:6], [""] * 6)
    blind_test.make(model, sheets, [tmp_path / "lab"], [6])
    assert [file.name for file in sheets.iterdir()] == ["sheet-01.png"]
    key, answers = tmp_path / "sheets.json", tmp_path / "answers.txt"
    coloured = json.loads(key.read_text())
    assert sum(coloured.values()) == 3
    answers.write_text("\n".join(f"{n} {'real' if n < '3' else 'gray'}" for n in coloured))
    blind_test.score(key, answers)
    said = capsys.readouterr().out
    taken = sum(coloured[n] for n in "12") / 3
    assert (
        f"coloured photos were called: real {taken:.0%}, machine 0%, gray {1 - taken:.0%}" in said
    )
    answers.write_text("1 real")
    with pytest.raises(SystemExit, match="a line for each of the 6 pictures"):
        blind_test.score(key, answers)


def test_colour_records_what_its_table_shows(tmp_path, real_photos, monkeypatch) -> None:
    import colour

    def record_results(*given) -> None:
        stage, space, sha256, metrics, files = given
        assert (stage, space, sha256) == ("study", "lab", model.sha256)
        assert "nan" not in colour.figures_of(metrics).values()
        classes, hues = map(pd.read_csv, files)
        assert classes["n"].tolist() == [2, 3]
        calls.append(len(hues))

    calls: list[int] = []
    monkeypatch.setattr(colour, "record_results", record_results)
    model = Model.load(save_tiny(tmp_path / "m", "lab", check_params(tiny_params({})), seed=0))
    photo_arrays(tmp_path / "lab", "lab", real_photos[:5], [*"aabbb"])
    colour.record(model, open_split(tmp_path / "lab", "test"))
    assert calls == [36]


@pytest.mark.slow
def test_hints_true_colours_bring_the_baselines_nearer(tmp_path, real_photos) -> None:
    """With a network of random weights."""
    import hints_curve as script

    model = save_tiny(tmp_path / "model", "lab", check_params(tiny_params(HINTED)), seed=0)
    photo_arrays(tmp_path / "lab", "lab", real_photos[:1], [""])
    out, image = tmp_path / "hints.json", tmp_path / "hints.png"
    script.main(str(model), 1, tmp_path / "lab", [], out, image)
    figures = json.loads(out.read_text())["sets"]["bundled"]
    for kind in script.PLACES:
        for way in script.WAYS:
            errors = figures[kind][way]["ciede2000"]
            assert np.isfinite(errors).all()
            assert len(errors) == len(script.COUNTS)
            # The features of a random network, which guide the product, say nothing.
            if way != "product":
                assert errors[-1] < 0.8 * errors[0], (kind, way)
                assert figures[kind][way]["kept"]["median"] < 3
    assert image.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_hints_optimization_keeps_hints_and_fills_the_rest_along_edges() -> None:
    import hints_curve as script

    light = np.full((16, 16), 20, np.float32)
    light[:, 8:] = 80
    asked, mask = np.zeros((16, 16, 2), np.float32), np.zeros((16, 16), bool)
    mask[4, 3], asked[4, 3] = True, (40, -20)
    mask[9, 12], asked[9, 12] = True, (-30, 10)
    filled = script.levin(script.levin_weights(light), asked, mask)
    assert np.abs(filled[:, :8] - (40, -20)).max() < 2
    assert np.abs(filled[:, 8:] - (-30, 10)).max() < 2


@pytest.mark.slow
def test_optimizations_take_turns_with_the_base(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "optimizations.py"), "--quick"]
    for name in ("all", "pin_memory"):
        command += ["--only", name]
    folders = ["--out", str(tmp_path), "--images", str(tmp_path)]
    done = subprocess.run([*command, *folders], capture_output=True, text=True, check=True)
    [file] = tmp_path.glob("optimizations-*.json")
    rows = json.loads(file.read_text())["rows"]
    assert rows["base"]["ratio"] == 1
    assert rows["all"]["images_per_second"] > 0
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "| all |" in done.stdout
    assert rows["pin_memory"].keys() & {"ratio", "missing"}


@pytest.mark.slow
def test_gpu_check(tmp_path: Path) -> None:
    env = os.environ | {"TINY": "1", "OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    command = ["bash", str(BENCHMARKS / "gpu.sh")]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deterministic training repeats to the bit: yes" in done.stdout
    modes = pd.read_csv(tmp_path / "gpu-modes.csv", index_col="mode")
    assert {"float32", "channels_last", "deterministic"} <= set(modes.index)


def same_weights(network: nn.Module, source: nn.Module) -> nn.Module:
    """Copy the weights over in the order of the layers."""
    values = source.state_dict().values()
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    return network


def test_the_usual_way_has_the_same_networks() -> None:
    import usual

    torch.manual_seed(0)
    lightness, ab = torch.rand(3, 1, 64, 64) * 2 - 1, torch.rand(3, 2, 64, 64) * 2 - 1
    ours = UNet(1, 2, 4, 64, dropout=0.5)
    theirs = same_weights(usual.UnetGenerator(6, 4), ours)
    dropouts = [[m for m in net.modules() if isinstance(m, nn.Dropout)] for net in (ours, theirs)]
    assert [[m.p for m in found] for found in dropouts] == [[0.5], [0.5]]
    for dropout in (*dropouts[0], *dropouts[1]):
        # Its masks follow the layout in memory.
        dropout.p = 0.0
    for mode in (True, False):
        output = ours.train(mode)(lightness)
        torch.testing.assert_close(theirs.train(mode)(lightness), output)
    critic = PatchGAN(3, 4)
    plain = same_weights(usual.patch_discriminator(4), critic)
    torch.testing.assert_close(plain(torch.cat((lightness, ab), 1)), critic(lightness, ab))
