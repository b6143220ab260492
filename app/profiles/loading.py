"""Load a profile, and report errors with file, line and a suggestion of the most similar valid
name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec.structs import replace
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from app.errors import ProfileError, UsageError
from app.profiles.document import Document, KeyPath, parse_scalar, read_document, read_truncated
from app.profiles.editing import format_inline
from app.profiles.endpoint import TargetHardware
from app.profiles.fields import profile_fields
from app.profiles.gates import find_objective_problem
from app.profiles.hourly_traffic import is_hourly_traffic, read_hourly_traffic
from app.profiles.local import LocalProfile
from app.profiles.plan import AssumedModelSettings, PlanKeys
from app.profiles.pricing.catalog import (
    check_accelerator,
    check_provider,
    check_region,
    check_source,
    find_accelerator,
    find_offer,
    load_catalog,
)
from app.profiles.problems import BadValueError, UnknownKeyError, did_you_mean
from app.profiles.profile import PROFILES, Profile, find_protocol
from app.profiles.settings import Listed, ObjectiveText, ReadAs, Settings
from app.profiles.traces import is_trace, read_trace_statistics
from app.profiles.traffic import TrafficSettings
from app.records.dtypes import choose_compute_dtype
from app.records.offers import Catalog, PlanLimits
from app.records.planning_inputs import AssumedModel, LanguageModel
from app.records.result import DeclaredHardware

_EXPECTED_TYPES = {
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "tuple_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}

_MESSAGE_PREFIXES = {
    "Input should be ": "",
    "String should match pattern": "text that matches the pattern",
    "String should have": "text of",
}

_DOCUMENT_KINDS = {
    "profile": ("a profile", "sizewise: 1"),
    "traffic": ("traffic", "peak: 900/s"),
    "language_model": ("a language model", "language_model:"),
}
"""Name of each kind of document for error messages, and an example of the first line of such a
document."""
_RENAMED_KEYS = (("plan", "surge", "max_unavailable"),)
"""Section, old name and new name of each key that runs of earlier versions stored."""
_LIST_INDEX = re.compile(r"[0-9]{1,9}")
_SECRET_KEYS = {"headers", "api_key", "env", "command"}


SettingsType = TypeVar("SettingsType", bound=Settings)


class _TrafficFile(Settings):
    traffic: TrafficSettings


class _PlanTarget(Settings):
    hardware: TargetHardware | None = None


class PlanningSettings(Settings):
    """Settings of a plan that come from `--set` overrides instead of a profile, with the same keys
    as in a profile."""

    target: _PlanTarget = _PlanTarget()
    slo: Listed[ObjectiveText] = ()
    traffic: TrafficSettings | None = None
    plan: PlanKeys = PlanLimits()


class _Source(msgspec.Struct, frozen=True):
    """A document to which `--set` overrides have been applied.

    `override_keys` maps the path of each override to its key as written by the user.
    """

    path: Path
    document: Document
    override_keys: dict[KeyPath, str]

    def build_error(self, message: str, key_path: KeyPath, hint: str | None = None, key: str = "") -> ProfileError:
        """Build an error whose location is the `--set` override that set `key_path`, or else the
        line of `key_path` in the document. If `key_path` has no location, the nearest parent that
        has one is used."""
        for length in range(len(key_path), -1, -1):
            path = key_path[:length]
            if path in self.override_keys:
                return ProfileError(
                    message, path=f"--set {self.override_keys[path]}", hint=hint, key_path=key_path, key=key
                )
            if path in self.document.lines:
                line = self.document.lines[path]
                return ProfileError(message, path=str(self.path), line=line, hint=hint, key_path=key_path, key=key)
        return ProfileError(message, path=str(self.path), hint=hint, key_path=key_path, key=key)

    def build_context(self, *, files_must_exist: bool = True) -> dict[str, Path | bool]:
        """Return the context in which the values of the document are validated."""
        return {"directory": self.path.resolve().parent, "files_must_exist": files_must_exist}


def load_profile(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    is_stored: bool = False,
    files_must_exist: bool = True,
    catalog: Catalog | None = None,
) -> Profile:
    """Load a profile from a file, with overrides of the form `a.b.c=value`. Raises ProfileError.

    Paths in the profile and in overrides are relative to the profile's folder. Offers are looked up
    in `catalog`; if `catalog` is `None`, in the default catalog. The profile of a stored run, with
    `is_stored` or without `files_must_exist`, may have keys that were renamed since.
    """
    source = _read_source(path)
    if is_stored or not files_must_exist:
        _rename_stored_keys(source.document)
    return _validate_source(source, overrides, files_must_exist=files_must_exist, catalog=catalog)


def _rename_stored_keys(document: Document) -> None:
    for section, key, new_key in _RENAMED_KEYS:
        mapping = document.value.get(section)
        if isinstance(mapping, dict) and key in mapping and new_key not in mapping:
            mapping[new_key] = mapping.pop(key)


def load_profile_text(content: bytes, source_path: Path, overrides: Sequence[str] = ()) -> Profile:
    """Load a profile from its content. Raises ProfileError.

    `source_path` is used in error messages; paths in the profile are relative to the folder of
    `source_path`.
    """
    return _validate_source(_parse_source(content, source_path), overrides)


def _validate_source(
    source: _Source, overrides: Sequence[str], *, files_must_exist: bool = True, catalog: Catalog | None = None
) -> Profile:
    _apply_overrides(source, overrides)
    profile = _validate_settings(_find_profile_class(source), source, files_must_exist=files_must_exist)
    if (invalid_objective := find_objective_problem(profile)) is not None:
        key_path, problem = invalid_objective
        raise source.build_error(str(problem), key_path, problem.hint)
    plan = PlanLimits() if isinstance(profile, LocalProfile) else profile.plan
    _check_against_catalog(source, profile.target.hardware, plan, catalog)
    return profile


def load_planning_settings(overrides: Sequence[str], catalog: Catalog | None = None) -> PlanningSettings:
    """Load the settings of a plan only from `--set` overrides, without a profile. Raises
    ProfileError."""
    source = _build_override_source(overrides)
    settings = _validate_settings(PlanningSettings, source)
    _check_against_catalog(source, settings.target.hardware, settings.plan, catalog)
    return settings


def load_overrides(settings_class: type[SettingsType], overrides: Sequence[str]) -> SettingsType:
    """Load settings of `settings_class` only from `--set` overrides. Raises ProfileError."""
    return _validate_settings(settings_class, _build_override_source(overrides))


def _build_override_source(overrides: Sequence[str]) -> _Source:
    source = _Source(Path("--set"), Document({}, {}), {})
    _apply_overrides(source, overrides)
    return source


def _validate_settings(
    settings_class: type[SettingsType], source: _Source, *, files_must_exist: bool = True
) -> SettingsType:
    context = source.build_context(files_must_exist=files_must_exist)
    try:
        return settings_class.model_validate(source.document.value, context=context)
    except ValidationError as error:
        raise _build_first_error(source, error) from error


LANGUAGE_MODEL_KEYS = tuple(field.alias or name for name, field in AssumedModelSettings.model_fields.items())
"""Keys of the file of a language model."""


class ResolvedModel(msgspec.Struct, frozen=True):
    """Language model that `language_model` states by a name or a path: its name in the plan, its shape, and the data
    type of its weights if it is known."""

    name: str
    shape: LanguageModel
    weights: str | None = None


FindModel = Callable[[str | dict[str, Any], Path], ResolvedModel]
"""Function that returns the language model of a name, of a path, which is relative to a folder, or of the content of a
`config.json`. Raises UsageError if there is none."""
_CONFIG_KEYS = frozenset({"model_type", "num_hidden_layers", "text_config"})
"""Keys of a `config.json`, which the keys of a shape do not include."""


def load_language_model(path: Path, overrides: Sequence[str] = (), *, find_model: FindModel) -> AssumedModel:
    """Load the description of a language model's architecture from a file, with `--set` overrides of
    its keys. `find_model` finds a model that the file states by name or path. Raises ProfileError."""
    source = _read_source(path, "language_model")
    return _validate_language_model(source, overrides, find_model)


def load_named_language_model(name: str, overrides: Sequence[str] = (), *, find_model: FindModel) -> AssumedModel:
    """Return the language model of a name or path, with `--set` overrides of the keys of a file. Raises
    ProfileError."""
    source = _Source(Path("--model"), Document({"language_model": name}, {}), {})
    return _validate_language_model(source, overrides, find_model)


def _validate_language_model(source: _Source, overrides: Sequence[str], find_model: FindModel) -> AssumedModel:
    resolved = _insert_model_shape(source, find_model)
    _apply_overrides(source, overrides)
    resolved = _insert_model_shape(source, find_model) or resolved  # an override may replace the model
    _insert_weights(source, resolved)
    try:
        adapter: TypeAdapter[AssumedModel] = TypeAdapter(Annotated[AssumedModel, ReadAs(AssumedModelSettings)])
        return adapter.validate_python(source.document.value, context=source.build_context())
    except ValidationError as error:
        raise _build_first_error(source, error) from error


def _insert_weights(source: _Source, resolved: ResolvedModel | None) -> None:
    """Set the precision to that of the published weights, unless the file or an override states it."""
    if resolved is None or resolved.weights is None:
        return
    precision = source.document.value.setdefault("precision", {})
    if isinstance(precision, dict) and "weights" not in precision:
        precision["weights"] = resolved.weights
        precision.setdefault("compute", choose_compute_dtype(resolved.weights))


def _insert_model_shape(source: _Source, find_model: FindModel) -> ResolvedModel | None:
    """Replace a name, a path or the content of a `config.json` by the keys of the shape of that model, and return it;
    `None` if the shape is stated."""
    values = source.document.value
    stated = values.get("language_model")
    if not isinstance(stated, str) and not (isinstance(stated, dict) and _CONFIG_KEYS & stated.keys()):
        return None
    try:
        model = find_model(stated, source.path.resolve().parent)
    except UsageError as error:
        raise source.build_error(str(error), ("language_model",), error.hint) from error
    values["language_model"] = {key: value for key, value in msgspec.structs.asdict(model.shape).items() if value}
    values.setdefault("name", model.name)
    return model


def load_traffic(path: Path, overrides: Sequence[str] = ()) -> TrafficSettings:
    """Load traffic from a trace, from a CSV file with the rate of each hour of a day, or from a YAML
    file that has the keys of `traffic`, either nested under `traffic` or at the top level, with `--set` overrides of
    `traffic`.

    The path of a trace in a YAML file is relative to the folder of that file. Raises UsageError.
    """
    source = _read_traffic_source(path)
    _apply_overrides(source, overrides)
    return _validate_settings(_TrafficFile, source).traffic


def _read_traffic_source(path: Path) -> _Source:
    """Return the document of a file of traffic, with its keys nested under `traffic`."""
    if is_hourly_traffic(path):
        return _Source(path, Document({"traffic": read_hourly_traffic(path)}, {}), {})
    if is_trace(path):
        try:
            read_trace_statistics(path)
        except BadValueError as error:
            raise UsageError(str(error), hint=error.hint) from error
        return _Source(path, Document({"traffic": {"trace": path.name}}, {}), {})
    source = _read_source(path, "traffic")
    document = source.document
    if "traffic" in document.value:
        return source
    lines: dict[KeyPath, int] = {("traffic", *key_path): line for key_path, line in document.lines.items()}
    lines["traffic",] = 1
    return replace(source, document=Document({"traffic": document.value}, lines))


def load_profile_tree(tree: dict[str, Any], source_name: str, overrides: Sequence[str] = ()) -> Profile:
    """Load a profile from a mapping. `source_name` is used in error messages; paths are relative to
    the working directory."""
    return _validate_source(_Source(Path(source_name), Document(tree, {}), {}), overrides)


def _read_source(path: Path, kind: str = "profile") -> _Source:
    return _parse_source(read_truncated(path), path, kind)


def _parse_source(content: bytes, path: Path, kind: str = "profile") -> _Source:
    document = read_document(content, str(path))
    if not isinstance(document.value, dict):
        name, first_line = _DOCUMENT_KINDS[kind]
        raise ProfileError(
            f"not {name}: expected `key: value` lines", path=str(path), hint=f"Start with `{first_line}`."
        )
    return _Source(path, document, {})


def _apply_overrides(source: _Source, overrides: Sequence[str]) -> None:
    for override in overrides:
        _apply_override(source, override)


def _apply_override(source: _Source, override: str) -> None:
    key_text, equals, value = override.partition("=")
    dotted_key = key_text.replace("[", ".").replace("]", "")  # error messages write stages[0], so it is accepted too
    label = f"--set {dotted_key}"
    if not equals or not all(dotted_key.split(".")):
        raise ProfileError("an override must have the form key.key=value", path=label)
    key_path = tuple(int(part) if _LIST_INDEX.fullmatch(part) else part for part in dotted_key.split("."))
    container: Any = source.document.value
    for part, next_part in itertools.pairwise(key_path):
        container = _descend(container, part, label, default={} if isinstance(next_part, str) else [])
    _descend(container, key_path[-1], label, default=None)
    container[key_path[-1]] = read_document(value.encode(), label).value
    for path_below in [path for path in source.document.lines if path[: len(key_path)] == key_path]:
        del source.document.lines[path_below]
    source.override_keys[key_path] = dotted_key


def _descend(container: Any, part: str | int, label: str, default: Any) -> Any:
    """Return the item of `container` at `part`.

    If `container` is a mapping without a value for `part`, the value is first set to `default`.
    """
    if isinstance(container, list) and isinstance(part, int):
        if part >= len(container):
            raise ProfileError(
                f"there is no item {part}: the list has {len(container)} items, counted from 0", path=label
            )
        return container[part]
    if not isinstance(container, dict) or isinstance(part, int):
        raise ProfileError(f"{part!r} cannot be set", path=label)
    if container.get(part) is None:
        container[part] = default
    return container[part]


def _find_profile_class(source: _Source) -> type[Profile]:
    target = source.document.value.get("target")
    if not isinstance(target, dict):
        raise source.build_error(
            "target must be a mapping of keys", ("target",), hint="Set protocol with url or serve, or set model."
        )
    protocol = find_protocol(source.document.value)
    if protocol is not None:
        return PROFILES[protocol]
    protocol_text = target.get("protocol")
    if protocol_text is None:
        raise source.build_error(
            "the key `target.protocol` is missing", ("target",), hint=f"Write one of {', '.join(PROFILES)}."
        )
    hint = did_you_mean(str(protocol_text), PROFILES) or f"Write one of {', '.join(PROFILES)}."
    raise source.build_error(f"the protocol {protocol_text!r} is unknown", ("target", "protocol"), hint=hint)


def _build_first_error(source: _Source, error: ValidationError) -> ProfileError:
    """Return the error with the lowest line number, with all other errors in its `other_errors`."""
    details_by_section: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in error.errors():
        details_by_section.setdefault(detail["loc"][:-1], []).append(detail)
    first_error, *other_errors = sorted(
        itertools.chain.from_iterable(
            _to_profile_errors(source, section, details) for section, details in details_by_section.items()
        ),
        key=lambda profile_error: profile_error.line or 0,
    )
    first_error.other_errors = tuple(other_errors)
    return first_error


def _to_profile_errors(source: _Source, section: KeyPath, details: Sequence[ErrorDetails]) -> list[ProfileError]:
    """Return the errors of one section. All keys that the section is missing are one error."""
    missing_keys = [detail for detail in details if detail["type"] == "missing"]
    if len(missing_keys) < 2:
        return [_to_profile_error(source, detail) for detail in details]
    names = [str(detail["loc"][-1]) for detail in missing_keys]
    examples = [
        f"`{name}: {format_inline(example)}`"
        for name, detail in zip(names, missing_keys, strict=True)
        if (example := _find_example(source, detail["loc"])) is not None
    ]
    missing_error = source.build_error(
        f"{_format_path(section) or 'the profile'} is missing the keys {_join(names)}",
        missing_keys[0]["loc"],
        f"Add lines such as {_join(examples)}." if examples else None,
    )
    return [missing_error, *(_to_profile_error(source, detail) for detail in details if detail["type"] != "missing")]


def _join(words: Sequence[str]) -> str:
    *first_words, last_word = words
    return f"{', '.join(first_words)} and {last_word}" if first_words else last_word


def _to_profile_error(source: _Source, detail: ErrorDetails) -> ProfileError:
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, UnknownKeyError):
        location = f" in {_format_path(detail['loc'])}" if detail["loc"] else ""
        unknown_key_error = source.build_error(f"{cause}{location}", (*detail["loc"], cause.key), cause.hint)
        unknown_key_error.is_unknown_key = True
        return unknown_key_error
    if cause is not None:
        hint, path = (cause.hint, cause.key_path) if isinstance(cause, BadValueError) else (None, ())
        key_path = (*detail["loc"], *path)
        return source.build_error(str(cause), key_path, hint, _format_path(key_path))
    hint = _suggest_literal(detail) if detail["type"] == "literal_error" else _suggest_example(source, detail)
    return source.build_error(_build_message(detail), detail["loc"], hint)


def _suggest_example(source: _Source, detail: ErrorDetails) -> str | None:
    """Return a hint with an example of a key that is missing or whose value has another type;
    `None` if the key has no example."""
    key = detail["loc"][-1] if detail["loc"] else None
    if not isinstance(key, str) or (detail["type"] != "missing" and detail["type"] not in _EXPECTED_TYPES):
        return None
    example = _find_example(source, detail["loc"])
    if example is None:
        return None
    line = f"{key}: {format_inline(example)}"
    return f"Add a line such as `{line}`." if detail["type"] == "missing" else f"Use a value such as `{line}`."


def _find_example(source: _Source, key_path: KeyPath) -> Any:
    """Return the example of a key in a profile, or its only choice; `None` if it has neither."""
    protocol = find_protocol(source.document.value)
    field = None if protocol is None else profile_fields(protocol)
    for part in key_path:
        field = field if field is None or isinstance(part, int) else field.find_field(part)
    if field is None:
        return None
    return parse_scalar(field.choices[0]) if len(field.choices) == 1 else field.example


def _build_message(detail: ErrorDetails) -> str:
    """Build the message for an error detected by pydantic itself."""
    name = _format_path(detail["loc"])
    if detail["type"] == "missing":
        *parent_path, key = detail["loc"]
        return f"{_format_path(tuple(parent_path)) or 'the profile'} is missing the key {key}"
    value = "" if _SECRET_KEYS & set(detail["loc"]) else f", not {detail['input']!r:.60}"
    return f"{name} must be {_EXPECTED_TYPES.get(detail['type']) or _rephrase_message(detail['msg'])}{value}"


def _rephrase_message(message: str) -> str:
    """Rephrase a pydantic message so that it can follow `must be`."""
    for prefix, replacement in _MESSAGE_PREFIXES.items():
        if message.startswith(prefix):
            return replacement + message.removeprefix(prefix)
    return message


def _suggest_literal(detail: ErrorDetails) -> str | None:
    choices = detail.get("ctx", {}).get("expected", "").replace(" or ", ", ").split(", ")
    return did_you_mean(str(detail["input"]), (choice.strip("'") for choice in choices))


def _format_path(key_path: KeyPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key_path).removeprefix(".")


def _check_against_catalog(
    source: _Source, hardware: DeclaredHardware | None, plan: PlanLimits, catalog: Catalog | None
) -> None:
    checks: list[tuple[KeyPath, Callable[[Catalog, str], object], str]] = [
        (("plan", key, index), check, name)
        for key, names, check in (
            ("regions", plan.regions, check_region),
            ("providers", plan.providers, check_provider),
            ("accelerators", plan.accelerators, check_accelerator),
            ("sources", plan.sources, check_source),
        )
        for index, name in enumerate(names)
    ]
    if hardware is None and not checks:
        return
    catalog = load_catalog() if catalog is None else catalog
    if hardware is not None and hardware.offer is not None:
        checks.append((("target", "hardware", "offer"), find_offer, hardware.offer))
    if hardware is not None and hardware.accelerator is not None:
        checks.append((("target", "hardware", "accelerator"), find_accelerator, hardware.accelerator))
    for key_path, check, name in checks:
        try:
            check(catalog, name)
        except UsageError as error:
            raise source.build_error(str(error), key_path, hint=error.hint) from error
