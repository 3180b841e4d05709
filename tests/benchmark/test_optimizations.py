"""The scripts that measure the training step run at a tiny size, on whatever device there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.mark.slow
def test_variants_take_turns_with_the_base(tmp_path: Path) -> None:
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
def test_the_gpu_check_runs_at_a_tiny_size(tmp_path: Path) -> None:
    env = os.environ | {"TINY": "1", "OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    command = ["bash", str(BENCHMARKS / "gpu.sh")]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deterministic training repeats to the bit: yes" in done.stdout
    modes = pd.read_csv(tmp_path / "gpu-modes.csv", index_col="mode")
    assert {"float32", "channels_last", "deterministic"} <= set(modes.index)
