"""A search for better parameters: many trainings side by side on the machines of a cluster.

Ray Tune draws parameters with Optuna and stops trials that lag behind (ASHA). Each trial runs
`colorgan train` in a folder of its own below `.resume/tune_<space>`, where it also resumes.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

# Read by the import of Ray Tune: it writes no curves of its own, and prints no tables.
os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from colorgan import io, paths, presets
from colorgan.cluster.session import processors, require_everywhere
from colorgan.config import SpaceName, check_params, flat
from colorgan.data.arrays import read_info
from colorgan.errors import ColorganError, ParamsError
from colorgan.runs.run_dir import RunDir
from colorgan.tracking import lineage
from colorgan.tracking.csv_log import VALIDATION, read_rows
from colorgan.tracking.mlflow_log import connect
from colorgan.tracking.run import open_recorder
from colorgan.tracking.store import tracking_uri
from colorgan.tracking.unsent import RunDescription

METRIC = "ciede2000_ecf"
REDUCTION = 3
"""ASHA lets one of so many trials that reached the same epoch continue."""
MOST_DEATHS = 3
"""So often a trial is resumed whose worker or machine has died."""
STOP_SECONDS = 120.0
WEIGHTS = ("train.init", "model.encoder_weights")
"""Parameters that may name a file or folder."""


def tune_on_cluster(
    space: SpaceName, file: Path | None, trials: int, workers: int, *, resume: bool = False
) -> None:
    """Try parameters within the bounds that a file gives, and print which were best.

    `workers` trials run at once (0: one on each processor). `resume` goes on with a search that was
    stopped, and its number of trials; params.yaml and the file should be as they were.
    ColorganError if the file, params.yaml or the data are wrong, or no trial has succeeded.
    """
    folder = paths.resume(f"tune_{space}")
    begun = folder / "trials.json"
    if begun.exists() != resume:
        stopped = "a search that was stopped: --resume goes on with it; delete it to begin anew"
        raise ColorganError(f"{folder} holds {'no search to resume' if resume else stopped}")
    if not read_info(paths.processed(space)).counts["val"]:
        raise ColorganError(
            f"{paths.processed(space)} has no validation photos to compare trials with: raise "
            f"{space}.val_fraction in params.yaml and run `dvc repro preprocess@{space}`"
        )
    require_everywhere([paths.PARAMS, paths.processed(space) / "dataset.json"])
    params = io.read_yaml(paths.PARAMS)
    check_params(params)
    params = _with_absolute_paths(params)
    domains = _read_domains(file or Path(__file__).with_name("tune.yaml"), params, space)
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
        io.write_json(begun, trials)
    token, trials = RunDir(folder).token(), json.loads(begun.read_bytes())
    connect()  # makes the store, which several trials at once could not
    given = {"space": space, "params": params, "folder": folder}
    given["environment"] = {k: v for k, v in os.environ.items() if k.startswith("MLFLOW_")} | {
        "MLFLOW_TRACKING_URI": tracking_uri(),
        lineage.PARENT: token,
        lineage.PROJECT: str(Path.cwd()),
    }
    with open_recorder(RunDescription(f"tune_{space}", token), folder) as recorder:
        found = _run(given, domains, trials, workers, resume)
        n_ended = sum(bool(t.last_result.get("done") or t.status == "ERROR") for t in found)
        if n_ended < trials:
            print(f"tune {space}: {n_ended} of {trials} trials are done; --resume goes on")
            raise KeyboardInterrupt
        begun.unlink()
        best = _report(found)
        recorder.log_validation(found.index(best) + 1, {METRIC: best.last_result[METRIC]})
    shutil.rmtree(folder, ignore_errors=True)


def _read_domains(file: Path, params: dict[str, Any], space: str) -> dict[str, Any]:
    """Return Optuna's distribution of each parameter that a file names.

    ParamsError if there is none, or params.yaml does not allow its values.
    """
    domains: dict[str, Any] = {}
    for name, domain in io.read_yaml(file).items():
        section, _, key = str(name).partition(".")
        if section not in ("train", "model"):
            raise ParamsError(f"{file}: {name} should be a parameter of train or model")
        if key in (params[space].get(section) or {}):
            name = f"{space}.{name}"  # where params.yaml overrides it
        try:
            if "choices" in domain:
                found = optuna.distributions.CategoricalDistribution(**domain)
                values = found.choices
            else:
                values = domain["low"], domain["high"]
                whole = all(isinstance(value, int) for value in values)
                kind = "IntDistribution" if whole else "FloatDistribution"
                found = getattr(optuna.distributions, kind)(**domain)
        except (KeyError, TypeError, ValueError) as error:
            raise ParamsError(
                f"{file}: {name} should have `choices`, or `low`, `high` and maybe `log` ({error})"
            ) from None
        for value in values:
            check_params(presets.changed(params, {name: value}), where=str(file))
        domains[name] = found
    if not domains:
        raise ParamsError(f"{file} names no parameter; it should, as in `train.lr: {{low: ...}}`")
    return domains


def _with_absolute_paths(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters whose files of weights are found from the folder of a trial too."""
    named = {n: paths.expanded(v) for n, v in flat(params).items() if n.endswith(WEIGHTS)}
    return presets.changed(params, {n: str(p.absolute()) for n, p in named.items() if p.exists()})


