"""The stage download: copy a source's photos into data/raw/<space>, with a manifest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from colorgan import io, paths
from colorgan.config import Params, SpaceName
from colorgan.data.sources import MANIFEST, SOURCES, Manifest
from colorgan.errors import say


def download(params: Params, space: SpaceName) -> int:
    """Fetch the photos of a space; return the number of files.

    The folder is whole or not there: files arrive beside it, and it is renamed at the end. Its
    manifest.json holds the source and the SHA-256 of every file, and no times: the same photos
    make the same folder.
    """
    data = params.space(space).data
    path = Path(data.path).expanduser()
    if data.source in ("folder", "parquet") and not path.is_absolute():
        say(
            f"{space}.path in params.yaml is relative: under --temp and --queue, DVC looks for it "
            f"in a copy of the project; {path.absolute()} works everywhere"
        )
    with io.folder_aside(paths.raw(space)) as folder:
        SOURCES[data.source].fetch(data, folder)
        files = {
            path.relative_to(folder).as_posix(): io.sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        io.write_json(folder / MANIFEST, asdict(Manifest(data.source, files)))
    return len(files)
