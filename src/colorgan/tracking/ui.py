"""The MLflow UI on the project's runs."""

from __future__ import annotations

import os
import sqlite3
import sys
from importlib.util import find_spec
from typing import NoReturn

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.tracking import store


def serve_ui(host: str, port: int) -> NoReturn:
    """Turn this process into the server of the MLflow UI, which ends by Ctrl-C or SIGTERM."""
    uri = store.tracking_uri()
    if store.is_remote(uri):
        there = store.redact(uri)
        raise ColorganError(f"the runs are on the server of MLFLOW_TRACKING_URI: open {there}")
    file = store.sqlite_file(uri)
    if file and not file.is_file():
        raise ColorganError(f"{file} does not exist: no run was recorded yet; `dvc repro` does")
    if find_spec("mlflow") is None:
        raise ColorganError(store.NOT_INSTALLED)
    try:
        store.prepare_file(uri)
    except (sqlite3.Error, OSError) as error:
        raise ColorganError(f"{file} cannot be used: {store.reason(error)}") from None
    print(f"Runs of {paths.project_root()}: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    # The URI is no argument, which others see. The job runner is for evaluating language models;
    # it would start eight more processes.
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    os.execve(sys.executable, [*command, "--workers", "1"], env | {"MLFLOW_BACKEND_STORE_URI": uri})
