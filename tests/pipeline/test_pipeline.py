"""The whole pipeline with the real DVC and the real MLflow store, on preset `quick`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.conftest import Project

pytestmark = pytest.mark.slow

EVERYTHING = [
    "download@rgb",
    "download@lab",
    "preprocess@rgb",
    "preprocess@lab",
    "train_rgb",
    "train_lab",
    "evaluate",
    "render_grids",
]
AFTER_PREPROCESS = EVERYTHING[4:]


def runs_of(project: Project) -> list[Run]:
    """Read all runs of the project's MLflow store through its client, the oldest first."""
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "colorgan"]
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return sorted(found, key=lambda run: run.info.start_time)


@pytest.fixture(autouse=True)
def back_to_first_run(project: Project) -> Iterator[None]:
    """Give each test the state of the first run, and no queue."""
    yield
    project.run("dvc", "queue", "remove", "--all", check=False)
    project.run("git", "checkout", "--quiet", "--force", "main")
    project.run("git", "reset", "--quiet", "--hard")
    # Not what git ignores: the store, the cache, the data.
    project.run("git", "clean", "-fdq")
    project.run("dvc", "checkout", "--quiet", "--force")


def test_repro_leaves_everything_there_and_clean(project: Project) -> None:
    assert project.run("dvc", "status").strip() == "Data and pipelines are up to date."
    assert project.stages_run(project.run("dvc", "repro")) == []
    for space in ("rgb", "lab"):
        folder = project.folder / "models" / space
        assert {file.name for file in folder.iterdir()} == {"generator.safetensors", "config.json"}
        losses = pd.read_csv(project.folder / "reports" / space / "losses.csv")
        assert list(losses["iteration"]) == list(range(1, len(losses) + 1))
        assert losses.notna().all(axis=None)
    metrics = json.loads((project.folder / "reports" / "metrics.json").read_text())
    assert metrics.keys() == {"rgb", "lab"}
    assert metrics["lab"]["photos"] == 12
    report = (project.folder / "reports" / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in report
    leftovers = [*project.folder.rglob("*.part"), *project.folder.rglob("*.old")]
    assert not leftovers


def test_metrics_and_plots_are_shown_by_dvc(project: Project) -> None:
    shown = project.run("dvc", "metrics", "show", "--md")
    assert "lab.generated.ciede2000" in shown
    page = project.run("dvc", "plots", "show", "--json")
    plots = json.loads(page)["data"]
    for wanted in ("Discriminator loss", "reports/lab/losses.csv", "PSNR on validation photos"):
        assert plots[wanted], wanted
    assert any("grid" in name for name in plots)


def test_the_store_holds_runs_that_can_be_told_apart(project: Project) -> None:
    runs = runs_of(project)
    for space in ("rgb", "lab"):
        training = next(run for run in runs if run.info.run_name == f"workspace / train_{space}")
        assert training.info.status == "FINISHED"
        assert training.data.params["train.batch_size"] == "16"
        assert training.data.params["runtime.device"] == "auto"
        client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
        history = client.get_metric_history(training.info.run_id, "train/loss_G_L1")
        recorded = {point.step: point.value for point in history}
        assert len(recorded) == len(history), "a step was recorded twice"
        written = pd.read_csv(project.folder / "reports" / space / "losses.csv")
        assert recorded == pytest.approx(
            dict(zip(written["iteration"], written["loss_G_L1"], strict=True)), rel=1e-5
        )
        children = [
            run for run in runs if run.data.tags.get("mlflow.parentRunId") == training.info.run_id
        ]
        names = {run.info.run_name for run in children}
        assert names == {f"workspace / evaluate_{space}", f"workspace / render_{space}"}
        assert any("test/ciede2000" in run.data.metrics for run in children)


def test_parameters_of_training_retrain_both_and_nothing_before(project: Project) -> None:
    values = ("-S", "train.batch_size=32", "-S", "train.lr=0.00002")
    output = project.run("dvc", "exp", "run", "-n", "batch-32", *values)
    assert project.stages_run(output) == AFTER_PREPROCESS
    table = project.run("dvc", "exp", "show", "--csv")
    rows = pd.read_csv(pd.io.common.StringIO(table))
    assert set(rows["train.batch_size"].dropna()) == {16, 32}
    assert "lr: 2e-05" in (project.folder / "params.yaml").read_text()
    runs = {run.info.run_name: run for run in runs_of(project)}
    for space in ("rgb", "lab"):
        recorded = runs[f"batch-32 / train_{space}"].data.params
        assert (recorded["train.batch_size"], float(recorded["train.lr"])) == ("32", 2e-5)


def test_a_change_of_one_space_leaves_the_other(project: Project) -> None:
    raw_rgb = {k: v for k, v in project.digests().items() if "/rgb/" in k and "reports" not in k}
    output = project.run("dvc", "exp", "run", "-S", "lab.limit=50")
    assert project.stages_run(output) == ["preprocess@lab", "train_lab", "evaluate", "render_grids"]
    assert raw_rgb.items() <= project.digests().items()


def test_one_space_alone_is_trained_and_evaluated(project: Project) -> None:
    output = project.run("dvc", "repro", "--single-item", "--force", "train_lab")
    assert project.stages_run(output) == ["train_lab"]
    shown = project.run("python", "-m", "colorgan", "evaluate", "lab")
    assert "lab generated" in shown
    metrics = json.loads((project.folder / "reports" / "metrics.json").read_text())
    assert metrics.keys() == {"lab"}


def test_temp_leaves_the_workspace_as_it_was(project: Project) -> None:
    before = project.digests()
    project.run("dvc", "exp", "run", "--temp", "-n", "in-temp", "-S", "train.seed=7")
    assert project.digests() == before
    names = {run.info.run_name for run in runs_of(project)}
    assert {"in-temp / train_rgb", "in-temp / train_lab"} <= names, (
        "recorded in the project's store"
    )


def test_a_queue_runs_the_code_as_it_was_queued(project: Project) -> None:
    for seed in (11, 12):
        options = ("--queue", "-n", f"queued-{seed}", "-S", f"train.seed={seed}")
        project.run("dvc", "exp", "run", *options, "train_lab")
    code = project.folder / "src" / "colorgan" / "training" / "train.py"
    broken = code.read_text(encoding="utf-8") + 'raise SystemExit("this is the edited code")\n'
    code.write_text(broken, encoding="utf-8")
    edited = project.run("python", "-m", "colorgan", "train", "lab", check=False)
    assert "this is the edited code" in edited

    output = project.run("dvc", "exp", "run", "--run-all")

    assert "this is the edited code" not in output
    finished = {r.info.run_name for r in runs_of(project) if r.info.status == "FINISHED"}
    assert {"queued-11 / train_lab", "queued-12 / train_lab"} <= finished
    assert code.read_text(encoding="utf-8") == broken, "the edit is still there"
