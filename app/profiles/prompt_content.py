"""Settings of the content of prompts: pairs of lengths from files, images and audio clips,
tools, and the format of the responses."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from pydantic import AfterValidator, Field, JsonValue, ValidationInfo, model_validator

from app.profiles.datasets import DatasetPath, build_dataset
from app.profiles.problems import BadValueError
from app.profiles.settings import (
    Count,
    ExistingFile,
    Key,
    PositiveSeconds,
    Settings,
    build_settings,
    files_must_exist,
    resolve_path,
    upper_bound,
)
from app.profiles.units import format_duration
from loadgen.decoding import decode_json
from loadgen.payloads.datasets import DatasetError, DatasetReader
from loadgen.payloads.lengths import MAX_LENGTH
from loadgen.payloads.texts import WORDS
from loadgen.protocols.prepared import WorkloadError
from loadgen.protocols.request_options import build_text_check
from loadgen.regular_files import open_regular
from loadgen.workloads import AudioClips, Images, JointLengths, JsonFormat, RequestOptions
from reports.shortening import shorten

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]

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


MAX_TOOLS = 1000
_MAX_FILE_BYTES = 2**20
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOOL_HINT = "Write the tools as in the request of an API: a list of objects with a name and its parameters."


class ToolSettings(Settings):
    """Tools that the model may call: `count` generated ones, or those of a file."""

    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"tool source": ("count", "path")}
    subject: ClassVar[str] = "tools"

    count: Annotated[Count, upper_bound(MAX_TOOLS)] | None = Field(default=None, examples=[8])
    """Number of tools to generate, such as 8. Each has about 100 tokens."""
    path: ExistingFile | None = None
    """JSON file with a list of tools, in the notation of any of the APIs."""
    choice: Literal["auto", "required", "none"] = "auto"
    """Whether the model decides to call tools (auto), must call one (required), or must not call
    any (none)."""

    @model_validator(mode="before")
    @classmethod
    def _accept_count(cls, value: Any) -> Any:
        return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.path is not None and self.path.is_file():
            _read_tools(self.path)
        return self

    def read(self, seed: int) -> bytes:
        """Return the tools as an encoded list, generated from the seed or read from the file. Raises
        BadValueError for an invalid file."""
        tools = _read_tools(self.path) if self.count is None else _generate_tools(self.count, seed)
        return json.dumps(tools, ensure_ascii=False).encode()


def _generate_tools(count: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(f"tools {seed}")

    def build_words(word_count: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(word_count))

    tools: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        types = ("string", "integer", "boolean")
        properties = {
            f"{rng.choice(WORDS)}_{index}": {"type": value_type, "description": build_words(8)}
            for index, value_type in enumerate(types, 1)
        }
        tools.append(
            {
                "name": f"{rng.choice(WORDS)}_{number}",
                "description": build_words(20),
                "parameters": {"type": "object", "properties": properties, "required": [next(iter(properties))]},
            }
        )
    return tools


def _read_tools(path: Path | None) -> list[dict[str, Any]]:
    assert path is not None
    document = _read_json(path)
    items = document.get("tools") if isinstance(document, dict) else document
    if not isinstance(items, list) or not items:
        raise BadValueError(f"{path.name} has no list of tools", hint=_TOOL_HINT)
    if len(items) > MAX_TOOLS:
        raise BadValueError(f"{path.name} exceeds the maximum of {MAX_TOOLS:,} tools")
    tools = [_parse_tool(item, f"tool {number} of {path.name}") for number, item in enumerate(items, 1)]
    names = {tool["name"] for tool in tools}
    if len(names) < len(tools):
        raise BadValueError(f"{path.name} has two tools with the same name")
    return tools


def _parse_tool(item: object, item_name: str) -> dict[str, Any]:
    fields = item if isinstance(item, dict) else {}
    if fields.get("type", "function") not in ("function", "custom"):
        raise BadValueError(f"{item_name} is no function, and only functions are supported", hint=_TOOL_HINT)
    if isinstance(function := fields.get("function"), dict):
        fields = function
    name, parameters = fields.get("name"), fields.get("parameters", fields.get("input_schema", {"type": "object"}))
    if not isinstance(name, str) or _TOOL_NAME.fullmatch(name) is None:
        raise BadValueError(
            f"{item_name} needs a name of up to 64 letters, digits, underscores and hyphens", hint=_TOOL_HINT
        )
    if not isinstance(parameters, dict) or not isinstance(fields.get("description", ""), str):
        raise BadValueError(f"{item_name} needs a mapping of parameters, and text as description", hint=_TOOL_HINT)
    options = {key: fields[key] for key in ("description", "strict") if key in fields}
    return {"name": name, **options, "parameters": parameters}


def _parse_json_schema(value: JsonValue, info: ValidationInfo) -> JsonValue:
    """Return a schema, or the absolute path of its file. Raises BadValueError if the schema is not
    valid."""
    if isinstance(value, str):
        value = str(resolve_path(value, info))
        if not files_must_exist(info):
            return value
    _check_schema(_read_schema(value))
    return value


def _read_schema(value: object) -> bytes:
    document = _read_json(Path(value)) if isinstance(value, str) else value
    if not isinstance(document, dict):
        raise BadValueError("json_schema must be a JSON schema, or the path of a file with one")
    return json.dumps(document, ensure_ascii=False).encode()


def _check_schema(schema: bytes) -> None:
    try:
        build_text_check(schema)
    except WorkloadError as error:
        raise BadValueError(str(error), hint=error.hint) from error


class ResponseFormatSettings(Settings):
    """Structured output: responses that are JSON and match a JSON schema."""

    json_schema: Annotated[JsonValue, AfterValidator(_parse_json_schema)] = Field(examples=[{"type": "object"}])
    """JSON schema that responses must match, such as type: object, or the path of a file with
    one."""
    strict: bool = True
    """Whether the server must enforce the schema."""
    check: bool = False
    """Whether a response that does not match the schema is a failure, bad-output."""

    def build(self) -> JsonFormat:
        """Return the format. Raises BadValueError for an invalid file."""
        return JsonFormat(_read_schema(self.json_schema), self.strict, self.check)


def build_request_options(
    tools: ToolSettings | None, response_format: ResponseFormatSettings | None, seed: int
) -> RequestOptions:
    """Return the options of requests. Raises BadValueError for an invalid file."""
    return RequestOptions(
        tools=b"" if tools is None else tools.read(seed),
        tool_choice="auto" if tools is None else tools.choice,
        response_format=None if response_format is None else response_format.build(),
    )


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise BadValueError(f"the file {path} does not exist", hint="Paths are relative to the profile's folder.")
    try:
        with open_regular(path) as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadValueError(f"the file {path} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise BadValueError(f"{path.name} is larger than {_MAX_FILE_BYTES >> 20} MiB")
    try:
        return decode_json(content)
    except msgspec.DecodeError as error:
        raise BadValueError(f"{path.name} is not valid JSON: {shorten(str(error))}") from error


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
        names = shorten(", ".join(map(str, cells)))
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
