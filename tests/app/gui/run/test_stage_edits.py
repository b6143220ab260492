from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.gui.run import stage_edits
from app.gui.run.stage_edits import Preset, format_end, set_end
from app.profiles.load import StageSettings

STEADY = {"name": "steady", "rate": "20/s", "duration": "30s", "repeats": 2}


def is_right(stage: dict[str, Any]) -> StageSettings:
    return StageSettings.model_validate(stage, context={"directory": Path("/"), "files_must_exist": False})


@pytest.mark.parametrize("kind", ["constant", "poisson", "closed", "ramp", "spike", "trace"])
def test_every_preset_is_a_right_stage_that_keeps_its_name_and_repeats(kind: Preset) -> None:
    made = stage_edits.convert_stage(kind, STEADY, "t.csv")
    settings = is_right(made)
    assert (settings.name, settings.repeats) == ("steady", 2)
    again = stage_edits.convert_stage("poisson", made)
    assert is_right(again).curve is not None
    assert is_right(stage_edits.convert_stage(kind, {}, "t.csv"))


def test_what_is_made_of_nothing_sensible_is_sensible() -> None:
    assert is_right(stage_edits.convert_stage("spike", {"rate": "fast", "duration": "x"} | {"duration": "40s"}))
    assert is_right(stage_edits.insert_stage([], -1)[0])


def test_new_stages_have_names_of_their_own() -> None:
    two = stage_edits.duplicate_stage([STEADY], 0)
    three = stage_edits.duplicate_stage(two, 1)
    assert [one["name"] for one in three] == ["steady", "steady-2", "steady-3"]
    more = stage_edits.insert_stage(stage_edits.insert_stage([STEADY], 0), 0)
    assert len({one["name"] for one in more}) == 3
    assert more[1]["rate"] == "20/s"


def test_stages_are_removed_and_change_places() -> None:
    other = {"name": "other"}
    assert stage_edits.remove_stage([STEADY, other], 0) == [other]
    assert stage_edits.swap_stages([STEADY, other], 0, 1) == [other, STEADY]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("40/s", {"rate": "40/s"}),
        ("40", {"rate": "40/s"}),
        ("80% of steady", {"rate": "80% of steady"}),
        ("10/s → 50/s", {"ramp": {"from": "10/s", "to": "50/s"}}),
        ("10 to 50/s", {"ramp": {"from": "10/s", "to": "50/s"}}),
        ("1/s, 2/s,4", {"steps": ["1/s", "2/s", "4/s"]}),
    ],
)
def test_what_comes_is_typed_in_one_cell(text: str, made: dict[str, Any]) -> None:
    stage = {"name": "a", "concurrency": 3, "duration": "5s"}
    assert stage_edits.set_load(stage, text) == {"name": "a", "duration": "5s", **made}
    if text != "40":
        assert stage_edits.set_load(stage, stage_edits.format_load(made)) == {"name": "a", "duration": "5s", **made}


def test_clients_take_the_place_of_a_rate_and_give_it_back() -> None:
    closed = stage_edits.set_concurrency({**STEADY, "arrivals": "poisson"}, "12")
    assert closed == {"name": "steady", "duration": "30s", "repeats": 2, "concurrency": 12}
    assert "rate" in stage_edits.set_concurrency(closed, "")
    assert stage_edits.set_concurrency(STEADY, "")["rate"] == "20/s"
    assert stage_edits.set_concurrency(STEADY, "many")["concurrency"] == "many"


def test_bursts_go_with_gamma_alone() -> None:
    bursty = stage_edits.set_arrivals(STEADY, "gamma")
    assert is_right(bursty).cv == 2
    assert "cv" not in stage_edits.set_arrivals(bursty, "constant")


@pytest.mark.parametrize(
    ("text", "keys"),
    [("30s", {"duration": "30s"}), ("1,500 requests", {"requests": 1500}), ("1 request", {"requests": 1}), ("", {})],
)
def test_a_stage_ends_after_a_time_or_a_number_of_requests(text: str, keys: dict[str, Any]) -> None:
    for before in ({"duration": "5s"}, {"requests": 7}):
        assert set_end({"rate": "5/s", **before}, text) == {"rate": "5/s", **keys}
    assert set_end({}, format_end(keys)) == keys
