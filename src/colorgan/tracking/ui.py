"""The MLflow UI on the project's runs."""

from __future__ import annotations

import os
import sys
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
    from colorgan.tracking.mlflow_read import TrainingRuns

    # Says what is wrong with the store, which the server would not.
    TrainingRuns(uri)
    print(f"Runs of {paths.project_root()}: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    # The URI is no argument, which others see. The job runner is for evaluating language models;
    # it would start eight more processes.
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    os.execve(sys.executable, [*command, "--workers", "1"], env | {"MLFLOW_BACKEND_STORE_URI": uri})
