"""Base classes and types for profile settings, which check key names and parse values with
units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

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
    SerializerFunctionWrapHandler,
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
from reports.shortening import shorten

T = TypeVar("T")


class Unit(msgspec.Struct, frozen=True):
    """Unit of a value in profile notation, for the description of a field. The unit does not affect
    validation."""

    text: str


class UpperBound(msgspec.Struct, frozen=True):
    """Upper bound whose error message shows values in profile notation."""

    limit: float
    format_value: Callable[[float], str]

    def __call__(self, value: float) -> float:
        if value > self.limit:
            maximum = self.format_value(self.limit)
            raise BadValueError(f"{self.format_value(value)} exceeds the maximum of {maximum}")
        return value


def format_forms(forms: tuple[str, ...]) -> str:
    """Format two or more alternative forms for an error message, such as `rates, from+to and concurrency`."""
    return f"{', '.join(forms[:-1])} and {forms[-1]}"


class Settings(BaseModel):
    """Base class of all parts of a profile.

    `misplaced_key_hints` maps each key that is valid only in other settings, or was renamed, to the
    hint for that key. `one_of` maps a label to alternative forms; exactly one form must be set, or at most one
    unless `requires_form`. A form is a key, or several keys joined by +. `subject` is what errors about forms call
    the settings.

    The docstring of a field is its description. `Field(examples=…)` contains values in profile
    notation.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True,
        use_attribute_docstrings=True,
        defer_build=True,  # builds only the models that a profile uses, which offsets most of the cost of docstrings
    )  # fmt: skip
    misplaced_key_hints: ClassVar[dict[str, str]] = {}
    one_of: ClassVar[dict[str, tuple[str, ...]]] = {}
    requires_form: ClassVar[bool] = True
    subject: ClassVar[str] = ""

    @classmethod
    def list_forms(cls) -> dict[str, tuple[str, ...]]:
        """Return the alternative forms by label, without those whose keys the class does not have."""
        keys = {field.alias or name for name, field in cls.model_fields.items()}
        return {
            label: own_forms
            for label, forms in cls.one_of.items()
            if (own_forms := tuple(form for form in forms if set(form.split("+")) <= keys))
        }

    def check_form(self, forms: tuple[str, ...], set_keys: tuple[str, ...]) -> None:
        """Raise BadValueError unless the keys that are set make one of the forms. Subclasses may allow more."""
        if "+".join(set_keys) not in forms and (set_keys or self.requires_form):
            rule = "needs exactly one of" if self.requires_form else "must have only one of"
            raise BadValueError(f"{self.subject} {rule} {format_forms(forms)}")

    @model_validator(mode="after")
    def _check_forms(self) -> Self:
        names_by_key = {field.alias or name: name for name, field in type(self).model_fields.items()}
        for forms in self.list_forms().values():
            keys = dict.fromkeys(key for form in forms for key in form.split("+"))
            self.check_form(forms, tuple(key for key in keys if getattr(self, names_by_key[key]) not in (None, ())))
        return self

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, value: Any) -> Any:
        key_names = [field.alias or name for name, field in cls.model_fields.items()]
        for key in value if isinstance(value, dict) else ():
            if key not in key_names:
                raise UnknownKeyError(key, key_names, cls.misplaced_key_hints.get(key))
        return value


class Key(msgspec.Struct, frozen=True):
    """Profile key for a field of a record: the type with limits, the help text, an example, and
    optionally an alias and another default."""

    value_type: Any
    help: str
    example: Any = None
    alias: str | None = None
    default: Any = ...

    def build_field(self, default: Any) -> tuple[Any, Any]:
        examples = None if self.example is None else [self.example]
        default = default if self.default is ... else self.default
        return self.value_type, Field(default, alias=self.alias, description=self.help or None, examples=examples)


def build_settings(
    record_class: type[msgspec.Struct],
    profile_types: Mapping[Any, Any] | None = None,
    *,
    class_name: str = "",
    base: type[Settings] = Settings,
    excluded: tuple[str, ...] = (),
    **keys_by_name: Any,
) -> type[Settings]:
    """Create settings with the fields and defaults of a record. The fields in `keys_by_name` come
    first, in the order of `keys_by_name`.

    `keys_by_name` maps the name of a field to its profile key, or only to the type of its values.
    For all other fields, `profile_types` maps the type in the record to the type in the profile.
    Fields in `excluded` are omitted.
    """
    fields = {field.name: field for field in msgspec.structs.fields(record_class) if field.name not in excluded}
    field_definitions: dict[str, Any] = {}
    for name in (*keys_by_name, *(name for name in fields if name not in keys_by_name)):
        key = keys_by_name[name] if name in keys_by_name else (profile_types or {})[fields[name].type]
        default = ... if fields[name].required else fields[name].default
        field_definitions[name] = key.build_field(default) if isinstance(key, Key) else (key, default)
    return create_model(
        class_name or f"{record_class.__name__}Settings",
        __base__=base,
        __cls_kwargs__={"use_attribute_docstrings": False},  # no class statement has docstrings for these fields
        **field_definitions,
    )


