"""Connect to a Ray cluster, check what its machines can read, and map items to rows on it."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Read by the import of Ray: it reports nothing, and does not log as errors what it mends itself.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from colorgan.errors import ColorganError

TRIES = 3
MOST_TASKS = 20_000
"""Ray keeps a record of each task: with more items than these, a task has several."""
SECONDS_BETWEEN_LINES = 10.0
Item = dict[str, Any]


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Connect to the cluster at `address` (host:port; default RAY_ADDRESS, or this machine's).

    ColorganError if this machine is in no such cluster.
    """
    address = address or os.environ.get("RAY_ADDRESS", "auto")
    host, _, port = address.rpartition(":")
    try:
        if address != "auto":
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ValueError, OverflowError, OSError, RuntimeError) as error:
        raise ColorganError(
            f"no Ray cluster at {address} ({str(error).strip().splitlines()[0]}): run this on a "
            "machine of one; `ray start --head --disable-usage-stats` starts one, and on other "
            "machines `ray start --address=HOST:6379` joins it"
        ) from None
    for name in ("ray", "ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ray.shutdown()


def processors() -> tuple[str, int]:
    """Return what a worker takes one of, `gpu` or else `cpu`, and how many the cluster has."""
    there = ray.cluster_resources()
    kind = "gpu" if there.get("GPU") else "cpu"
    return kind, int(there.get(kind.upper(), 1))


def require_everywhere(files: Sequence[Path]) -> None:
    """Check that every machine can read these files; ColorganError names machine and file."""
    wanted = [str(path.absolute()) for path in files if path.exists()]
    for node in filter(lambda node: node["Alive"], ray.nodes()):
        machine = f"the machine {node['NodeManagerAddress']} of the cluster"
        try:
            missing = ray.get(_at(node["NodeID"], _unreadable).remote(wanted), timeout=60)
        except ray.exceptions.RayError as error:
            raise ColorganError(
                f"{machine} cannot work ({str(error).strip().splitlines()[-1]}): it needs the same "
                "colorgan[cluster] as this one"
            ) from None
        if missing:
            raise ColorganError(
                f"{machine} cannot read {missing[0]}: the folder should be shared, at the same "
                "path on every machine"
            )


def _at(node: str, work: Any) -> Any:
    place = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=place)(work)


def _unreadable(files: Sequence[str]) -> list[str]:
    return [file for file in files if not os.access(file, os.R_OK)]


def map_on_cluster(
    title: str, worker: type[Any], arguments: Sequence[Any], items: Sequence[Item], workers: int
) -> Iterator[list[Item]]:
    """Map items to lists of rows in `workers` processes (0: all processors); print the speed.

    Each process holds one `worker(*arguments)`, which is called with an item: `names`, one a row,
    and whatever else. The items of a process that dies are done again. One whose processes have
    died TRIES times has no rows, for it might be what kills them.
    """
    if not items:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    # The wrapped one loses its cause on the way here, and with it the sentence.
    context.raise_original_map_exception = True
    kind, there = processors()
    size = min(workers or there, len(items))
    tries = _at(ray.get_runtime_context().get_node_id(), _Tries).remote()
    numbered = [{"number": number, **item} for number, item in enumerate(items)]
    dataset = ray.data.from_items(
        numbered, override_num_blocks=min(len(items), MOST_TASKS)
    ).flat_map(
        _Counted,
        fn_constructor_args=(worker, arguments, tries),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=size, initial_size=size),
        **{f"num_{kind}s": 1},
    )
    total, done, started, next_line = sum(len(item["names"]) for item in items), 0, 0.0, 0.0
    blocks = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    try:
        for block in blocks:
            yield block.to_pylist()
            now, done = time.monotonic(), done + len(block)
            if not started:  # the start of the workers does not count
                started, first = now, done
            elif now >= next_line or done == total:
                speed = max(done - first, 1) / (now - started)
                next_line = now + SECONDS_BETWEEN_LINES
                left = f"{speed:.1f} photos/s, {(total - done) / speed / 60:.1f} min left"
                print(f"{title}: {done:,} of {total:,}, {left}", flush=True)
    except ray.exceptions.RayError as error:
        # Ray's error is of the class of its cause too, but with a traceback for a text.
        cause: BaseException | None = error
        while isinstance(cause, ray.exceptions.RayError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if isinstance(cause, ColorganError):  # Ray adds lines about its options
            cause = ColorganError(str(cause).partition("\n")[0])
        raise cause or error from None


class _Tries:
    """Ray actor that counts how often each item was begun; it outlives the workers."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        self._counts[number] += 1
        return self._counts[number]


class _Counted:
    def __init__(self, worker: type[Any], arguments: Sequence[Any], tries: Any) -> None:
        self._worker, self._tries = worker(*arguments), tries

    def __call__(self, item: Item) -> list[Item]:
        allowed = ray.get(self._tries.begin.remote(int(item["number"]))) <= TRIES
        return list(self._worker(item)) if allowed else []
