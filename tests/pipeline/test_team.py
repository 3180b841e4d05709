"""The servers of docs/team.md, real ones on the loopback, with the settings of deploy/compose.yaml.

PostgreSQL, `mlflow server` with basic auth, and moto's S3. Left out are the containers and HTTPS.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import mlflow
import psycopg
import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run
from ruamel.yaml import YAML

from colorgan import io
from colorgan.tracking.csv_log import read_rows
from colorgan.tracking.mlflow_read import TrainingRuns
from colorgan.tracking.run import RunDescription, record_finished, record_results
from pipeline.conftest import ROOT, Project, clean_environment, runs_of
from servers import free_port, running, wait_for
from tiny_project import dump_params, random_arrays

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "team.md").read_text(encoding="utf-8")
PASSWORDS = {name: f"first password of {name}" for name in ("ann", "bob", "eve")}
SECRETS = {
    name: f"secret-of-{name.lower().replace('_', '-')}"
    for name in ("S3_SECRET", "DATABASE_PASSWORD", "ADMIN_PASSWORD", "SECRET_KEY")
}


@dataclass
class Team:
    """The servers. MLflow's is started by `command` in the environment `env`."""

    url: str
    s3: Any
    s3_url: str
    folder: Path
    command: Sequence[str]
    env: dict[str, str]
    running: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start MLflow's server; `running.close()` kills it."""
        log = self.running.enter_context((self.folder / "mlflow.log").open("ab"))
        how = {"cwd": self.folder, "env": self.env, "stdout": log, "stderr": log}
        self.running.enter_context(
            running(self.command, f"{self.url}/health", signal.SIGKILL, **how)
        )

    def account(self, name: str, *, in_uri: bool = False) -> dict[str, str]:
        """Return the variables with which somebody reaches MLflow."""
        password = PASSWORDS.get(name, SECRETS["ADMIN_PASSWORD"])
        if in_uri:
            login = f"{name}:{password.replace(' ', '%20')}@"
            return {"MLFLOW_TRACKING_URI": self.url.replace("://", f"://{login}")}
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": password,
        }


@contextmanager
def postgres(password: str) -> Iterator[int]:
    """Serve a new PostgreSQL with the database and the user `mlflow`; yield the port."""
    places = os.pathsep.join(
        (os.environ["PATH"], *map(str, Path("/usr/lib").glob("postgresql/*/bin")))
    )
    initdb, server = (shutil.which(name, path=places) for name in ("initdb", "postgres"))
    if not (initdb and server):
        pytest.skip("no PostgreSQL: install postgresql")
    # It refuses to run as root, and nobody else may enter the folders of the tests.
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="colorgan-") as name, ExitStack() as stack:
        folder, port = Path(name), free_port()
        (folder / "password").write_text(password)
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        subprocess.run(
            [initdb, "-D", "data", "-U", "mlflow", "--auth=scram-sha-256", "--pwfile=password",
             "--no-sync"],
            cwd=folder, user=user, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
        }
        command = [server, "-D", "data", *(f"--{name}={value}" for name, value in options.items())]
        log = stack.enter_context((folder / "log").open("wb"))
        how = {"cwd": folder, "user": user, "stdout": log, "stderr": log}
        stack.enter_context(running(command, end=signal.SIGKILL, **how))
        login = f"postgresql://mlflow:{password}@127.0.0.1:{port}/postgres"

        def made() -> bool:
            with suppress(psycopg.OperationalError), psycopg.connect(login, autocommit=True) as db:
                db.execute("CREATE DATABASE mlflow")
                return True
            return False

        wait_for(made)
        yield port


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The servers of a team, with the accounts that the page makes."""
    folder = tmp_path_factory.mktemp("team")
    port, s3_port = free_port(), free_port()
    env = clean_environment()
    with ExitStack() as stack:
        values = SECRETS | {
            "DOMAIN": f"127.0.0.1:{port}",
            "BUCKET": "colorgan-mlflow",
            "S3_ENDPOINT": f"http://127.0.0.1:{s3_port}",
            "S3_REGION": "us-east-1",
            "S3_KEY": "key",
        }
        database = stack.enter_context(postgres(values["DATABASE_PASSWORD"]))
        compose = YAML(typ="safe").load(
            re.sub(
                r"\$\{(\w+)[^}]*\}",
                lambda name: values[name[1]],
                (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"),
            ).replace("@database:5432/", f"@127.0.0.1:{database}/")
        )
        mlflow_service = compose["services"]["mlflow"]
        (folder / "auth.ini").write_text(compose["configs"]["auth"]["content"])
        env |= mlflow_service["environment"] | {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini")}
        command = [sys.executable, "-m", *shlex.split(mlflow_service["command"])]
        command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
        client = boto3.client(
            "s3", endpoint_url=values["S3_ENDPOINT"], region_name=values["S3_REGION"],
            aws_access_key_id=values["S3_KEY"], aws_secret_access_key=values["S3_SECRET"],
        )  # fmt: skip
        s3 = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3_port)]
        stack.enter_context(running(s3, values["S3_ENDPOINT"]))
        client.create_bucket(Bucket=values["BUCKET"])
        team = Team(f"http://127.0.0.1:{port}", client, values["S3_ENDPOINT"], folder, command, env)
        stack.callback(team.running.close)
        team.start()
        (accounts,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        script = accounts.replace("http://localhost:5000", team.url)
        admin = clean_environment() | team.account("admin")
        subprocess.run([sys.executable, "-c", script], env=admin, cwd=folder, check=True)
        yield team


@pytest.fixture
def log_in(team, tmp_path, monkeypatch) -> Callable[[dict[str, str]], None]:
    """Return a function that makes this process somebody's, who works in a project without runs."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def log_in(account: dict[str, str]) -> None:
        for name, value in account.items():
            monkeypatch.setenv(name, value)

    return log_in


