"""Weights from timm's hub: by its real client, in a process of its own, from a small hub here.

The client reads its environment when it is first imported. A process asks again and again, each
time with an empty cache unless told otherwise, because the imports take most of the time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from colorgan.networks.backbones import packaged_weights
from loopback import Asked, Loopback, Page

LITE = "tf_efficientnet_lite0"
REPOSITORY = f"/timm/{LITE}.in1k/resolve/main"
WEIGHTS = f"{REPOSITORY}/model.safetensors"
PATIENCE_S = 1
SENTENCE = (
    f"model.encoder_weights is imagenet, but the weights of {LITE} could not be fetched ({{}}): "
    "run once with a connection to the internet, or set it to efficientnet_lite0, which is "
    "installed with colorgan"
)
CLIENT = f"""
import json, sys
from safetensors.torch import save_file
from colorgan.errors import ColorganError
from colorgan.networks import EncoderUNet
from colorgan.networks.backbones import load_backbone, weights_of

print("ready", flush=True)
for file in sys.stdin:
    said = ""
    try:
        network = EncoderUNet(1, 2, ngf=8)
        load_backbone(network.encoder, weights_of("imagenet", {LITE!r}), "imagenet")
        save_file(network.encoder.state_dict(), file.strip())
    except ColorganError as error:
        said = str(error)
    print(json.dumps(said), flush=True)
"""


class Answer(NamedTuple):
    """The error's sentence, empty for none; the backbone's weights then; how long it took."""

    said: str
    weights: dict[str, Tensor]
    seconds: float


class Client:
    """A process that fetches the weights into a backbone when asked; a context manager."""

    def __init__(self, hub: str, folder: Path) -> None:
        self.home = folder / "hub"
        self.elsewhere = folder / "torch"
        self._file = folder / "backbone.safetensors"
        ours = ("HF_", "HUGGING", "TIMM_")
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(ours) and not name.lower().endswith("_proxy")
        }
        env |= {
            "HF_ENDPOINT": hub,
            "HF_HOME": str(self.home),
            "TORCH_HOME": str(self.elsewhere),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_ETAG_TIMEOUT": str(PATIENCE_S),
            "HF_HUB_DOWNLOAD_TIMEOUT": str(PATIENCE_S),
            "OMP_NUM_THREADS": "1",
        }
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT], env=env, cwd=folder, stdin=pipe, stdout=pipe, text=True
        )
        self._end = threading.Timer(100, self._process.kill)

    def __enter__(self) -> Client:
        self._end.start()
        assert self._line() == "ready\n"
        return self

    def __exit__(self, *args: object) -> None:
        self._end.cancel()
        self._process.kill()
        self._process.communicate()

    def ask(self, keep_cache: bool = False) -> Answer:
        if not keep_cache:
            shutil.rmtree(self.home, ignore_errors=True)
        assert self._process.stdin is not None
        start = time.monotonic()
        self._process.stdin.write(f"{self._file}\n")
        self._process.stdin.flush()
        said = json.loads(self._line() or '"it ended with a traceback"')
        seconds = time.monotonic() - start
        return Answer(said, {} if said else load_file(self._file), seconds)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@pytest.fixture(scope="module")
def packaged() -> dict[str, Tensor]:
    return packaged_weights("efficientnet_lite0")


@pytest.fixture(scope="module")
def page(packaged: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The weights' file as the hub has it: named by its commit, tagged with its sum."""
    file = tmp_path_factory.mktemp("served") / "model.safetensors"
    save_file(packaged, file)
    return Page(file, etag=f'"{"e" * 64}"', headers={"X-Repo-Commit": "c" * 40})


