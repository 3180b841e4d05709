"""The arrays that a run trained on, brought into its clone: those of the project, or made again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from colorgan import paths
from colorgan.data.arrays import read_info
from colorgan.errors import ColorganError


def provide_arrays(space: str, digest: str, project: Path, env: Mapping[str, str]) -> None:
    """Put the arrays of this digest into the clone's `project`, without a copy where that can be.

    Those of the working directory are linked if they are the ones; else the clone's own pipeline
    makes them, from DVC's cache where it still has them.

    Raises:
        ColorganError: the arrays cannot be had; says which ones there are instead.
    """
    here = paths.processed(space)
    if _digest(here) != digest:
        _remake(space, project, env)
        found = _digest(project / here)
        if found != digest:
            raise ColorganError(
                f"the photos of that run are not to be had any more: its data digest is "
                f"{digest[:12]}, preprocess of its code and parameters gives {found[:12]}; "
                f"bring the contents of {space}.path or of DVC's cache back"
            )
        return
    # A link per file, not of the folder: if DVC replaces the folder meanwhile, these stay.
    shutil.copytree(here.resolve(), project / here, copy_function=_link)


def _digest(folder: Path) -> str:
    try:
        return read_info(folder).digest
    except ColorganError:
        return "none"


def _link(source: str, target: str) -> None:
    """Link a file; by name where the disk is another one. Training only reads."""
    try:
        os.link(source, target)
    except OSError:
        Path(target).symlink_to(source)


def _remake(space: str, project: Path, env: Mapping[str, str]) -> None:
    """Run preprocess and what it needs in the clone, on the cache of the original."""
    cache = _dvc(Path.cwd(), env, "cache", "dir").strip()
    # It may name remotes that the pipeline's files come from.
    own = Path(".dvc", "config.local")
    if own.is_file():
        shutil.copyfile(own, project / own)
    _dvc(project, env, "config", "--local", "cache.dir", str(Path(cache).resolve()))
    print(f"The arrays of {space} are made again as that run had them", flush=True)
    _dvc(project, env, "repro", f"preprocess@{space}", quiet=False)


def _dvc(cwd: Path, env: Mapping[str, str], *arguments: str, quiet: bool = True) -> str:
    # DVC runs the `python` of PATH: let it be this one.
    path = os.pathsep.join((str(Path(sys.executable).parent), env.get("PATH", "")))
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=cwd,
        env={**env, "PATH": path},
        text=True,
        stdout=subprocess.PIPE if quiet else None,
        check=False,
    )
    if done.returncode:
        raise ColorganError(
            f"`dvc {' '.join(arguments)}` failed, so the arrays of that run cannot be made again"
        )
    return done.stdout or ""
