"""What a person sees while a network trains."""

from __future__ import annotations

import pytest

from colorgan.runs.progress import TrainingProgress


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_plain_lines(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    progress = TrainingProgress("train lab", 10, 2, 4, quiet=quiet)
    for iteration in (1, 5, 10):
        progress.update(iteration, 1, {"loss_D": 0.5})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (0 if quiet else 2)
    if lines:
        assert lines[0] == "train lab: epoch 1/2, iteration 1/10, loss_D 0.500"
        assert lines[-1].startswith("train lab: epoch 1/2, iteration 10/10, loss_D 0.500, ")
        assert lines[-1].endswith("images/s, 0.0 min left")
