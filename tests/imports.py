"""What imports what inside colorgan, read from the source: also imports inside functions count."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "colorgan"


def module_file(name: str) -> Path | None:
    """Return the file of module `name`, such as `colorgan.data.arrays`; None if there is none."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    file = path.with_suffix(".py")
    return file if file.is_file() else None


def all_modules() -> list[str]:
    """Return the names of all modules of the package."""
    names = []
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


@cache
def direct_imports(name: str) -> frozenset[str]:
    """Return the colorgan modules that module `name` itself imports, for types or for real."""
    file = module_file(name)
    assert file is not None, name
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name} imports relatively"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(n for n in found if n.startswith("colorgan.") and module_file(n))


def closure(name: str) -> set[str]:
    """Return module `name` and all colorgan modules that it imports, however indirectly."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += direct_imports(module)
            # Importing a.b.c runs a.b's __init__ too.
            parent = module.rpartition(".")[0]
            if parent and parent != "colorgan":
                todo.append(parent)
    return seen
