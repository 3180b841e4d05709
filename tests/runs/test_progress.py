"""What a person sees while a network trains."""

from __future__ import annotations

import pytest

from colorgan.runs.progress import TrainingProgress


def test_progress_in_a_log_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress("lines", "train lab", 10, 2, 4) as progress:
        for iteration in (1, 5, 10):
            progress.update(iteration, 1, {"loss_D": 0.5})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train lab: epoch 1/2, iteration 1/10, loss_D 0.500"
    assert lines[-1].startswith("train lab: epoch 1/2, iteration 10/10, loss_D 0.500, ")
    assert "images/s, 0.0 min left" in lines[-1]
    assert len(lines) == 2


@pytest.mark.parametrize("name", ["auto", "bar", "none"])
def test_every_progress_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress(name, "train lab", 2, 1, 4) as progress:  # type: ignore[arg-type]
        progress.update(2, 1, {"loss_D": 0.5})
    assert any(capsys.readouterr()) == (name != "none")
