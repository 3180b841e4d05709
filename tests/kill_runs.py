"""Trainings as processes of their own that can be killed, each started in a fraction of a second.

Importing torch and MLflow takes seconds. So one process, the nursery, imports them, starts no
thread, and forks for each training: what it forks runs the command line as `python -m colorgan`
would, and is killed, signalled and waited for like any process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
WEIGHTS = "generator.safetensors"
OUTS = ("models/lab/config.json", f"models/lab/{WEIGHTS}", "reports/lab/losses.csv",
        "reports/lab/validation.csv")  # fmt: skip
# What a training comes to import.
IMPORTED = ("colorgan.tracking.mlflow_log", "colorgan.training.train", "alembic.command",
            "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.artifact.local_artifact_repo",
            "mlflow.system_metrics.system_metrics_monitor", "sqlalchemy.dialects.sqlite",
            "torch._inductor", "colorgan.evaluation.metrics")  # fmt: skip
# What a life runs before the command. Points go to MLflow as they come, not every five seconds.
EAGER = """
from colorgan.tracking import mirror
mirror.SEND_EVERY = 0.02
"""


def wait_for(condition: Callable[[], Any], seconds: float = 60, every: float = 0.005) -> Any:
    """Wait until a condition holds; return what it returned."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(every)
    return found


class Place:
    """A project folder in which `lab` is trained."""

    def __init__(self, folder: Path) -> None:
        """Take a folder that has params.yaml and arrays."""
        self.folder = folder

    @property
    def resume(self) -> Path:
        """The resume folder of the only training here."""
        (found,) = (path for path in self.folder.glob(".resume/train_lab/*") if path.is_dir())
        return found

    @property
    def token(self) -> str:
        """What names the training in MLflow."""
        return str(json.loads((self.resume / "training.json").read_text())["token"])

    def outs(self) -> dict[str, bytes]:
        """The content of each out."""
        return {name: (self.folder / name).read_bytes() for name in OUTS}

    def iteration(self) -> int:
        """The last iteration whose losses are in the live curve, 0 if none is."""
        last = 0
        for file in self.folder.glob(".resume/train_lab/*/losses.csv"):
            with suppress(OSError, ValueError, IndexError):
                last = int(file.read_text().splitlines()[-1].split(",")[0])
        return last

    def half_written(self) -> list[Path]:
        """Files and folders that were written aside and never renamed."""
        return [*self.folder.rglob("*.part"), *self.folder.rglob("*.old")]


