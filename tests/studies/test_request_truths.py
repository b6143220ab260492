"""A small sample of the study of request services, and its evaluation."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.studies.event_simulator import ROUTERS
from tests.studies.request_truths import (
    FAMILIES,
    Outcome,
    check_truth,
    check_truths,
    draw_truth,
    list_bounds,
    list_tables,
)


def outcome(number: int, bought: int = 10, **changes: object) -> Outcome:
    base = Outcome(1, number, "gamma", "random", 10, bought=bought, p10=9, p90=11, stated=0.95)
    return msgspec.structs.replace(base, **changes)


def evaluate_bounds(outcomes: list[Outcome]) -> list[bool]:
    return [bound.is_met for bound in list_bounds(outcomes)]


def test_request_bounds_are_evaluated_by_binomial_interval_and_exceptions() -> None:
    good = [outcome(number, p90=11 if number % 5 else 9.5) for number in range(100)]
    assert evaluate_bounds(good) == [True] * 6
    assert evaluate_bounds([outcome(number, p90=9.5) for number in range(100)])[0] is False  # covers none
    assert (
        evaluate_bounds([outcome(number) for number in range(100)])[0] is False
    )  # covers all: the intervals are too wide
    assert evaluate_bounds([*good, *(outcome(number, bought=8) for number in range(30))])[1] is False
    assert evaluate_bounds([outcome(number, bought=13) for number in range(10)])[2] is False
    assert evaluate_bounds([*good, outcome(7, bought=25)])[3] is False
    assert evaluate_bounds([*good, outcome(7, bought=25, state="uncertain")])[3] is True
    assert evaluate_bounds([*good, outcome(7, is_above_a_miss=True)])[4] is False
    assert evaluate_bounds([*good, outcome(7, is_below_a_pass=True)])[5] is False


def test_stopped_study_resumes_with_stored_outcomes(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    stored_outcomes = [outcome(number, bought=11 + number) for number in range(3)]
    state.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in stored_outcomes))
    assert list(check_truths([1], state, 1, truths=3)) == stored_outcomes
    assert "| all | 3 of 3 |" in "\n".join(list_tables(stored_outcomes))


def test_ten_truths_of_seed_have_all_families_and_routers() -> None:
    truths = [draw_truth(1, number) for number in range(10)]
    assert {truth.family for truth in truths} == set(FAMILIES)
    assert {truth.router for truth in truths} == set(ROUTERS)
    for truth in truths:
        times = truth.services_s(200_000, np.random.default_rng(1))
        mean = 1.0 if truth.family == "batches" else truth.mean_s
        assert times.mean() == pytest.approx(mean, rel=0.05)


@pytest.mark.soak
def test_planned_fleet_is_between_failing_and_passing_fleets() -> None:
    result = check_truth(1, 2)  # processor sharing behind a random router, which no service model describes
    assert result.why_not is None
    assert not result.is_above_a_miss
    assert not result.is_below_a_pass
    assert 0.9 <= result.ratio <= 1.2
