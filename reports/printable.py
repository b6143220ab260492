"""Texts from outside, without the characters that steer terminals and break renderers."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

_Record = TypeVar("_Record", bound=msgspec.Struct)
_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def printable(record: _Record) -> _Record:
    """The record with every control character of its texts replaced; a NUL alone would abort the chart renderer."""
    return msgspec.convert(_cleaned(msgspec.to_builtins(record)), type=type(record))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_CONTROLS)
    if isinstance(value, dict):
        return {name: _cleaned(one) for name, one in value.items()}
    return [_cleaned(one) for one in value] if isinstance(value, list | tuple) else value
