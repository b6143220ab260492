"""What a profile may hold, field by field, as the settings declare it: for forms and for lists of the keys."""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import msgspec
from pydantic import BaseModel, JsonValue, PlainSerializer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.profiles.profile import PROFILES
from app.profiles.settings import AtMost, Settings, Unit
from app.profiles.units import parse_count
from app.records.abort import AbortRule

Kind = Literal[
    "text", "scalar", "path", "number", "whole", "yes_no", "choice", "list", "records", "mapping", "group", "any"
]
_LEAST = {annotated_types.Ge: "at least {}", annotated_types.Gt: "above {}"}
_MOST = {annotated_types.Le: "at most {}", annotated_types.Lt: "below {}"}
_WRITTEN_FREELY = ("JsonValue", "Length", "UniformLength", "FixedLength", "Popularity", "AbortRule")


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Of kind text is what stays text; a scalar is what the same letters mean in YAML; `any` may be all of YAML.

    `default` is as a profile writes it; None where there is none. A list's, mapping's or record's `item` is what it
    holds, a group's `fields` are its own. `one_of` is as in Settings."""

    key: str
    kind: Kind
    help: str = ""
    example: Any = None
    """A value as a profile writes it; None where one would not help."""
    default: Any = None
    is_required: bool = False
    is_nullable: bool = False
    unit: str = ""
    bounds: str = ""
    choices: tuple[str, ...] = ()
    item: FieldSpec | None = None
    fields: tuple[FieldSpec, ...] = ()
    one_of: dict[str, tuple[str, ...]] = {}
    settings: str = ""
    """The name of the settings that a group, or each of the records, is."""

    def at(self, key: str) -> FieldSpec | None:
        """Of a group's or record's field; None where it has none of that key."""
        holder = self.item if self.item is not None and self.kind == "records" else self
        return next((field for field in holder.fields if field.key == key), None)


@cache
def profile_fields(protocol: str) -> FieldSpec:
    """The whole profile of a target that speaks `protocol`, as a group."""
    return group_of(PROFILES[protocol])


def group_of(settings: type[Settings], key: str = "") -> FieldSpec:
    fields = tuple(_field(field, name) for name, field in settings.model_fields.items())
    return FieldSpec(key=key, kind="group", fields=fields, one_of=_one_of(settings), settings=settings.__name__)


def every_field(spec: FieldSpec, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldSpec]]:
    """Each below `spec` with its keys; a list's items are behind `*`."""
    below = spec.fields if spec.item is None else (*spec.fields, msgspec.structs.replace(spec.item, key="*"))
    for field in below:
        here = (*path, field.key)
        yield here, field
        yield from every_field(field, here)


def _one_of(settings: type[Settings]) -> dict[str, tuple[str, ...]]:
    keys = {field.alias or name for name, field in settings.model_fields.items()}
    return {
        what: tuple(form for form in forms if set(form.split("+")) <= keys)
        for what, forms in settings.one_of.items()
        if any(set(form.split("+")) <= keys for form in forms)
    }


def _field(field: FieldInfo, name: str) -> FieldSpec:
    spec = _spec(field.annotation, tuple(field.metadata), field.alias or name)
    default = field.get_default(call_default_factory=True, validated_data={})
    is_group = isinstance(default, BaseModel)
    return msgspec.structs.replace(
        spec,
        help=field.description or "",
        example=next(iter(field.examples or ()), None),
        is_required=field.is_required(),
        default=None if default is PydanticUndefined or is_group else _written(default, field),
        is_nullable=spec.is_nullable or (spec.kind == "group" and not field.is_required() and not is_group),
    )


def _spec(annotation: Any, metadata: tuple[Any, ...], key: str) -> FieldSpec:
    metadata = tuple(_flat(metadata))
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _spec(inner, (*_flat(more), *metadata), key)
    if get_origin(annotation) in (Union, types.UnionType):
        return _union(annotation, metadata, key)
    unit = next((one.text for one in metadata if isinstance(one, Unit)), "")
    told: dict[str, Any] = {"key": key, "unit": unit, "bounds": _bounds(metadata)}
    if annotation is JsonValue or getattr(annotation, "__name__", "") in _WRITTEN_FREELY:
        return FieldSpec(kind="text" if annotation is AbortRule else "any", **told)
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return group_of(annotation, key)
    if get_origin(annotation) is Literal:
        choices = tuple(str(one) for one in get_args(annotation))
        return FieldSpec(kind="whole" if annotation == Literal[1] else "choice", choices=choices, **told)
    return _holder(annotation, told) or FieldSpec(kind=_scalar(annotation, bool(unit)), **told)


