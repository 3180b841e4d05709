"""The MLflow store of the project: its URI, a move of its file, and what its errors mean.

Does not import MLflow.
"""

from __future__ import annotations

import os
import re
import sqlite3
import textwrap
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from colorgan import errors, paths
from colorgan.errors import ColorganError

ARTIFACTS = "mlartifacts"
"""Folder of the project that holds the files of its runs."""

FAULTS = {
    "database is locked": "another program is writing to it; try again when that has finished",
    "readonly database": "it cannot be written to; you need the right to write to the file and to "
    "its folder",
    "unable to open database file": "it cannot be opened; its folder should exist, and you need "
    "the right to read and write both",
    "file is not a database": "it is no SQLite database; MLFLOW_TRACKING_URI should name another "
    "file",
    "is malformed|malformed database|codec can't decode|no such (table|column)": "the file is "
    "damaged; put a copy of it back, or try `sqlite3 FILE .recover`",
    "out-of-date database schema|locate revision": "it was made by another version of MLflow; "
    "install that version, or if it is older, copy the file and run `mlflow db upgrade URI`",
    "error code 401|401 Client Error": "the user name or the password is wrong; "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD should be those of your account",
    "error code 403|403 Client Error": "your account may not do this; ask the server's "
    "administrator for the permission EDIT",
    "mlflow-artifacts/.*(too many 50. error|50. Server Error)": "the server cannot use its storage "
    "of files; its log says why, such as a bucket that does not exist",
    "timeout exception|Read timed out": "it did not answer in time; MLFLOW_HTTP_REQUEST_TIMEOUT is "
    "how many seconds to wait (15)",
    "Connection refused": "no server listens there",
}
"""What a message of SQLite or MLflow (a pattern) means for the user."""
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns in which MLflow keeps absolute paths: a copied project would write into the original."""
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY",
           "AWS_SESSION_TOKEN")  # fmt: skip


def experiment_name() -> str:
    """Return the name of the experiment that holds this project's runs."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "colorgan"


def tracking_uri() -> str:
    """Return the URI of the MLflow store: `MLFLOW_TRACKING_URI`, else mlflow.db.

    A relative SQLite path starts at the project root, also in a copy that DVC has made.
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


def redact(text: str) -> str:
    """Return a text, such as a URI or an error message, with passwords and tokens shown as ***."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    login = None
    if uri and not sqlite_file(uri):
        # A password with a space or a quote.
        text = text.replace(uri, re.sub(r"[\s'\"<>]", "", uri))
        login = re.match(
            r"(?:[^:]+://(?:[^:@]*:)?|[^@]*?:)(.*)@|[^:]+://[^:/\[]*:(?!\d{1,5}\b)([^/?;]*)", uri
        )
    text = errors.redact(text)
    # A library may name them without the URI.
    secrets = [*(login.groups("") if login else ()), *map(os.environ.get, SECRETS)]
    secrets += re.findall(r"[?&;][^=&;]*=([^&;]+)", uri)
    for secret in {*filter(None, secrets), *map(unquote, filter(None, secrets))}:
        # Shorter ones would be found inside other words.
        text = text.replace(secret, "***") if len(secret) > 3 else text
    return text


def reason(error: Exception) -> str:
    """Return what an error of a store means, or its first line, without passwords."""
    text = str(error).strip() or type(error).__name__
    for pattern, meaning in FAULTS.items():
        if re.search(pattern, text):
            return meaning
    return textwrap.shorten(redact(text).splitlines()[0], 200, placeholder=" ...")


def prepare_file(uri: str) -> None:
    """Check that a SQLite store is MLflow's, and change its paths if the project has moved.

    Before the change the file is copied to `<file>.before-move`. Other stores are left alone.
    """
    file, root = sqlite_file(uri), paths.project_root()
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Here and not in MLflow, which tries for two minutes to open a file that cannot be opened.
    with closing(sqlite3.connect(file, timeout=10)) as store, store:
        names = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in names}
        if tables and not {"alembic_version", "experiments"} <= tables:
            raise ColorganError(
                f"{file} is the database of another program: MLFLOW_TRACKING_URI should name "
                "another file"
            )
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        found = store.execute(query, (experiment_name(),)).fetchone() if tables else None
        before, folder = (found or [""])[0].rpartition("/")[::2]
        # The user may have chosen another folder. A store outside may be shared with the project
        # that lies where its runs are.
        shared = not file.resolve().is_relative_to(root)
        shared = shared and Path(url2pathname(urlsplit(before).path)).exists()
        if folder != ARTIFACTS or shared or before == root.as_uri():
            return
        with closing(sqlite3.connect(f"{file}.before-move")) as copy:
            store.backup(copy)
        for table, column in LOCATIONS:
            if table in tables:
                store.execute(
                    f"UPDATE {table} SET {column} = :now || substr({column}, length(:before) + 1) "
                    f"WHERE instr({column}, :before || '/') = 1",
                    {"before": before, "now": root.as_uri()},
                )
