"""The URI of the MLflow store, and how to show it; imports no MLflow."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from urllib.parse import unquote

from colorgan import paths

SQLITE = "sqlite:///"


def tracking_uri() -> str:
    """Return the URI of the MLflow store: `MLFLOW_TRACKING_URI`, else mlflow.db.

    A SQLite file with a relative path lies at the real project root, also where the working
    directory is a temporary copy that DVC has made.
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
    """Return whether a server keeps the store, and chooses the place of its artifacts."""
    return re.match(r"https?://|databricks", uri) is not None


def without_password(text: str) -> str:
    """Return a URI, or a text with URIs in it, without user names and passwords."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def reason(error: Exception) -> str:
    """Return the first line of an error message, without passwords."""
    text = str(error).strip() or type(error).__name__
    return textwrap.shorten(without_password(text.splitlines()[0]), 200, placeholder=" ...")
