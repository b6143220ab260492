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
        for one in get_args(annotation):
            yield from settings_in(one)


def declared(settings: type[Settings]) -> Iterator[tuple[type[Settings], str]]:
    """Every key of the models, found without what is tested."""
    for name, field in settings.model_fields.items():
        yield settings, field.alias or name
        for annotation in (field.annotation, *field.metadata):
            for inner in settings_in(annotation):
                yield from declared(inner)


@pytest.mark.parametrize("protocol", PROFILES)
def test_every_key_of_the_models_is_reported(protocol: str) -> None:
    reported = [field.key for path, field in iter_fields(profile_fields(protocol)) if path[-1] != "*"]
    assert sorted(reported) == sorted(key for _, key in declared(PROFILES[protocol]))


@pytest.mark.parametrize("protocol", PROFILES)
def test_every_field_says_what_it_is_in_a_sentence(protocol: str) -> None:
    fields = [(".".join(path), field) for path, field in iter_fields(profile_fields(protocol)) if path[-1] != "*"]
    assert [path for path, field in fields if not field.help.endswith(".")] == []


@pytest.mark.parametrize("protocol", PROFILES)
def test_the_example_of_a_field_is_the_one_in_its_help(protocol: str) -> None:
    fields = [field for path, field in iter_fields(profile_fields(protocol)) if path[-1] != "*"]
    # The example of a group is a line to add to a profile, and no value to type.
    with_example = [field for field in fields if field.example is not None and field.kind not in ("group", "records")]
    assert [field.key for field in with_example if f"such as {written(field.example)}" not in field.help] == []
    assert [field.help for field in fields if ", such as " in field.help and field not in with_example] == []


def written(example: Any) -> str:
    if isinstance(example, dict):
        return ", ".join(value if "[" in str(value) else f"{key}: {value}" for key, value in example.items())
    return ", ".join(map(written, example)) if isinstance(example, list) else format_inline(example).strip("'\"")


@pytest.mark.parametrize("protocol", PROFILES)
def test_a_default_is_as_a_profile_writes_it(protocol: str) -> None:
    for settings in {one for one, _ in declared(PROFILES[protocol])}:
        takes_its_defaults(settings)


@functools.cache
def takes_its_defaults(settings: type[Settings]) -> None:
    """Most settings are of every protocol: whether their models take the reported defaults is seen once."""
    spec = build_group(settings)
    for name, field in settings.model_fields.items():
        reported = spec.find_field(field.alias or name)
        assert reported is not None
        if reported.default in (None, []) or reported.kind == "group":
            continue
        kind: Any = field.annotation
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[kind, *field.metadata] if field.metadata else kind)
        context = {"directory": Path.cwd(), "files_must_exist": False}
        adapter.validate_python(reported.default, context=context)


def test_units_and_bounds_are_reported_as_they_are_written() -> None:
    http = profile_fields("http")
    assert field_at(http, "load", "warmup").unit == "ms, s, m, h"
    assert field_at(http, "plan", "confidence").bounds == "at least 50%, at most 99.99%"
    assert field_at(http, "load", "stages", "concurrency").bounds == "at least 1, at most 100,000"
    assert field_at(http, "load", "stages", "rate").example == "50/s"
    assert field_at(http, "workload", "method").choices[0] == "GET"


def field_at(spec: FieldSpec, *keys: str) -> FieldSpec:
    for key in keys:
        found = spec.find_field(key)
        assert found is not None, key
        spec = found
    return spec


@pytest.mark.parametrize("protocol", PROFILES)
def test_what_one_chooses_between_are_keys(protocol: str) -> None:
    for _, field in iter_fields(profile_fields(protocol)):
        for forms in field.one_of.values():
            assert all(field.find_field(key) is not None for form in forms for key in form.split("+"))


def test_an_unknown_default_would_be_noticed() -> None:
    name: Any = PROFILES["http"].model_fields["name"].annotation
    with pytest.raises(ValidationError):
        TypeAdapter(name).validate_python(7, strict=True)
