from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from app.analysis.call_checks import call_checks
from app.analysis.call_rows import read_calls
from app.records.calls import CallStage
from app.records.result import Check
from tests.fakes.calls import call, never, stage_of, table_of


def checked(rows: Sequence[Sequence[float]], facts: CallStage) -> dict[str, Check]:
    return {check.id: check for check in call_checks(read_calls(table_of(rows), facts), facts)}


def steady(count: int = 100) -> list[list[float]]:
    return [call(10 * number, 10, query=number) for number in range(count)]


def test_steady_calls_of_a_settled_variant_are_valid() -> None:
    checks = checked(steady(), stage_of())
    assert list(checks) == ["warm_up", "calls", "steady_times", "mean_time_half_width", "time_between_calls"]
    assert {check.verdict for check in checks.values()} == {"VALID"}


def test_warm_up_that_never_settled_is_a_doubt() -> None:
    assert checked(steady(), stage_of(has_settled=False))["warm_up"].verdict == "WARN"


@pytest.mark.parametrize(("calls", "verdict"), [(20, "VALID"), (19, "WARN")])
def test_too_few_calls_are_a_doubt(calls: int, verdict: str) -> None:
    assert checked(steady(calls), stage_of())["calls"].verdict == verdict


def test_not_one_call_is_invalid() -> None:
    (check,) = checked([], stage_of()).values()
    assert check.verdict == "INVALID"


def test_times_that_grow_all_along_are_a_doubt() -> None:
    growing, at_ms = [], 0.0
    for number in range(200):
        takes_ms = 1 + number / 200
        growing.append(call(at_ms, takes_ms, query=number))
        at_ms += takes_ms
    assert checked(growing, stage_of())["steady_times"].verdict == "WARN"


@pytest.mark.parametrize(("half_width", "verdict"), [(0.02, "VALID"), (0.021, "WARN"), (None, "WARN")])
def test_interval_wider_than_asked_is_a_doubt(half_width: float | None, verdict: str) -> None:
    assert checked(steady(), stage_of(half_width=half_width))["mean_time_half_width"].verdict == verdict


@pytest.mark.parametrize(("late_ms", "verdict"), [(0.5, "VALID"), (5, "WARN"), (15, "INVALID")])
def test_arrivals_begun_late_though_a_stream_was_free_are_the_instruments_fault(late_ms: float, verdict: str) -> None:
    rows = [call(20 * n + late_ms, 4, query=n, due_ms=20 * n) for n in range(120)]
    checks = checked(rows, stage_of("server", rate_per_s=50.0))
    assert checks["late_calls_p99"].verdict == verdict
    assert "mean_time_half_width" not in checks


def test_arrivals_that_wait_for_a_busy_model_are_not_late() -> None:
    rows = [call(10 * n, 10, query=n, due_ms=5 * n) for n in range(50)]
    assert checked(rows, stage_of("server", rate_per_s=200.0))["late_calls_p99"].verdict == "VALID"


def test_few_late_arrivals_are_no_proof() -> None:
    rows = [call(20 * n + 15, 4, query=n, due_ms=20 * n) for n in range(20)]
    assert checked(rows, stage_of("server", rate_per_s=50.0))["late_calls_p99"].verdict == "WARN"


def test_a_backlog_that_grows_is_no_steady_state() -> None:
    rows = [call(10 * n, 10, query=n, due_ms=8 * n) for n in range(200)]
    found = checked(rows, stage_of("server", rate_per_s=125.0))["steady_times"]
    assert (found.verdict, "waited longer" in (found.hint or "")) == ("WARN", True)


def test_arrivals_that_nobody_got_to_are_told() -> None:
    rows = [call(10 * n, 10, query=n, due_ms=5 * n) for n in range(75)] + [never(n, 5 * n) for n in range(75, 100)]
    found = checked(rows, stage_of("server", rate_per_s=200.0))["arrivals_never_begun"]
    assert (found.value, found.verdict) == (0.25, "WARN")


def test_a_stage_that_was_cut_short_says_so_and_not_that_its_time_was_up() -> None:
    checks = checked(steady(), replace(stage_of(half_width=None), stopped_early=True))
    assert checks["cut_short"].verdict == "WARN"
    assert "mean_time_half_width" not in checks
