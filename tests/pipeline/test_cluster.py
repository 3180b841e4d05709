"""What DVC makes of arrays that a cluster has made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.conftest import TwoNodes, running_cluster, two_nodes

__all__ = ["two_nodes"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def _two_nodes() -> Iterator[TwoNodes]:
    with running_cluster() as cluster:
        yield cluster


def test_dvc_takes_the_arrays_as_the_results_of_the_stage(own_project, two_nodes) -> None:
    params = own_project.folder / "params.yaml"
    params.write_text(params.read_text().replace("val_fraction: 0.1", "val_fraction: 0.2"))
    before = (own_project.folder / "dvc.lock").read_text()
    make, take = "python -m colorgan cluster preprocess lab", "dvc commit -f preprocess@lab"
    own_project.run(*make.split(), "--address", two_nodes.cluster.address)
    own_project.run(*take.split())
    committed = (own_project.folder / "dvc.lock").read_text()
    assert committed != before
    assert "preprocess@lab" not in own_project.run("dvc", "status", "preprocess@lab")
    own_project.run("dvc", "repro", "--force", "--single-item", "preprocess@lab")
    assert (own_project.folder / "dvc.lock").read_text() == committed
