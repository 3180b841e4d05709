"""What a killed DVC leaves beside the repository: processes, locks, copies of the project."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from colorgan.io import file_aside
from colorgan.processes import (
    GONE,
    all_pids,
    ancestors,
    command_line,
    environment,
    launcher,
    working_directory,
)
from colorgan.recovery.at_work import (
    EXPERIMENTS,
    LOCKS,
    TMP,
    Holder,
    holders,
    modified,
    read_json,
)
from colorgan.recovery.finding import Finding
from colorgan.recovery.git import Git
from colorgan.runs.lock import read_owner

# Under which DVC locks what it does while it begins an experiment.
BEGINNING = "workspace"
# A git that works holds its locks for less.
GIT_LOCK_SECONDS = 2.0
SHELLS = ("sh", "bash", "dash", "zsh", "fish")
PREPARING, RUNNING = 1, 2  # of dvc.repo.experiments.executor.base.TaskStatus


def killed_command(root: Path) -> str:
    """Return the command of the DVC that was killed, as typed; empty if no lock tells."""
    for file in LOCKS:
        for holder in holders(root / file):
            words = holder.command.split()
            return " ".join(["dvc", *words[1:]])
    return ""


def beginning(root: Path) -> float | None:
    """Return when a DVC that died while it began an experiment started on it, as file time."""
    file = root / EXPERIMENTS / "rwlock"
    content = read_json(file)
    return modified(file) if content and BEGINNING in content.get("write", {}) else None


def find_locks(root: Path) -> Iterator[Finding]:
    """Find what dead processes hold in DVC's locks, and locks that were cut short."""
    for name in LOCKS:
        file = root / name
        if not file.exists():
            continue
        if read_json(file) is None:
            yield Finding(f"{name} was cut short, and DVC refuses it; removed", file.unlink)
        elif dead := sorted({holder.pid for holder in holders(file)}):
            pids = ", ".join(str(pid) for pid in dead)
            yield Finding(
                f"{name} names a DVC that is dead (process {pids}); emptied",
                partial(_write_empty, file),
            )


def find_git_locks(git: Git) -> Iterator[Finding]:
    """Find locks of git that nobody holds any more; git would refuse its commands."""
    folders = {git.path("HEAD").parent, git.path("refs").parent}
    locks = {lock for folder in folders for lock in folder.glob("*.lock")}
    locks |= {lock for folder in folders for lock in (folder / "refs").rglob("*.lock")}
    if locks:
        youngest = max(modified(lock) for lock in locks)
        time.sleep(min(GIT_LOCK_SECONDS, max(0.0, youngest + GIT_LOCK_SECONDS - time.time())))
    for lock in sorted(lock for lock in locks if lock.exists()):
        # DVC may lie in a folder of the repository, and a git work in any other.
        words = (command_line(pid)[:1] for pid in all_pids() if _works_in(pid, git.top))
        if not any(Path(word[0]).name.startswith("git") for word in words if word):
            yield Finding(f"{lock} is left over, and git refuses to work; removed", lock.unlink)


def find_orphans(root: Path) -> Iterator[Finding]:
    """Find stages of this project that run on although their DVC has died; they are only named."""
    stages: dict[int, str] = {}
    for pid in all_pids():
        around = environment(pid)
        of_here = around.get("DVC_ROOT") and Path(around["DVC_ROOT"]).resolve() == root.resolve()
        # The shell between DVC and the stage would die without handing a signal on.
        if of_here and "DVC_STAGE" in around and not _is_shell(pid) and launcher(pid) == GONE:
            stages[pid] = around["DVC_STAGE"]
    for owner in filter(None, map(read_owner, (root / ".resume").glob("*/*"))):
        # It was told by its DVC when that was alive, wherever the system has put it since.
        if owner.orphan:
            pid = owner.process.pid
            stages[pid] = environment(pid).get("DVC_STAGE", "train")
    for pid, stage in sorted(stages.items()):
        if stages.keys() & set(ancestors(pid)):
            continue
        after = (
            "the next start of it with the same parameters asks it to stop and goes on from its "
            "checkpoint"
            if stage.startswith("train")
            else "it may still write to the stage's results"
        )
        yield Finding(f"process {pid} runs stage {stage} on without its DVC: {after}; to stop it "
                      f"now: kill {pid}")  # fmt: skip


def _is_shell(pid: int) -> bool:
    return any(Path(word).name in SHELLS for word in command_line(pid)[:1])


def find_temporary_copies(root: Path) -> Iterator[Finding]:
    """Find copies of the project in which a killed `--temp` or queued experiment ran."""
    folder = root / EXPERIMENTS
    for copy in (*folder.glob("tmp*"), *folder.glob("standalone/tmp*")):
        if copy.is_dir() and not _in_use(root, copy):
            yield Finding(
                f"{copy.relative_to(root)} is the copy of the project that a killed experiment ran "
                "in; removed",
                partial(_remove_copy, root, copy),
            )


def find_cut_off_tasks(root: Path) -> Iterator[Finding]:
    """Find experiments of the queue that DVC believes to run although their process is dead."""
    for file in (root / EXPERIMENTS / "run").glob("*/*.run"):
        note = file.with_suffix(".json")
        info, process = read_json(file), read_json(note)
        if not info or not process or info.get("status") not in (PREPARING, RUNNING):
            continue
        if process.get("returncode") is None and file.parent.name != BEGINNING:
            command = f"dvc exp exec-run --infofile {file}"
            holder = Holder(int(process["pid"]), command, modified(note))
            if not holder.alive:
                name = info.get("name") or file.stem[:7]
                yield Finding(
                    f"the queued experiment {name} was cut off: `dvc queue kill {name}`, `dvc "
                    f"queue remove {name}`, and queue it again",
                    for_the_person=True,
                )


def _in_use(root: Path, copy: Path) -> bool:
    if any(holder.alive for holder in holders(copy / TMP / "rwlock")):
        return True
    # A worker of the queue makes a copy, and takes the results out of it at the end, from outside;
    # in between it starts a DVC that goes into the copy only after seconds.
    return any(
        _works_in(pid, copy) or (_is_dvc(pid) and _works_in(pid, root)) for pid in all_pids()
    )


def _is_dvc(pid: int) -> bool:
    """Whether a process was started as `dvc`, `python .../bin/dvc` or `python -m dvc`."""
    return any(Path(word).name in ("dvc", "dvc.exe") for word in command_line(pid)[:3])


def _remove_copy(root: Path, copy: Path) -> None:
    shutil.rmtree(copy, ignore_errors=True)
    # DVC shows the experiment as running as long as these tell of it.
    folder = root / EXPERIMENTS
    for file in (*folder.glob("run/*/*.run"), *folder.glob("standalone/run/*/*.run")):
        info = read_json(file)
        if info and info.get("root_dir") == str(copy) and not file.with_suffix(".json").exists():
            shutil.rmtree(file.parent, ignore_errors=True)


def _works_in(pid: int, folder: Path) -> bool:
    place = working_directory(pid)
    return place is not None and place.is_relative_to(folder.resolve())


def _write_empty(path: Path) -> None:
    with file_aside(path) as aside:
        aside.write_text("{}", encoding="utf-8")
