"""`python -m colorgan` and `colorgan`: the code of the project one stands in.

An editable install points at one checkout. A queued or `--temp` experiment runs in a copy of the
project as it was when it was queued; there, the installed package would be the wrong code. So the
working directory's `src/colorgan`, where there is one, takes the place of the installed package.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def use_code_of(folder: Path) -> None:
    """Import colorgan from `folder`/src from here on, in this process and those it starts."""
    source = folder / "src"
    wanted = source / "colorgan" / "__init__.py"
    running = Path(__file__).parent / "__init__.py"
    if not wanted.is_file() or wanted.samefile(running):
        return
    for name in [name for name in sys.modules if name.split(".")[0] == "colorgan"]:
        del sys.modules[name]
    sys.path.insert(0, str(source))
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(source), inherited)))


def main() -> None:
    """Run the command line of the project one stands in."""
    use_code_of(Path.cwd())
    from colorgan.cli import main as run

    run()


if __name__ == "__main__":
    main()
