"""YAML 1.2: what ruamel.yaml and PyYAML are made to read alike."""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colorgan import paths, yaml12

ROOT = Path(__file__).parents[1]
READERS = pytest.mark.parametrize("read", [yaml12.with_ruamel, yaml12.with_pyyaml])


@READERS
@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[(word, word) for word in ("off", "on", "yes", "No", "y", "n", "1e", "1:30", "0o", "e5")],
        *[(word, word) for word in (".", "--", "+.nan", "0x", "1.2.3", "12e03x", "truE", "~a")],
        *[("true", True), ("True", True), ("FALSE", False), ("~", None), ("null", None)],
        *[("'1'", "1"), ('"off"', "off"), ("!!str 1", "1"), ("!!int 010", 10)],
        *[("1", 1), ("-3", -3), ("+3", 3), ("010", 10), ("08", 8), ("0o20", 16), ("-0o17", -15)],
        *[("0x1F", 31), ("0b101", 5), ("1_000", 1000), ("0", 0), ("-0", 0)],
        *[("2e-05", 2e-5), ("1e5", 1e5), ("2E-5", 2e-5), ("1.", 1.0), (".5", 0.5)],
        *[("1e400", math.inf), (".inf", math.inf), ("-.INF", -math.inf), ("-1.5e+3", -1500.0)],
    ],
)  # fmt: skip
def test_a_word_is_read_by_the_rules_of_1_2(
    read: Callable[[bytes], Any], word: str, value: object
) -> None:
    found = read(f"a: {word}".encode())["a"]
    assert (type(found), found) == (type(value), value)
    assert read(f"[{word}, 1]".encode())[-1] == 1


def test_both_readers_agree_on_every_short_word_and_on_many_long_ones() -> None:
    letters = "0123456789+-._eExXobBaFnNfiytTrRuUsSlL~:=<"
    words = ["".join(pair) for pair in itertools.product(letters, repeat=2)]
    draw = random.Random(4)
    words += ["".join(draw.choices(letters, k=draw.randint(3, 7))) for _ in range(1500)]
    assert sum(read_alike(f"a: {word}") for word in words) > 2000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "a: 1\n",
        "﻿a: ä",
        "- 1\n- [2, {b: off}]\n",
        "a: |\n  off\n  1\n",
        "a: 2020-02-03\nb: 2020-02-03 04:05:06\n",
        "base: &base {a: 1, b: 2}\nown:\n  <<: *base\n  b: 3\n",
        "? 1\n: 2\n",
        "a: &x [1]\nb: *x\n",
        # Refused by both, in the same words.
        "train: [1,",
        "train:\n\tlr: 1",
        "a: 1\nb: {c: 1, d: 2, c: 3}",
        "train: {}\nrender:\n  rows: 1\ntrain:\n  lr: 1",
        "1: 2\n0x1: 3",
        "a: b: c",
        "a: *missing",
        "a: !!python/object:os.system 1",
        "a: !mine 1",
        "a: 2020-02-31",
        "a: \0",
        "a: 1\n---\nb: 2",
        "? {a: 1}\n: 2",
    ],
)
def test_both_readers_agree_on_documents(text: str) -> None:
    read_alike(text)


def test_both_readers_refuse_bytes_that_are_no_text() -> None:
    assert not read_alike(b"a: \xff\xfe")


FILES = ["params.yaml", "dvc.yaml"]
FILES += sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("src/**/*.yaml"))


@pytest.mark.parametrize("file", FILES)
def test_both_readers_agree_on_the_projects_own_files(file: str) -> None:
    assert read_alike((ROOT / file).read_bytes())


@READERS
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"train: {}\ntrain: {}", 'line 2, column 1: found duplicate key "train"'),
        (b"a: {b: ' with value ', b: 1}", 'line 1, column 24: found duplicate key "b"'),
        (b"train: [1,", "line 1, column 11: expected the node content, but found '<stream end>'"),
        (b"a: 2020-02-31", "day is out of range for month"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    read: Callable[[bytes], Any], text: bytes, sentence: str
) -> None:
    with pytest.raises(yaml12.YamlError) as refusal:
        read(text)
    assert str(refusal.value) == sentence


def test_pyyaml_stands_in_for_ruamel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    assert yaml12.parse(b"lr: 2e-05\namp: off") == {"lr": 2e-5, "amp": "off"}


def test_ruamel_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert yaml12.parse(b"lr: 2e-05\namp: off") == {"lr": 2e-5, "amp": "off"}


def test_with_neither_it_says_what_to_install(
    project: Path, colorgan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    monkeypatch.setitem(sys.modules, "yaml", None)
    said = colorgan("preprocess", "lab")
    assert said.code == 2
    assert said.err == (
        f"colorgan: {paths.PARAMS} cannot be read without ruamel.yaml or PyYAML: "
        "pip install ruamel.yaml\n"
    )


def read_alike(text: str | bytes) -> bool:
    """Read with both; they must give the same values, or the same sentence. Return which."""
    found = []
    for read in (yaml12.with_ruamel, yaml12.with_pyyaml):
        try:
            # repr tells 1 from 1.0 and from True, and takes nan for nan.
            found.append((True, repr(read(text if isinstance(text, bytes) else text.encode()))))
        except yaml12.YamlError as error:
            found.append((False, str(error)))
    assert found[0] == found[1], text
    return found[0][0]
