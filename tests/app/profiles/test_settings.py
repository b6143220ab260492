"""Settings that are built from a record have its fields and their types."""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from pydantic import Field, TypeAdapter, ValidationError

from app.profiles.plan import AssumedModelSettings
from app.profiles.profile import PROFILES
from app.profiles.settings import ReadAs, Settings, build_settings
from app.records.planning_inputs import AssumedModel


def records_in(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[Any, type[Settings]]]:
    """Yield each record in an annotation with the settings class that it is read as."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from records_in(inner, (*more, *metadata))
    elif get_origin(annotation) in (Union, types.UnionType, tuple):
        for member in get_args(annotation):
            yield from records_in(member, metadata)
    settings = annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None
    for entry in metadata if isinstance(annotation, type) and settings is None else ():
        if isinstance(entry, ReadAs):
            yield annotation, (settings := entry.settings_class)
    for field in settings.model_fields.values() if settings is not None else ():
        yield from records_in(field.annotation, tuple(field.metadata))


def broaden(kind: Any) -> Any:
    """Return the type of the choices of a `Literal`, also within a tuple, and otherwise the type itself."""
    if get_origin(kind) is Literal:
        return type(get_args(kind)[0])
    if get_origin(kind) is tuple and get_args(kind)[1:] == (...,):
        return types.GenericAlias(tuple, (broaden(get_args(kind)[0]), ...))
    if get_origin(kind) in (Union, types.UnionType):
        return functools.reduce(operator.or_, map(broaden, get_args(kind)))
    return kind


def find_wrong_fields(record: Any, settings: type[Settings]) -> list[str]:
    expected, actual = get_type_hints(record), get_type_hints(settings)
    return [
        name
        for name in settings.model_fields
        if actual[name] != expected[name] and broaden(actual[name]) != expected[name]
    ]


KINDS = (*PROFILES.values(), Annotated[AssumedModel, ReadAs(AssumedModelSettings)])
RECORDS = list(dict.fromkeys(pair for kind in KINDS for pair in records_in(kind)))


def test_settings_include_those_of_nested_records() -> None:
    assert {record.__name__ for record, _ in RECORDS} >= {
        "RecurringSpike",
        "Tls",
        "Expectation",
        "AssumedModel",
        "Engine",
    }


@pytest.mark.parametrize(("record", "settings"), RECORDS, ids=lambda kind: kind.__name__)
def test_settings_have_the_types_of_their_record_fields(record: Any, settings: type[Settings]) -> None:
    assert find_wrong_fields(record, settings) == []


class Point(msgspec.Struct, frozen=True):
    x: float
    y: float = 0.0


def test_setting_with_another_type_than_its_record_is_detected() -> None:
    assert find_wrong_fields(Point, build_settings(Point, {float: float}, x=str)) == ["x"]


def test_record_survives_a_round_trip_through_its_settings() -> None:
    adapter: TypeAdapter[Point] = TypeAdapter(Annotated[Point, ReadAs(build_settings(Point, {float: float}))])
    assert adapter.validate_python({"x": 1.0}) == Point(1.0)
    assert adapter.dump_python(Point(1.0)) == {"x": 1.0, "y": 0.0}


def test_setting_without_a_record_field_is_rejected() -> None:
    with pytest.raises(KeyError, match="z"):
        build_settings(Point, {float: float}, z=float)


class Alternatives(Settings):
    one_of: ClassVar[dict[str, tuple[str, ...]]] = {"source": ("rates", "from+to", "absent")}
    subject: ClassVar[str] = "load"
    rates: tuple[int, ...] = ()
    from_per_s: int | None = Field(default=None, alias="from")
    to: int | None = None


class OptionalAlternatives(Alternatives):
    requires_form: ClassVar[bool] = False


@pytest.mark.parametrize("keys", [{"rates": (1,)}, {"from": 0, "to": 2}])
def test_one_form_of_alternative_keys_is_accepted(keys: dict[str, Any]) -> None:
    for settings in (Alternatives, OptionalAlternatives):
        assert settings(**keys).model_dump(by_alias=True, exclude_defaults=True) == keys


@pytest.mark.parametrize("keys", [{"rates": (1,), "to": 2}, {"from": 0}, {"rates": (1,), "from": 0, "to": 2}])
def test_keys_of_several_forms_or_of_a_part_of_one_are_rejected(keys: dict[str, Any]) -> None:
    for settings in (Alternatives, OptionalAlternatives):
        with pytest.raises(ValidationError, match=r"load .* one of rates and from\+to"):
            settings(**keys)


def test_missing_form_is_rejected_unless_it_is_optional() -> None:
    assert OptionalAlternatives().to is None
    with pytest.raises(ValidationError, match="exactly one of"):
        Alternatives()
