from __future__ import annotations

from typing import Any

import pytest
import yaml

from app.errors import ProfileError
from app.profiles.resolved import profile_hash, spec_yaml
from tests.app.profiles.conftest import LOAD, Load

TARGET = {"protocol": "http", "url": "http://127.0.0.1:8000/"}


@pytest.mark.parametrize("workers", ["auto", 1, 16])
def test_who_sends_is_printed_as_asked_and_does_not_change_the_question(load: Load, workers: Any) -> None:
    profile = load(TARGET, {}, load={**LOAD, "workers": workers})
    assert yaml.safe_load(spec_yaml(profile))["load"]["workers"] == workers
    assert profile_hash(profile) == profile_hash(load(TARGET, {}))


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "many", 1_001, None])
def test_what_is_no_number_of_workers_is_refused(load: Load, workers: Any) -> None:
    with pytest.raises(ProfileError, match=r"load\.workers"):
        load(TARGET, {}, load={**LOAD, "workers": workers})
