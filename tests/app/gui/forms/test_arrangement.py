from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.gui.forms.arrangement import display_name, initial_form_values, initial_value, unique_name
from app.profiles import profile
from app.profiles.fields import FieldSpec, iter_fields, profile_fields
from app.profiles.profile import PROFILES
from app.profiles.settings import Settings

CONTEXT = {"directory": Path.cwd(), "files_must_exist": False}


def all_settings(kind: type[Settings] = Settings) -> dict[tuple[str, tuple[str, ...]], type[Settings]]:
    """By name and keys: two of them are called SpikeSettings."""
    found: dict[tuple[str, tuple[str, ...]], type[Settings]] = {}
    for one in kind.__subclasses__():
        keys = tuple(field.alias or name for name, field in one.model_fields.items())
        found |= {(one.__name__, keys): one, **all_settings(one)}
    return found


def taken_by(spec: FieldSpec, value: Any) -> Settings:
    assert profile.PROFILES is PROFILES
    holder = spec.item if spec.item is not None else spec
    settings = all_settings()[holder.settings, tuple(field.key for field in holder.fields)]
    return settings.model_validate(value, context=CONTEXT)


@pytest.mark.parametrize("protocol", PROFILES)
def test_what_a_part_begins_with_is_right(protocol: str) -> None:
    for path, field in iter_fields(profile_fields(protocol)):
        if field.kind in ("group", "records") and len(path) > 1 and path[-1] != "*":
            taken_by(field, initial_value(field))


@pytest.mark.parametrize("protocol", PROFILES)
def test_every_form_of_a_part_begins_with_something_right(protocol: str) -> None:
    for path, field in iter_fields(profile_fields(protocol)):
        for what, forms in field.one_of.items():
            base = {} if len(path) < 2 else initial_value(field)
            for form in forms if len(path) > 1 and base and path[0] not in ("target", "workload") else ():
                others = {key for one in forms for key in one.split("+")}
                kept = {key: value for key, value in base.items() if key not in others}
                assert taken_by(field, {**kept, **initial_form_values(field, form)}), (path, what, form)


def test_names_are_read_by_a_person_and_do_not_repeat() -> None:
    assert [display_name(key) for key in ("url", "max_connections", "slo")] == ["URL", "Max connections", "SLO"]
    assert unique_name("steady", {"steady", "steady-2"}) == "steady-3"
