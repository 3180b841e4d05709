"""What a killed `dvc exp run` leaves in the repository: HEAD, refs, params.yaml, stashed edits.

`dvc exp run` (3.67) stashes the edits in the working tree, detaches HEAD, writes the values of
`-S`, stashes that as the experiment (EXEC_MERGE when it runs), goes back to the branch and pops the
edits; then it detaches HEAD again, applies the experiment and runs it. What is found depends on
where in this it was killed.
"""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

from colorgan.paths import PARAMS
from colorgan.recovery.at_work import modified
from colorgan.recovery.finding import Finding
from colorgan.recovery.git import MOVED, SHA, Commit, Git
from colorgan.recovery.leftovers import beginning, killed_command

EXEC = "refs/exps/exec/"
MERGE = EXEC + "EXEC_MERGE"
HEAD = EXEC + "EXEC_HEAD"  # stays after each experiment, also one that ended well
RUNNING = (MERGE, EXEC + "EXEC_BASELINE", EXEC + "EXEC_BRANCH")
NOT_BEGUN = "refs/exps/stash"
ARGUMENTS = Path(".dvc/tmp/repro.dat")
WORKSPACE = Path(".dvc/tmp/exps/run/workspace")
DIFF_LINES = 40
# Between the stash of the edits, the first detaching and the values of `-S` lies no work of DVC's.
STASH_SECONDS = 10


def find_experiment(git: Git) -> list[Finding]:
    """Return what a killed experiment has left in the repository, in the order to mend it."""
    stashed = _stashed_edits(git)
    found = [stashed, None if stashed else _params(git), _arguments(git), _not_begun(git)]
    return [finding for finding in (*found, _marks(git), _head(git)) if finding]


def _stashed_edits(git: Git) -> Finding | None:
    """Killed while it began: the edits of the working tree are in `git stash` alone."""
    stash = git.commits([git.stash])[0] if git.stash else None
    if stash is None or stash.parents[:1] != (git.head,):
        return None
    began = beginning(git.folder)
    log = git.path("logs/refs/stash")
    if began is None or not log.exists() or log.stat().st_mtime < began:
        return None
    params = git.name(PARAMS)
    written_by_dvc = {git.name(ARGUMENTS), git.name(Path("dvc.lock"))}
    if not _edited_since(git):
        written_by_dvc.add(params)
    # Neither as before nor as in the commit: somebody has been at work since.
    differing = (git.changed(git.head) & git.changed(stash.name)) - written_by_dvc
    edited = {name for name in differing if not _half_written(git, name, (git.head, stash.name))}
    what = (
        f"DVC was killed while it began an experiment: your changes since the last commit lie in "
        f"`git stash` ({stash.name[:7]})"
    )
    if edited:
        return Finding(
            f"{what}; {', '.join(sorted(edited))} changed since, so put them back yourself with "
            "`git stash pop`",
            for_the_person=True,
        )

    def mend() -> None:
        mine = git.folder / PARAMS
        if mine.exists() and mine.read_bytes() != git.content(stash.name, params):
            shutil.copy2(mine, _copy_of(mine))
        git.tell("restore", f"--source={stash.name}", "--worktree", "--", ":/")
        git.tell("read-tree", f"{stash.name}^2")
        # Git can drop the newest stash alone: it must still be that one.
        if git.ask("rev-parse", "refs/stash") == stash.name:
            git.tell("stash", "drop", "--quiet")

    return Finding(f"{what}; they are put back", mend)


def _half_written(git: Git, name: str, commits: tuple[str, ...]) -> bool:
    """Whether a file is but the beginning of what a commit has: DVC was killed while it wrote."""
    path = git.top / name
    if not path.exists():
        return True
    if not path.is_file():
        return False
    now = path.read_bytes()
    return any((git.content(commit, name) or b"").startswith(now) for commit in commits)


def _params(git: Git) -> Finding | None:
    """Killed while it ran, or had begun without edits to stash: params.yaml has values of `-S`."""
    merge = git.refs(MERGE).get(MERGE)
    path = git.folder / PARAMS
    begun = beginning(git.folder) is not None and not git.branch
    if not path.exists() or not (begun or merge):
        return None
    name, now = git.name(PARAMS), path.read_bytes()
    before = git.head if begun or not merge else _before(git, git.commits([merge])[0])
    original = git.content(before, name)
    if original is None or original == now:
        return None
    command = killed_command(git.folder)
    of = f" of `{command}`" if command else ""
    text = f"{PARAMS} has the values{of}:\n{_difference(original, now)}"
    # What DVC would have written is known only when it has kept it as the experiment.
    edited = _edited_since(git) if begun else now != git.content(f"{merge}", name)
    if edited:
        return Finding(
            f"{text}\nit was edited since, so it is left as it is; what it was before the "
            f"experiment: git show {before[:10]}:{name}",
            for_the_person=True,
        )

    copy = _copy_of(path)

    def mend() -> None:
        shutil.copy2(path, copy)
        path.write_bytes(original)
        # DVC may have staged the values too; what the person staged is left alone.
        if git.content("", name) == now:
            git.tell("reset", "--quiet", "--", f":/{name}")

    whose = "the last commit has it" if before == git.head else "you had it, with your own edits"
    return Finding(f"{text}\nit is put back as {whose}; a copy is kept as {copy.name}", mend)


def _edited_since(git: Git) -> bool:
    """Whether params.yaml was written later than by a DVC that died while it began."""
    began = beginning(git.folder)
    return began is not None and modified(git.folder / PARAMS) > began + STASH_SECONDS


