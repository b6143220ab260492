"""Describe the fields of a profile, derived from the settings classes, for forms and for lists of
keys."""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import msgspec
from pydantic import JsonValue, PlainSerializer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.profiles.profile import PROFILES
from app.profiles.settings import ReadAs, Settings, Unit, UpperBound, WrittenAs
from app.profiles.units import parse_count
from app.records.abort import AbortRule

FieldKind = Literal[
    "text", "scalar", "path", "number", "whole", "yes_no", "choice", "list", "records", "mapping", "group", "any"
]
_LOWER_BOUNDS = {annotated_types.Ge: "at least {}", annotated_types.Gt: "above {}"}
_UPPER_BOUNDS = {annotated_types.Le: "at most {}", annotated_types.Lt: "below {}"}
_FREE_FORM_TYPE_NAMES = ("JsonValue", "Length", "UniformLength", "FixedLength", "FixedDelay", "Popularity", "AbortRule")


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Description of one field of a profile.

    The value of a field of kind `text` is always a string, the value of a `scalar` is parsed as a
    YAML scalar, and the value of `any` may be any YAML. `item` describes the items of a list, a
    mapping or a list of records. `fields` are the fields of a group. `one_of` has the same meaning
    as in `Settings`.
    """

    key: str
    kind: FieldKind
    help: str = ""
    example: Any = None
    """Example value in profile notation; `None` if an example would not help."""
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
    """Name of the settings class of a group, or of each record of a list."""

    def find_field(self, key: str) -> FieldSpec | None:
        """Return the field of a group or record that has the given key; `None` if there is no such
        field."""
        group = self.item if self.item is not None and self.kind == "records" else self
        return next((field for field in group.fields if field.key == key), None)


@cache
def profile_fields(protocol: str) -> FieldSpec:
    """Describe all fields of a profile whose target uses `protocol`, as a group."""
    return build_group(PROFILES[protocol])


def build_group(settings_class: type[Settings], key: str = "") -> FieldSpec:
    fields = tuple(_describe_field(field, name) for name, field in settings_class.model_fields.items())
    return FieldSpec(
        key=key,
        kind="group",
        fields=fields,
        one_of=settings_class.list_forms(),
        settings=settings_class.__name__,
    )


def iter_fields(spec: FieldSpec, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldSpec]]:
    """Yield each field below `spec` with its path of keys. The items of a list have the key `*`."""
    children = spec.fields if spec.item is None else (*spec.fields, msgspec.structs.replace(spec.item, key="*"))
    for field in children:
        field_path = (*path, field.key)
        yield field_path, field
        yield from iter_fields(field, field_path)


def _describe_field(field: FieldInfo, name: str) -> FieldSpec:
    spec = _describe_type(field.annotation, tuple(field.metadata), field.alias or name)
    default = field.get_default(call_default_factory=True, validated_data={})
    has_default_group = spec.kind == "group" and default not in (None, PydanticUndefined)
    return msgspec.structs.replace(
        spec,
        help=field.description or "",
        example=next(iter(field.examples or ()), None),
        is_required=field.is_required(),
        default=None if default is PydanticUndefined or has_default_group else _format_default(default, field),
        is_nullable=spec.is_nullable or (spec.kind == "group" and not field.is_required() and not has_default_group),
    )


def _describe_type(annotation: Any, metadata: tuple[Any, ...], key: str) -> FieldSpec:
    metadata = tuple(_flatten_metadata(metadata))
    if get_origin(annotation) is Annotated:
        inner_type, *extra_metadata = get_args(annotation)
        return _describe_type(inner_type, (*_flatten_metadata(extra_metadata), *metadata), key)
    for entry in metadata:
        if isinstance(entry, WrittenAs):
            return _describe_type(
                entry.profile_type, tuple(other_entry for other_entry in metadata if other_entry is not entry), key
            )
        if isinstance(entry, ReadAs):
            return build_group(entry.settings_class, key)
    if get_origin(annotation) in (Union, types.UnionType):
        return _describe_union(annotation, metadata, key)
    unit = next((entry.text for entry in metadata if isinstance(entry, Unit)), "")
    attributes: dict[str, Any] = {"key": key, "unit": unit, "bounds": _format_bounds(metadata)}
    if annotation is JsonValue or getattr(annotation, "__name__", "") in _FREE_FORM_TYPE_NAMES:
        return FieldSpec(kind="text" if annotation is AbortRule else "any", **attributes)
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return build_group(annotation, key)
    if get_origin(annotation) is Literal:
        choices = tuple(str(entry) for entry in get_args(annotation))
        return FieldSpec(kind="whole" if annotation == Literal[1] else "choice", choices=choices, **attributes)
    return _describe_container(annotation, attributes) or FieldSpec(
        kind=_find_scalar_kind(annotation, bool(unit)), **attributes
    )


def _describe_container(annotation: Any, attributes: dict[str, Any]) -> FieldSpec | None:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        item = _describe_type(arguments[0], (), "")
        return FieldSpec(kind="records" if item.kind == "group" else "list", item=item, **attributes)
    if origin is dict:
        return FieldSpec(kind="mapping", item=_describe_type(arguments[1], (), ""), **attributes)
    return None


def _describe_union(annotation: Any, metadata: tuple[Any, ...], key: str) -> FieldSpec:
    """Describe a union type.

    A union of `None` and one other type is nullable. A union of several other types is a scalar, or
    any YAML if one of the types is a list or has a free form.
    """
    members = [member for member in get_args(annotation) if member is not types.NoneType]
    is_nullable = len(members) < len(get_args(annotation))
    if len(members) == 1:
        spec = _describe_type(members[0], metadata, key)
        return msgspec.structs.replace(spec, is_nullable=is_nullable)
    has_free_form = any(
        get_origin(member) is tuple or getattr(member, "__name__", "") in _FREE_FORM_TYPE_NAMES for member in members
    )
    unit = next((entry.text for entry in _flatten_metadata(metadata) if isinstance(entry, Unit)), "")
    return FieldSpec(key=key, kind="any" if has_free_form else "scalar", unit=unit, is_nullable=is_nullable)


def _find_scalar_kind(annotation: Any, has_unit: bool) -> FieldKind:
    if annotation is bool:
        return "yes_no"
    if isinstance(annotation, type) and issubclass(annotation, Path):
        return "path"
    if has_unit:
        return "scalar"
    if annotation not in (int, float):
        return "text"
    return "whole" if annotation is int else "number"


def _flatten_metadata(metadata: Any) -> Iterator[Any]:
    for entry in metadata:
        if isinstance(entry, FieldInfo):
            yield from entry.metadata
        else:
            yield entry


def _format_bounds(metadata: tuple[Any, ...]) -> str:
    """Return the bounds of a field as text, in the unit of the field and in profile notation."""
    lower_texts = _list_bound_texts(metadata, _LOWER_BOUNDS)
    if not lower_texts and any(getattr(entry, "func", None) is parse_count for entry in metadata):
        lower_texts = ["at least 1"]
    upper_texts = _list_bound_texts(metadata, _UPPER_BOUNDS)
    upper_bounds = [entry.func for entry in metadata if isinstance(getattr(entry, "func", None), UpperBound)]
    upper_texts = upper_texts or [
        f"at most {upper_bound.format_value(upper_bound.limit)}" for upper_bound in upper_bounds[-1:]
    ]
    return ", ".join(lower_texts[-1:] + upper_texts)


def _list_bound_texts(metadata: tuple[Any, ...], templates: dict[Any, str]) -> list[str]:
    return [
        templates[type(entry)].format(_format_bound(entry, metadata)) for entry in metadata if type(entry) in templates
    ]


def _format_bound(bound: Any, metadata: tuple[Any, ...]) -> str:
    limit = float(next(value for name in ("ge", "gt", "le", "lt") if (value := getattr(bound, name, None)) is not None))
    if Unit("%") in metadata:
        return f"{100 * limit:.6g}%"
    text = _serialize(limit, metadata)
    return text if isinstance(text, str) else f"{limit:,.10g}"


def _format_default(value: Any, field: FieldInfo) -> Any:
    return _to_profile_notation(value, field.annotation, tuple(field.metadata))


def _to_profile_notation(value: Any, annotation: Any, metadata: tuple[Any, ...]) -> Any:
    """Return a value in profile notation, converted by the serializers of the field's
    annotation."""
    metadata = tuple(_flatten_metadata(metadata))
    if get_origin(annotation) is Annotated:
        inner_type, *extra_metadata = get_args(annotation)
        return _to_profile_notation(value, inner_type, (*_flatten_metadata(extra_metadata), *metadata))
    if get_origin(annotation) in (Union, types.UnionType) and value is not None:
        members = [entry for entry in get_args(annotation) if entry is not types.NoneType]
        return _to_profile_notation(value, members[0], metadata) if len(members) == 1 else _serialize(value, metadata)
    if get_origin(annotation) is tuple and isinstance(value, tuple):
        return [_to_profile_notation(entry, get_args(annotation)[0], ()) for entry in value]
    return _serialize(value, metadata)


def _serialize(value: Any, metadata: tuple[Any, ...]) -> Any:
    serializers = [entry.func for entry in metadata if isinstance(entry, PlainSerializer)]
    serializers += [entry.serialize for entry in metadata if isinstance(entry, WrittenAs)]
    if value is None or not serializers:
        return value
    serialize: Any = serializers[-1]
    return serialize(value)
