"""The MLflow store of the project: its URI, and what its errors mean. Does not import MLflow."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from colorgan import paths

ARTIFACTS = "mlartifacts"
"""Folder of the project that holds the files of its runs."""
NOT_INSTALLED = "MLflow is not installed: `pip install colorgan[pipeline]` installs it"

FAULTS = {
    "database is locked": "another program is writing to it; try again when that has finished",
    "readonly database": "it cannot be written to; you need the right to write to the file and to "
    "its folder",
    "unable to open database file": "it cannot be opened; its folder should exist, and you need "
    "the right to read and write both",
    "file is not a database": "it is no SQLite database; MLFLOW_TRACKING_URI should name another "
    "file",
    "disk image is malformed": "the file is damaged; put a copy of it back, or try "
    "`sqlite3 FILE .recover`",
    "out-of-date database schema|locate revision": "it was made by another version of MLflow; "
    "install that version, or if it is older, copy the file and run `mlflow db upgrade URI`",
}
"""What a message of SQLite or MLflow (a pattern) means for the user."""
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY",
           "AWS_SESSION_TOKEN")  # fmt: skip


def experiment_name() -> str:
    """Return the name of the experiment that holds this project's runs."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "colorgan"


def tracking_uri() -> str:
    """Return the URI of the MLflow store: `MLFLOW_TRACKING_URI`, else mlflow.db.

    A relative SQLite path starts at the project root, also if the working directory is a temporary
    copy that DVC has made.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    file = sqlite_file(uri) if uri else Path("mlflow.db")
    if file is None or file.is_absolute():
        return str(uri)
    _, mark, query = (uri or "").partition("?")
    return sqlite_uri(paths.project_root() / file) + mark + query


def sqlite_uri(file: Path) -> str:
    """Return the URI of a SQLite file."""
    path = file.absolute().as_posix()
    # These two characters have a meaning in a database URL.
    quoted = path.replace("%", "%25").replace("?", "%3F")
    # MLflow makes the parent folder of a plain sqlite:/// URL, and does not decode it.
    return ("sqlite:///" if quoted == path else "sqlite+pysqlite:///") + quoted


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store, which may not exist yet; None for another store."""
    found = re.fullmatch(r"sqlite(?:\+pysqlite)?:///([^?]+)(?:\?.*)?", uri)
    return Path(unquote(found[1])) if found and found[1] != ":memory:" else None


def is_remote(uri: str) -> bool:
    """Return whether the store is on a server, which then decides where artifacts are kept."""
    return re.match(r"https?://|databricks", uri) is not None


def shown(uri: str) -> str:
    """Return a URI with user, password and query replaced by ***."""
    scheme, separator, rest = uri.partition("://") if "://" in uri else ("", "", uri)
    before, mark, query = re.split(r"([?#]|$)", rest, maxsplit=1)
    if "@" in query:
        # The ? or # may belong to a password.
        return f"{scheme}{separator}***"
    if "@" in before and sqlite_file(uri) is None:
        before = f"***@{before.rpartition('@')[2]}"
    return f"{scheme}{separator}{before}{mark}{'***' if query else ''}"


def redact(text: str) -> str:
    """Return a text, such as an error message, with passwords and tokens replaced by ***."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    login = "" if sqlite_file(uri) else uri.rpartition("@")[0].partition("://")[2]
    user, _, password = login.partition(":")
    secrets = [password or user, *(value for _, value in parse_qsl(uri.partition("?")[2]))]
    secrets += [os.environ.get(name, "") for name in SECRETS]
    secrets += [unquote(secret) for secret in secrets]
    text = text.replace(uri, shown(uri)) if uri else text
    text = re.sub(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+", lambda found: shown(found[0]), text)
    for secret in sorted(secrets, key=len, reverse=True):
        # Shorter ones would be found inside other words.
        text = text.replace(secret, "***") if len(secret) > 3 else text
    # The query of a path, as requests gives it, and headers.
    text = re.sub(r"([?&][\w.-]+=)[^&\s)'\"]+", r"\1***", text)
    return re.sub(r"(?i)(authorization\W+\w+ )\S+", r"\1***", text)


def reason(error: Exception) -> str:
    """Return what an error of a store means, or its first line, without passwords."""
    text = str(error).strip() or type(error).__name__
    for pattern, meaning in FAULTS.items():
        if re.search(pattern, text):
            return meaning
    return textwrap.shorten(redact(text).splitlines()[0], 200, placeholder=" ...")
