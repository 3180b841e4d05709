"""The script that averages models, of which the pretrained generator is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trained import save_tiny

ENCODER: dict[str, object] = {"model.generator": "encoder_unet", "model.ngf": 4}
WEIGHTS = "generator.safetensors"


def test_the_mean_of_two_models(tmp_path, make_params, monkeypatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    from average_models import main

    def saved(name: str, seed: int, **changes: object) -> Path:
        return save_tiny(tmp_path / name, "lab", make_params(ENCODER | changes), seed)

    folders = [saved("first", 0), saved("second", 1)]
    main(*folders, tmp_path / "mean")
    first, second, mean = (load_file(f / WEIGHTS) for f in (*folders, tmp_path / "mean"))
    assert not torch.equal(first["last.weight"], second["last.weight"])
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor.float(), (first[name].float() + second[name]) / 2)
    other = saved("other", 0, **{"model.color_queries": 4})
    with pytest.raises(SystemExit, match="are of different networks; they should be of the same"):
        main(folders[0], other, tmp_path / "no mean")
    assert not (tmp_path / "no mean").exists()
