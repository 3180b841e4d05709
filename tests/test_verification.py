"""`verify` in its parts, on real git, a real MLflow store and real files.

The whole of it, with a real training, is in tests/pipeline/test_verify.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from safetensors.numpy import save_file

from colorgan import io, paths
from colorgan.config import flat, load_params
from colorgan.data.arrays import DatasetInfo, read_info
from colorgan.errors import ColorganError
from colorgan.tracking import lineage
from colorgan.tracking.mlflow_read import TrainingRuns, sqlite_uri
from colorgan.verification.arrays import provide_arrays
from colorgan.verification.comparison import (
    Difference,
    compare_losses,
    compare_weights,
    likely_reasons,
)
from colorgan.verification.rebuild import (
    Changes,
    clone_at,
    environment,
    read_changes,
    write_params,
)
from colorgan.verification.record import fetch, find_run, first_weights
from colorgan.verification.verify import retrain, verify

NOTHING = Changes(b"", ())
MAIN = Path("src/colorgan/__main__.py")


# ---- the code


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org")
    done = subprocess.run(["git", *identity, *arguments], capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def commit(project: Path) -> str:
    """The commit of the working directory, a repository with a package that could be colorgan."""
    MAIN.parent.mkdir(parents=True)
    MAIN.write_text("print('as committed')\n" * 3)
    (project / "picture.bin").write_bytes(b"\0as committed")
    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    return git("rev-parse", "HEAD")


def test_commit_and_changes_are_built_again_beside_the_original(
    commit: str, tmp_path: Path
) -> None:
    MAIN.write_text("print('edited, ä')\n")
    Path("picture.bin").write_bytes(b"\0edited")
    Path("photo.webp").write_bytes(b"new")
    changes = read_changes(lineage.git_state(Path.cwd()).diff.encode(), "the run")
    git("checkout", "--quiet", "--force", "main")
    git("commit", "--quiet", "--allow-empty", "-m", "later")
    before = git("status", "--porcelain"), git("rev-parse", "HEAD")

    clone = clone_at(commit, changes, tmp_path / "clone", "the run")

    assert (clone / MAIN).read_text() == "print('edited, ä')\n"
    assert sorted(changes.lost) == ["photo.webp", "picture.bin"]
    assert (clone / "picture.bin").read_bytes() == b"\0as committed"
    shutil.rmtree(clone)
    assert (git("status", "--porcelain"), git("rev-parse", "HEAD")) == before


def test_code_that_was_not_kept_is_refused(commit: str) -> None:
    MAIN.with_name("new.py").write_text("print('new')\n")
    diff = lineage.git_state(Path.cwd()).diff.encode()
    with pytest.raises(ColorganError, match=r"src/colorgan/new\.py was not in git; commit"):
        read_changes(diff, "the run")
    with pytest.raises(ColorganError, match="too long and was cut"):
        read_changes(b"diff --git a/x b/x\n[cut here: the whole diff has 7 characters]\n", "it")


def test_a_commit_or_diff_that_is_gone_is_said(commit: str, tmp_path: Path) -> None:
    with pytest.raises(ColorganError, match="is not in this repository any more"):
        clone_at("f" * 40, NOTHING, tmp_path / "clone", "the run")
    MAIN.write_text("print('edited')\n")
    changes = read_changes(lineage.git_state(Path.cwd()).diff.encode(), "the run")
    git("commit", "--quiet", "--all", "-m", "second")
    with pytest.raises(ColorganError, match=r"git\.diff of the run does not fit its commit"):
        clone_at(git("rev-parse", "HEAD"), changes, tmp_path / "clone", "the run")
    git("rm", "--quiet", str(MAIN))
    git("commit", "--quiet", "-m", "third")
    with pytest.raises(ColorganError, match=r"has no src/colorgan/__main__\.py"):
        clone_at(git("rev-parse", "HEAD"), NOTHING, tmp_path / "other", "the run")


# ---- the parameters


def test_the_recorded_parameters_are_run_and_auto_is_what_it_came_to(project: Path) -> None:
    own = load_params().space("lab")
    recorded = {**flat(own), **flat(load_params().runtime, "runtime.")}
    recorded |= {"train.lr": 2e-5, "data.stl10.train": False, "train.amp": "auto"}
    recorded |= {"train.of_the_future": 1, "render.rows": 3}
    del recorded["train.beta1"]
    tags = {"precision": "bf16", "compile": "off", "device": "cpu", "devices": "2"}
    rgb = load_params().space("rgb")

    sentences = write_params(paths.PARAMS, "lab", recorded, tags)

    params = load_params()
    lab = params.space("lab")
    assert (lab.train.lr, lab.train.amp, lab.train.compile) == (2e-5, "bf16", "off")
    assert (lab.data.stl10.train, params.runtime.devices, params.render.rows) == (False, 2, 3)
    assert params.runtime.progress == "auto"
    assert params.space("rgb") == rgb
    assert sentences == [
        "not parameters of that code, left out: train.of_the_future",
        "not recorded, as in its params.yaml: train.beta1",
    ]


def test_the_clone_records_and_reads_nothing_of_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DVC_ROOT", "GIT_DIR", "MLFLOW_RUN_ID"):
        monkeypatch.setenv(name, "of the project")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    env = environment(project / "a%clone", "3")
    assert not {"DVC_ROOT", "GIT_DIR", "MLFLOW_RUN_ID"} & env.keys()
    assert env["PYTHONPATH"].split(os.pathsep) == [str(project / "a%clone" / "src"), "elsewhere"]
    assert env["MLFLOW_TRACKING_URI"] == f"sqlite:///{project}/a%25clone/mlflow.db"
    assert env["OMP_NUM_THREADS"] == "3"


# ---- the data


def test_arrays_of_the_recorded_digest_are_linked(
    write_arrays: Callable[..., Path], tmp_path: Path
) -> None:
    here = write_arrays("lab")
    provide_arrays("lab", read_info(here).digest, tmp_path / "clone", {})
    there = tmp_path / "clone" / here
    assert not there.is_symlink()
    assert (there / "train" / "input.npy").samefile(here / "train" / "input.npy")
    # DVC takes the folder away and makes another one: the clone keeps what it has.
    before = io.sha256(there / "train" / "input.npy")
    shutil.rmtree(here)
    assert io.sha256(there / "train" / "input.npy") == before


# ---- the training


def _training(project: Path, code: str) -> Path:
    """Make a clone whose `colorgan` does `code`."""
    package = project / "clone" / "src" / "colorgan"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(f"import os, sys, time\n{code}\n")
    return project / "clone"


def test_a_training_that_fails_hands_on_its_exit_code(project: Path) -> None:
    clone = _training(project, "sys.exit(3 if sys.argv[1:] == ['train', 'lab'] else 0)")
    with pytest.raises(ColorganError, match="exit code 3") as failed:
        retrain("lab", clone, environment(clone))
    assert failed.value.exit_code == 3


def test_ctrl_c_ends_the_training_too(project: Path) -> None:
    clone = _training(project, "open('pid', 'w').write(str(os.getpid())); time.sleep(60)")

    def interrupt(number: int, frame: object) -> None:
        if (clone / "pid").is_file() and (clone / "pid").read_text():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            retrain("lab", clone, environment(clone))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert time.monotonic() - started < 40
    with pytest.raises(ProcessLookupError):
        os.kill(int((clone / "pid").read_text()), 0)


# ---- the runs


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables and no run, made once: it takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(sqlite_uri(path)).search_experiments()
    return path


@pytest.fixture
def store(project: Path, tables: Path) -> MlflowClient:
    """MLflow's own client on the project's store, which has the experiment and no run."""
    shutil.copy(tables, project / "mlflow.db")
    client = MlflowClient(sqlite_uri(project / "mlflow.db"))
    client.create_experiment("colorgan", (project / "mlartifacts").as_uri())
    return client


@pytest.fixture
def record(store: MlflowClient, project: Path) -> Callable[..., str]:
    """Return a function that records a run of `train_lab` with given weights; its id."""
    count = 0

    def make(
        weights: dict[str, np.ndarray] | None = None,
        name: str = "workspace / train_lab",
        **tags: str,
    ) -> str:
        nonlocal count
        count += 1
        experiment = store.get_experiment_by_name("colorgan").experiment_id
        tags = {"stage": "train_lab", "space": "lab", "device": "cpu", **tags}
        run = store.create_run(experiment, start_time=count, tags=tags, run_name=name)
        run_id: str = run.info.run_id
        store.log_text(run_id, json.dumps(flat(load_params().space("lab"))), "params.json")
        if weights is not None:
            folder = project / f"model{count}" / "model"
            folder.mkdir(parents=True)
            save_file(weights, folder / "generator.safetensors")
            (folder / "config.json").write_text("{}")
            store.log_artifacts(run_id, str(folder), "model")
            sha256 = io.sha256(folder / "generator.safetensors")
            store.set_tag(run_id, "colorgan.generator_sha256", sha256)
        return run_id

    return make


def ones(value: float = 1.0) -> dict[str, np.ndarray]:
    return {"a": np.full((2, 3), value, np.float32), "b": np.ones(4, np.float32)}


def test_a_run_is_found_by_id_by_name_and_by_the_model_here(record: Callable[..., str]) -> None:
    first, second = record(ones()), record(ones())
    other = record(ones(2.0), name="it's / train_lab")
    record(None)
    runs = TrainingRuns()
    assert find_run(runs, "lab", first).id == first
    assert find_run(runs, "lab", "workspace / train_lab").id == second, "the newest with weights"
    assert find_run(runs, "lab", "it's").id == other
    paths.model("lab").mkdir(parents=True)
    save_file(ones(2.0), paths.model("lab") / "generator.safetensors")
    assert find_run(runs, "lab", "").id == other
    save_file(ones(3.0), paths.model("lab") / "generator.safetensors")
    with pytest.raises(ColorganError, match="no run of train_lab in MLflow made models/lab/"):
        find_run(runs, "lab", "")


def test_a_run_that_will_not_do_is_refused(record: Callable[..., str], project: Path) -> None:
    unfinished, evaluation = record(None, name="u"), record(ones(), stage="evaluate")
    runs = TrainingRuns()
    for wanted, sentence in {
        "nothing": "no run of train_lab in MLflow has the id or the name 'nothing'",
        "0" * 32: "no run of train_lab in MLflow has the id or the name '0000",
        unfinished: "has no weights: it did not finish",
        "u": "has no weights: it did not finish",
        evaluation: "is of evaluate; name a run of train_lab",
        "": r"models/lab/generator\.safetensors does not exist: name a run",
    }.items():
        with pytest.raises(ColorganError, match=sentence):
            find_run(runs, "lab", wanted)


def test_no_store_stays_no_store(project: Path) -> None:
    with pytest.raises(ColorganError, match=r"mlflow\.db does not exist: no run was recorded yet"):
        verify("lab")
    assert not (project / "mlflow.db").exists()


def test_what_cannot_be_repeated_leaves_no_trace(
    record: Callable[..., str], project: Path, commit: str
) -> None:
    lost = record(ones(), **{"mlflow.source.git.commit": "f" * 40})
    without = record(ones())
    dirty = record(ones(), **{"mlflow.source.git.commit": commit, "git.dirty": "true"})
    cases = {lost: "any more", without: "made without git", dirty: r"git\.diff is missing"}
    for run_id, sentence in cases.items():
        with pytest.raises(ColorganError, match=sentence):
            verify("lab", run_id)
    assert not (project / ".resume").exists()
    assert "verified" not in MlflowClient(sqlite_uri(project / "mlflow.db")).get_run(lost).data.tags


def test_the_weights_that_a_run_went_on_from_are_found_by_their_digest(
    record: Callable[..., str], project: Path, store: MlflowClient
) -> None:
    origin = record(ones(), name="first")
    record(ones(2.0), name="first")
    runs = TrainingRuns()
    place = runs.artifact(runs.named("train_lab", origin), "model/config.json", project / "there")
    assert place == project / "there" / "model" / "config.json"
    sha256 = runs.named("train_lab", origin).generator_sha256
    went_on = runs.named("train_lab", record(ones(), **{"init.generator_sha256": sha256}))
    clone = project / "clone"
    clone.mkdir()
    for init in ("first", str(project / "model2" / "model")):
        found = first_weights(runs, {"train.init": init}, went_on, clone)
        assert io.sha256(Path(found["train.init"]) / "generator.safetensors") == sha256
    here = project / "model1" / "model"
    assert first_weights(runs, {"train.init": str(here)}, went_on, clone)["train.init"] == str(here)
    assert first_weights(runs, {"train.init": "none"}, went_on, clone) == {}
    store.set_tag(went_on.id, "init.generator_sha256", "0" * 64)
    changed = runs.named("train_lab", went_on.id)
    with pytest.raises(ColorganError, match=r"'first' \(SHA-256 0000.* not to be had any more"):
        first_weights(runs, {"train.init": "first"}, changed, clone)


# ---- the verdict


def test_a_model_changed_in_mlflow_is_not_passed_over(
    record: Callable[..., str], project: Path, store: MlflowClient
) -> None:
    from colorgan.verification.verify import _compare

    run_id = record(ones())
    tampered = project / "tampered"
    tampered.mkdir()
    repeated = project / "clone" / paths.model("lab") / "generator.safetensors"
    repeated.parent.mkdir(parents=True)
    save_file(ones(), repeated)
    runs = TrainingRuns()
    run = runs.named("train_lab", run_id)
    kept = fetch(runs, run, project / "kept")
    verdict, facts = _compare(runs, run, kept, "lab", project / "clone")
    assert verdict.agrees
    assert verdict.summary == "bit for bit"
    assert facts["verified.sha256"] == io.sha256(repeated)

    save_file(ones(1.5), tampered / "generator.safetensors")
    store.log_artifacts(run_id, str(tampered), "model")
    kept = fetch(runs, run, project / "kept anew")
    verdict, _ = _compare(runs, run, kept, "lab", project / "clone")
    assert not verdict.agrees
    assert verdict.summary == "differs in 60% of 10 values, by up to 0.5 (relative 0.333)"
    assert "the model in MLflow is not the one that the run recorded" in str(verdict)
    assert "the retrained weights are those that the run recorded" in str(verdict)


def test_weights_are_compared_value_by_value(tmp_path: Path) -> None:
    def difference(weights: dict[str, np.ndarray]) -> Difference | str:
        save_file(ones(), tmp_path / "recorded", metadata={"only": "here"})
        save_file(weights, tmp_path / "repeated")
        return compare_weights(tmp_path / "recorded", tmp_path / "repeated")

    assert difference(ones()) == Difference(10, 0, 0.0, 0.0, ())
    one = ones()
    one["a"][1, 2] = np.nextafter(np.float32(1), np.float32(2))
    one["b"][0] = -1
    found = difference(one)
    assert isinstance(found, Difference)
    assert (found.differing, found.largest, found.relative) == (2, 2.0, 2.0)
    assert found.tensors == (("b", 2.0), ("a", pytest.approx(2**-23)))
    one["a"][0, 0] = np.nan
    found = difference(one)
    assert isinstance(found, Difference)
    assert found.largest == found.relative == float("inf")
    incomparable = "the two are networks of different shape or type of number"
    assert difference({"a": one["a"]}) == incomparable
    assert difference({**ones(), "b": np.ones(4, np.float16)}) == incomparable


def test_where_losses_part_is_said() -> None:
    recorded = {"loss_D": {1: 0.5, 2: 0.4, 3: 0.3}, "loss_G": {1: 1.0}}
    assert "agree at all 3 recorded iterations" in compare_losses(recorded, recorded)
    later = {**recorded, "loss_D": {1: 0.5, 2: 0.41, 3: 0.2}}
    said = compare_losses(recorded, later)
    assert said == "the losses part at iteration 2: loss_D was 0.4, it is 0.41 now"
    assert compare_losses(recorded, {}) == ""


def test_what_may_explain_a_difference_is_read_off_the_records() -> None:
    then = "Python 3.12.1\nLinux-6\n\npandas==2.2\ntorch==2.11.0\n"
    now = "Python 3.12.1\nLinux-6\n\npandas==2.3\ntorch==2.12.0\n"
    tags = {"device": "cuda", "device_name": "one GPU", "precision": "bf16"}
    assert likely_reasons(tags, {**tags, "device_name": "another GPU"}, then, now, {}) == [
        "another device: one GPU then, another GPU now",
        "torch 2.11.0 then, 2.12.0 now",
        "train.cudnn_deterministic is off: on cuda the same run may end in other bits",
    ]
    deterministic = {"train.cudnn_deterministic": True}
    assert likely_reasons(tags, tags, then, then, deterministic) == []
    benchmark = {"train.cudnn_benchmark": True}
    by_the_clock = "train.cudnn_benchmark is on and chooses algorithms by the clock"
    assert likely_reasons(tags, tags, then, then, deterministic | benchmark) == [
        f"{by_the_clock}: on cuda the same run may end in other bits"
    ]
    assert likely_reasons(tags, tags, then, then, benchmark) == [
        f"train.cudnn_deterministic is off, {by_the_clock}: on cuda the same run may end in other "
        "bits"
    ]
    on_the_cpu = {**tags, "device": "cpu"}
    assert likely_reasons(on_the_cpu, on_the_cpu, then, then, benchmark) == []


def test_arrays_that_cannot_be_had_are_said(
    write_arrays: Callable[..., Path], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_arrays("lab")
    clone = project / "clone"

    def other(space: str, project: Path, env: object) -> None:
        counts = {"train": 1, "val": 1, "test": 1}
        info = DatasetInfo(space, 32, 2, counts, rejected=0, digest="1" * 64)
        (project / paths.processed(space)).mkdir(parents=True)
        info.write(project / paths.processed(space))

    monkeypatch.setattr("colorgan.verification.arrays._remake", other)
    with pytest.raises(ColorganError, match=r"digest is abab.*gives 1111.*lab\.path"):
        provide_arrays("lab", "ab" * 32, clone, {})


def test_the_command_line_says_what_came_of_it(
    record: Callable[..., str], colorgan: Callable[..., object]
) -> None:
    record(ones())
    said = colorgan("verify", "lab", "--run", "nothing")
    assert said.code == 1  # type: ignore[attr-defined]
    assert "'nothing'" in said.err  # type: ignore[attr-defined]