def _values(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a trial changes, the numbers with four digits."""
    return {n: float(f"{v:.4g}") if isinstance(v, float) else v for n, v in config.items()}


def _run(
    given: dict[str, Any], domains: dict[str, Any], trials: int, workers: int, resume: bool
) -> list[Any]:
    """Run the trials, or those that are left; return all."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    train, (kind, there) = check_params(given["params"]).space(given["space"]).train, processors()
    done = tune.run(
        tune.with_parameters(_Trial, given=given | {"keep": train.keep}),
        name="ray",
        storage_path=str(given["folder"]),
        metric=METRIC,
        mode="min",
        num_samples=trials,
        search_alg=OptunaSearch(domains, metric=METRIC, mode="min", seed=train.seed),
        scheduler=ASHAScheduler("epoch", max_t=train.epochs + 1, reduction_factor=REDUCTION),
        resources_per_trial={kind: 1},
        max_concurrent_trials=min(workers or there, there),
        max_failures=MOST_DEATHS,
        raise_on_failed_trial=False,
        callbacks=[_Lines()],
        verbose=0,
        resume=resume,
    )
    return list(done.trials)


class _Lines(tune.Callback):  # type: ignore[misc]
    """Prints a line for each validation."""

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
    ) -> None:
        said = result.get("problem") or f"epoch {result['epoch']}, {METRIC} {result[METRIC]:.3f}"
        print(f"tune: trial {trials.index(trial) + 1}: {said}", flush=True)


class _Trial(tune.Trainable):  # type: ignore[misc]
    """A training as a process in a folder of its own."""

    def setup(self, config: dict[str, Any], given: dict[str, Any]) -> None:
        """Start the training, or resume it."""
        root, self._keep = given["folder"], given["keep"]
        self._folder = folder = root / self.trial_id
        env = os.environ | given["environment"]
        project = Path(env[lineage.PROJECT])
        # The runs that MLflow does not have yet outlive this folder.
        (root.parent / "unsent").mkdir(exist_ok=True)
        for link, target in (
            (folder / paths.DATA, project / paths.DATA),
            (folder / paths.model(paths.PRETRAINED), project / paths.model(paths.PRETRAINED)),
            (folder / ".resume" / "unsent", root.parent / "unsent"),
        ):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        params = presets.changed(given["params"], _values(config))
        YAML().dump(params, folder / paths.PARAMS)
        env["PYTHONPATH"] = os.pathsep.join([str(Path(paths.__file__).parents[1]), *sys.path])
        command = [sys.executable, "-m", "colorgan", "train", given["space"]]
        with (folder / "log.txt").open("w") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=log, stderr=log, preexec_fn=_end_with_parent
            )
        self._n_rows, self._last = 0, {METRIC: math.inf, "epoch": 0}

    def step(self) -> dict[str, Any]:
        """Wait for the next validation, or for the end of the training."""
        while True:
            code = self._process.poll()
            for file in self._folder.glob(f".resume/train_*/*/{VALIDATION}"):
                for row in read_rows(file, self._n_rows)[:1]:
                    before, value = self._last[METRIC], float(row[METRIC])
                    best = min(value, before) if self._keep == "best" else value
                    self._n_rows += 1
                    self._last = {METRIC: best, "epoch": int(row["epoch"])}
                    return self._last
            if code == 0:
                return self._last | {"done": True}
            if code is not None:
                # Not raised: Ray Tune would start it again.
                said = (self._folder / "log.txt").read_text(errors="replace").strip()
                problem = said.rpartition("\n")[2].removeprefix("colorgan: ")
                return {METRIC: math.inf, "epoch": 0, "done": True, "problem": problem}
            time.sleep(0.2)

    def cleanup(self) -> None:
        """Stop the training, if it runs: it writes a checkpoint and ends its run in MLflow."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)


def _end_with_parent() -> None:
    """Let Linux stop this process when its parent dies."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _report(trials: list[Any]) -> Any:
    """Print the trials, the best first, and how to go on from it; return it.

    ColorganError if none has succeeded.
    """
    ranked = sorted(trials, key=lambda trial: trial.last_result.get(METRIC, math.inf))
    table = Table("trial", *ranked[0].config, "epoch", METRIC)
    for trial in ranked:
        last = {"problem": "its workers died", **trial.last_result}
        failed = last.get(METRIC, math.inf) == math.inf
        if failed and trial is ranked[0]:
            raise ColorganError(f"no trial has succeeded; the first one: {last['problem']}")
        shown = last["problem"] if failed else f"{last[METRIC]:.3f}"
        values = map(str, _values(trial.config).values())
        table.add_row(str(trials.index(trial) + 1), *values, str(last.get("epoch", "")), shown)
    console = Console()
    console.width = max(console.width, 40 + 20 * len(ranked[0].config))
    console.print(table)
    print(
        "To compare: `python -m colorgan ui`, open the children of the newest run of tune_..., "
        "select them, Compare: the first plot has parallel coordinates\n"
        f"To train with the best: dvc exp run {presets.overrides(_values(ranked[0].config))}"
    )
    return ranked[0]
