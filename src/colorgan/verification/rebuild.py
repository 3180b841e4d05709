"""A recorded run's code and parameters, built again in a clone of the repository.

The clone shares the objects of the original and is all that git knows of the run: the commit, and
on top of it the recorded diff. Nothing in the original is written to.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from colorgan import paths
from colorgan.config import read_yaml
from colorgan.errors import ColorganError
from colorgan.tracking.lineage import git_environment

# As `colorgan.tracking.lineage` writes them; a line of git's own diff never begins so.
CUT = b"[cut here: "
NEW = b"new, not in git: "
BINARY = b"\nBinary files "

DECISIONS = {
    "precision": "train.amp",
    "compile": "train.compile",
    "device": "runtime.device",
    "devices": "runtime.devices",
}
"""The tags of what `auto` came to, and the parameters that ask for just that."""


@dataclass(frozen=True)
class Changes:
    """What git.diff of a run holds.

    Attributes:
        patch: what `git apply` takes.
        lost: files whose content was not recorded; none of them is code.
    """

    patch: bytes
    lost: tuple[str, ...]


def read_changes(diff: bytes, run: str) -> Changes:
    """Part a recorded git.diff into what can be applied and what was not kept.

    Raises:
        ColorganError: the diff was cut, or the content of a file under src was not kept.
    """
    lines = diff.splitlines(keepends=True)
    if any(line.startswith(CUT) for line in lines):
        raise ColorganError(
            f"the code of {run} cannot be built again: its git.diff was too long and was cut; "
            "commit before you train"
        )
    new = [_name(line.removeprefix(NEW)) for line in lines if line.startswith(NEW)]
    text = b"".join(line for line in lines if not line.startswith(NEW))
    sections = re.split(rb"(?m)^(?=diff --git )", text)
    binary = [section for section in sections if BINARY in section]
    lost = (*new, *(_name(s.splitlines()[0].rpartition(b" b/")[2]) for s in binary))
    code = [name for name in lost if name.startswith("src/") or "/src/" in name]
    if code:
        raise ColorganError(
            f"the code of {run} cannot be built again: {', '.join(code)} "
            f"{'was' if len(code) == 1 else 'were'} not in git; commit before you train"
        )
    return Changes(b"".join(s for s in sections if s not in binary), lost)


def clone_at(commit: str, changes: Changes, folder: Path, run: str) -> Path:
    """Build the project of the working directory as it was at `commit` with `changes`.

    Returns:
        The project in the clone `folder`, which lies below it where it does so in its repository.

    Raises:
        ColorganError: the commit is gone, the changes do not fit it, or there is no colorgan in it.
    """
    here = Path.cwd()
    top = Path(_git(here, "rev-parse", "--show-toplevel").decode().strip())
    prefix = _git(here, "rev-parse", "--show-prefix").decode().strip()
    if _git(here, "cat-file", "-t", commit, check=False).strip() != b"commit":
        raise ColorganError(
            f"the commit {commit[:10]} of {run} is not in this repository any more: fetch the "
            "branch that it was on"
        )
    # No hooks, of the repository or the user: they are not part of the run.
    _git(here, "clone", "--quiet", "--shared", "--no-checkout", "--template=", str(top),
         str(folder))  # fmt: skip
    _git(folder, "checkout", "--quiet", "--detach", commit)
    if changes.patch:
        try:
            _git(folder, "apply", "--whitespace=nowarn", "-", input=changes.patch)
        except ColorganError as error:
            raise ColorganError(
                f"the recorded git.diff of {run} does not fit its commit {commit[:10]}: {error}"
            ) from None
    project = folder / prefix
    for name in ("src/colorgan/__main__.py", paths.PARAMS):
        if not (project / name).is_file():
            raise ColorganError(f"{run} cannot be repeated: its commit {commit[:10]} has no {name}")
    return project


def write_params(
    file: Path, space: str, recorded: Mapping[str, Any], tags: Mapping[str, str]
) -> list[str]:
    """Put the parameters that a run was made with into the params.yaml of its code.

    Args:
        file: params.yaml of the clone.
        space: the space that the run trained.
        recorded: the resolved parameters by dotted path; `data.`, `model.` and `train.` are those
            of the space.
        tags: the tags of the run, with what `auto` came to.

    Returns:
        Sentences about what the record and the code do not have in common.
    """
    content = read_yaml(file)
    values = dict(recorded)
    for tag, name in DECISIONS.items():
        if tag in tags and name in values:
            values[name] = int(tags[tag]) if tag == "devices" else tags[tag]
    values["runtime.progress"] = "auto"

    unknown, known = [], set()
    for name, value in values.items():
        place, keys = _place(content, space, name)
        if place is None:
            unknown.append(name)
        else:
            known.add(name)
            for key in keys[:-1]:
                place = place.setdefault(key, {})
            place[keys[-1]] = value
    wanted = _names(content[space], "data.", without=("model", "train"))
    for section in ("model", "train"):
        wanted |= _names(content.get(section, {}), f"{section}.")
    YAML().dump(content, file)
    sentences = [f"not parameters of that code, left out: {', '.join(unknown)}"] if unknown else []
    if missing := sorted(wanted - known):
        sentences.append(f"not recorded, as in its params.yaml: {', '.join(missing)}")
    return sentences


def environment(project: Path, threads: str | None = None) -> dict[str, str]:
    """Return the environment in which the clone's code runs, and records into the clone alone.

    Args:
        project: the project in the clone.
        threads: on how many threads the CPU is to compute; the sums depend on it.
    """
    from colorgan.tracking.mlflow_read import sqlite_uri

    env = {
        name: value
        for name, value in git_environment().items()
        if not name.startswith(("DVC_", "MLFLOW_RUN", "MLFLOW_EXPERIMENT"))
    }
    inherited = env.get("PYTHONPATH", "")
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(project / "src"), inherited)))
    env["MLFLOW_TRACKING_URI"] = sqlite_uri(project / "mlflow.db")
    # DVC would else leave a folder per clone in the system's.
    env["DVC_SITE_CACHE_DIR"] = str(project / ".dvc" / "tmp" / "site")
    env["DVC_NO_ANALYTICS"] = "1"
    if threads:
        env["OMP_NUM_THREADS"] = threads
    return env


def _place(content: dict[str, Any], space: str, name: str) -> tuple[Any, list[str]]:
    """Return the mapping that holds a parameter, and its path in there; None if it is unknown."""
    section, *keys = name.split(".")
    if section in ("model", "train"):
        # An override of this space: the other one keeps what it has.
        own = content[space]
        own[section] = own.get(section) or {}
        return (own[section] if keys[0] in content.get(section, {}) else None), keys
    place = content.get(space if section == "data" else section, {})
    inner = place
    for key in keys[:-1]:
        inner = inner.get(key, {})
    return (place if keys[-1] in inner else None), keys


def _names(section: Mapping[str, Any], prefix: str, without: tuple[str, ...] = ()) -> set[str]:
    """Return the dotted paths of a section's parameters."""
    names: set[str] = set()
    for key, value in section.items():
        if key not in without:
            inner = isinstance(value, dict)
            names |= _names(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}"}
    return names


def _name(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").strip().strip('"')


def _git(cwd: Path, *arguments: str, input: bytes = b"", check: bool = True) -> bytes:
    """Return what git prints; ColorganError with its last line if it fails."""
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=git_environment(),
            input=input,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise ColorganError("git is not installed: the code of a run comes from it") from None
    if check and done.returncode:
        said = done.stderr.decode("utf-8", errors="replace").strip().splitlines() or ["no reason"]
        raise ColorganError(f"git {arguments[0]} failed: {said[0]}")
    return done.stdout
