"""What a person sees while a network trains."""

from __future__ import annotations

import pytest

from colorgan.runs.progress import TrainingProgress


def test_progress_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    for progress in (
        TrainingProgress("train lab", 10, 2, 4),
        TrainingProgress("train rgb", 10, 2, 4, quiet=True),
    ):
        for iteration in (1, 5, 10):
            progress.update(iteration, 1, {"loss_D": 0.5})
    first, last = capsys.readouterr().out.splitlines()
    assert first == "train lab: epoch 1/2, iteration 1/10, loss_D 0.500"
    assert last.startswith("train lab: epoch 1/2, iteration 10/10, loss_D 0.500, ")
    assert last.endswith("images/s, 0.0 min left")
