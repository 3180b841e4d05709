"""The MLflow store of the project: its URI and its web UI. Does not import MLflow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from colorgan import paths
from colorgan.errors import ColorganError

SQLITE = "sqlite:///"
NOT_INSTALLED = "MLflow is not installed: `pip install colorgan[pipeline]` installs it"


def tracking_uri() -> str:
    """Return the URI of the MLflow store: `MLFLOW_TRACKING_URI`, else mlflow.db.

    A relative SQLite path starts at the project root, also if the working directory is a temporary
    copy that DVC has made.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    file = uri.removeprefix(SQLITE)
    if file == uri or file == ":memory:" or Path(file).is_absolute():
        return uri
    return f"{sqlite_uri(paths.project_root())}/{file}"


def sqlite_uri(file: Path) -> str:
    """Return the URI of a SQLite file."""
    # These two characters have a meaning in a database URL.
    return SQLITE + file.absolute().as_posix().replace("%", "%25").replace("?", "%3F")


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store, which may not exist yet; None for another store."""
    file = uri.removeprefix(SQLITE)
    return None if file in (uri, ":memory:") else Path(unquote(file))


def is_remote(uri: str) -> bool:
    """Return whether the store is on a server, which then decides where artifacts are kept."""
    return re.match(r"https?://|databricks", uri) is not None


def without_password(text: str) -> str:
    """Replace the user names and passwords of all URIs in a text by ***."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def reason(error: Exception) -> str:
    """Return the first line of an error message, without passwords."""
    text = str(error).strip() or type(error).__name__
    return textwrap.shorten(without_password(text.splitlines()[0]), 200, placeholder=" ...")


def serve_ui(host: str, port: int) -> int:
    """Serve the MLflow UI until Ctrl-C; return the exit code of the server.

    Raises:
        ColorganError: there are no runs yet, MLflow is not installed, or the runs are on a
            server, which has a UI of its own.
    """
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        raise ColorganError(
            "the runs are on the server of MLFLOW_TRACKING_URI: open " + without_password(uri)
        )
    file = sqlite_file(uri)
    if not os.environ.get("MLFLOW_TRACKING_URI") and file and not file.is_file():
        raise ColorganError(f"{file} does not exist: no run was recorded yet; `dvc repro` does")
    if find_spec("mlflow") is None:
        raise ColorganError(NOT_INSTALLED)
    print(f"Runs of {paths.project_root()}: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    # The job runner is for evaluating language models; it would start eight more processes.
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ
    server = subprocess.Popen(command, env=env)
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
