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


def list_settings_classes(kind: type[Settings] = Settings) -> dict[tuple[str, tuple[str, ...]], type[Settings]]:
    """Return classes by name and keys, because two classes have the name SpikeSettings."""
    classes: dict[tuple[str, tuple[str, ...]], type[Settings]] = {}
    for subclass in kind.__subclasses__():
        keys = tuple(field.alias or name for name, field in subclass.model_fields.items())
        classes |= {(subclass.__name__, keys): subclass, **list_settings_classes(subclass)}
    return classes


def validate_value(spec: FieldSpec, value: Any) -> Settings:
    assert profile.PROFILES is PROFILES
    owner = spec.item if spec.item is not None else spec
    settings = list_settings_classes()[owner.settings, tuple(field.key for field in owner.fields)]
    return settings.model_validate(value, context=CONTEXT)


@pytest.mark.parametrize("protocol", PROFILES)
def test_initial_value_of_a_form_part_is_valid(protocol: str) -> None:
    for path, field in iter_fields(profile_fields(protocol)):
        if field.kind in ("group", "records") and len(path) > 1 and path[-1] != "*":
            validate_value(field, initial_value(field))


@pytest.mark.parametrize("protocol", PROFILES)
def test_initial_values_of_every_alternative_form_are_valid(protocol: str) -> None:
    for path, field in iter_fields(profile_fields(protocol)):
        for choice, forms in field.one_of.items():
            base = {} if len(path) < 2 else initial_value(field)
            for form in forms if len(path) > 1 and base and path[0] not in ("target", "workload") else ():
                others = {key for alternative in forms for key in alternative.split("+")}
                other_values = {key: value for key, value in base.items() if key not in others}
                assert validate_value(field, {**other_values, **initial_form_values(field, form)}), (path, choice, form)


def test_display_names_use_acronyms_and_unique_names_add_a_number() -> None:
    assert [display_name(key) for key in ("url", "max_connections", "slo")] == ["URL", "Max connections", "SLO"]
    assert unique_name("steady", {"steady", "steady-2"}) == "steady-3"
