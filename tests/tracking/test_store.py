"""The store's address, secrets that are not shown, and a sentence for each fault."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import cli as mlflow
from recorded import Runs

from colorgan.errors import ColorganError
from colorgan.tracking.mlflow_read import TrainingRuns
from colorgan.tracking.run import record_results
from colorgan.tracking.store import reason, redact, tracking_uri


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("", "sqlite:///{root}/mlflow.db"),
        ("sqlite:///other.db?timeout=30", "sqlite:///{root}/other.db?timeout=30"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("http://localhost:5000", "http://localhost:5000"),
    ],
)
def test_the_store_is_the_variable_or_at_the_root(project, monkeypatch, variable, expected) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert tracking_uri() == expected.format(root=project.as_posix())


SECRET = "s3cr"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgresql://user:s3cr@host:5432/db", "postgresql://***@host:5432/db"),
        ("postgresql://user:s3@3cr/t@host/db", "postgresql://***@host/db"),
        ("postgresql://user:s3cr?t@host/db", "postgresql://***"),
        ("postgresql://user:s3cr#[@host/db", "postgresql://***"),
        ("postgresql://u:s3cr@one:1,v:s3cr@two:2/db", "postgresql://***@two:2/db"),
        ("postgresql:///db?host=h&password=s3cr", "postgresql:///db?***"),
        ("mysql+pymysql://host/db?user=u&password=s3@cr", "mysql+pymysql://***"),
        ("https://s3cr@host/path", "https://***@host/path"),
        ("https://host/path?token=s3cr", "https://host/path?***"),
        ("http://user:s3cr", "http://***"),
        ("http://user:s3cr/path", "http://***"),
        ("http://host:5000;password=s3cr", "http://host:5000;password=***"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("postgresql://one:1,two:2/db", "postgresql://one:1,two:2/db"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://localhost:5000", "http://localhost:5000"),
    ],
)
def test_a_uri_is_shown_without_its_secrets(monkeypatch, uri, expected) -> None:
    assert redact(uri) == expected
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert redact(f"cannot reach {uri} now") == f"cannot reach {expected} now"
    assert redact(f"InvalidURL('{uri}')").count(SECRET) == 0


@pytest.mark.parametrize(
    "uri", ["http://u:a's3cr@h", "http://u:a s3cr@h", "u:s3cr@h", "//u:s3cr@h", "http:/u:s3cr@h"]
)
def test_an_odd_uri_is_shown_without_its_secrets(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for text in (uri, f"cannot reach {uri!r} now"):
        assert SECRET not in redact(text)
        assert "@h" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "HTTPConnectionPool(host='h', port=1): Max retries exceeded with url: /api?token=s3cret",
        "password 's3cret' is wrong",
        "password 'a b@s3cret' is wrong",
        "Authorization: Basic bWU6czNjcmV0",
        "driver={odbc};PWD=s3cret;database=x",
        "invalid literal for int() with base 10: 's3cret'",
        "403 for s3://bucket/x?X-Amz-Signature=bWU6czNjcmV0&b=1",
    ],
)
def test_messages_of_other_libraries_are_redacted(monkeypatch, text) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:a%20b%40s3cret@host/db")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    said = reason(RuntimeError(text))
    assert "***" in said
    assert "s3cret" not in said
    assert "bWU6czNjcmV0" not in said


def other_program(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE TABLE experiments (photo TEXT)")


def of_revision(file: Path, revision: str) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = ?", (revision,))


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another program's": (other_program, "is the database of another program"),
    "no database": (lambda file: file.write_text("no database " * 999), "is no SQLite database"),
    "damaged": (lambda file: file.write_bytes(file.read_bytes()[:9000]), "the file is damaged"),
    "a damaged schema": (
        lambda file: file.write_bytes(file.read_bytes().replace(b"CONSTRAINT", b"CON\4TRAINT", 1)),
        "the file is damaged",
    ),
    "a folder": (Path.mkdir, "it cannot be opened; its folder should exist"),
    "a newer MLflow's": (lambda file: of_revision(file, "f" * 12), "another version of MLflow"),
    "an older MLflow's": (lambda file: of_revision(file, "bd07f7e963c5"), "run `mlflow db upgrade"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_file_is_one_sentence(project, tables, fault, capsys, colorgan) -> None:
    make, sentence = FAULTS[fault]
    file = project / "mlflow.db"
    if fault not in ("another program's", "a folder"):
        shutil.copy(tables, file)
    make(file)
    before = file.read_bytes() if file.is_file() else b""
    record_results("evaluate", "lab", "00", {}, [])
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert sentence in said.err
    assert "is kept in" in said.err
    assert (file.read_bytes() if file.is_file() else b"") == before
    said = colorgan("ui")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert sentence in said.err


def test_a_store_that_is_busy_or_read_only_is_named_as_such(store, monkeypatch, capfd) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **_: connect(file, timeout=0.1))
    with closing(connect(store)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ColorganError, match="another program is writing to it; try again"):
            TrainingRuns()
    assert capfd.readouterr().err == ""
    assert TrainingRuns().made("train_lab", "00") is None
    # A test may run as root, who may write to every file.
    read_only = sqlite3.OperationalError("attempt to write a readonly database")
    assert reason(read_only).startswith("it cannot be written to; you need the right")


@pytest.mark.parametrize("retries", ["0", "1"])
def test_a_server_that_is_slow_or_away_is_named_as_such(project, monkeypatch, retries) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ColorganError, match="it did not answer in time"):
            TrainingRuns()
    with pytest.raises(ColorganError, match="no server listens there"):
        TrainingRuns()


def test_a_deleted_experiment_is_named_and_comes_back_as_the_sentence_says(
    client: MlflowClient, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    record_results("evaluate", "lab", "00", {}, [])
    client.delete_experiment(client.get_experiment_by_name("colorgan").experiment_id)
    record_results("evaluate", "lab", "00", {}, [])
    said = capsys.readouterr().err
    with pytest.raises(ColorganError, match="is deleted: bring it back with"):
        TrainingRuns()
    command = said.partition("`mlflow ")[2].partition("`")[0]
    env = {"MLFLOW_TRACKING_URI": tracking_uri()}
    assert CliRunner().invoke(mlflow, command.split(), env=env).exit_code == 0
    record_results("evaluate", "lab", "00", {}, [])
    assert len(runs()) == 3


def test_deleted_runs_are_removed_from_the_disk_as_docs_say(
    client: MlflowClient, runs: Runs, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_results("evaluate", "lab", "00", {}, [])
    client.delete_run(runs()[0].info.run_id)
    command = "mlflow gc --backend-store-uri sqlite:///mlflow.db --tracking-uri sqlite:///mlflow.db"
    monkeypatch.chdir(project)
    done = CliRunner().invoke(mlflow, command.split()[1:])
    assert done.exit_code == 0, done.output
    assert [path for path in (project / "mlartifacts").rglob("*") if path.is_file()] == []
