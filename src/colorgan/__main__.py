"""`python -m colorgan` and `colorgan`: run the code of the project in the working directory.

An editable install points at one checkout, but a queued or `--temp` experiment of DVC runs in a
copy of the project: there `src/colorgan` of the working directory replaces the installed package.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def use_code_of(folder: Path) -> None:
    """Import colorgan from `folder`/src from now on, in this process and in those it starts."""
    source = folder / "src"
    wanted = source / "colorgan" / "__init__.py"
    running = Path(__file__).parent / "__init__.py"
    if not wanted.is_file() or wanted.samefile(running):
        return
    source = source.absolute()
    for name in [name for name in sys.modules if name.split(".")[0] == "colorgan"]:
        del sys.modules[name]
    sys.path.insert(0, str(source))
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(source), inherited)))


def main() -> None:
    """Run the command line."""
    use_code_of(Path())  # Path.cwd fails in a folder that is deleted
    from colorgan.cli import main as run

    run()


if __name__ == "__main__":
    main()
