"""Run the code cells of a notebook without Jupyter: `python run_notebook.py NOTEBOOK SETTINGS`.

The cells are plain Python, run in their order in one process and one namespace. After the cell with
the tag `parameters` come the values of SETTINGS (JSON), as papermill does it. IPython is that of
the host, so here `display` prints what it is given, and a picture has to be one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image as Picture

PARAMETERS = "parameters"


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    """Return the code cells of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def run(notebook: Path, settings: dict[str, Any]) -> None:
    """Run the code cells with these settings; what they raise is raised."""
    _stand_in_for_ipython()
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in code_cells(notebook):
        print(f"== {cell['id']}", flush=True)
        exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)
        if PARAMETERS in cell["metadata"].get("tags", ()):
            unknown = settings.keys() - namespace.keys()
            assert not unknown, f"no settings of the notebook: {unknown}"
            namespace |= settings


def _stand_in_for_ipython() -> None:
    def display(*shown: object) -> None:
        for one in shown:
            text = one.to_string() if hasattr(one, "to_string") else one
            print("displayed:", text, flush=True)

    def image(filename: str) -> Picture.Image:
        with Picture.open(filename) as picture:
            picture.load()
            return picture

    module = ModuleType("IPython.display")
    module.__dict__.update(display=display, Image=image)
    sys.modules |= {"IPython": ModuleType("IPython"), "IPython.display": module}


if __name__ == "__main__":
    run(Path(sys.argv[1]), json.loads(sys.argv[2]))