def assert_no_secret(*texts: str) -> None:
    for secret in (*SECRETS.values(), *PASSWORDS.values(), "wrong password"):
        for form in (secret, secret.replace(" ", "%20")):
            assert form not in "\n".join(texts)


def test_the_image_has_the_mlflow_of_the_lock() -> None:
    assert f"ghcr.io/mlflow/mlflow:v{mlflow.__version__}-full" in (
        ROOT / "deploy" / "compose.yaml"
    ).read_text(encoding="utf-8")


def test_four_trainings_at_once_while_the_server_is_killed(team, tmp_path, log_in) -> None:
    log_in(team.account("ann"))
    accounts = [team.account("ann"), team.account("bob", in_uri=True)] * 2
    trainings: list[tuple[Project, subprocess.Popen[bytes]]] = []

    def said() -> list[str]:
        return [(project.folder / "said").read_text() for project, _ in trainings]

    with ExitStack() as stack:
        for number, account in enumerate(accounts):
            folder = tmp_path / f"project {number}"
            folder.mkdir()
            dump_params({"train.epochs": 100, "train.seed": number}, folder)
            random_arrays(folder / "data" / "processed" / "lab", "lab")
            env = clean_environment() | account | {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
            log = stack.enter_context((folder / "said").open("wb"))
            command = [sys.executable, "-m", "colorgan", "train", "lab"]
            how = {"cwd": folder, "env": env, "stdout": log, "stderr": log}
            process = stack.enter_context(running(command, end=signal.SIGKILL, **how))
            trainings.append((Project(folder, env), process))
        wait_for(lambda: len(begun()) == 4)
        team.running.close()
        # While it trains, or at its end; one that was faster than the others may have ended.
        gone = "sent later|is kept in"
        wait_for(
            lambda: all(
                process.poll() is not None or re.search(gone, text)
                for (_, process), text in zip(trainings, said(), strict=True)
            )
        )
        assert re.search(gone, "".join(said()))
        # They wait, so as not to be done before the server is back.
        for _, process in trainings:
            process.send_signal(signal.SIGSTOP)
        team.start()
        for _, process in trainings:
            process.send_signal(signal.SIGCONT)
        for project, process in trainings:
            assert process.wait(300) == 0
            if any((project.folder / ".resume" / "unsent").iterdir()):
                project.run("python", "-m", "colorgan", "sync")
    runs = {run.data.params["train.seed"]: run for run in begun()}
    for number, (project, _) in enumerate(trainings):
        assert_whole(team, runs[str(number)], project.folder)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert_no_secret((team.folder / "mlflow.log").read_text(), *said())
    assert_no_secret(*(path.read_bytes().decode("latin-1") for path in files))


def begun() -> list[Run]:
    """Return the runs of trainings that MLflow has losses of."""
    return [run for run in runs_of(MlflowClient()) if "train/loss_D" in run.data.metrics]


def assert_whole(team: Team, run: Run, folder: Path) -> None:
    """Each point of the CSV files is in MLflow once, and the weights are in the bucket."""
    assert run.info.status == "FINISHED"
    client = MlflowClient()
    for file, step, prefix in (
        ("losses.csv", "iteration", "train/"),
        ("validation.csv", "epoch", "val/"),
    ):
        rows = read_rows(folder / "reports" / "lab" / file)
        assert len(rows) >= 100
        for name in set(rows[0]) - {"iteration", "epoch"}:
            history = client.get_metric_history(run.info.run_id, f"{prefix}{name}")
            points = sorted((point.step, point.value) for point in history)
            assert points == [(int(row[step]), float(row[name])) for row in rows], name
    key = f"{run.info.experiment_id}/{run.info.run_id}/artifacts/model/generator.safetensors"
    stored = team.s3.get_object(Bucket="colorgan-mlflow", Key=key)["Body"].read()
    assert stored == (folder / "models" / "lab" / "generator.safetensors").read_bytes()


def test_a_file_of_100_mb_goes_through_the_server_and_back(team, tmp_path, log_in) -> None:
    log_in(team.account("ann"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "generator.safetensors").write_bytes(os.urandom(100_000_000))
    (model / "config.json").write_text("{}")
    sha256 = io.sha256(model / "generator.safetensors")
    run = RunDescription("train_lab", uuid.uuid4().hex, tags={"space": "lab"})
    record_finished(run, tmp_path / "reports", model, sha256)
    log_in(team.account("eve"))  # who may look
    runs = TrainingRuns()
    found = runs.made("train_lab", sha256)
    assert found
    brought = runs.model(found, tmp_path / "brought")
    assert io.sha256(brought / "generator.safetensors") == sha256


@pytest.mark.parametrize(
    ("account", "sentence"),
    [
        ("ann", "the user name or the password is wrong"),
        ("eve", "your account may not do this; ask the server's administrator"),
        ("bob", "the server cannot use its storage of files; its log says why"),
    ],
)
def test_a_refusal_is_one_sentence(
    team, tmp_path, account, sentence, log_in, capsys, colorgan
) -> None:
    """A wrong password, an account without the role, a bucket that does not exist."""
    log_in(team.account(account))
    if account == "ann":
        log_in({"MLFLOW_TRACKING_PASSWORD": "wrong password"})
    if account == "bob":
        requests.post(f"{team.s3_url}/moto-api/reset")
    (tmp_path / "grid.png").write_bytes(b"a picture")
    try:
        record_results("evaluate", "lab", "00", {"psnr": 21.0}, [tmp_path / "grid.png"])
        for said in (capsys.readouterr(), colorgan("sync")):
            assert said.out == ""
            (line,) = said.err.splitlines()
            assert sentence in line
            assert "what it does not have of run 'workspace / evaluate' is kept in" in line
            assert_no_secret(line)
    finally:
        if account == "bob":
            team.s3.create_bucket(Bucket="colorgan-mlflow")
    log_in(team.account("bob"))
    assert "MLflow has got what it had missed of run" in colorgan("sync").out


def test_pages_of_the_server_alone_may_change_things(team: Team) -> None:
    """What a browser says when it shows the UI through HTTPS, and when it shows another page."""
    for origin, status in (
        (team.url.replace("http:", "https:"), 200),
        ("https://elsewhere.org", 403),
    ):
        done = requests.post(
            f"{team.url}/ajax-api/2.0/mlflow/experiments/search",
            json={"max_results": 1},
            auth=("ann", PASSWORDS["ann"]),
            headers={"Origin": origin},
        )
        assert done.status_code == status


def test_a_training_and_an_experiment_are_shared(team, own_project, tmp_path) -> None:
    """One trains, pushes to the bucket and to a bare repository; another clones and pulls."""
    team.s3.create_bucket(Bucket="colorgan-dvc")
    env = own_project.env | {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    here, there = Project(own_project.folder, env), Project(tmp_path / "other", env)
    hub = tmp_path / "hub.git"
    here.push_to(hub)
    here.shell(
        "dvc remote add -d storage s3://colorgan-dvc",
        "dvc remote modify storage endpointurl https://s3.example.org",
        "git add .dvc/config",
        'git commit -m "Add the storage of the team"',
        "git push",
        "dvc push",
        **{"https://s3.example.org": team.s3_url},
    )
    said = here.shell(
        "export MLFLOW_TRACKING_URI=https://mlflow.example.org",
        "export MLFLOW_TRACKING_USERNAME=ann",
        "export MLFLOW_TRACKING_PASSWORD=...",
        "dvc exp run -n batch-32 -S train.batch_size=32",
        "dvc exp push origin batch-32",
        **{
            "https://mlflow.example.org": team.url,
            "PASSWORD=...": f"PASSWORD='{PASSWORDS['ann']}'",
            "-S train.batch_size=32": "-S train.epochs=1 train_lab",
        },
    )
    assert_no_secret(said)
    here.run("git", "clone", "--quiet", str(hub), str(there.folder))
    there.shell("dvc pull")
    weights = Path("models", "lab", "generator.safetensors")
    first = (there.folder / weights).read_bytes()
    there.shell("dvc exp pull origin batch-32", "dvc exp apply batch-32")
    trained = (here.folder / weights).read_bytes()
    assert first != trained == (there.folder / weights).read_bytes()
    # All see the run; who has the role makes it the champion, whoever trained it.
    here.env.update(team.account("eve"))
    refused = here.run("python", "-m", "colorgan", "promote", "lab", check=False)
    assert "your account may not do this" in refused.splitlines()[-1]
    assert "Traceback" not in refused
    here.env.update(team.account("bob"))
    promoted = here.run("python", "-m", "colorgan", "promote", "lab")
    assert re.search(r"now the champion: .*; batch-32 / train_lab", promoted)
