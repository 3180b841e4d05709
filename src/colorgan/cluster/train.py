"""The stages train_rgb and train_lab on machines of a cluster, which share the project's folder.

Ray Train starts processes, each of which runs the stage as under torchrun. When some have died it
starts as many as there is room for, and these resume from the last checkpoint.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from threading import Event, Thread
from typing import Any

import ray
import torch
from ray import train as ray_train
from ray.train.collective import broadcast_from_rank_zero
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from colorgan import paths
from colorgan.cluster.session import processors, require_everywhere
from colorgan.config import Params, SpaceName
from colorgan.data.arrays import read_info
from colorgan.errors import ColorganError
from colorgan.training.build import check_compatible
from colorgan.training.train import train

MOST_FAILURES = 20
POLL_SECONDS = 0.5
LOG, PROBLEM = "log.txt", "problem.txt"
"""What the workers print, and the sentence of one that cannot train."""
RESIZE_SECONDS = 600.0
"""How often to look for new machines: to take them in, training goes back to its checkpoint."""


def train_on_cluster(params: Params, space: SpaceName, workers: int) -> None:
    """Train in `workers` processes (0: all processors), and in fewer while there is no room.

    ColorganError as `train`, and if a machine does not see the arrays, the cluster is too small, or
    too many workers have died.
    """
    cfg, folder, storage = params.space(space), paths.processed(space), paths.resume(f"ray_{space}")
    info = read_info(folder)
    kind, there = processors()
    if workers > there:
        raise ColorganError(
            f"--workers is {workers}, but the cluster has {there} {kind} processor(s): it should "
            "be at most that"
        )
    workers = workers or _most_processes(cfg.train.batch_size, there)
    device = torch.device("cuda" if kind == "gpu" else "cpu")
    check_compatible(cfg, info, info.counts["train"], device, workers)
    storage.mkdir(parents=True, exist_ok=True)
    arrays = [folder / split / "input.npy" for split, count in info.counts.items() if count]
    require_everywhere([folder / "dataset.json", *arrays, storage])
    environment = {k: v for k, v in os.environ.items() if k.startswith(("DVC_", "MLFLOW"))}
    given = params, space, Path.cwd(), storage, environment
    # Otherwise what a worker prints is logged too, and is there twice.
    os.environ["RAY_TRAIN_ENABLE_PRINT_PATCH"] = "0"
    # Its subclass TorchTrainer would make the process group, which the stage makes itself.
    trainer = DataParallelTrainer(
        _train,
        train_loop_config={"given": given},
        scaling_config=ray_train.ScalingConfig(
            num_workers=(1, workers),
            use_gpu=kind == "gpu",
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,
        ),
        run_config=ray_train.RunConfig(
            storage_path=str(storage),
            failure_config=ray_train.FailureConfig(max_failures=MOST_FAILURES),
            logging_config=ray_train.LoggingConfig(log_level="ERROR"),
        ),
    )
    problem = storage / PROBLEM
    problem.unlink(missing_ok=True)
    ended, on_interrupt = Event(), signal.getsignal(signal.SIGINT)
    printer = Thread(target=_print_log, args=(storage / LOG, ended))
    printer.start()
    try:
        trainer.fit()
        if problem.exists():
            raise ColorganError(problem.read_text(encoding="utf-8"))
    except SystemExit as end:
        if end.code == 128 + signal.SIGTERM:
            raise
        # How Ray Train ends after Ctrl-C, with 0 or 1, when it has given its processors back:
        # without that, the next training would wait three minutes for them.
        raise KeyboardInterrupt from None
    except ray_train.TrainingFailedError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ColorganError(f"train {space}: {reason}; the same command resumes") from None
    finally:
        signal.signal(signal.SIGINT, on_interrupt)
        ended.set()
        printer.join()
        shutil.rmtree(storage, ignore_errors=True)


def _print_log(file: Path, ended: Event) -> None:
    """Print what the workers add to their log, until the training has ended."""
    # It may be read when half of a character is written.
    with file.open("a+", errors="replace") as log:
        last = False
        while not last:
            last = ended.wait(POLL_SECONDS)
            print(log.read(), end="", flush=True)


def _most_processes(batch_size: int, at_most: int) -> int:
    """Return how many processes can share a batch evenly."""
    return max(count for count in range(1, at_most + 1) if batch_size % count == 0)


def _train(config: dict[str, Any]) -> None:
    """Run the stage in a process of the cluster."""
    params, space, folder, storage, environment = config["given"]
    os.chdir(folder)
    os.environ |= environment
    context = ray_train.get_context()
    # Where fewer are left, some of them may stand by.
    batch_size = params.space(space).train.batch_size
    processes = _most_processes(batch_size, context.get_world_size())
    with socket.socket() as free:
        free.bind(("", 0))
        place = ray.util.get_node_ip_address(), str(free.getsockname()[1])
    address, port = broadcast_from_rank_zero(place)
    rank = context.get_world_rank()
    if rank >= processes:
        return
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": "0",  # it sees no other GPU than its own
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
    }
    log = (storage / LOG).open("a", buffering=1)
    with log, redirect_stdout(log), redirect_stderr(log):
        try:
            train(params, space)
        except ColorganError as error:
            # Not raised: Ray Train would start the workers again.
            (storage / PROBLEM).write_text(str(error), encoding="utf-8")
        except SystemExit:
            pass  # another process has ended, which says why
