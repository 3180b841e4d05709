"""`verify` on the real pipeline: runs are trained again in a clone, and compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors.numpy import load_file, save_file

from colorgan import io
from pipeline.conftest import Project

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def back_to_first_run(project: Project) -> Iterator[None]:
    """Leave the workspace as it was, whatever became of the test."""
    yield
    back(project)


def back(project: Project) -> None:
    """Bring the workspace back to the first run."""
    project.run("git", "checkout", "--quiet", "--force", "main")
    project.run("git", "reset", "--quiet", "--hard")
    # Not what git ignores: the store, the cache, the data.
    project.run("git", "clean", "-fdq")
    project.run("dvc", "checkout", "--quiet", "--force")


def training_run(project: Project, name: str) -> tuple[MlflowClient, Run]:
    """Return a client on the project's store and the newest run of this name."""
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "colorgan"]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    return client, next(run for run in runs if run.info.run_name == name)


def test_an_experiment_with_uncommitted_code_is_repeated_bit_for_bit(project: Project) -> None:
    code = project.folder / "src" / "colorgan" / "training" / "train.py"
    with code.open("a", encoding="utf-8") as file:
        file.write('print("this is the edited code")\n')
    # Other photos than those of the workspace: the clone has to make its arrays again.
    values = ("-S", "train.seed=9", "-S", "lab.limit=48", "-S", "train.epochs=2")
    project.run("dvc", "exp", "run", "-n", "edited", *values, "train_lab")
    back(project)
    before = project.digests()

    output = project.run("python", "-m", "colorgan", "verify", "lab", "--run", "edited")

    assert "with uncommitted changes" in output
    assert "this is the edited code" in output
    assert "agrees, bit for bit" in output
    assert project.digests() == before
    assert not (project.folder / ".resume" / "verify").exists()
    assert project.run("git", "status", "--porcelain").strip() == ""
    _, run = training_run(project, "edited / train_lab")
    assert run.data.tags["verified"] == "bit for bit"
    assert run.data.tags["verified.sha256"] == run.data.tags["colorgan.generator_sha256"]
    assert {"verified.at", "verified.torch", "verified.device"} <= run.data.tags.keys()


def test_other_weights_are_told_by_how_much(project: Project, tmp_path: Path) -> None:
    client, run = training_run(project, "workspace / train_lab")
    run_id, sha256 = run.info.run_id, run.data.tags["colorgan.generator_sha256"]
    recorded = Path(client.download_artifacts(run_id, "model", str(tmp_path)))
    original = (recorded / "generator.safetensors").read_bytes()
    weights = load_file(recorded / "generator.safetensors")
    name = max(weights, key=lambda key: weights[key].size)
    weights[name] = weights[name].copy()
    weights[name].flat[0] += np.float32(0.25)
    save_file(weights, recorded / "generator.safetensors")
    try:
        client.log_artifacts(run_id, str(recorded), "model")
        other = io.sha256(recorded / "generator.safetensors")
        client.set_tag(run_id, "colorgan.generator_sha256", other)
        command = f"python -m colorgan verify lab --run {run_id}; echo ends with $?"
        output = project.run("sh", "-c", command)
    finally:
        # The other tests of this project look for the run by it.
        (recorded / "generator.safetensors").write_bytes(original)
        client.log_artifacts(run_id, str(recorded), "model")
        client.set_tag(run_id, "colorgan.generator_sha256", sha256)

    assert "the retrained generator differs in" in output
    assert "by up to 0.25 " in output
    assert f"{name}: up to 0.25" in output
    assert "the losses agree at all" in output
    assert "no reason in the records" in output
    assert output.strip().endswith("ends with 1")
    tag = client.get_run(run_id).data.tags["verified"]
    assert tag.startswith("differs in")
    assert "by up to 0.25 " in tag
