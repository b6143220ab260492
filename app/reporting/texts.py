"""The texts of records and documents: read, and written otherwise, wherever they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

_Any = TypeVar("_Any")
_MEANT = {"unit", "metric", "percentile", "latency_metric", "aggregate", "comparator", "times"}
"""Fields that a renderer decides by, and that no user writes."""
_FREE_KEYS = {"tags", "labels", "env", "headers", "axes"}
"""Mappings whose keys are the user's own words."""


def texts_of(value: object) -> Iterator[str]:
    """Every text in it, and the free keys of its mappings, in their order."""
    return _texts(value, "")


def with_texts(value: _Any, changed: Callable[[str], str]) -> _Any:
    """The same with every free text changed: not one of a fixed set, nor what a renderer decides by."""
    made: _Any = _with_texts(value, changed, "")
    return made


def _texts(value: object, name: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in _free_fields(type(value)):
            yield from _texts(getattr(value, field), field)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _texts(one, name)
    elif isinstance(value, dict):
        if name in _FREE_KEYS:
            yield from (key for key in value if isinstance(key, str))
        for key, one in value.items():
            yield from _texts(one, str(key))


def _with_texts(value: Any, changed: Callable[[str], str], name: str) -> Any:
    if isinstance(value, str):
        return changed(value)
    if isinstance(value, msgspec.Struct):
        old = {field: getattr(value, field) for field in _free_fields(type(value))}
        return msgspec.structs.replace(value, **{field: _with_texts(one, changed, field) for field, one in old.items()})
    if isinstance(value, tuple | list):
        return type(value)([_with_texts(one, changed, name) for one in value])
    if isinstance(value, dict):
        keys = [changed(key) if name in _FREE_KEYS and isinstance(key, str) else key for key in value]
        return dict(zip(keys, (_with_texts(one, changed, str(key)) for key, one in value.items()), strict=True))
    return value


@cache
def _free_fields(record: type[msgspec.Struct]) -> tuple[str, ...]:
    fields = msgspec.structs.fields(record)
    return tuple(one.name for one in fields if one.name not in _MEANT and not _is_of_a_set(one.type))


def _is_of_a_set(annotation: object) -> bool:
    return get_origin(annotation) is Literal or any(map(_is_of_a_set, get_args(annotation)))
