"""The whole pipeline with the real DVC and the real MLflow store, on preset `quick`."""

from __future__ import annotations

import json
from io import StringIO

import pandas as pd
import pytest

from pipeline.conftest import Project, runs_of

AFTER_PREPROCESS = ["train_rgb", "train_lab", "evaluate", "render_grids"]


def metrics_of(project: Project) -> dict[str, dict[str, object]]:
    return dict(json.loads((project.folder / "reports" / "metrics.json").read_text()))


def test_repro_leaves_everything_there_and_clean(project: Project) -> None:
    assert project.stages_run(project.run("dvc", "repro")) == []
    assert project.run("git", "status", "--porcelain") == ""
    for space in ("rgb", "lab"):
        folder = project.folder / "models" / space
        assert {file.name for file in folder.iterdir()} == {"generator.safetensors", "config.json"}
        losses = pd.read_csv(project.folder / "reports" / space / "losses.csv")
        assert list(losses["iteration"]) == list(range(1, len(losses) + 1))
        assert losses.notna().all(axis=None)
    metrics = metrics_of(project)
    assert metrics.keys() == {"rgb", "lab"}
    assert metrics["lab"]["photos"] == 12
    report = (project.folder / "reports" / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in report
    assert not [*project.folder.rglob("*.part"), *project.folder.rglob("*.old")]


def test_metrics_and_plots_are_shown_by_dvc(project: Project) -> None:
    assert "lab.generated.ciede2000" in project.run("dvc", "metrics", "show", "--md")
    # Before the plots DVC warns of the losses that preset quick does without.
    said = project.run("dvc", "plots", "show", "--json")
    plots = json.loads(said[said.index("{") :])["data"]
    for wanted in ("Discriminator loss", "reports/lab/losses.csv", "PSNR on validation photos"):
        assert plots[wanted], wanted
    assert any("grid" in name for name in plots)


def test_the_store_holds_runs_that_can_be_told_apart(project: Project) -> None:
    runs = project.runs()
    names = [run.info.run_name for run in runs_of(project.client())]
    for space in ("rgb", "lab"):
        training = runs[f"workspace / train_{space}"]
        assert names.count(f"workspace / train_{space}") == 1
        run_id = training.info.run_id
        assert training.info.status == "FINISHED"
        assert training.data.params["train.batch_size"] == "16"
        history = project.client().get_metric_history(run_id, "train/loss_G_L1")
        recorded = {point.step: point.value for point in history}
        assert len(recorded) == len(history), "a step was recorded twice"
        written = pd.read_csv(project.folder / "reports" / space / "losses.csv")
        assert recorded == pytest.approx(
            dict(zip(written["iteration"], written["loss_G_L1"], strict=True)), rel=1e-5
        )
        children = {n for n, r in runs.items() if r.data.tags.get("mlflow.parentRunId") == run_id}
        assert children == {f"workspace / evaluate_{space}", f"workspace / render_{space}"}
        assert "test/ciede2000" in runs[f"workspace / evaluate_{space}"].data.metrics


def test_parameters_of_training_retrain_both_and_nothing_before(own_project: Project) -> None:
    command = "dvc exp run -S train.batch_size=32 -S train.lr=0.00002 -n batch-32"
    output = own_project.shell(command)
    assert own_project.stages_run(output) == AFTER_PREPROCESS
    table = pd.read_csv(StringIO(own_project.run("dvc", "exp", "show", "--csv")))
    assert set(table["train.batch_size"].dropna()) == {16, 32}
    assert "lr: 2e-05" in (own_project.folder / "params.yaml").read_text()
    runs = own_project.runs()
    for space in ("rgb", "lab"):
        recorded = runs[f"batch-32 / train_{space}"].data.params
        assert (recorded["train.batch_size"], float(recorded["train.lr"])) == ("32", 2e-5)


@pytest.mark.slow
def test_a_change_of_one_space_leaves_the_other(own_project: Project) -> None:
    def of_rgb() -> dict[str, str]:
        digests = own_project.digests().items()
        return {k: v for k, v in digests if "/rgb/" in k and not k.startswith("reports/grids")}

    before = of_rgb()
    output = own_project.shell("dvc exp run -S lab.limit=50")
    expected = ["preprocess@lab", "train_lab", "evaluate", "render_grids"]
    assert own_project.stages_run(output) == expected
    assert of_rgb() == before


@pytest.mark.slow
def test_one_space_alone_is_trained_and_evaluated(own_project: Project) -> None:
    output = own_project.run("dvc", "repro", "--single-item", "--force", "train_lab")
    assert own_project.stages_run(output) == ["train_lab"]
    shown = own_project.shell("python -m colorgan evaluate lab")
    assert "lab generated" in shown
    assert metrics_of(own_project).keys() == {"lab"}


@pytest.mark.slow
def test_temp_leaves_the_workspace_as_it_was(own_project: Project) -> None:
    before = own_project.digests()
    own_project.shell("dvc exp run --temp -S train.seed=2 -n in-temp")
    assert own_project.digests() == before
    assert {"in-temp / train_rgb", "in-temp / train_lab"} <= own_project.runs().keys()


@pytest.mark.slow
def test_a_queue_runs_the_code_as_it_was_queued(own_project: Project) -> None:
    own_project.shell(
        "dvc exp run --queue -S train.seed=2 -n queued-2 train_lab",
        "dvc exp run --queue -S train.seed=3 -n queued-3 train_lab",
    )
    code = own_project.folder / "src" / "colorgan" / "training" / "train.py"
    broken = code.read_text(encoding="utf-8") + 'raise SystemExit("this is the edited code")\n'
    code.write_text(broken, encoding="utf-8")
    edited = own_project.run("python", "-m", "colorgan", "train", "lab", check=False)
    assert "this is the edited code" in edited

    output = own_project.shell("dvc exp run --run-all")

    assert "this is the edited code" not in output
    finished = {n for n, run in own_project.runs().items() if run.info.status == "FINISHED"}
    assert {"queued-2 / train_lab", "queued-3 / train_lab"} <= finished
    assert code.read_text(encoding="utf-8") == broken, "the edit is still there"
