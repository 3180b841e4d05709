"""A Ray cluster of a head and one more node, as processes of this machine with one core each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from servers import wait_for

NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 160 << 20}


@dataclass
class TwoNodes:
    """The cluster, and the node that is not its head."""

    cluster: Any
    node: Any

    def kill_node(self) -> None:
        """End the second node with all its processes, as if its machine had gone."""
        self.cluster.remove_node(self.node, allow_graceful=False)
        self.node = None

    def workers(self, title: str) -> list[psutil.Process]:
        """The processes that Ray calls so; not those of the cluster of another test."""
        nodes = self.cluster.list_all_nodes()
        raylets = {one.process.pid for node in nodes for one in node.all_processes["raylet"]}
        running = psutil.process_iter(["cmdline", "ppid"])
        running = (p for p in running if p.info["ppid"] in raylets)
        return [p for p in running if f"ray::{title}" in "".join(p.info["cmdline"] or ())]


@contextmanager
def running_cluster() -> Iterator[TwoNodes]:
    """Run a cluster of a head; the fixture `two_nodes` adds the other node."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as environment:
        # Of the machines, as the page says: what a command has set does not reach them.
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        yield TwoNodes(cluster, None)
        cluster.shutdown()


@pytest.fixture(scope="package")
def _two_nodes() -> Iterator[TwoNodes]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def two_nodes(_two_nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch) -> TwoNodes:
    """The cluster with both nodes alive, at RAY_ADDRESS."""
    if _two_nodes.node is None:
        _two_nodes.node = _two_nodes.cluster.add_node(**NODE)
        _two_nodes.cluster.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", _two_nodes.cluster.address)
    return _two_nodes


@dataclass
class Command:
    """A command that runs in a process of its own."""

    process: subprocess.Popen[str]

    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self, seconds: float = 480) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err


@pytest.fixture
def start(project: Path, two_nodes: TwoNodes) -> Iterator[Callable[..., Command]]:
    """Return a function that starts `colorgan cluster ...` in the project."""
    started: list[Command] = []

    def start(*arguments: object) -> Command:
        words = [sys.executable, "-m", "colorgan", "cluster", *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=os.environ)
        started.append(Command(process))
        return started[-1]

    yield start
    for command in started:
        command.process.kill()
    wait_for(lambda: all(command.ended() for command in started))


@pytest.fixture
def run(start: Callable[..., Command]) -> Callable[..., str]:
    """Return a function that runs `colorgan cluster ...` to its end and returns what it printed."""

    def run(*arguments: object, code: int = 0) -> str:
        ended, out, err = start(*arguments).wait()
        assert ended == code, out + err
        return out + err

    return run
