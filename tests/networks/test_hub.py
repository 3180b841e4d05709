"""Weights of timm's hub: by its real client in another process, from a small hub here.

The client reads its environment when it is first imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from colorgan.networks.backbones import packaged_weights
from loopback import Loopback, Page

pytestmark = pytest.mark.slow

LITE = "tf_efficientnet_lite0"
WEIGHTS = f"/timm/{LITE}.in1k/resolve/main/model.safetensors"
CLIENT = f"""
from safetensors.torch import save_file
from colorgan.errors import ColorganError
from colorgan.networks.backbones import weights_of

for i in range(2):
    try:
        weights = weights_of("imagenet", {LITE!r})
        save_file({{name: x.contiguous() for name, x in weights.items()}}, "downloaded")
    except ColorganError as error:
        print(error)
"""


def ask(hub: str, folder: Path) -> str:
    """Ask a hub twice for the weights, in another process; return what was said."""
    ours = ("HF_", "HUGGING", "TIMM_")
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(ours) and "proxy" not in k.lower()
    }
    env |= {"HF_HOME": "hub", "TORCH_HOME": "torch", "HF_HUB_ETAG_TIMEOUT": "1"}
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_ENDPOINT": hub}
    command = [sys.executable, "-c", CLIENT]
    pipe = subprocess.PIPE
    done = subprocess.run(command, env=env, cwd=folder, text=True, stdout=pipe, timeout=200)
    return done.stdout


def test_the_weights_are_downloaded_once(tmp_path: Path) -> None:
    packaged = packaged_weights("efficientnet_lite0")
    headers = {"ETag": f'"{"e" * 64}"', "X-Repo-Commit": "c" * 40}
    page = Page(save(packaged), headers=headers)
    with Loopback() as hub:
        first, second = ask(hub.url(""), tmp_path).splitlines()
        hub.log.clear()
        hub.pages[WEIGHTS] = page
        assert ask(hub.url(""), tmp_path) == ""
    # Of a hub without them.
    start = f"model.encoder_weights is imagenet, but the weights of {LITE} could not be downloaded"
    assert first.startswith(start)
    assert second.endswith("or set it to efficientnet_lite0, which is installed with colorgan")
    assert [asked.method for asked in hub.log if asked.path == WEIGHTS].count("GET") == 1
    downloaded = load_file(tmp_path / "downloaded")
    assert len(downloaded) > 200
    for name, tensor in downloaded.items():
        summed = name == "conv_stem.weight"  # over the colours, for gray
        wanted = packaged[name].sum(1, keepdim=True) if summed else packaged[name]
        assert torch.equal(tensor, wanted)
    # And then without a connection.
    assert ask("http://127.0.0.1:9", tmp_path) == ""
