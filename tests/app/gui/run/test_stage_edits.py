from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.gui.run import stage_edits
from app.gui.run.stage_edits import Preset, format_end, set_end
from app.profiles.load import StageSettings

STEADY = {"name": "steady", "rate": "20/s", "duration": "30s", "repeats": 2}


def validate_stage(stage: dict[str, Any]) -> StageSettings:
    return StageSettings.model_validate(stage, context={"directory": Path("/"), "files_must_exist": False})


@pytest.mark.parametrize("kind", ["constant", "poisson", "closed", "ramp", "spike", "trace"])
def test_every_stage_preset_is_valid_with_the_same_name_and_repeats(kind: Preset) -> None:
    converted = stage_edits.convert_stage(kind, STEADY, "t.csv")
    settings = validate_stage(converted)
    assert (settings.name, settings.repeats) == ("steady", 2)
    as_poisson = stage_edits.convert_stage("poisson", converted)
    assert validate_stage(as_poisson).curve is not None
    assert validate_stage(stage_edits.convert_stage(kind, {}, "t.csv"))


def test_invalid_or_missing_stage_values_get_valid_defaults() -> None:
    assert validate_stage(stage_edits.convert_stage("spike", {"rate": "fast", "duration": "x"} | {"duration": "40s"}))
    assert validate_stage(stage_edits.insert_stage([], -1)[0])


def test_new_stages_have_unique_names() -> None:
    two = stage_edits.duplicate_stage([STEADY], 0)
    three = stage_edits.duplicate_stage(two, 1)
    assert [stage["name"] for stage in three] == ["steady", "steady-2", "steady-3"]
    inserted = stage_edits.insert_stage(stage_edits.insert_stage([STEADY], 0), 0)
    assert len({stage["name"] for stage in inserted}) == 3
    assert inserted[1]["rate"] == "20/s"


def test_stages_are_removed_and_swapped() -> None:
    other = {"name": "other"}
    assert stage_edits.remove_stage([STEADY, other], 0) == [other]
    assert stage_edits.swap_stages([STEADY, other], 0, 1) == [other, STEADY]


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ("40/s", {"rate": "40/s"}),
        ("40", {"rate": "40/s"}),
        ("80% of steady", {"rate": "80% of steady"}),
        ("10/s → 50/s", {"ramp": {"from": "10/s", "to": "50/s"}}),
        ("10 to 50/s", {"ramp": {"from": "10/s", "to": "50/s"}}),
        ("1/s, 2/s,4", {"steps": ["1/s", "2/s", "4/s"]}),
    ],
)
def test_load_text_of_a_stage_sets_rate_ramp_or_steps(text: str, load: dict[str, Any]) -> None:
    stage = {"name": "a", "concurrency": 3, "duration": "5s"}
    assert stage_edits.set_load(stage, text) == {"name": "a", "duration": "5s", **load}
    if text != "40":
        assert stage_edits.set_load(stage, stage_edits.format_load(load)) == {"name": "a", "duration": "5s", **load}


def test_concurrency_replaces_the_rate_and_clearing_concurrency_restores_a_rate() -> None:
    closed = stage_edits.set_concurrency({**STEADY, "arrivals": "poisson"}, "12")
    assert closed == {"name": "steady", "duration": "30s", "repeats": 2, "concurrency": 12}
    assert "rate" in stage_edits.set_concurrency(closed, "")
    assert stage_edits.set_concurrency(STEADY, "")["rate"] == "20/s"
    assert stage_edits.set_concurrency(STEADY, "many")["concurrency"] == "many"


def test_cv_is_set_for_gamma_arrivals_only() -> None:
    bursty = stage_edits.set_arrivals(STEADY, "gamma")
    assert validate_stage(bursty).cv == 2
    assert "cv" not in stage_edits.set_arrivals(bursty, "constant")


@pytest.mark.parametrize(
    ("text", "keys"),
    [("30s", {"duration": "30s"}), ("1,500 requests", {"requests": 1500}), ("1 request", {"requests": 1}), ("", {})],
)
def test_stage_ends_after_a_duration_or_a_number_of_requests(text: str, keys: dict[str, Any]) -> None:
    for end in ({"duration": "5s"}, {"requests": 7}):
        assert set_end({"rate": "5/s", **end}, text) == {"rate": "5/s", **keys}
    assert set_end({}, format_end(keys)) == keys
