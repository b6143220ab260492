"""Settings of the content of prompts: pairs of lengths from files, images and audio clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from app.profiles.datasets import DatasetPath, build_dataset
from app.profiles.problems import BadValueError
from app.profiles.settings import Count, Key, PositiveSeconds, Settings, build_settings, upper_bound
from app.profiles.units import format_duration
from loadgen.payloads.datasets import DatasetError, DatasetReader
from loadgen.payloads.lengths import MAX_LENGTH
from loadgen.workloads import AudioClips, Images, JointLengths

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]

CONTENT_PROTOCOLS = {
    "images": ("openai-chat", "openai-responses", "anthropic-messages"),
    "audio": ("openai-chat",),
}
"""Protocols that can send the content of a key of prompts."""
MAX_PAIRS = 1_000_000
_MAX_PAIR_BYTES = 256 * 2**20
_MAX_WEIGHT = 1e12


class LengthPairSettings(Settings):
    """Pairs of the lengths of a prompt and its response from a file, drawn together, so that their
    correlation is kept."""

    path: DatasetPath
    """File with one pair per row: .csv, .jsonl, .json or .parquet."""
    input: ColumnName = "input_tokens"
    """Name of the column with the length of the prompt in tokens."""
    output: ColumnName = "output_tokens"
    """Name of the column with the length of the response in tokens."""
    weight: ColumnName | None = Field(default=None, examples=["weight"])
    """Name of the column with the weight of the pair, such as weight. Leave it empty if all pairs are
    equally likely."""

    @model_validator(mode="before")
    @classmethod
    def _accept_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.path.exists():
            self.read()
        return self

    def read(self) -> JointLengths:
        """Return the pairs. Raises BadValueError for an invalid file."""
        inputs: list[int] = []
        outputs: list[int] = []
        weights: list[float] = []
        for number, cells in enumerate(_read_rows(self.path), 1):
            row_name = f"row {number:,} of {self.path.name}"
            inputs.append(_parse_length(cells, self.input, row_name))
            outputs.append(_parse_length(cells, self.output, row_name))
            if self.weight is not None:
                weights.append(_parse_weight(cells, self.weight, row_name))
        if weights and not sum(weights):
            raise BadValueError(f"{self.path.name} has no weight above 0")
        input_tokens, output_tokens = (np.array(lengths, "<i4").tobytes() for lengths in (inputs, outputs))
        return JointLengths(input_tokens, output_tokens, np.array(weights, "<f8").tobytes())


_MAX_MEDIA = 100
_MAX_SIDE = 4096
_MAX_CLIP_S = 600.0
_Side = Annotated[Count, upper_bound(_MAX_SIDE)]
_MediaCount = Annotated[Count, upper_bound(_MAX_MEDIA)]
_UniqueCount = Annotated[Count, upper_bound(1_000_000)] | None

ImageSettings = build_settings(
    Images,
    class_name="ImageSettings",
    count=Key(_MediaCount, "Number of images per prompt, such as 1.", 1),
    width=Key(_Side, "Width of the images in pixels, such as 512.", 512),
    height=Key(_Side, "Height of the images in pixels, such as 512.", 512),
    unique=Key(
        _UniqueCount,
        "Number of different images that the prompts share, such as 1. Leave it empty if all images are different.",
        1,
    ),
)
AudioSettings = build_settings(
    AudioClips,
    class_name="AudioSettings",
    count=Key(_MediaCount, "Number of audio clips per prompt, such as 1.", 1),
    duration_s=Key(
        Annotated[PositiveSeconds, upper_bound(_MAX_CLIP_S, format_duration)],
        "Duration of each clip, such as 10s.",
        "10s",
        alias="duration",
    ),
    unique=Key(
        _UniqueCount,
        "Number of different clips that the prompts share, such as 1. Leave it empty if all clips are different.",
        1,
    ),
)


def _read_rows(path: Path) -> Iterator[dict[str, object]]:
    if path.is_dir():
        raise BadValueError(f"{path.name} is a folder", hint="Use a .csv, .jsonl, .json or .parquet file.")
    reader = DatasetReader(build_dataset(path), _MAX_PAIR_BYTES)
    try:
        for number, row in enumerate(reader, 1):
            if number > MAX_PAIRS:
                raise BadValueError(f"{path.name} exceeds the maximum of {MAX_PAIRS:,} pairs")
            yield row.cells
    except DatasetError as error:
        raise BadValueError(str(error)) from error
    if reader.is_truncated:
        raise BadValueError(f"{path.name} is larger than {_MAX_PAIR_BYTES >> 20} MiB")


def _get_cell(cells: dict[str, object], column: str, row_name: str) -> object:
    if column not in cells:
        names = ", ".join(map(str, cells))[:200]
        raise BadValueError(f"{row_name} has no column {column!r}; it has these columns: {names}")
    return cells[column]


def _parse_length(cells: dict[str, object], column: str, row_name: str) -> int:
    value = _get_cell(cells, column, row_name)
    number = _parse_number(value)
    if number is None or number != number // 1 or not 1 <= number <= MAX_LENGTH:
        raise BadValueError(
            f"{column} in {row_name} must be a whole number from 1 to {MAX_LENGTH:,}, not {value!r:.100}"
        )
    return int(number)


def _parse_weight(cells: dict[str, object], column: str, row_name: str) -> float:
    value = _get_cell(cells, column, row_name)
    number = _parse_number(value)
    if number is None or not 0 <= number <= _MAX_WEIGHT:
        raise BadValueError(f"{column} in {row_name} must be a number of at least 0, not {value!r:.100}")
    return number


def _parse_number(value: object) -> float | None:
    """Return a number, which is text in a CSV file; None if the value is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None