def _before(git: Git, merge: Commit) -> str:
    """Return the commit with the working tree before the experiment: DVC's stash, or its HEAD."""
    head = merge.parents[0]
    detached = [
        move.time
        for move, then in zip(git.moves, git.moves[1:], strict=False)
        if then.message.startswith("dvc: Restore HEAD") and _is_detaching(move.message)
    ]
    began = max((t for t in detached if t <= merge.time), default=merge.time)
    stashes = [
        commit
        for commit in git.unreachable_commits()
        if commit.parents[:1] == (head,)
        and commit.subject.startswith("WIP on ")
        and 0 <= began - commit.time <= STASH_SECONDS
    ]
    return max(stashes, key=lambda commit: commit.time).name if stashes else head


def _arguments(git: Git) -> Finding | None:
    name = f":/{git.name(ARGUMENTS)}"
    if not git.ask("ls-files", "--", name) or git.content("HEAD", git.name(ARGUMENTS)):
        return None

    def mend() -> None:
        git.tell("rm", "--cached", "--force", "--quiet", "--ignore-unmatch", "--", name)
        (git.folder / ARGUMENTS).unlink(missing_ok=True)

    return Finding(f"{ARGUMENTS}, a file of DVC's own, is staged for your commit; removed", mend)


def _not_begun(git: Git) -> Finding | None:
    if NOT_BEGUN not in git.refs(NOT_BEGUN):
        return None
    return Finding(
        "an experiment was killed before it began, and DVC would run it along with the next one; "
        "taken away",
        lambda: git.tell("update-ref", "-d", NOT_BEGUN),
    )


def _marks(git: Git) -> Finding | None:
    refs = git.refs(EXEC)
    # A ref that points to another is listed only if that one exists.
    symbolic = git.path(RUNNING[2])
    left = [name for name in RUNNING if name in refs or (name == RUNNING[2] and symbolic.exists())]
    if not left and not (git.folder / WORKSPACE).exists():
        return None

    def mend() -> None:
        for name in (*left, *({HEAD} & refs.keys())):
            git.tell("update-ref", "--no-deref", "-d", name)
        shutil.rmtree(git.folder / WORKSPACE, ignore_errors=True)

    return Finding(
        "DVC's marks of a running experiment are left "
        f"({', '.join(name.removeprefix(EXEC) for name in left) or WORKSPACE}); removed",
        mend,
    )


def _head(git: Git) -> Finding | None:
    """HEAD detached by DVC: back to the branch, if that loses no commit."""
    by_dvc = any(_is_detaching(move.message) for move in git.moves[-1:]) or git.refs(EXEC)
    if git.branch or not git.head or not by_dvc or not (git.folder / ".dvc/tmp/exps").exists():
        return None
    at = f"HEAD is detached at {git.head[:7]}"
    branch = _branch_before(git)
    if not branch:
        return Finding(
            f"{at}, and git's record does not tell from which branch: go back with "
            "`git switch BRANCH`",
            for_the_person=True,
        )
    ref = f"refs/heads/{branch}"
    tip = git.ask("rev-parse", "--verify", "--quiet", ref) or ""
    if tip == git.head:
        back = ("symbolic-ref", "-m", f"colorgan: back to {branch}", "HEAD", ref)
        return Finding(f"{at}; it goes back to {branch}", lambda: git.tell(*back))
    if git.is_ancestor(git.head, tip):
        return Finding(
            f"{at}, and {branch} has moved on since: go back with `git switch {branch}`",
            for_the_person=True,
        )
    holders = git.ask(
        "for-each-ref", "--format=%(refname)", f"--contains={git.head}", "refs/heads", "refs/exps"
    )
    experiments = [name for name in (holders or "").split() if not name.startswith(EXEC)]
    if experiments and git.is_ancestor(tip, git.head):

        def mend() -> None:
            # As DVC does at the end of an experiment: its results stay in the working tree.
            git.tell("symbolic-ref", "-m", f"colorgan: back to {branch}", "HEAD", ref)
            git.tell("reset", "--quiet")

        return Finding(f"{at}, the commit of an experiment; it goes back to {branch}", mend)
    return Finding(
        f"{at}, a commit that no branch has: keep it with `git branch NAME {git.head[:7]}`, then "
        f"go back with `git switch {branch}`",
        for_the_person=True,
    )


def _branch_before(git: Git) -> str:
    """Return the branch that HEAD was on before DVC detached it, empty if that cannot be known."""
    for move in reversed(git.moves):
        moved = MOVED.match(move.message)
        if moved and not SHA.match(moved["source"]):
            is_branch = git.ask("rev-parse", "--verify", "--quiet", f"refs/heads/{moved['source']}")
            return moved["source"] if is_branch and _is_detaching(move.message) else ""
    return ""


def _is_detaching(message: str) -> bool:
    """DVC gives the whole name of the commit; a person hardly does."""
    moved = MOVED.match(message)
    return moved is not None and SHA.match(moved["target"]) is not None


def _copy_of(path: Path) -> Path:
    """Return a name beside a file that is free for a copy of it."""
    number, copy = 1, path.with_name(f"{path.name}.before-recover")
    while copy.exists():
        number += 1
        copy = path.with_name(f"{path.name}.before-recover-{number}")
    return copy


def _difference(before: bytes, now: bytes) -> str:
    old, new = (text.decode("utf-8", errors="replace").splitlines() for text in (before, now))
    found = list(difflib.unified_diff(old, new, "before the experiment", "now", n=0, lineterm=""))
    more = [f"... {len(found) - DIFF_LINES} lines more"] if len(found) > DIFF_LINES else []
    return "\n".join(f"    {line}" for line in (*found[:DIFF_LINES], *more))
