"""The MLflow UI on the runs of this project."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.tracking.store_uri import tracking_uri

SECONDS_TO_END = 10


def serve_ui(host: str, port: int) -> int:
    """Serve the runs of this project until Ctrl-C; return the exit code of the server.

    Raises:
        ColorganError: there are no runs yet, MLflow is not installed, or the runs are on a
            server, which has a page of its own.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith(("http://", "https://")):
        raise ColorganError(f"the runs are on the server of MLFLOW_TRACKING_URI: open {uri}")
    store = paths.project_root() / "mlflow.db"
    if not uri and not store.is_file():
        raise ColorganError(f"{store} does not exist: no run was recorded yet; `dvc repro` does")
    if find_spec("mlflow") is None:
        raise ColorganError("MLflow is not installed: `pip install colorgan[pipeline]` brings it")
    print(f"Runs of {paths.project_root()}: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri()]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    # The job runner is for evaluating language models; without it, eight processes less.
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ
    server = subprocess.Popen(command, env=env)
    try:
        return server.wait()
    except KeyboardInterrupt:
        # The server has received the Ctrl-C too, and ends by itself.
        with suppress(subprocess.TimeoutExpired):
            server.wait(SECONDS_TO_END)
        return 0
    finally:
        # SIGTERM, so that it ends its worker process too; SIGKILL would leave that running.
        server.terminate()
        server.wait()
