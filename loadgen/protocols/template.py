"""`{{column}}` in a body or a path, replaced by a row's column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from loadgen.decoding import decode_json
from loadgen.payloads.datasets import as_json
from loadgen.protocols.built import MAX_BUILT_BYTES, WorkloadError

_PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")
_STRING_PARTS = re.compile(r'\\.|"', re.DOTALL)
_MOST_IN_A_PATH = 64 * 1024


class _Hole(NamedTuple):
    column: str
    is_in_string: bool


class Template:
    """Raises WorkloadError when `is_json` is asked for and the text is none; None finds out."""

    def __init__(self, text: str, *, is_json: bool | None, is_csv: bool) -> None:
        self._is_csv = is_csv
        self._parts = _parts(text)
        fits = is_json is not False and _is_json(self._parts)
        if is_json and not fits:
            raise WorkloadError("the template is not JSON", hint="every {{column}} outside quotes becomes a JSON value")
        self.is_json = fits
        self._fixed = [part.encode() if isinstance(part, str) else part for part in self._parts]

    @property
    def has_holes(self) -> bool:
        return any(isinstance(part, _Hole) for part in self._parts)

    def fill(self, row: Mapping[str, object]) -> bytes:
        """Raises WorkloadError when the row lacks a column or fills too much, and DatasetError."""
        filled = bytearray()
        for part in self._fixed:
            filled += part if isinstance(part, bytes) else self._filled(part, row)
            if len(filled) > MAX_BUILT_BYTES:
                raise WorkloadError(f"a row fills the template to more than {MAX_BUILT_BYTES >> 20} MiB")
        return bytes(filled)

    def _filled(self, hole: _Hole, row: Mapping[str, object]) -> bytes:
        value = _value(hole.column, row)
        if not self.is_json:
            return value if isinstance(value, bytes) else _text(value).encode()
        if not hole.is_in_string:
            return as_json(value, is_csv=self._is_csv)
        is_text = isinstance(value, str | bytes)  # bytes come as base64
        return msgspec.json.encode(value if is_text else _text(value))[1:-1]


class PathTemplate:
    def __init__(self, text: str) -> None:
        self._parts = _parts(text)

    @property
    def has_holes(self) -> bool:
        return any(isinstance(part, _Hole) for part in self._parts)

    def fill(self, row: Mapping[str, object]) -> str:
        """Raises WorkloadError when the row lacks a column or fills too much, and DatasetError."""
        return "".join(part if isinstance(part, str) else self._filled(part, row) for part in self._parts)

    @staticmethod
    def _filled(hole: _Hole, row: Mapping[str, object]) -> str:
        value = _value(hole.column, row)
        text = value if isinstance(value, bytes) else _text(value)
        if len(text) > _MOST_IN_A_PATH:
            raise WorkloadError(f"a row's {hole.column!r} is too long for a path")
        return quote(text, safe="")


def _parts(text: str) -> list[str | _Hole]:
    """Fixed text and holes by turns."""
    parts: list[str | _Hole] = []
    at, is_in_string = 0, False
    for found in _PLACEHOLDER.finditer(text):
        fixed = text[at : found.start()]
        is_in_string ^= sum(part == '"' for part in _STRING_PARTS.findall(fixed)) % 2 == 1
        parts += [fixed, _Hole(found[1].strip(), is_in_string)]
        at = found.end()
    return [*parts, text[at:]]


def _is_json(parts: list[str | _Hole]) -> bool:
    try:
        decode_json("".join(part if isinstance(part, str) else "0" for part in parts))
    except msgspec.DecodeError:
        return False
    return True


def _value(column: str, row: Mapping[str, object]) -> object:
    if column not in row:
        raise WorkloadError(
            f"a row of the dataset has no column {column!r}", hint=f"it has {', '.join(row)[:200] or 'none'}"
        )
    return row[column]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else as_json(value, is_csv=False).decode()
