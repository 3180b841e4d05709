"""Reading training runs back from MLflow, also those of older versions.

Nothing is created here: a store that does not exist stays so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from colorgan.errors import ColorganError
from colorgan.tracking.mlflow_log import EXPERIMENT, SHA256_TAG
from colorgan.tracking.store import reason, sqlite_file, tracking_uri, without_password


@dataclass(frozen=True)
class TrainingRun:
    """A recorded training run.

    Attributes:
        id: MLflow's id of the run.
        name: what it is called, such as `workspace / train_lab`.
        tags: its tags, such as commit, data digest and the device that `auto` stood for.
    """

    id: str
    name: str
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"run {self.name!r} ({self.id})"

    @property
    def generator_sha256(self) -> str:
        """SHA-256 of its generator.safetensors; empty if it has none."""
        return self.tags.get(SHA256_TAG, "")


class TrainingRuns:
    """The training runs of a store."""

    def __init__(self, uri: str = "") -> None:
        """Open the store of `uri`, or that of the project.

        Raises:
            ColorganError: it is not there or cannot be read.
        """
        self._uri = uri or tracking_uri()
        file = sqlite_file(self._uri)
        if file is not None and not file.is_file():
            raise ColorganError(
                f"{file} does not exist: no run was recorded yet; `dvc repro` records"
            )
        with self._reading():
            self._client = MlflowClient(self._uri)
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
        self._experiments = [experiment.experiment_id] if experiment else []

    def made(self, stage: str, sha256: str) -> TrainingRun | None:
        """Return the newest run of `stage` that made the generator of this SHA-256, if any."""
        condition = f"tags.`{SHA256_TAG}` = '{sha256}' and tags.stage = '{stage}'"
        return next(iter(self._search(condition, 1)), None)

    def named(self, stage: str, wanted: str) -> TrainingRun:
        """Return the newest run of `stage` with weights that has this id or name.

        The name may be that of a DVC experiment: `batch-32` for `batch-32 / train_lab`.

        Raises:
            ColorganError: there is none, it is of another stage, or it has no weights.
        """
        if re.fullmatch("[0-9a-f]{32}", wanted):
            found = self._search(f"attributes.run_id = '{wanted}'", 1)
        else:
            names = {wanted, f"{wanted} / {stage}"}
            found = [run for run in self._search(f"tags.stage = '{stage}'") if run.name in names]
        if not found:
            raise ColorganError(
                f"no run of {stage} in MLflow has the id or the name {wanted!r}: "
                "`python -m colorgan ui` shows the runs"
            )
        run = next((run for run in found if run.generator_sha256), found[0])
        of_stage = run.tags.get("stage", "no stage")
        if of_stage != stage:
            raise ColorganError(f"{run} is of {of_stage}; name a run of {stage}")
        if not run.generator_sha256:
            raise ColorganError(f"{run} has no weights: it did not finish; name one that did")
        return run

    def of_any(self, stages: Sequence[str], wanted: str) -> TrainingRun:
        """Return the run of one of several stages with an id or name, as `named` does.

        Raises:
            ColorganError: none of the stages has it; says why for the last.
        """
        for stage in stages[:-1]:
            with suppress(ColorganError):
                return self.named(stage, wanted)
        return self.named(stages[-1], wanted)

    def with_weights(self, stage: str, most: int) -> list[TrainingRun]:
        """Return the newest runs of `stage` that have weights, at most so many."""
        return self._search(f"tags.stage = '{stage}' and tags.`{SHA256_TAG}` != ''", most)

    def artifact(self, run: TrainingRun, path: str, folder: Path) -> Path | None:
        """Bring a file of a run to `folder`/`path`; None if the run does not have it."""
        parent = path.rpartition("/")[0] or None
        place = folder / path
        with self._reading():
            there = {file.path for file in self._client.list_artifacts(run.id, parent)}
            if path not in there:
                return None
            place.parent.mkdir(parents=True, exist_ok=True)
            # Some stores keep the folders of the path, others leave them out.
            Path(self._client.download_artifacts(run.id, path, str(place.parent))).replace(place)
        return place

    def losses(self, run: TrainingRun) -> dict[str, dict[int, float]]:
        """Return the recorded losses of a run: by name, then by iteration."""
        with self._reading():
            names = [n for n in self._client.get_run(run.id).data.metrics if n.startswith("train/")]
            return {
                name.removeprefix("train/"): {
                    point.step: point.value
                    for point in self._client.get_metric_history(run.id, name)
                }
                for name in names
            }

    def kept_score(self, run: TrainingRun) -> float | None:
        """Return the validation score of the weights that a run has kept; None if it has none."""
        with self._reading():
            points = self._client.get_metric_history(run.id, "val/score")
            kept = self._client.get_run(run.id).data.params.get("train.keep")
        if not points:
            return None
        scores = [point.value for point in sorted(points, key=lambda point: point.step)]
        return float(min(scores) if kept == "best" else scores[-1])

    def registered(self, uri: str, folder: Path) -> Path:
        """Bring the generator of a registered model, such as `models:/colorgan-lab@champion`.

        Returns:
            The folder with its weights.

        Raises:
            ColorganError: there is no such model, or `colorgan promote` did not register it.
        """
        with self._reading():
            model = download_artifacts(uri, dst_path=str(folder), tracking_uri=self._uri)
        found = Path(model) / "artifacts" / "model"
        if not found.is_dir():
            raise ColorganError(f"{uri} holds no generator that `colorgan promote` has registered")
        return found

    def tag(self, run: TrainingRun, tags: Mapping[str, str]) -> None:
        """Add tags to a run, in place of those of the same name.

        Raises:
            ColorganError: the store does not take them.
        """
        with self._reading("written to"):
            for name, value in tags.items():
                self._client.set_tag(run.id, name, value)

    def _search(self, condition: str, most: int = 10_000) -> list[TrainingRun]:
        """Return the newest runs that an MLflow filter matches, the newest first."""
        if not self._experiments:
            return []
        newest = ["attributes.start_time DESC"]
        with self._reading():
            runs = self._client.search_runs(
                self._experiments, condition, max_results=most, order_by=newest
            )
        return [
            TrainingRun(run.info.run_id, run.info.run_name or "", dict(run.data.tags))
            for run in runs
        ]

    @contextmanager
    def _reading(self, doing: str = "read") -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # A server, a database and a store of artifacts each fail in their own way.
            raise ColorganError(
                f"MLflow's {without_password(self._uri)} cannot be {doing}: {reason(error)}"
            ) from error
