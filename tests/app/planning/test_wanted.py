from __future__ import annotations

import pytest

from app.planning.fleets import plan_fleets
from app.planning.wanted import NoLongerWantedError
from tests.performance.planning import question


def test_a_plan_that_nobody_waits_for_any_more_ends_before_its_first_play() -> None:
    with pytest.raises(NoLongerWantedError):
        plan_fleets(question(), wanted=lambda: False)


def test_a_preview_is_not_asked_about() -> None:
    assert plan_fleets(question(), preview=True, wanted=lambda: False).recommendation is not None