class ReadAs(msgspec.Struct, frozen=True):
    """Annotation for a record that is read from the keys of `settings_class`.

    `check` raises BadValueError for contradictory values.
    """

    settings_class: type[Settings]
    check: Callable[[Any], None] = lambda _: None

    def __get_pydantic_core_schema__(self, record_class: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def read(settings: Settings) -> Any:
            record = record_class(**dict(settings))
            self.check(record)
            return record

        def write(record: Any, serialize: SerializerFunctionWrapHandler) -> Any:
            return serialize(self.settings_class.model_construct(**msgspec.structs.asdict(record)))

        schema = handler.generate_schema(self.settings_class)
        serializer = core_schema.wrap_serializer_function_ser_schema(write, schema=schema)
        return core_schema.no_info_after_validator_function(read, schema, serialization=serializer)


class WrittenAs(msgspec.Struct, frozen=True):
    """Annotation for a value that has another type in a profile. `parse` converts from that type,
    and `serialize` converts to that type."""

    profile_type: Any
    parse: Callable[[Any], Any]
    serialize: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler.generate_schema(self.profile_type)
        serializer = core_schema.plain_serializer_function_ser_schema(self.serialize)
        return core_schema.no_info_after_validator_function(self.parse, schema, serialization=serializer)


def _build_objective_parser(parse: Callable[[str], T]) -> PlainValidator:
    def parse_value(value: object) -> T:
        if not isinstance(value, str):
            raise BadValueError(
                f"{value!r} is not a valid objective", hint='Use a value such as "latency_ms.p95 < 50".'
            )
        try:
            return parse(value)
        except UsageError as error:
            raise BadValueError(str(error), hint=error.hint) from error

    return PlainValidator(parse_value)


def _parse_existing_file(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise BadValueError(f"{value!r} is not a valid file path")
    path = resolve_path(value, info)
    if files_must_exist(info):
        if not path.exists() or path.is_dir():
            raise BadValueError(f"the file {path} does not exist", hint="Paths are relative to the profile's folder.")
        require_file_or_folder(path)
    return path


def require_file_or_folder(path: Path) -> None:
    """Raise BadValueError if an existing path is a device or a pipe, from which reading may never
    end."""
    if not path.is_dir() and not path.is_file():
        raise BadValueError(f"{path} is not a regular file", hint="Copy its content to a file.")


def _parse_unchecked_path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise BadValueError(f"{value!r} is not a valid path")
    return resolve_path(value, info)


def resolve_path(text: str, info: ValidationInfo) -> Path:
    """Return the absolute path of a file or folder, which `text` names relative to the profile's
    folder. Raises BadValueError if the operating system does not accept the path, such as a path
    with a name of 3,000 characters, or a path that may not be read."""
    try:
        path = (get_profile_directory(info) / text).resolve()
        if files_must_exist(info):
            path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadValueError(
            f"{shorten(text)!r} is not a usable path: {reason}", hint="Paths are relative to the profile's folder."
        ) from error
    return path


def files_must_exist(info: ValidationInfo) -> bool:
    """Return whether files that a profile references must exist.

    Return False for the profile of a stored run, whose files may have been moved.
    """
    context = info.context
    assert isinstance(context, dict)
    return bool(context["files_must_exist"])


def get_profile_directory(info: ValidationInfo) -> Path:
    context = info.context
    assert isinstance(context, dict)
    directory = context["directory"]
    assert isinstance(directory, Path)
    return directory


def upper_bound(limit: float, format_value: Callable[[float], str] = "{:,}".format) -> AfterValidator:
    return AfterValidator(UpperBound(limit, format_value))


Listed = Annotated[tuple[T, ...], Field(strict=False)]
ExistingFile = Annotated[Path, BeforeValidator(_parse_existing_file), PlainSerializer(str)]
UncheckedPath = Annotated[Path, BeforeValidator(_parse_unchecked_path), PlainSerializer(str)]
"""Path of a file or folder that need not exist yet."""
ObjectiveText = Annotated[
    Objective, _build_objective_parser(parse_objective), PlainSerializer(lambda objective: objective.text)
]
ObjectiveLine = Annotated[str, _build_objective_parser(lambda text: parse_objective(text).text)]
GateText = Annotated[Objective, _build_objective_parser(parse_gate), PlainSerializer(lambda objective: objective.text)]
Seconds = Annotated[
    float,
    BeforeValidator(units.parse_duration_s),
    upper_bound(30 * 86_400.0, units.format_duration),
    PlainSerializer(units.format_duration),
    Unit("ms, s, m, h"),
]
PositiveSeconds = Annotated[Seconds, Field(gt=0)]
DayCount = Annotated[
    int, BeforeValidator(units.parse_days), upper_bound(36_500), PlainSerializer(lambda days: f"{days}d"), Unit("d")
]
MAX_PER_S = 1e6
NonNegativeRate = Annotated[
    float,
    BeforeValidator(units.parse_non_negative_rate_per_s),
    upper_bound(MAX_PER_S, units.format_rate),
    PlainSerializer(units.format_rate),
    Unit("/s, /min, /h"),
]
"""Request rate that may be 0/s."""
Rate = Annotated[
    float,
    BeforeValidator(units.parse_rate_per_s),
    upper_bound(MAX_PER_S, units.format_rate),
    PlainSerializer(units.format_rate),
    Unit("/s, /min, /h"),
]
Share = Annotated[float, BeforeValidator(units.parse_share), PlainSerializer(units.format_share), Unit("%")]
Growth = Annotated[
    float,
    BeforeValidator(units.parse_growth_per_year),
    upper_bound(100.0, units.format_growth),
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
