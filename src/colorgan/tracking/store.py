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
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import url2pathname

from colorgan import paths
from colorgan.errors import ColorganError

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
    "is malformed|malformed database|codec can't decode|no such (table|column)": "the file is "
    "damaged; put a copy of it back, or try `sqlite3 FILE .recover`",
    "out-of-date database schema|locate revision": "it was made by another version of MLflow; "
    "install that version, or if it is older, copy the file and run `mlflow db upgrade URI`",
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


def prepare_file(uri: str) -> None:
    """Check that a SQLite store is MLflow's, and change its paths if the project has moved.

    Before the change, the file is copied to `<file>.before-move`. Other stores are left alone.
    """
    file, root = sqlite_file(uri), paths.project_root()
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Here and not in MLflow, which tries for two minutes to open a file that cannot be opened.
    with closing(sqlite3.connect(file, timeout=20, isolation_level=None)) as store:
        names = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in names}
        if tables and not {"alembic_version", "experiments"} <= tables:
            raise ColorganError(
                f"{file} is the database of another program: MLFLOW_TRACKING_URI should name "
                "another file"
            )
        old = _old_root(store) if tables else None
        if old is None or (old.is_absolute() and old.resolve() == root):
            return
        # A store outside may be shared with the project that lies where its runs are.
        if old.exists() and not file.resolve().is_relative_to(root):
            return
        store.execute("BEGIN IMMEDIATE")
        if _old_root(store) == old:  # no other process was faster
            # Another connection: that of a transaction cannot be copied from.
            backup = sqlite3.connect(f"{file}.before-move")
            with closing(sqlite3.connect(file)) as source, closing(backup) as copy:
                source.backup(copy)
            for table, column in LOCATIONS:
                if table in tables:
                    _follow(store, table, column, old, root)
        store.execute("COMMIT")


def _old_root(store: sqlite3.Connection) -> Path | None:
    """Return the project in which the experiment's files lie, `.` if their path is relative.

    None if the user has chosen their folder, or the experiment does not exist.
    """
    query = "SELECT artifact_location FROM experiments WHERE name = ?"
    (location,) = store.execute(query, (experiment_name(),)).fetchone() or ("",)
    if location.startswith("file:"):
        location = url2pathname(urlsplit(location).path)
    folder = Path(location)
    if folder.name == ARTIFACTS:
        return folder.parent
    # MLflow's own choice is mlruns/<experiment id>.
    return folder.parents[1] if folder.parent.name == "mlruns" else None


def _follow(store: sqlite3.Connection, table: str, column: str, old: Path, new: Path) -> None:
    """Replace the project with which the paths of a column begin, written as path or as URI."""
    if not old.is_absolute():
        relative = f"{column} != '' AND {column} NOT LIKE '/%' AND {column} NOT LIKE '%:%'"
        store.execute(f"UPDATE {table} SET {column} = ? || {column} WHERE {relative}", (f"{new}/",))
        return
    for before, after in ((str(old), str(new)), (old.as_uri(), new.as_uri())):
        before, after = (f"{folder.removesuffix('/')}/" for folder in (before, after))
        begins = f"substr({column}, 1, {len(before)}) = ?"
        rest = f"substr({column}, {len(before) + 1})"
        store.execute(f"UPDATE {table} SET {column} = ? || {rest} WHERE {begins}", (after, before))
