from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import TypeAdapter, ValidationError

from app.profiles.editing import format_inline
from app.profiles.fields import FieldSpec, build_group, iter_fields, profile_fields
from app.profiles.profile import PROFILES
from app.profiles.settings import ReadAs, Settings


def settings_in(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    elif isinstance(annotation, ReadAs):
        yield annotation.settings_class
    elif get_origin(annotation) in (Union, types.UnionType, tuple, dict, Annotated):
        for argument in get_args(annotation):
            yield from settings_in(argument)


def iter_declared_keys(settings: type[Settings]) -> Iterator[tuple[type[Settings], str]]:
    """Yield every key of the models, independently of the code under test."""
    for name, field in settings.model_fields.items():
        yield settings, field.alias or name
        for annotation in (field.annotation, *field.metadata):
            for inner in settings_in(annotation):
                yield from iter_declared_keys(inner)


@pytest.mark.parametrize("protocol", PROFILES)
def test_every_key_of_the_settings_models_is_listed_as_a_field(protocol: str) -> None:
    listed_keys = [field.key for path, field in iter_fields(profile_fields(protocol)) if path[-1] != "*"]
    assert sorted(listed_keys) == sorted(key for _, key in iter_declared_keys(PROFILES[protocol]))


@pytest.mark.parametrize("protocol", PROFILES)
def test_help_of_every_profile_field_is_a_sentence(protocol: str) -> None:
    fields = [(".".join(path), field) for path, field in iter_fields(profile_fields(protocol)) if path[-1] != "*"]
    assert [path for path, field in fields if not field.help.endswith(".")] == []


@pytest.mark.parametrize("protocol", PROFILES)
def test_example_of_a_profile_field_equals_the_example_in_its_help(protocol: str) -> None:
    fields = [field for path, field in iter_fields(profile_fields(protocol)) if path[-1] != "*"]
    # The example of a group is a line to add to a profile, not a value.
    with_example = [field for field in fields if field.example is not None and field.kind not in ("group", "records")]
    assert [field.key for field in with_example if f"such as {format_example(field.example)}" not in field.help] == []
    assert [field.help for field in fields if ", such as " in field.help and field not in with_example] == []


def format_example(example: Any) -> str:
    if isinstance(example, dict):
        return ", ".join(value if "[" in str(value) else f"{key}: {value}" for key, value in example.items())
    return ", ".join(map(format_example, example)) if isinstance(example, list) else format_inline(example).strip("'\"")


@pytest.mark.parametrize("protocol", PROFILES)
def test_every_reported_default_is_accepted_by_its_model(protocol: str) -> None:
    for settings in {model for model, _ in iter_declared_keys(PROFILES[protocol])}:
        check_defaults(settings)


@functools.cache
def check_defaults(settings: type[Settings]) -> None:
    """Check that a model accepts the reported defaults, once for each model, because protocols share most of them."""
    spec = build_group(settings)
    for name, field in settings.model_fields.items():
        reported_field = spec.find_field(field.alias or name)
        assert reported_field is not None
        if reported_field.default in (None, []) or reported_field.kind == "group":
            continue
        kind: Any = field.annotation
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[kind, *field.metadata] if field.metadata else kind)
        context = {"directory": Path.cwd(), "files_must_exist": False}
        adapter.validate_python(reported_field.default, context=context)


def test_field_units_bounds_examples_and_choices_are_formatted() -> None:
    http = profile_fields("http")
    assert field_at(http, "load", "warmup").unit == "ms, s, m, h"
    assert field_at(http, "plan", "confidence").bounds == "at least 50%, at most 99.99%"
    assert field_at(http, "load", "stages", "concurrency").bounds == "at least 1, at most 100,000"
    assert field_at(http, "load", "stages", "rate").example == "50/s"
    assert field_at(http, "workload", "method").choices[0] == "GET"


def field_at(spec: FieldSpec, *keys: str) -> FieldSpec:
    for key in keys:
        field = spec.find_field(key)
        assert field is not None, key
        spec = field
    return spec


@pytest.mark.parametrize("protocol", PROFILES)
def test_alternatives_of_a_profile_field_are_its_keys(protocol: str) -> None:
    for _, field in iter_fields(profile_fields(protocol)):
        for forms in field.one_of.values():
            assert all(field.find_field(key) is not None for form in forms for key in form.split("+"))


def test_invalid_default_is_rejected_by_a_settings_model() -> None:
    name: Any = PROFILES["http"].model_fields["name"].annotation
    with pytest.raises(ValidationError):
        TypeAdapter(name).validate_python(7, strict=True)
