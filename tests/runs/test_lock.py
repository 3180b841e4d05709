"""One training at a time with the same parameters and data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from colorgan.errors import ColorganError
from colorgan.runs.lock import training_lock

TRAINING = """
import sys
from pathlib import Path
from colorgan.runs.lock import training_lock
with training_lock(Path(sys.argv[1]), "lab"):
    print("trains", flush=True)
    sys.stdin.read()
"""


def test_a_second_training_is_refused_until_the_first_ends_however_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert first.stdout
        assert first.stdout.readline() == b"trains\n"
        sentence = f"process {first.pid} is training lab .*`kill {first.pid}`"
        with pytest.raises(ColorganError, match=sentence), training_lock(tmp_path, "lab"):
            pass
    finally:
        first.kill()
        first.communicate()
    with training_lock(tmp_path, "lab"):
        pass
