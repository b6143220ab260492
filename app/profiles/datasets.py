"""Settings for datasets, request popularity and request bodies.

A dataset is a folder or a file. The file extension determines the format. The popularity
(`sequential`, `uniform`, `zipf` or `{zipf: 1.1}`) determines how often each prepared request is
sent. Request bodies are sent unchanged, but secrets in them are redacted before they are written to
a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, JsonValue, PlainSerializer, PlainValidator, ValidationInfo

from app.profiles import secrets
from app.profiles.document import KeyPath
from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.settings import files_must_exist, require_file_or_folder, resolve_path
from loadgen.workloads import Dataset, Popularity

DatasetFormat = Literal["jsonl", "csv", "parquet", "folder", "json"]
_FORMATS_BY_SUFFIX: dict[str, DatasetFormat] = {
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".json": "json",
}


def _parse_dataset_path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise BadValueError(f"{value!r} is not the path of a file or folder")
    path = resolve_path(value, info)
    if files_must_exist(info):
        if not path.exists():
            raise BadValueError(
                f"the file or folder {path} does not exist", hint="Paths are relative to the profile's folder."
            )
        require_file_or_folder(path)
        if not path.is_dir() and path.suffix.casefold() not in _FORMATS_BY_SUFFIX:
            hint = f"A dataset is a folder or a file that ends in {', '.join(_FORMATS_BY_SUFFIX)}."
            raise BadValueError(f"{path.name} is not a supported dataset file", hint=hint)
    return path


def build_dataset(path: Path) -> Dataset:
    return Dataset(str(path), "folder" if path.is_dir() else _FORMATS_BY_SUFFIX[path.suffix.casefold()])


DatasetPath = Annotated[Path, BeforeValidator(_parse_dataset_path), PlainSerializer(str)]


_POPULARITY_KINDS = ("sequential", "uniform", "zipf")
_POPULARITY_HINT = "Write sequential, uniform, zipf, or {zipf: 1.1} with its exponent."


def parse_popularity(value: object) -> Popularity:
    if isinstance(value, dict) and list(value) == ["zipf"]:
        exponent = value["zipf"]
        if isinstance(exponent, bool) or not isinstance(exponent, int | float) or not 0 < exponent <= 10:
            raise BadValueError(f"the exponent of zipf must be a number above 0 and at most 10, not {exponent!r}")
        return Popularity("zipf", float(exponent))
    if value == "zipf":
        return Popularity("zipf")
    if value == "uniform":
        return Popularity("uniform")
    if value == "sequential":
        return Popularity()
    hint = did_you_mean(value, _POPULARITY_KINDS) if isinstance(value, str) else None
    raise BadValueError(f"{value!r} is not a valid popularity", hint=hint or _POPULARITY_HINT)


def format_popularity(popularity: Popularity) -> Any:
    return {"zipf": popularity.exponent} if popularity.kind == "zipf" else popularity.kind


PopularityText = Annotated[Popularity, PlainValidator(parse_popularity), PlainSerializer(format_popularity)]


_FORM_DATA = re.compile(r"[^\s&={}\"]+=[^\s&{}\"]*(?:&[^\s&={}\"]+=[^\s&{}\"]*)*")


def redact_body(value: JsonValue) -> JsonValue:
    """Return a copy of a request body with every probable secret redacted, including secrets in
    strings that are JSON or form data."""
    return _redact_value(value, "")


def find_secret_paths_in_body(value: object, path: KeyPath) -> Iterator[KeyPath]:
    """Yield the path of every value in a request body that `redact_body` would redact."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from find_secret_paths_in_body(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from find_secret_paths_in_body(child, (*path, index))
    elif isinstance(value, str):
        key = next((part for part in reversed(path) if isinstance(part, str)), "")
        if _redact_value(value, key) != value:
            yield path


SECRET_BODY_KEYS = ("body", "bodies", "template", "extra_body", "session")
"""Keys of a workload and of its classes that are sent as they are, and can contain secrets."""


def is_redacted(value: JsonValue) -> bool:
    """Return whether any part of a request body is redacted."""
    return secrets.REDACTED in json.dumps(value, ensure_ascii=False)


def _redact_value(value: JsonValue, key: str) -> JsonValue:
    match value:
        case dict():
            return {child_key: _redact_value(child, child_key) for child_key, child in value.items()}
        case list():
            return [_redact_value(child, key) for child in value]
        case str() if secrets.is_secret_in_body(key, value):
            return secrets.REDACTED
        case str():
            return _redact_text(value)
        case _:
            return value


def _redact_text(text: str) -> str:
    if text[:1] in ("{", "["):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):  # a template with unquoted placeholders is not valid JSON
            return _QUOTED_PAIR.sub(_redact_match, text)
        redacted_document = redact_body(document)
        return text if redacted_document == document else json.dumps(redacted_document, ensure_ascii=False)
    if _FORM_DATA.fullmatch(text):
        return "&".join(map(_redact_field, text.split("&")))
    return secrets.REDACTED if secrets.is_token(text) else text


_QUOTED_PAIR = re.compile(r'"(?P<key>[^"\\]+)"(?P<colon>\s*:\s*)"(?P<value>(?:[^"\\]|\\.)*)"')


def _redact_match(match: re.Match[str]) -> str:
    if not secrets.is_secret_in_body(match["key"], match["value"]):
        return match[0]
    return f'"{match["key"]}"{match["colon"]}"{secrets.REDACTED}"'


def _redact_field(field: str) -> str:
    name, equals, value = field.partition("=")
    return f"{name}{equals}{secrets.REDACTED}" if secrets.is_secret_in_body(name, value) else field


Body = Annotated[JsonValue, PlainSerializer(redact_body)]
BodyKeys = Annotated[dict[str, JsonValue], PlainSerializer(redact_body)]
"""Top-level keys of a request body, with their values."""
