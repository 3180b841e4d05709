"""The stage download: a source's photos into data/raw/<space>, with a manifest."""

from __future__ import annotations

from colorgan import io, paths
from colorgan.config import Params, SpaceName
from colorgan.data.manifest import write_manifest
from colorgan.data.sources import get_source


def download(params: Params, space: SpaceName) -> int:
    """Fetch the photos of a space; return the number of files.

    The folder is whole or not there: files arrive beside it, and it is renamed at the end.
    """
    data = params.space(space).data
    with io.folder_aside(paths.raw(space)) as folder:
        get_source(data.source).fetch(data, folder)
        return write_manifest(folder, data.source)
