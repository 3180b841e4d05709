"""Reading YAML by the rules of version 1.2, with ruamel.yaml or, where it is missing, PyYAML.

PyYAML reads YAML 1.1, in which `off` is false, `2e-05` is a text and `010` is 8. Its scanner is
kept here; what a plain word stands for is decided as ruamel.yaml decides it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

# What PyYAML gets wrong: a pattern, and the characters that a word of it may begin with. The other
# kinds of plain words (null, dates, `<<`) are the same in both versions.
WORDS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "float": (
        r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "int": (
        r"[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+",
        "-+0123456789",
    ),
}
BASES = {"0b": 2, "0o": 8, "0x": 16}
TAG = "tag:yaml.org,2002:"


class YamlError(ValueError):
    """Text that is no YAML; the message says where, and what is wrong there."""


def parse(text: bytes) -> Any:
    """Return what a YAML document holds, in plain Python objects; None for an empty one.

    Raises:
        YamlError: it is no YAML, or a mapping in it has a key twice.
        ModuleNotFoundError: neither ruamel.yaml nor PyYAML is installed.
    """
    try:
        return with_ruamel(text)
    except ModuleNotFoundError:
        return with_pyyaml(text)


def with_ruamel(text: bytes) -> Any:
    """Parse with ruamel.yaml, as DVC does."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    return _read(YAML(typ="safe", pure=True).load, text, YAMLError)


def with_pyyaml(text: bytes) -> Any:
    """Parse with PyYAML."""
    import yaml

    return _read(lambda text: yaml.load(text, _pyyaml_loader()), text, yaml.YAMLError)


def _read(load: Callable[[bytes], Any], text: bytes, error_type: type[Exception]) -> Any:
    try:
        return load(text)
    except (error_type, ValueError, TypeError) as error:  # such as the 31st of February
        problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
        if problem is None or mark is None:
            raise YamlError(" ".join(str(error).split())) from None
        # ruamel.yaml goes on with both values.
        problem = re.sub(r'^(found duplicate key ".*?") with value .*', r"\1", problem, flags=re.S)
        raise YamlError(f"line {mark.line + 1}, column {mark.column + 1}: {problem}") from None


@cache
def _pyyaml_loader() -> Any:
    """Return PyYAML's safe loader with other words and without double keys."""
    from yaml import MappingNode, SafeLoader
    from yaml.constructor import ConstructorError

    class Loader(SafeLoader):  # type: ignore[misc]  # without types
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            # A key beside one that was merged in takes its place; ruamel.yaml allows it too.
            alone = isinstance(node, MappingNode) and all(
                key.tag != f"{TAG}merge" for key, _ in node.value
            )
            mapping = super().construct_mapping(node, deep)
            if alone and len(mapping) < len(node.value):
                seen = set()
                for key_node, _ in node.value:
                    key = self.construct_object(key_node, deep=True)
                    if key in seen:
                        problem = f'found duplicate key "{key}"'
                        raise ConstructorError(None, None, problem, key_node.start_mark)
                    seen.add(key)
            return mapping

        def construct_yaml_int(self, node: Any) -> int:
            digits = self.construct_scalar(node).replace("_", "")
            sign = -1 if digits.startswith("-") else 1
            digits = digits.removeprefix("-").removeprefix("+")
            base = BASES.get(digits[:2])
            return sign * (int(digits[2:], base) if base else int(digits))

    Loader.add_constructor(f"{TAG}int", Loader.construct_yaml_int)
    Loader.yaml_implicit_resolvers = {
        first: [(tag, word) for tag, word in words if tag.removeprefix(TAG) not in WORDS]
        for first, words in SafeLoader.yaml_implicit_resolvers.items()
    }
    for kind, (pattern, first) in WORDS.items():
        Loader.add_implicit_resolver(f"{TAG}{kind}", re.compile(f"^(?:{pattern})$"), list(first))
    return Loader
