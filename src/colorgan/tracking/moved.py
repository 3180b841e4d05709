"""Lets a SQLite store follow a project that was moved or copied. Does not import MLflow."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.tracking.store import ARTIFACTS, experiment_name, sqlite_file

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns in which MLflow keeps absolute paths: a copied project would write into the original."""


def prepare_file(uri: str) -> None:
    """Check that a SQLite store is MLflow's, and change its paths if the project has moved.

    Before the change, the file is copied to `<file>.before-move`. A file that does not exist is
    made; other kinds of stores are left alone.

    Raises:
        ColorganError: the file is the database of another program.
        sqlite3.Error, OSError: it cannot be read, or cannot be changed.
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
            with (
                closing(sqlite3.connect(file)) as source,
                closing(sqlite3.connect(f"{file}.before-move")) as copy,
            ):
                source.backup(copy)
            for table, column in LOCATIONS:
                if table in tables:
                    _follow(store, table, column, old, root)
        store.execute("COMMIT")


def _old_root(store: sqlite3.Connection) -> Path | None:
    """Return the project in which the experiment's files lie, `.` if their path is relative.

    None if that is not known: the user has chosen the folder, or the experiment does not exist.
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
