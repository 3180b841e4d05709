"""The MLflow UI on this project's runs."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

from colorgan import paths
from colorgan.errors import ColorganError

JOBS = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"
SECONDS_TO_END = 10


def serve_ui(host: str, port: int) -> int:
    """Serve the runs of this project until Ctrl-C; return the server's exit code.

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
    try:
        from colorgan.tracking.mlflow_log import tracking_uri
    except ImportError:
        raise ColorganError(
            "MLflow is not installed: `pip install colorgan[pipeline]` brings it"
        ) from None
    print(f"Runs of {paths.project_root()}: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri()]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    # Jobs are for evaluating language models; eight processes less.
    server = subprocess.Popen(command, env={JOBS: "false"} | os.environ)
    try:
        return server.wait()
    except KeyboardInterrupt:
        # The server has had the Ctrl-C too, and ends by itself.
        with suppress(subprocess.TimeoutExpired):
            server.wait(SECONDS_TO_END)
        return 0
    finally:
        # Asked, it ends the process that serves; killed, it would leave that behind.
        server.terminate()
        server.wait()
