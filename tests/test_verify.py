"""`verify` on real git and a real MLflow store, with a stand-in for the training.

With the real training: tests/pipeline/test_verify.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from safetensors.numpy import save, save_file

from colorgan import io, paths
from colorgan.data.arrays import read_info
from colorgan.errors import ColorganError
from colorgan.tracking import lineage
from colorgan.tracking.store import sqlite_uri
from colorgan.verify import verify

MAIN = Path("src/colorgan/__main__.py")
# Trains: copies the generator that `value` names, and says what it was given.
TRAINING = """
import os, shutil, sys
from pathlib import Path
value = "1.0"
assert sys.argv[1:] == ["train", "lab"]
print(*(sorted(os.listdir("data/processed/lab"))))
Path("models/lab").mkdir(parents=True)
shutil.copy(f"MADE/{value}.safetensors", "models/lab/generator.safetensors")
"""


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org")
    done = subprocess.run(["git", *identity, *arguments], capture_output=True, check=True)
    return done.stdout.decode().strip()


def weights(value: float) -> dict[str, np.ndarray]:
    return {"a": np.full((2, 3), value, np.float32), "b": np.ones(4, np.float32)}


@pytest.fixture
def store(project: Path, tables: Path) -> MlflowClient:
    """MLflow's own client on the project's store, which has the experiment and no run."""
    shutil.copy(tables, project / "mlflow.db")
    client = MlflowClient(sqlite_uri(project / "mlflow.db"))
    client.create_experiment("colorgan", (project / "mlartifacts").as_uri())
    return client


@pytest.fixture
def committed(project: Path, write_arrays: Callable[..., Path]) -> str:
    """The commit of the project, a repository in which `colorgan` is the stand-in."""
    write_arrays("lab")
    MAIN.parent.mkdir(parents=True)
    MAIN.with_name("__init__.py").touch()
    MAIN.write_text(TRAINING.replace("MADE", str(project / "made")))
    (project / ".gitignore").write_text("/data\n/models\n/made\n/ml*\n/.resume\n")
    (project / "made").mkdir()
    for value in (1.0, 1.5):
        save_file(weights(value), project / "made" / f"{value}.safetensors")
    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    return git("rev-parse", "HEAD")


@pytest.fixture
def record(store: MlflowClient, project: Path, committed: str) -> Callable[..., str]:
    """Return a function that records a run of `train_lab` of what is there now; its id."""
    count = 0

    def make(made: float | None = 1.0, name: str = "workspace / train_lab", **tags: str) -> str:
        nonlocal count
        count += 1
        _, diff = lineage.git_state(project)
        defaults = {"stage": "train_lab", "space": "lab", "device": "cpu"}
        defaults |= {"mlflow.source.git.commit": committed, "git.dirty": str(bool(diff)).lower()}
        defaults |= {"data.digest": read_info(paths.processed("lab")).digest}
        experiment = store.get_experiment_by_name("colorgan").experiment_id
        run = store.create_run(experiment, count, {**defaults, **tags}, name)
        run_id: str = run.info.run_id
        if diff:
            store.log_text(run_id, diff, "git.diff")
        if made is not None:
            folder = project / f"recorded{count}"
            folder.mkdir()
            save_file(weights(made), folder / "generator.safetensors")
            (folder / "config.json").write_text("{}")
            store.log_artifacts(run_id, str(folder), "model")
            sha256 = io.sha256(folder / "generator.safetensors")
            store.set_tag(run_id, "colorgan.generator_sha256", sha256)
            shutil.rmtree(folder)
        return run_id

    return make


@contextmanager
def edited(code: str) -> Iterator[None]:
    """Give the working tree this code for as long as a run is recorded."""
    before = MAIN.read_text()
    MAIN.write_text(code)
    yield
    MAIN.write_text(before)


@pytest.fixture
def untouched(project: Path, committed: str) -> Callable[[], bool]:
    """Return a function that says whether git and the project are as they were."""
    status = git("status", "--porcelain")

    def same() -> bool:
        assert list((project / ".resume").glob("*")) == []
        assert len(git("worktree", "list").splitlines()) == 1
        return git("status", "--porcelain") == status

    return same


def test_other_weights_are_told_by_how_much(record, store, untouched, colorgan) -> None:
    run_id = record(1.5)
    said = colorgan("verify", "lab", "--run", run_id)
    assert said.code == 1
    assert said.out.splitlines()[-2] == (
        "the retrained generator differs by up to 0.5, in a, whose weights reach 1.5"
    )
    assert "by up to 0.5" in store.get_run(run_id).data.tags["verified"]
    assert untouched()


def test_a_training_that_fails_hands_on_its_exit_code(record, untouched, colorgan) -> None:
    with edited("raise SystemExit(3)"):
        run_id = record()
    said = colorgan("verify", "lab", "--run", run_id)
    assert said.code == 3
    assert "exit code 3: nothing was compared" in said.err
    assert untouched()


def test_sigterm_ends_the_training_and_removes_the_worktree(record, untouched, project) -> None:
    tells = f"import os, time; open('{project}/made/pid', 'w').write(str(os.getpid()))\n"
    with edited(f"{tells}time.sleep(60)"):
        run_id = record()
    env = {**os.environ, "PYTHONPATH": str(Path(io.__file__).parents[1])}
    command = [sys.executable, "-c", "from colorgan.cli import main; main()", "verify", "lab"]
    verifying = subprocess.Popen([*command, "--run", run_id], env=env)
    pid, end = project / "made" / "pid", time.monotonic() + 60
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    verifying.terminate()
    assert verifying.wait(30) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert untouched()


def test_a_run_is_found_by_name_and_by_the_model_here(record: Callable[..., str]) -> None:
    record(1.0, name="batch-32 / train_lab")
    record(1.5)
    assert verify("lab", "batch-32") == ""
    with pytest.raises(ColorganError, match="no run of train_lab in MLflow made models/lab/"):
        verify("lab")
    paths.model("lab").mkdir(parents=True)
    save_file(weights(1.0), paths.model("lab") / "generator.safetensors")
    assert verify("lab") == ""


def test_what_cannot_be_repeated_is_refused(record, store, untouched) -> None:
    gone = record(**{"mlflow.source.git.commit": "f" * 40})
    no_diff = record(**{"git.dirty": "true"})
    MAIN.with_name("new.py").write_text("")
    new_code = record()
    MAIN.with_name("new.py").unlink()
    with edited("# edited\n"):
        other = git("commit-tree", "HEAD^{tree}:src", "-m", "other")
        other_commit = record(**{"mlflow.source.git.commit": other})
    sentences = {
        record(None): "has no weights",
        record(stage="evaluate"): "is of evaluate; name a run of train_lab",
        record(**{"mlflow.source.git.commit": ""}): "was made without git",
        gone: "invalid reference.*fetch its branch",
        no_diff: r"git\.diff is missing",
        new_code: r"src/colorgan/new\.py was not in git; commit",
        other_commit: r"git says .*of the recorded git\.diff",
        record(**{"data.digest": "ab" * 32}): r"digest abababababab.*lab\.path",
    }
    for run_id, sentence in sentences.items():
        with pytest.raises(ColorganError, match=sentence):
            verify("lab", run_id)
        assert untouched()
        assert "verified" not in store.get_run(run_id).data.tags


@pytest.mark.parametrize("init", ["models/first", "earlier"])
def test_a_run_is_repeated_with_its_changes_and_first_weights(
    record, store, untouched, init, capfd
) -> None:
    """The weights that it began with are those of a folder or of a run."""
    first = record(1.5, name="earlier / train_lab")
    if init == "models/first":
        Path(init).mkdir(parents=True)
        save_file(weights(1.5), Path(init, "generator.safetensors"))
    tells = f"print('begins with', Path('{init}/generator.safetensors').read_bytes().hex())\n"
    with edited(MAIN.read_text() + tells):
        Path("note.txt").write_text("new, and no code")
        sha256 = store.get_run(first).data.tags["colorgan.generator_sha256"]
        run_id = record(init=init, **{"init.generator_sha256": sha256})
        Path("note.txt").unlink()
    record(9.0, name="earlier / train_lab")
    assert verify("lab", run_id) == ""
    out = capfd.readouterr().out
    assert "with uncommitted changes" in out
    assert f"begins with {save(weights(1.5)).hex()}" in out, "not the newest run of that name"
    assert "index.csv" in out, "the arrays are there"
    assert store.get_run(run_id).data.tags["verified"] == "bit for bit"
    assert untouched()