class Life:
    """A process that trains."""

    def __init__(self, nursery: Nursery, pid: int, log: Path) -> None:
        """Follow what the nursery has started."""
        self.pid = pid
        self.code: int | None = None
        self._nursery = nursery
        self._log = log

    @property
    def said(self) -> str:
        """All that it has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal, as a terminal does to the whole process group if so wished."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self, seconds: float = 60) -> int:
        """Wait for its end; its exit code, negative for the signal that ended it."""
        if self.code is None:
            self.code = int(self._nursery.answer(seconds)["code"])
        return self.code

    def ended(self) -> bool:
        """Whether it has ended."""
        if self.code is None and self._nursery.has_answer():
            self.wait()
        return self.code is not None

    def kill(self) -> int:
        """SIGKILL it, if it lives; its exit code."""
        self.signal(signal.SIGKILL)
        return self.wait()


class Nursery:
    """Starts lives, one at a time; a context manager."""

    def __init__(self, folder: Path) -> None:
        """Keep logs and the MLflow store that all lives share in `folder`."""
        self.store = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
        self.folder = folder
        self._count = 0
        self._last: Life | None = None
        # No DVC, no torchrun: those are for some tests.
        foreign = ("DVC_", "MLFLOW_", "RANK", "WORLD_SIZE", "LOCAL_")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        self.env |= {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": self.store}
        self.env |= {"GIT_CEILING_DIRECTORIES": str(folder.parent)}

    def __enter__(self) -> Nursery:
        """Start the process that imports."""
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.folder,
            env=self.env,
        )
        self._answers = os.fdopen(os.dup(self._process.stdout.fileno()), "rb", buffering=0)  # type: ignore[union-attr]
        assert self.answer(120) == {"threads": []}, "a thread would be missing after a fork"
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and what it has started."""
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait(20)

    def start(
        self, place: Place, *command: str, before: str = "", env: Mapping[str, str] | None = None
    ) -> Life:
        """Start `colorgan train lab`, or another command, in a place; `before` runs first."""
        if self._last is not None and self._last.code is None:
            # A test has failed before it waited.
            self._last.kill()
        self._count += 1
        log = self.folder / f"life{self._count}.log"
        order = {
            "cwd": str(place.folder),
            "argv": ["colorgan", *(command or ("train", "lab"))],
            "before": before,
            "env": dict(env or {}),
            "log": str(log),
        }
        self._process.stdin.write(json.dumps(order).encode() + b"\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        self._last = Life(self, int(self.answer(20)["pid"]), log)
        return self._last

    def train(self, place: Place, *command: str, **how: Any) -> str:
        """Run a training to its end; what it printed."""
        life = self.start(place, *command, **how)
        assert life.wait(120) == 0, life.said
        return life.said

    def has_answer(self) -> bool:
        """Whether the nursery has something to say."""
        from select import select

        return bool(select([self._answers], [], [], 0)[0])

    def answer(self, seconds: float) -> dict[str, Any]:
        """Wait for what it has to say."""
        wait_for(self.has_answer, seconds)
        line = self._answers.readline()
        assert line, "the nursery has ended"
        content: dict[str, Any] = json.loads(line)
        return content

    @contextmanager
    def new_runs(self) -> Iterator[Callable[[], list[Any]]]:
        """Yield a function that returns the MLflow runs that were made within the block."""
        before = {run.info.run_id for run in self.runs()}
        yield lambda: [run for run in self.runs() if run.info.run_id not in before]

    def runs(self) -> list[Any]:
        """All runs of the store."""
        if not (self.folder / "mlflow.db").exists():
            return []
        client = self.client()
        experiment = client.get_experiment_by_name("colorgan")
        return list(client.search_runs([experiment.experiment_id])) if experiment else []

    def client(self) -> Any:
        """A client of the store."""
        # From the sink, which turns MLflow's telemetry off before it imports it.
        from colorgan.tracking.mlflow_log import MlflowClient

        return MlflowClient(self.store)

    def histories(self, run: Any) -> dict[str, list[tuple[int, float]]]:
        """Step and value of each point of each metric of a training, in the order of steps."""
        client, run_id = self.client(), run.info.run_id
        names = [name for name in run.data.metrics if not name.startswith("system/")]
        return {
            name: sorted((p.step, p.value) for p in client.get_metric_history(run_id, name))
            for name in sorted(names)
        }


_of_all: list[Nursery] = []


def nursery_of_all(folders: pytest.TempPathFactory) -> Nursery:
    """Return the nursery that all tests of a process share; it ends with that process."""
    if not _of_all:
        _of_all.append(Nursery(folders.mktemp("nursery")).__enter__())
    return _of_all[0]


def artifacts(run: Any) -> Path:
    """The folder of a run's artifacts."""
    return Path(url2pathname(urlsplit(run.info.artifact_uri).path))


def pictures(run: Any) -> dict[tuple[int, str], list[bytes]]:
    """The files of each stepped picture of a run: content by step and kind."""
    found: dict[tuple[int, str], list[bytes]] = {}
    for file in sorted((artifacts(run) / "images").iterdir()):
        step = int(file.name.split("+step+")[1].split("+")[0])
        found.setdefault((step, file.suffix), []).append(file.read_bytes())
    return found


def make_place(
    folder: Path, changes: Mapping[str, Any], train: int = 20, val: int = 5, side: int = 64
) -> Place:
    """Make a project with random arrays and tiny parameters, changed by dotted path.

    64 px is the depth at which the U-Net drops out.
    """
    import numpy as np
    import pandas as pd
    from ruamel.yaml import YAML

    from colorgan import presets
    from colorgan.data.arrays import INDEX_COLUMNS, DatasetInfo

    content = presets.content("scratch")
    tiny = {
        "lab.image_size": side, "lab.min_side": 16, "model.ngf": 2, "model.ndf": 2,
        "model.n_layers": 1, "train.batch_size": 4, "train.epochs": 2, "train.decay_epochs": 1,
        "train.log_every": 2, "train.amp": "off", "train.compile": "off", "train.jitter": 0.1,
        "train.sample_photos": 2, "runtime.device": "cpu", "runtime.progress": "lines",
        "runtime.num_workers": 0,
    }  # fmt: skip
    for path, value in {**tiny, **changes}.items():
        section, name = path.split(".")
        content[section][name] = value
    folder.mkdir(parents=True, exist_ok=True)
    YAML().dump(content, folder / "params.yaml")
    arrays = folder / "data" / "processed" / "lab"
    random, rows = np.random.default_rng(0), []
    counts = {"train": train, "val": val, "test": 1}
    for split, count in counts.items():
        (arrays / split).mkdir(parents=True)
        rows += [[f"{split}{i}", split, "sea", "sample", 640, 480] for i in range(count)]
        for name, shape in (("input", ()), ("target", (2,))):
            photos = random.integers(0, 256, (count, side, side, *shape), dtype=np.uint8)
            np.save(arrays / split / f"{name}.npy", photos)
    pd.DataFrame(rows, columns=list(INDEX_COLUMNS)).to_csv(arrays / "index.csv", index=False)
    DatasetInfo("lab", side, 2, counts, rejected=0, digest="0" * 64).write(arrays)
    return Place(folder)


def _nurse() -> None:
    """Import, then fork a training for each line of stdin; the other end of `Nursery`."""
    from colorgan import cli

    for name in IMPORTED:
        import_module(name)

    def tell(**content: object) -> None:
        os.write(1, json.dumps(content).encode() + b"\n")

    # Arrow's allocator has a thread that it begins anew in a forked process.
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    tell(threads=[name for name in names if name != "jemalloc_bg_thd"][1:])
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
                os.dup2(ours, theirs)
            os.setpgid(0, 0)
            os.chdir(order["cwd"])
            os.environ |= order["env"]
            sys.argv = order["argv"]
            exec(order["before"] or "", {})
            cli.main()
            sys.exit(0)
        tell(pid=pid)
        _, status = os.waitpid(pid, 0)
        tell(code=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    _nurse()
