"""What a killed DVC leaves beside the repository: processes, locks, copies of the project."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from colorgan.files import file_aside
from colorgan.processes import (
    GONE,
    all_pids,
    ancestors,
    command_line,
    environment,
    find,
    launcher,
    working_directory,
)
from colorgan.recovery.finding import Finding
from colorgan.recovery.git import Git
from colorgan.training.lock import read_owner

TMP = Path(".dvc/tmp")
EXPERIMENTS = TMP / "exps"
LOCKS = (TMP / "rwlock", EXPERIMENTS / "rwlock")
# Under which DVC locks what it does while it begins an experiment.
BEGINNING = "workspace"
# A git that works holds its locks for less.
GIT_LOCK_SECONDS = 2.0
SHELLS = ("sh", "bash", "dash", "zsh", "fish")
PREPARING, RUNNING = 1, 2  # of dvc.repo.experiments.executor.base.TaskStatus


@dataclass(frozen=True)
class Holder:
    """Who stands in a lock of DVC's: its pid and command, as DVC wrote them."""

    pid: int
    command: str

    @property
    def alive(self) -> bool:
        """Whether that DVC runs still; another process may have got its pid."""
        arguments = self.command.partition(" ")[2]
        now = " ".join(command_line(self.pid))
        told = not now or ("dvc" in now and now.endswith(arguments))
        return find(self.pid) is not None and told


def dvc_at_work(root: Path) -> Holder | None:
    """Return the DVC that works in the working tree of `root` now, if there is one."""
    holders = (holder for file in LOCKS for holder in _holders(_read_json(root / file)))
    return next((holder for holder in holders if holder.alive), None)


def killed_command(root: Path) -> str:
    """Return the command of the DVC that was killed, as typed; empty if no lock tells."""
    for file in LOCKS:
        for holder in _holders(_read_json(root / file)):
            words = holder.command.split()
            return " ".join(["dvc", *words[1:]])
    return ""


def beginning(root: Path) -> float | None:
    """Return when a DVC that died while it began an experiment started on it, as file time."""
    file = root / EXPERIMENTS / "rwlock"
    content = _read_json(file)
    return file.stat().st_mtime if content and BEGINNING in content.get("write", {}) else None


def find_locks(root: Path) -> Iterator[Finding]:
    """Find what dead processes hold in DVC's locks, and locks that were cut short."""
    for name in LOCKS:
        file = root / name
        if not file.exists():
            continue
        content = _read_json(file)
        if content is None:
            yield Finding(f"{name} was cut short, and DVC refuses it; removed", file.unlink)
        elif dead := sorted({holder.pid for holder in _holders(content)}):
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
        youngest = max(_modified(lock) for lock in locks)
        time.sleep(min(GIT_LOCK_SECONDS, max(0.0, youngest + GIT_LOCK_SECONDS - time.time())))
    for lock in sorted(lock for lock in locks if lock.exists()):
        words = (command_line(pid)[:1] for pid in all_pids() if _works_in(pid, git.folder))
        if not any(Path(word[0]).name.startswith("git") for word in words if word):
            yield Finding(f"{lock} is left over, and git refuses to work; removed", lock.unlink)


def _modified(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


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
        if copy.is_dir() and not _in_use(copy):
            yield Finding(
                f"{copy.relative_to(root)} is the copy of the project that a killed experiment ran "
                "in; removed",
                partial(_remove_copy, root, copy),
            )


def find_cut_off_tasks(root: Path) -> Iterator[Finding]:
    """Find experiments of the queue that DVC believes to run although their process is dead."""
    for file in (root / EXPERIMENTS / "run").glob("*/*.run"):
        info, process = _read_json(file), _read_json(file.with_suffix(".json"))
        if not info or not process or info.get("status") not in (PREPARING, RUNNING):
            continue
        if process.get("returncode") is None and file.parent.name != BEGINNING:
            holder = Holder(int(process["pid"]), f"dvc exp exec-run --infofile {file}")
            if not holder.alive:
                name = info.get("name") or file.stem[:7]
                yield Finding(
                    f"the queued experiment {name} was cut off: `dvc queue kill {name}`, `dvc "
                    f"queue remove {name}`, and queue it again",
                    for_the_person=True,
                )


def _in_use(copy: Path) -> bool:
    held = any(holder.alive for holder in _holders(_read_json(copy / TMP / "rwlock")))
    return held or any(_works_in(pid, copy) for pid in all_pids())


def _remove_copy(root: Path, copy: Path) -> None:
    shutil.rmtree(copy, ignore_errors=True)
    # DVC shows the experiment as running as long as these tell of it.
    folder = root / EXPERIMENTS
    for file in (*folder.glob("run/*/*.run"), *folder.glob("standalone/run/*/*.run")):
        info = _read_json(file)
        if info and info.get("root_dir") == str(copy) and not file.with_suffix(".json").exists():
            shutil.rmtree(file.parent, ignore_errors=True)


def _works_in(pid: int, folder: Path) -> bool:
    place = working_directory(pid)
    return place is not None and place.is_relative_to(folder.resolve())


def _holders(content: dict[str, Any] | None) -> Iterator[Holder]:
    for kind in ("write", "read"):
        for entry in (content or {}).get(kind, {}).values():
            for one in entry if isinstance(entry, list) else [entry]:
                yield Holder(int(one["pid"]), str(one["cmd"]))


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object, None if the file is not there or was cut short."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write_empty(path: Path) -> None:
    with file_aside(path) as aside:
        aside.write_text("{}", encoding="utf-8")