def _holder(annotation: Any, told: dict[str, Any]) -> FieldSpec | None:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        item = _spec(arguments[0], (), "")
        return FieldSpec(kind="records" if item.kind == "group" else "list", item=item, **told)
    if origin is dict:
        return FieldSpec(kind="mapping", item=_spec(arguments[1], (), ""), **told)
    return None


def _union(annotation: Any, metadata: tuple[Any, ...], key: str) -> FieldSpec:
    """Of None and one other it is that other; of several it is written as text, or freely where one is a list."""
    others = [one for one in get_args(annotation) if one is not types.NoneType]
    is_nullable = len(others) < len(get_args(annotation))
    if len(others) == 1:
        spec = _spec(others[0], metadata, key)
        return msgspec.structs.replace(spec, is_nullable=is_nullable)
    is_free = any(get_origin(one) is tuple or getattr(one, "__name__", "") in _WRITTEN_FREELY for one in others)
    unit = next((one.text for one in _flat(metadata) if isinstance(one, Unit)), "")
    return FieldSpec(key=key, kind="any" if is_free else "scalar", unit=unit, is_nullable=is_nullable)


def _scalar(annotation: Any, has_unit: bool) -> Kind:
    if annotation is bool:
        return "yes_no"
    if isinstance(annotation, type) and issubclass(annotation, Path):
        return "path"
    if has_unit:
        return "scalar"
    if annotation not in (int, float):
        return "text"
    return "whole" if annotation is int else "number"


def _flat(metadata: Any) -> Iterator[Any]:
    for one in metadata:
        if isinstance(one, FieldInfo):
            yield from one.metadata
        else:
            yield one


def _bounds(metadata: tuple[Any, ...]) -> str:
    """In the field's own unit: by how it is written."""
    least = _told(metadata, _LEAST)
    if not least and any(getattr(one, "func", None) is parse_count for one in metadata):
        least = ["at least 1"]
    most = _told(metadata, _MOST)
    limits = [one.func for one in metadata if isinstance(getattr(one, "func", None), AtMost)]
    most = most or [f"at most {limit.shown(limit.limit)}" for limit in limits[-1:]]
    return ", ".join(least[-1:] + most)


def _told(metadata: tuple[Any, ...], words: dict[Any, str]) -> list[str]:
    return [words[type(one)].format(_shown(one, metadata)) for one in metadata if type(one) in words]


def _shown(bound: Any, metadata: tuple[Any, ...]) -> str:
    limit = float(next(value for name in ("ge", "gt", "le", "lt") if (value := getattr(bound, name, None)) is not None))
    if Unit("%") in metadata:
        return f"{100 * limit:.6g}%"
    written = _serialised(limit, metadata)
    return written if isinstance(written, str) else f"{limit:,.10g}"


def _written(value: Any, field: FieldInfo) -> Any:
    return _plain(value, field.annotation, tuple(field.metadata))


def _plain(value: Any, annotation: Any, metadata: tuple[Any, ...]) -> Any:
    """As a profile would write it, by the serialisers of its declaration."""
    metadata = tuple(_flat(metadata))
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _plain(value, inner, (*_flat(more), *metadata))
    if get_origin(annotation) in (Union, types.UnionType) and value is not None:
        others = [one for one in get_args(annotation) if one is not types.NoneType]
        return _plain(value, others[0], metadata) if len(others) == 1 else _serialised(value, metadata)
    if get_origin(annotation) is tuple and isinstance(value, tuple):
        return [_plain(one, get_args(annotation)[0], ()) for one in value]
    return _serialised(value, metadata)


def _serialised(value: Any, metadata: tuple[Any, ...]) -> Any:
    serialisers = [one.func for one in metadata if isinstance(one, PlainSerializer)]
    if value is None or not serialisers:
        return value
    write: Any = serialisers[-1]
    return write(value)
