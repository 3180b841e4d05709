"""Where MLflow's store is; imports no MLflow."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from colorgan import paths

SQLITE = "sqlite:///"


def tracking_uri() -> str:
    """Return the URI of MLflow's store: `MLFLOW_TRACKING_URI`, else mlflow.db.

    A SQLite file with a relative path lies at the real project root, also where the working
    directory is DVC's passing copy of it.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    file = uri.removeprefix(SQLITE)
    if file == uri or file == ":memory:" or Path(file).is_absolute():
        return uri
    # In a database URL these two have a meaning; all else stands for itself.
    root = paths.project_root().as_posix().replace("%", "%25").replace("?", "%3F")
    return f"{SQLITE}{root}/{file}"


def is_remote(uri: str) -> bool:
    """Return whether a server keeps the store, which knows its own place for files."""
    return re.match(r"https?://|databricks", uri) is not None


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store, which may not be there yet; None for another store."""
    file = uri.removeprefix(SQLITE)
    return None if file in (uri, ":memory:") else Path(unquote(file))


def mending() -> str:
    """Return what a person can do about a store that does not take a run."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return "start that server or mend MLFLOW_TRACKING_URI; unset, it is the project's mlflow.db"
    return "move that file away to begin a new one"
