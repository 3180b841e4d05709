"""The columns of Parquet files with photos: which they are, of what type, and what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from colorgan.errors import ColorganError

SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""What a split is called in a file, and here."""


@dataclass(frozen=True)
class Columns:
    """The names of the columns; an empty name stands for a column that there is not.

    Attributes:
        image: bytes of a picture file, or Hugging Face's struct with a field `bytes`.
        label: text, or whole numbers (with names in Hugging Face's metadata, or without).
        split: train, val or test.
        name: what a photo is called; without it, `<file>:<row>`.
        problem: why a photo could not be packed, empty where it could.
    """

    image: str
    label: str = ""
    split: str = ""
    name: str = ""
    problem: str = ""


def check_columns(path: Path, schema: pa.Schema, columns: Columns) -> None:
    """Require the named columns, each of a type that can be read."""
    image = _field(path, schema, image_column(schema, columns.image), "parquet.image_column")
    if not _is_binary(_image_type(image.type)):
        raise ColorganError(
            f"{path}: the column {image.name!r} (parquet.image_column) is {image.type}; it should "
            "hold the bytes of picture files, as binary or as Hugging Face's struct with `bytes`"
        )
    for name, parameter, allowed in (
        (columns.label, "parquet.label_column", "text or whole numbers"),
        (columns.split, "parquet.split_column", "text: train, val or test"),
    ):
        if not name:
            continue
        kind = _plain(_field(path, schema, name, parameter).type)
        if not (_is_text(kind) or (name == columns.label and pt.is_integer(kind))):
            raise ColorganError(
                f"{path}: the column {name!r} ({parameter}) is {kind}; it should be {allowed}"
            )


def _field(path: Path, schema: pa.Schema, name: str, parameter: str) -> pa.Field:
    if schema.names.count(name) != 1:
        twice = name in schema.names
        none = "" if parameter.endswith("image_column") else ", or '' for none"
        raise ColorganError(
            f"{path} {'has more than one' if twice else 'has no'} column {name!r} ({parameter}); "
            f"it has {', '.join(schema.names)}: name one of them{none}"
        )
    return schema.field(name)


def check_splits(path: Path, file: pq.ParquetFile, column: str) -> None:
    """Require train, val or test in every row, before any photo is read."""
    if not column:
        return
    for batch in file.iter_batches(batch_size=1 << 16, columns=[column], use_threads=False):
        for value in pc.unique(batch.column(0)).to_pylist():
            if value not in SPLIT_NAMES:
                raise ColorganError(
                    f"{path}: the column {column!r} (parquet.split_column) has the value "
                    f"{value!r}; it should be train, val (or validation) or test in every row"
                )


def image_column(schema: pa.Schema, name: str) -> str:
    """Return the top-level column; `image.bytes` is taken for the field of the struct `image`."""
    outer = name.removesuffix(".bytes")
    return outer if name not in schema.names and outer in schema.names else name


def image_leaf(schema: pa.Schema, name: str) -> str:
    """Return the path of the bytes, so that nothing beside them in a struct is read."""
    column = image_column(schema, name)
    return f"{column}.bytes" if pt.is_struct(schema.field(column).type) else column


def _image_type(kind: pa.DataType) -> pa.DataType:
    if pt.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return kind.field("bytes").type
    return kind


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pt.is_dictionary(kind) else kind


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def label_names(schema: pa.Schema, column: str) -> list[str]:
    """Return the names that Hugging Face's metadata gives to the numbers of a label column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def label_text(value: str | int | None, names: Sequence[str]) -> str:
    """Return the text of a label; Hugging Face writes -1 for a photo without one."""
    if value is None or (names and value == -1):
        return ""
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return str(value)
