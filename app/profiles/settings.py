"""What every part of a profile has: keys checked by name, and values that carry their unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    create_model,
    model_validator,
)  # fmt: skip
from pydantic_core import CoreSchema, core_schema

from app.analysis.objectives import parse_gate, parse_objective
from app.errors import UsageError
from app.profiles import units
from app.profiles.problems import BadValueError, UnknownKeyError
from app.records.result import Objective


class Unit(msgspec.Struct, frozen=True):
    """How a value's unit is written, for whoever describes fields; validation passes it by."""

    text: str


class AtMost(msgspec.Struct, frozen=True):
    """A bound that an error words as a person would."""

    limit: float
    shown: Callable[[float], str]

    def __call__(self, value: float) -> float:
        if value > self.limit:
            most = self.shown(self.limit)
            raise BadValueError(f"{self.shown(value)} is more than {most}, the most that can be asked for")
        return value


class Settings(BaseModel):
    """`keys_of_others` maps keys that belong to a sibling to the sentence that says so. Of each of `one_of`, which are
    by what they decide, one is given: a key, or several joined by +.

    The text below a field is its description. `Field(examples=…)` holds values as a profile writes them.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True,
        use_attribute_docstrings=True,
        defer_build=True,  # builds only the models that a profile uses, which pays for most of reading the docstrings
    )  # fmt: skip
    keys_of_others: ClassVar[dict[str, str]] = {}
    one_of: ClassVar[dict[str, tuple[str, ...]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _knows_every_key(cls, value: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in value if isinstance(value, dict) else ():
            if key not in known:
                raise UnknownKeyError(key, known, cls.keys_of_others.get(key))
        return value


def settings_of(
    record: type[msgspec.Struct], by_type: Mapping[Any, Any], *, without: tuple[str, ...] = (), **by_name: Any
) -> type[Settings]:
    """Settings with the fields and the defaults of a record.

    The type of a setting, with its limits, is found by its name, else by the type that the record has for it.
    """
    keys: dict[str, Any] = {
        one.name: (by_name.get(one.name) or by_type[one.type], ... if one.required else one.default)
        for one in msgspec.structs.fields(record)
        if one.name not in without
    }
    return create_model(f"{record.__name__}Settings", __base__=Settings, **keys)


class ReadAs(msgspec.Struct, frozen=True):
    """Annotates a record that a file states by the keys of `settings`."""

    settings: type[Settings]

    def __get_pydantic_core_schema__(self, record: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler.generate_schema(self.settings)
        return core_schema.no_info_after_validator_function(lambda one: record(**dict(one)), schema)


def _reader(parse: Callable[[str], Objective]) -> PlainValidator:
    def read(value: object) -> Objective:
        if not isinstance(value, str):
            raise BadValueError(f"{value!r} is not an objective", hint='Write it like "latency_ms.p95 < 50".')
        try:
            return parse(value)
        except UsageError as error:
            raise BadValueError(str(error), hint=error.hint) from error

    return PlainValidator(read)


def _existing_file(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise BadValueError(f"{value!r} is not the path of a file")
    path = (profile_directory(info) / value).resolve()
    if not path.is_file() and files_must_exist(info):
        raise BadValueError(f"no such file: {path}", hint="Paths are relative to the profile's folder.")
    return path


def _path_to_come(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadValueError(f"{value!r} is not a path")
    return (profile_directory(info) / value).resolve()


def files_must_exist(info: ValidationInfo) -> bool:
    """False for the profile of a stored run, whose files may be on another machine."""
    context = info.context
    assert isinstance(context, dict)
    return bool(context["files_must_exist"])


def profile_directory(info: ValidationInfo) -> Path:
    context = info.context
    assert isinstance(context, dict)
    directory = context["directory"]
    assert isinstance(directory, Path)
    return directory


def at_most(limit: float, shown: Callable[[float], str] = "{:,}".format) -> AfterValidator:
    return AfterValidator(AtMost(limit, shown))


T = TypeVar("T")
Listed = Annotated[tuple[T, ...], Field(strict=False)]
ExistingFile = Annotated[Path, BeforeValidator(_existing_file), PlainSerializer(str)]
SomePath = Annotated[Path, BeforeValidator(_path_to_come), PlainSerializer(str)]
"""Of something that need not be there yet."""
ObjectiveText = Annotated[Objective, _reader(parse_objective), PlainSerializer(lambda objective: objective.text)]
GateText = Annotated[Objective, _reader(parse_gate), PlainSerializer(lambda objective: objective.text)]
Seconds = Annotated[
    float,
    BeforeValidator(units.parse_duration_s),
    at_most(30 * 86_400.0, units.format_duration),
    PlainSerializer(units.format_duration),
    Unit("ms, s, m, h"),
]
SomeSeconds = Annotated[Seconds, Field(gt=0)]
Days = Annotated[
    int, BeforeValidator(units.parse_days), at_most(36_500), PlainSerializer(lambda days: f"{days}d"), Unit("d")
]
MOST_PER_S = 1e6
SomeRate = Annotated[
    float,
    BeforeValidator(units.parse_rate_or_none_per_s),
    at_most(MOST_PER_S, units.format_rate),
    PlainSerializer(units.format_rate),
    Unit("/s, /min, /h"),
]
"""A rate that may be 0/s."""
Rate = Annotated[
    float,
    BeforeValidator(units.parse_rate_per_s),
    at_most(MOST_PER_S, units.format_rate),
    PlainSerializer(units.format_rate),
    Unit("/s, /min, /h"),
]
Share = Annotated[float, BeforeValidator(units.parse_share), PlainSerializer(units.format_share), Unit("%")]
Growth = Annotated[
    float,
    BeforeValidator(units.parse_growth_per_year),
    at_most(100.0, units.format_growth),
    PlainSerializer(units.format_growth),
    Unit("%/year"),
]
UsdPerMonth = Annotated[
    float,
    BeforeValidator(units.parse_usd_per_month),
    PlainSerializer(units.format_usd_per_month),
    Unit("USD/month"),
]
Redundancy = Annotated[
    int, BeforeValidator(units.parse_redundancy), PlainSerializer(units.format_redundancy), Unit("n, n+1")
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Count = Annotated[int, BeforeValidator(units.parse_count)]
