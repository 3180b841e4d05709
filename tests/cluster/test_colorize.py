"""Colouring a collection on two nodes: as the local command, once, whatever dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cluster.conftest import TwoNodes
from servers import free_port, running, wait_for
from tiny_project import listing

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def write_photos(folder: Path, n: int) -> None:
    """Write n JPEGs, the bundled photos in gray, in folders."""
    sources = sorted((ROOT / "data" / "sample").glob("*/*.webp"))
    for i in range(n):
        path = folder / f"box {i % 3}" / f"{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(sources[i % len(sources)]) as image:
            image.convert("L").rotate(90 * (i // len(sources))).save(path, quality=90)


def manifest(out: Path | str) -> pd.DataFrame:
    """The rows of all starts by input: the last one counts."""
    rows = pd.read_parquet(Path(out) / "_colorgan" / "manifest")
    return rows.drop_duplicates("input", keep="last").set_index("input").sort_index()


def results(out: Path | str) -> dict[str, bytes]:
    """Return what lies in a folder, besides the notes of the command."""
    return {name: data for name, data in listing(Path(out)).items() if "_colorgan" not in name}


@pytest.fixture
def locally(project: Path, colorgan: Callable[..., Any]) -> Callable[[str], dict[str, bytes]]:
    """Return a function that colours a folder with the local command; what it has written."""

    def locally(folder: str) -> dict[str, bytes]:
        colorgan("colorize", folder, "-o", "local", "--device", "cpu")
        return results("local")

    return locally


def test_the_results_are_those_of_the_local_command(run, locally) -> None:
    write_photos(Path("in"), 70)
    noise = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    picture = Image.fromarray(noise)
    picture.save("in/pages.tif", save_all=True, append_images=[picture.rotate(90)])
    for name in ("same.gif", "same.png", ".hidden.png"):
        picture.save(f"in/{name}")
    Path("in/notes.txt").write_text("no picture")
    Path("in/damaged.jpg").write_bytes(b"\xff\xd8\xff")
    Path("in/gone.jpg").symlink_to("nowhere.jpg")

    said = run("colorize", "in", "out", code=1)
    assert "colorize: 72 coloured, 3 failed, 2 left out; _colorgan/manifest in out lists" in said
    expected = locally("in")
    assert results("out") == expected
    rows = manifest("out")
    done = rows[rows["status"] == "coloured"]
    assert sorted(done["output"]) == sorted(expected)
    assert (done["seconds"] > 0).all()
    assert (done["digest"].str.len() == 64).all()
    assert rows.loc["damaged.jpg", "reason"].startswith("unreadable: a JPEG that is damaged")
    assert rows.loc["gone.jpg", "reason"] == "unreadable: a broken link"
    assert rows.loc["same.png", "reason"].startswith("in/same.gif becomes out/same.png already")
    assert rows.loc["notes.txt", ["status", "reason"]].tolist() == [
        "left out", "suffix not read: .txt",
    ]  # fmt: skip

    # What is there is not made again, what is missing is.
    times = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.jpg")}
    lost = Path("out/box 0/0000.jpg")
    lost.unlink()
    run("colorize", "in", "out", code=1)
    assert results("out") == expected
    changed = {path for path, at in times.items() if path.stat().st_mtime_ns != at}
    assert changed == {lost}
    assert manifest("out")["status"].value_counts()["coloured"] == 72


def test_a_bucket_is_coloured_into_a_bucket(run, colorgan, locally) -> None:
    write_photos(Path("in"), 6)
    Path("in/damaged.jpg").write_bytes(b"\xff\xd8\xff")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    server = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(server, address):
        s3 = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
        s3.create_bucket(Bucket="archive")
        for name, content in listing(Path("in")).items():
            s3.put_object(Bucket="archive", Key=f"scans/{name}", Body=content)

        def stored() -> dict[str, bytes]:
            there = s3.list_objects_v2(Bucket="archive", Prefix="coloured/")["Contents"]
            read = {e["Key"]: s3.get_object(Bucket="archive", Key=e["Key"]) for e in there}
            return {name.removeprefix("coloured/"): o["Body"].read() for name, o in read.items()}

        server_of = f"?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        both = f"s3://archive/scans{server_of}", f"s3://archive/coloured{server_of}"
        assert "colorize: 6 coloured, 1 failed" in run("colorize", *both, code=1)
        expected = locally("in")
        assert {n: data for n, data in stored().items() if "_colorgan" not in n} == expected
        s3.delete_object(Bucket="archive", Key=f"coloured/{min(expected)}")
        said = run("colorize", *both, code=1)
        assert "colorgan: damaged.jpg: unreadable: a JPEG that is damaged" in said
        for name, content in stored().items():
            if name.startswith("_colorgan/manifest/"):
                Path("coloured", name).parent.mkdir(parents=True, exist_ok=True)
                Path("coloured", name).write_bytes(content)
            else:
                assert name == "_colorgan/run.json" or content == expected.pop(name)
        assert not expected
        # The second start has coloured what was missing and tried what had failed.
        assert len(pd.read_parquet("coloured/_colorgan/manifest")) == 7 + 2
        assert manifest("coloured")["status"].value_counts()["coloured"] == 6
        refused = colorgan("cluster", "colorize", "in", f"s3://nobodys/coloured{server_of}")
        assert refused.code == 1
        (sentence,) = refused.err.splitlines()
        assert sentence.startswith("colorgan: s3://nobodys/coloured?")
        assert " cannot be written to: " in sentence


@pytest.mark.parametrize("dies", ["worker", "node"])
def test_what_a_dead_worker_had_begun_is_done_again(start, two_nodes, locally, dies) -> None:
    write_photos(Path("in"), 240)
    command = start("colorize", "in", "out")
    wait_for(lambda: len(list(Path("out").glob("*/*.jpg"))) > 40 or command.ended(), 300)
    Path("out/box 0/.0000.jpg.1.part").write_bytes(b"half")  # as a killed worker may leave it
    if dies == "node":
        two_nodes.kill_node()
    else:
        two_nodes.workers("MapWorker")[0].kill()
    code, out, err = command.wait()
    assert code == 0, out + err
    assert "colorize: 240 coloured; " in out
    assert results("out") == locally("in")
    assert len(pd.read_parquet("out/_colorgan/manifest")) == 240
    assert (manifest("out")["status"] == "coloured").all()


def test_an_item_that_kills_its_worker_does_not_end_the_run(two_nodes: TwoNodes) -> None:
    from colorgan.cluster.session import joined, map_on_cluster

    class Worker:
        def __call__(self, item: dict[str, Any]) -> list[dict[str, int]]:
            [name] = item["names"]
            if name == 3:
                os._exit(1)
            return [{"name": int(name)}]

    with joined(""):
        found = map_on_cluster("test", Worker, (), [{"names": [i]} for i in range(8)], 2)
        assert sorted(row["name"] for rows in found for row in rows) == [0, 1, 2, 4, 5, 6, 7]


def test_what_cannot_be_coloured_is_one_sentence(two_nodes, project, colorgan) -> None:
    write_photos(Path("in"), 2)
    Path("empty").mkdir()
    Path("other").mkdir()
    Path("other/letter.txt").write_text("of somebody else")

    def refused(*arguments: str) -> str:
        said = colorgan("cluster", "colorize", *arguments)
        assert said.code == 1
        return str(said.err.splitlines()[-1])

    assert refused("empty", "out").startswith("colorgan: empty holds no picture")
    assert refused("s4://a/b", "out").startswith("colorgan: s4://a/b cannot be read: ")
    assert "other holds files of something else, such as letter.txt" in refused("in", "other")
    assert refused("in", "in/out") == (
        "colorgan: in/out lies in in; the results need a folder outside of it"
    )
    assert "other/letter.txt cannot be written to: " in refused("in", "other/letter.txt")
    assert "--model nothing: no folder" in refused("in", "out", "--model", "nothing")
    assert "no Ray cluster at 127.0.0.1:1 (" in refused("in", "out", "--address", "127.0.0.1:1")
    assert not Path("out").exists()
    # What only a worker finds out, as with a full disk.
    Path("blocked/box 0/0000.jpg").mkdir(parents=True)
    assert "blocked/box 0/0000.jpg cannot be written: " in refused("in", "blocked")
    assert colorgan("cluster", "colorize", "in", "out").code == 0
    assert "was begun with saturation 1.0, not 2.0" in refused("in", "out", "--saturation", "2")
