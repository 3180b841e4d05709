"""params.yaml: what is read, and what is refused with which sentence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from colorgan import paths
from colorgan.config import Params, check_params, load_params, read_yaml
from colorgan.errors import ParamsError

ROOT = Path(__file__).parents[1]

HUGE = int("9" * 5000, 16)
REFUSED = [
    ("train.batch_size", 0, "is 0; it should be greater than or equal to 1"),
    ("train.batch_size", 10**12, "is 1000000000000; it should be less than or equal to 1000000000"),
    ("train.epochs", date(2020, 1, 1), "is datetime.date(2020, 1, 1); it should be a valid int"),
    ("train.lr", float("nan"), "is nan; it should be a finite number"),
    ("train.lr", 10**400, f"is 1{'0' * 17}...{'0' * 19}; it should be a valid number"),
    ("train.flip", "yes", "is 'yes'; it should be a valid boolean"),
    ("train.amp", "x" * 9999, f"is '{'x' * 47}...{'x' * 48}'; it should be 'auto', 'off', 'fp"),
    ("train.init", "", "is ''; it should have at least 1 character"),
    ("train.init", "a\0b", r"is 'a\x00b'; it should match pattern '^[^\x00]*$'"),
    ("model.encoder", "hf-hub:a/b", "is 'hf-hub:a/b'; it should match pattern '^[A-Za-z0-9_.-]+$'"),
    ("lab.image_size", 100, "is 100; it should be a multiple of 32"),
    ("lab.train", 0, "is 0; it should be a section of parameters"),
    ("train", [1], "is [1]; it should be a section of parameters"),
    ("lab", None, "is None; it should be a section of parameters"),
    ("runtime.devices", "all", "is 'all'; it should be 'auto' or a valid integer"),
]


@pytest.mark.parametrize(("path", "value", "sentence"), REFUSED)
def test_a_wrong_value_is_one_sentence_and_exit_code_2(
    write_params, colorgan, path, value, sentence
) -> None:
    write_params({path: value})
    said = colorgan("download", "lab")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"colorgan: params.yaml: {path} {sentence}")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("train.batchsize", "train.batchsize is not a parameter; did you mean batch_size? the "),
        ("lab.sauce", "lab.sauce is not a parameter; did you mean source? the names here "),
        ("lab.train.lrr", "lab.train.lrr is not a parameter; did you mean lr? the names here"),
        ("modle", "modle is not a parameter; did you mean model? the names here are rgb, lab, "),
    ],
)
def test_an_unknown_name_is_refused_with_the_one_meant(write_params, colorgan, path, start) -> None:
    write_params({path: 1})
    said = colorgan("download", "lab")
    assert said.code == 2
    assert said.err.startswith(f"colorgan: params.yaml: {start}")
    assert said.err.count("\n") == 1


def test_all_that_is_wrong_is_said_at_once_with_overrides_named_apart() -> None:
    content = shipped()
    content["render"]["rows"] = "all"
    content[5] = {}
    content["train"]["lr"] = 0
    content["lab"]["train"] = {"lr": -1, "epochs": "two"}
    with pytest.raises(ParamsError) as refusal:
        check_params(content)
    *lines, last = str(refusal.value).splitlines()
    assert lines == [
        "params.yaml: train.lr is 0; it should be greater than 0",
        "params.yaml: lab.train.epochs is 'two'; it should be a valid integer",
        "params.yaml: lab.train.lr is -1; it should be greater than 0",
        "params.yaml: render.rows is 'all'; it should be a valid integer",
    ]
    assert last.startswith("params.yaml: 5 is not a parameter; the names here are rgb, lab, ")


@pytest.mark.parametrize("path", ["train.lr", "rgb.limit", "rgb.parquet", "render", "lab"])
def test_a_missing_name_is_one_sentence_and_exit_code_2(project, colorgan, path) -> None:
    content = read_yaml(paths.PARAMS)
    *section, name = path.split(".")
    del (content[section[0]] if section else content)[name]
    YAML().dump(content, paths.PARAMS)
    said = colorgan("train", "rgb")
    assert said.code == 2
    assert said.err == (
        f"colorgan: params.yaml: {path} is missing: add it as in "
        "src/colorgan/presets/default.yaml\n"
    )


# Each mapping takes over that before it nine times: 400 million values.
MERGES = b"a0: &a0 {x: 1}\n" + b"\n".join(
    b"a%d: &a%d {<<: [%s]}" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"train: [1,", "params.yaml is not valid YAML: line 1, column 11: expected the node "),
        (b"a: 2020-02-31", "params.yaml is not valid YAML: day is out of range for month"),
        (
            b"train: {}\ntrain: {}",
            'params.yaml is not valid YAML: line 2, column 1: found duplicate key "train"\n',
        ),
        (b"a: \xff\xfe", "params.yaml is not valid YAML: "),
        (b"a: " + b"9" * 5000, "params.yaml is not valid YAML: "),
        (b"a: " + b"{a: " * 3000 + b"}" * 3000, "params.yaml is nested too deeply"),
        (MERGES, "params.yaml is not valid YAML: line 2, column "),
        (b"a: !!python/object:os.system 1", "params.yaml is not valid YAML: "),
        (b"", "params.yaml should be a mapping of sections, such as `train:`"),
        (b"- rgb\n- lab", "params.yaml should be a mapping of sections, such as `train:`"),
        (None, "params.yaml cannot be read: Is a directory"),
    ],
)
def test_a_file_that_holds_no_parameters(project, colorgan, text, sentence) -> None:
    paths.PARAMS.unlink()
    if text is None:
        paths.PARAMS.mkdir()
    else:
        paths.PARAMS.write_bytes(text)
    said = colorgan("preprocess", "rgb")
    assert said.code == 2
    assert said.err.startswith(f"colorgan: {sentence}")
    assert said.err.count("\n") == 1


def test_a_folder_without_params(tmp_path, monkeypatch, colorgan) -> None:
    monkeypatch.chdir(tmp_path)
    said = colorgan("preprocess", "rgb")
    assert said.code == 2
    assert said.err.startswith(f"colorgan: params.yaml does not exist in {tmp_path}: run this in")


def test_values_that_cannot_be_written_out_are_one_sentence() -> None:
    """Nested aliases, a section that contains itself, a huge number, a name that is not Unicode."""
    content = shipped()
    bomb: list[object] = []
    for _ in range(60):
        bomb = [bomb, bomb]
    content["train"]["lr"] = bomb
    content["render"]["rows"] = content["render"]
    content["train"]["epochs"] = HUGE
    with pytest.raises(ParamsError) as refusal:
        check_params(content)
    lines = str(refusal.value).splitlines()
    assert [line.split()[1] for line in lines] == ["train.epochs", "train.lr", "render.rows"]
    assert all(len(line) < 300 for line in lines)
    with pytest.raises(ParamsError, match="it should be a valid string"):
        check_params(shipped() | {"\ud800": 1})


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("lr: 2e-05", 2e-5),  # as DVC writes -S train.lr=0.00002
        ("amp: off", "off"),
        ("batch_size: 0o20", 16),
    ],
)
def test_values_are_read_by_yaml_12_rules(project: Path, line: str, read: object) -> None:
    name = line.partition(":")[0]
    lines = [
        f"  {line}" if old.lstrip().startswith(f"{name}:") else old
        for old in (ROOT / "params.yaml").read_text().splitlines()
    ]
    paths.PARAMS.write_text("\n".join(lines))
    value = getattr(load_params().rgb.train, name)
    assert value == read
    assert isinstance(value, type(read))


def test_an_override_is_for_its_space_alone(make_params: Callable[..., Params]) -> None:
    params = make_params({"train.lr": 0.5, "lab.train": {"lr": 0.1}, "rgb.model": {"ngf": 7}})
    assert (params.rgb.train.lr, params.lab.train.lr) == (0.5, 0.1)
    assert (params.rgb.model.ngf, params.lab.model.ngf) == (7, 2)
    assert params.lab.train.epochs == params.rgb.train.epochs
    assert params.space("lab") is params.lab
    assert make_params({"lab.train": None}).lab.train == make_params().lab.train


def shipped() -> dict[str, Any]:
    return read_yaml(ROOT / "params.yaml")
