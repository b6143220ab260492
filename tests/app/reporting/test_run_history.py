from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from app.analysis.comparisons.environment_differences import build_comparability_key, find_differences
from app.records.comparison import ChangeVerdict
from app.records.estimate import Estimate
from app.reporting.run_history import MAX_VALUES, build_run_histories, compute_run_change, format_run_change
from app.reporting.run_rows import HeadlineNumber, RunRow
from tests.fakes.repeated import result, steady


def build_run_row(day: int, p95_ms: float, half_ms: float | None = 0.1, key: str = "one") -> RunRow:
    ci95 = None if half_ms is None else (p95_ms - half_ms, p95_ms + half_ms)
    number = HeadlineNumber("latency_ms", "p95", "ms", "lower", "steady", Estimate(p95_ms, ci95, 2_000))
    started_at = f"2026-08-{day:02d}T12:00:00+00:00"
    return RunRow(
        f"run-{day}",
        f"/runs/run-{day}",
        name="chat",
        verdict="VALID",
        number=number,
        comparability_key=key,
        started_at=started_at,
    )


def compute_last_change(rows: Sequence[RunRow], baselines: dict[str, str] | None = None) -> tuple[ChangeVerdict, str]:
    change = compute_run_change(rows[-1], build_run_histories(rows, baselines or {})[rows[-1].directory])
    assert change is not None
    return change.verdict, format_run_change(change)


def test_run_history_has_earlier_runs_with_the_same_key_in_order() -> None:
    rows = [
        build_run_row(3, 12.0),
        build_run_row(1, 10.0),
        build_run_row(2, 99.0, key="another machine"),
        build_run_row(4, 50.0),
    ]
    rows[3] = replace(rows[3], verdict="INVALID")
    histories = build_run_histories(rows, {})
    assert histories["/runs/run-3"].values == (10.0, 12.0)
    assert histories["/runs/run-3"].reference == rows[1]
    assert histories["/runs/run-1"].reference is None
    assert "/runs/run-4" not in histories
    many = build_run_histories([build_run_row(day, float(day)) for day in range(1, MAX_VALUES + 6)], {})
    assert many[f"/runs/run-{MAX_VALUES + 5}"].values == tuple(map(float, range(6, MAX_VALUES + 6)))


@pytest.mark.parametrize(
    ("now_ms", "half_ms", "verdict", "text"),
    [
        (20.0, 0.1, "worse", "+100 % (+97.8 % to +102 %) vs. previous run: worse"),
        (5.0, 0.1, "better", "-50.0 % ("),
        (10.1, 0.1, "same", "+1.0 % ("),
        (12.0, 4.0, "inconclusive", "vs. previous run: within noise"),
        (12.0, None, "inconclusive", "+20.0 % vs. previous run: inconclusive, no interval"),
    ],
)
def test_change_between_runs_has_the_verdict_of_a_comparison(
    now_ms: float, half_ms: float | None, verdict: ChangeVerdict, text: str
) -> None:
    computed_verdict, change_text = compute_last_change([build_run_row(1, 10.0), build_run_row(2, now_ms, half_ms)])
    assert computed_verdict == verdict
    assert text in change_text


def test_change_within_the_noise_of_earlier_runs_is_inconclusive() -> None:
    unsteady = [build_run_row(day, value) for day, value in enumerate((10.0, 13.0, 9.5, 12.5, 10.0), 1)]
    assert compute_last_change([*unsteady, build_run_row(6, 12.8)])[0] == "inconclusive"
    assert compute_last_change([*unsteady, build_run_row(6, 40.0)])[0] == "worse"
    assert compute_last_change([*unsteady[:4], build_run_row(6, 16.0)])[0] == "worse", (
        "four runs are too few to estimate the noise"
    )
    extreme = [build_run_row(day, value, None) for day, value in enumerate((1e308, 5e-324) * 3, 1)]
    assert compute_last_change([*extreme, build_run_row(7, 10.0), build_run_row(8, 20.0)])[0] == "inconclusive"


def test_earlier_baseline_is_the_reference_and_later_baseline_is_not() -> None:
    rows = [build_run_row(1, 10.0), build_run_row(2, 20.0), build_run_row(3, 10.0)]
    assert compute_last_change(rows, {"chat": "/runs/run-1"})[0] == "same"
    assert "vs. baseline: same" in compute_last_change(rows, {"chat": "/runs/run-1"})[1]
    assert "vs. previous run: better" in compute_last_change(rows, {"chat": "/runs/run-3"})[1]


def test_lower_bound_of_the_max_rate_is_not_compared() -> None:
    first, second = build_run_row(1, 10.0), build_run_row(2, 20.0)
    assert second.number is not None
    bound = replace(second, number=replace(second.number, is_bound=True))
    assert compute_run_change(bound, build_run_histories([first, bound], {})["/runs/run-2"]) is None


def test_comparability_key_differs_for_runs_that_differ() -> None:
    run = result(steady(10.0, 0.1))
    assert build_comparability_key(run) == build_comparability_key(replace(run, run_id="later"))
    others = [
        replace(run, workload_hash="other"),
        replace(run, environment=replace(run.environment, onnxruntime="0.0")),
        replace(run, environment=replace(run.environment, cpu_model="other")),
        result(replace(steady(10.0, 0.1), arrival_kind="constant")),
    ]
    for other in others:
        assert find_differences([run], [other])
        assert build_comparability_key(run) != build_comparability_key(other)