@pytest.fixture(scope="module")
def hub() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.fixture(scope="module")
def client(hub: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(hub.url(""), tmp_path_factory.mktemp("client")) as client:
        yield client


@pytest.fixture(autouse=True)
def _as_it_should_be(hub: Loopback, page: Page) -> None:
    hub.pages.clear()
    hub.pages[WEIGHTS] = page
    hub.log.clear()


def same(got: dict[str, Tensor], packaged: dict[str, Tensor]) -> bool:
    """Tell whether a backbone has the packaged weights, its stem their sum over the colours."""
    stem = "conv_stem.weight"
    summed = packaged | {stem: packaged[stem].sum(1, keepdim=True)}
    return len(got) > 200 and all(torch.equal(got[name], summed[name]) for name in got)


def close(asked: Asked) -> Page:
    # What the server takes for the end of its own patience: it closes the connection.
    raise TimeoutError


def silent(asked: Asked) -> Page:
    time.sleep(4 * PATIENCE_S)
    raise TimeoutError


def test_the_backbone_gets_the_weights_of_the_hub(
    client: Client, hub: Loopback, packaged: dict[str, Tensor]
) -> None:
    answer = client.ask()
    assert answer.said == ""
    assert same(answer.weights, packaged)
    assert {asked.path for asked in hub.log} == {WEIGHTS}
    assert [asked.method for asked in hub.log].count("GET") == 1
    assert not client.elsewhere.exists(), "timm knows an address at GitHub too"


def test_a_download_that_breaks_off_goes_on(
    client: Client, hub: Loopback, page: Page, packaged: dict[str, Tensor]
) -> None:
    page.breaks, page.breaks_after = 1, 12 << 20
    answer = client.ask()
    assert answer.said == ""
    assert same(answer.weights, packaged)
    ranges = [asked.headers.get("range") for asked in hub.log if asked.method == "GET"]
    # The client writes ten megabytes at a time.
    assert ranges == [None, f"bytes={10 << 20}-"]


def test_the_hub_is_not_asked_again(
    client: Client, hub: Loopback, packaged: dict[str, Tensor]
) -> None:
    assert client.ask().said == ""
    hub.pages.clear()
    hub.log.clear()
    assert same(client.ask(keep_cache=True).weights, packaged)
    assert hub.log == []


NONE_SUCH = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "c" * 40}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Page(status=404), "404 Not Found"),
        (Page(status=404, headers=NONE_SUCH), "pytorch_model.bin"),
        (Page(status=401, headers={"X-Error-Code": "RepoNotFound"}), "Repository Not Found"),
        (Page(status=429, headers={"Retry-After": "600"}), "429 Too Many Requests"),
        (Page(status=500), "500 Internal Server Error"),
        (Page(status=503), "503 Service Unavailable"),
        (Page(b"Log in to this network"), "X-Repo-Commit"),
        (close, "Server disconnected"),
        (silent, "timed out"),
    ],
)
def test_a_hub_that_fails_is_one_sentence(
    fault: Page | Callable[[Asked], Page], reason: str, client: Client, hub: Loopback
) -> None:
    hub.pages[WEIGHTS] = hub.pages[f"{REPOSITORY}/pytorch_model.bin"] = fault
    answer = client.ask()
    before, after = SENTENCE.split("{}")
    assert answer.said.startswith(before)
    assert reason in answer.said
    assert answer.said.endswith(after)
    assert "\n" not in answer.said
    assert answer.seconds < PATIENCE_S + 3


def test_a_hub_that_fails_at_the_file_itself(client: Client, hub: Loopback, page: Page) -> None:
    hub.pages[WEIGHTS] = lambda asked: page if asked.method == "HEAD" else close(asked)
    answer = client.ask()
    assert "Server disconnected" in answer.said
    # The client tries six times, a second apart.
    assert answer.seconds < 5 + 3


def test_weights_of_another_network(client: Client, hub: Loopback, tmp_path: Path) -> None:
    save_file(packaged_weights("efficientnet_lite2"), tmp_path / "model.safetensors")
    other = Page(tmp_path / "model.safetensors", headers={"X-Repo-Commit": "d" * 40})
    hub.pages[WEIGHTS] = other
    assert client.ask().said.startswith(SENTENCE.partition("{}")[0])


def test_a_hub_that_is_not_there(
    client: Client, packaged: dict[str, Tensor], tmp_path: Path
) -> None:
    """Another process has the weights that the first one fetched, and without them a sentence."""
    assert client.ask().said == ""
    with Loopback() as gone:
        address = gone.url("")
    with Client(address, tmp_path) as other:
        shutil.copytree(client.home, other.home, symlinks=True)
        assert same(other.ask(keep_cache=True).weights, packaged)
        answer = other.ask()
    assert SENTENCE.partition("{}")[0] in answer.said
    assert "refused" in answer.said
    assert answer.seconds < 3
