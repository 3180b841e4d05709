"""The MLflow UI on the project's runs."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.tracking.moved import prepare_file
from colorgan.tracking.store import (
    NOT_INSTALLED,
    is_remote,
    reason,
    shown,
    sqlite_file,
    tracking_uri,
)


def serve_ui(host: str, port: int) -> int:
    """Serve the MLflow UI until Ctrl-C; return the exit code of the server.

    Raises:
        ColorganError: there are no runs yet, the store cannot be used, MLflow is not installed, or
            the runs are on a server, which has a UI of its own.
    """
    uri = tracking_uri()
    if is_remote(uri):
        raise ColorganError(f"the runs are on the server of MLFLOW_TRACKING_URI: open {shown(uri)}")
    file = sqlite_file(uri)
    if file and not file.is_file():
        raise ColorganError(f"{file} does not exist: no run was recorded yet; `dvc repro` does")
    if find_spec("mlflow") is None:
        raise ColorganError(NOT_INSTALLED)
    try:
        prepare_file(uri)
    except (sqlite3.Error, OSError) as error:
        raise ColorganError(f"{file} cannot be used: {reason(error)}") from None
    print(f"Runs of {paths.project_root()}: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    # Not as an argument, which others see. The job runner is for evaluating language models; it
    # would start eight more processes.
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ
    env["MLFLOW_BACKEND_STORE_URI"] = uri
    server = subprocess.Popen([*command, "--workers", "1"], env=env)
    try:
        return server.wait()
    except KeyboardInterrupt:
        # The server has received the Ctrl-C too, and ends by itself.
        with suppress(subprocess.TimeoutExpired):
            server.wait(10)
        return 0
    finally:
        # SIGTERM, so that it ends its worker process too; SIGKILL would leave that running.
        server.terminate()
        server.wait()
