"""Which weights a training keeps: those of the epoch with the best score on validation photos."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from colorgan.io import file_aside, sync


class BestWeights:
    """Keeps the weights with the best score so far in a file, which outlives a kill.

    A training that goes on from a checkpoint validates some epochs once more, with the same
    scores to the bit: the file may be ahead of the checkpoint, and stays right.

    Args:
        path: a safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def offer(self, network: nn.Module, epoch: int, score: float) -> None:
        """Keep these weights if no earlier epoch has scored better."""
        kept = self._kept()
        if kept is not None and (kept[1], kept[0]) <= (score, epoch):
            return
        state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
        metadata = {"epoch": json.dumps(epoch), "score": json.dumps(score)}
        with file_aside(self._path) as aside:
            save_file(state, aside, metadata)
            # As durable as the checkpoint, which may already be past this epoch.
            sync(aside)

    def restore(self, network: nn.Module) -> tuple[int, float] | None:
        """Put the best weights into the network; return their epoch and score, None without any."""
        kept = self._kept()
        if kept is not None:
            network.load_state_dict(load_file(self._path))
        return kept

    def forget(self) -> None:
        """Remove what an earlier training has left."""
        self._path.unlink(missing_ok=True)

    def _kept(self) -> tuple[int, float] | None:
        try:
            with safe_open(self._path, "pt") as file:
                said = file.metadata() or {}
            return json.loads(said["epoch"]), json.loads(said["score"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
