from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.analysis.max_rate import (
    check_generator_reach,
    compute_max_rate,
    derive_search_outcome,
    format_against_limit,
)
from app.analysis.objectives import parse_objective
from app.analysis.search import SearchOutcome
from app.records.result import Estimate, Stage, StageKind, Verdict, Window

SLO = (parse_objective("latency_ms.p95 < 50"), parse_objective("error_rate < 1%"))
SEARCH = SearchOutcome(100.0, None, (100.0, 110.0), 12)


def stage(
    rate: float,
    p95: float,
    ci95: tuple[float, float] | None,
    *,
    kind: StageKind = "probe",
    meets_slo: bool = True,
    errors: float = 0.0,
    goodput: tuple[float, float] = (0.9, 1.0),
    invalid: bool = False,
    **telemetry: float,
) -> Stage:
    missing = Estimate(None, reason="not measured")
    latency = Estimate(p95, ci95, 500, reason=None if ci95 else "no interval")
    return Stage(
        name=f"{kind} {rate:g}/s",
        kind=kind,
        repeat=1,
        tags={},
        variant=None,
        window=Window(0, 1),
        offered_per_s=missing,
        achieved_per_s=Estimate(rate),
        good_per_s=missing,
        completed=500,
        errors={},
        metrics={
            "latency_ms": {"p95": latency},
            "error_rate": {"value": Estimate(errors, (errors, errors), 500)},
            "goodput_share": {"value": Estimate(sum(goodput) / 2, goodput, 500)},
            **{name: {"mean": Estimate(value)} for name, value in telemetry.items()},
        },
        verdict=Verdict("INVALID" if invalid else "VALID"),
        meets_slo=meets_slo,
        scheduled_per_s=rate,
    )


STEPS = [stage(100, 45, (40, 55), kind="step") for _ in range(3)]


def test_max_rate_interval_runs_from_clearly_met_to_clearly_violated_rate() -> None:
    stages = [
        stage(80, 30, (25, 35)),
        stage(90, 40, (35, 49)),
        stage(95, 44, (39, 52)),
        *STEPS,
        stage(110, 52, (45, 60), meets_slo=False),
        stage(120, 70, (60, 90), meets_slo=False),
        stage(160, 900, (800, 990), meets_slo=False),
    ]
    max_rate = compute_max_rate(stages, SLO, SEARCH)
    assert max_rate.per_s == Estimate(100.0, (90.0, 120.0), 1_500)
    assert max_rate.slo == ("latency_ms.p95 < 50", "error_rate < 1%")


def test_rate_bounds_max_rate_interval_only_if_all_its_stages_agree() -> None:
    stages = [stage(80, 30, (25, 35)), stage(90, 40, (35, 49)), stage(90, 45, (40, 51)), *STEPS]
    outside = [
        stage(120, 70, (60, 90), meets_slo=False),
        stage(120, 48, (40, 60), meets_slo=False),
        stage(130, 80, (60, 90)),
    ]
    assert compute_max_rate([*stages, *outside], SLO, SEARCH).per_s.ci95 == (80.0, 130.0)


def test_failed_lower_rate_does_not_invert_max_rate_interval() -> None:
    stages = [
        stage(80, 30, (25, 35)),
        stage(70, 80, (70, 90), meets_slo=False),
        *STEPS,
        stage(120, 70, (60, 90), meets_slo=False),
    ]
    assert compute_max_rate(stages, SLO, SEARCH).per_s.ci95 == (80.0, 120.0)


def test_warmup_stage_does_not_bound_max_rate_interval() -> None:
    stages = [stage(80, 30, (25, 35)), stage(90, 30, (25, 35), kind="warmup"), *STEPS, stage(120, 70, (60, 90))]
    assert compute_max_rate(stages, SLO, SEARCH).per_s.ci95 == (80.0, 120.0)


def test_stage_without_latency_interval_is_violated_by_goodput() -> None:
    stages = [stage(80, 30, (25, 35)), *STEPS]
    violated = stage(120, 700, None, meets_slo=False, goodput=(0.3, 0.6))
    uncertain = stage(110, 60, None, meets_slo=False, goodput=(0.9, 0.96))
    assert compute_max_rate([*stages, violated, uncertain], SLO, SEARCH).per_s.ci95 == (80.0, 120.0)
    withheld = compute_max_rate([*stages, uncertain], SLO, SEARCH).per_s
    assert (withheld.value, withheld.ci95) == (100.0, None)
    assert "not clearly violated" in str(withheld.reason)


def test_stage_without_latency_interval_is_met_by_goodput() -> None:
    outside = stage(120, 70, (60, 90), meets_slo=False)
    passed = stage(90, 30, None, goodput=(0.96, 1.0))
    uncertain = stage(95, 30, None, goodput=(0.94, 1.0))
    assert compute_max_rate([passed, uncertain, *STEPS, outside], SLO, SEARCH).per_s.ci95 == (90.0, 120.0)


def test_error_rate_bounds_max_rate_by_point_estimate() -> None:
    outside = stage(120, 70, (60, 90), meets_slo=False)
    failing = stage(95, 30, (25, 35), errors=0.02)
    assert compute_max_rate([stage(90, 30, (25, 35)), failing, *STEPS, outside], SLO, SEARCH).per_s.ci95 == (
        90.0,
        120.0,
    )


def test_max_rate_without_clearly_met_rate_has_no_interval() -> None:
    withheld = compute_max_rate([*STEPS, stage(120, 70, (60, 90), meets_slo=False)], SLO, SEARCH).per_s
    assert (withheld.value, withheld.ci95) == (100.0, None)
    assert "not clearly met" in str(withheld.reason)


def test_missing_max_rate_has_reason_of_search() -> None:
    outcome = SearchOutcome(None, "even the lowest tested rate of 1 req/s failed", (None, 1.0), 7)
    max_rate = compute_max_rate(
        [stage(1, 300, (200, 400), meets_slo=False), stage(2, 600, (500, 700), meets_slo=False)], SLO, outcome
    )
    assert max_rate.per_s == Estimate(None, n=0, reason=outcome.reason)
    assert max_rate.limited_by == "at 1 req/s p95 latency was 300 ms (objective: p95 latency < 50 ms)"


def test_limited_by_has_failed_objective_and_utilization_above_max_rate() -> None:
    stages = [
        *STEPS,
        stage(140, 900, None, meets_slo=False),
        stage(
            110,
            52.34,
            (45, 60),
            meets_slo=False,
            endpoint_cpu_cores=1.936,
            host_cpu_percent=97.2,
            gpu_utilization_percent=35.0,
        ),
    ]
    assert compute_max_rate(stages, SLO, SEARCH).limited_by == (
        "at 110 req/s p95 latency was 52.3 ms (objective: p95 latency < 50 ms); at this rate, the endpoint used "
        "1.94 cores, host CPU utilization was 97 % and GPU utilization was 35 %"
    )


def test_error_rate_can_limit_max_rate() -> None:
    refused = stage(110, 20, (15, 25), meets_slo=False, errors=0.123)
    assert (
        "error rate was 12.3 % (objective: error rate < 1 %)"
        in compute_max_rate([*STEPS, refused], SLO, SEARCH).limited_by
    )
    implied = compute_max_rate([*STEPS, refused], SLO[:1], SEARCH)
    assert "error rate was 12.3 % (objective: error rate <= 1 %)" in implied.limited_by
    assert implied.slo == ("latency_ms.p95 < 50", "error_rate <= 1%")


GENERATOR_LIMITED_SEARCH = SearchOutcome(100.0, None, (100.0, None), 12, unsendable_per_s=110.0)


def test_saturated_generator_limits_max_rate_instead_of_endpoint() -> None:
    late = stage(110, 60, (55, 70), meets_slo=False, invalid=True)
    late = replace(late, verdict=Verdict("INVALID", ("generator capacity: 96 % (limit 85 %)", "late sends: 4 %")))
    max_rate = compute_max_rate([*STEPS, late], SLO, GENERATOR_LIMITED_SEARCH)
    assert (max_rate.is_lower_bound, max_rate.is_generator_limit, max_rate.per_s.value) == (True, True, 100.0)
    assert max_rate.limited_by == (
        "the load generator, not the endpoint: it could not send 110 req/s (generator capacity: 96 % (limit 85 %)); it "
        "is reliable up to 100 req/s, and the endpoint may sustain more. Add workers (load.workers, `sizewise "
        "worker`), or run them on a faster machine or one without other load"
    )
    assert check_generator_reach(GENERATOR_LIMITED_SEARCH) == (), "a max rate was found"


def test_invalid_stage_does_not_bound_max_rate_interval() -> None:
    outside = stage(130, 70, (60, 90), meets_slo=False)
    late = stage(110, 60, (55, 70), meets_slo=False, invalid=True)
    max_rate = compute_max_rate([stage(90, 30, (25, 35)), *STEPS, late, outside], SLO, SEARCH)
    assert max_rate.per_s.ci95 == (90.0, 130.0)
    assert max_rate.failed_per_s == 130.0


def test_endpoint_failing_below_unsendable_rate_limits_max_rate() -> None:
    outcome = SearchOutcome(100.0, None, (100.0, 105.0), 12, unsendable_per_s=110.0)
    assert not outcome.is_generator_limited
    assert not SearchOutcome(100.0, None, (100.0, 104.0), 12, unsendable_per_s=102.0).is_generator_limited, (
        "no rate can be tested between them"
    )
    assert SearchOutcome(100.0, None, (100.0, 140.0), 12, unsendable_per_s=110.0).is_generator_limited
    max_rate = compute_max_rate([*STEPS, stage(105, 60, (55, 70), meets_slo=False)], SLO, outcome)
    assert (max_rate.is_lower_bound, max_rate.is_generator_limit) == (False, False)
    assert max_rate.failed_per_s == 105.0


def test_search_without_reliable_rate_is_invalid() -> None:
    (check,) = check_generator_reach(
        SearchOutcome(None, "the load generator could not send even 1 req/s", (None, None), 7, 1.0)
    )
    assert (check.id, check.verdict, check.limit) == ("generator_reach", "INVALID", 1.0)
    assert check_generator_reach(SearchOutcome(None, "even 1 req/s failed", (None, 1.0), 7)) == ()


def test_configured_rates_above_generator_capacity_neither_pass_nor_fail() -> None:
    late = replace(steady(100, False)[0], verdict=Verdict("INVALID", ("late sends: 4 %",)))
    outcome = derive_search_outcome([*steady(50, True), *steady(80, True), late])
    assert (outcome.max_rate_per_s, outcome.bracket, outcome.is_generator_limited) == (80.0, (80.0, None), True)
    between = derive_search_outcome([*steady(50, True), late, *steady(120, True), *steady(150, False)])
    assert (between.max_rate_per_s, between.unsendable_per_s) == (120.0, None), "a higher rate was sent"
    without_passing = derive_search_outcome([late])
    assert (without_passing.max_rate_per_s, without_passing.reason) == (
        None,
        "the load generator could not sustain any of the tested rates",
    )


def test_max_rate_without_failed_stage_is_highest_tested_rate() -> None:
    max_rate = compute_max_rate(STEPS, SLO, SEARCH)
    assert (max_rate.per_s.value, max_rate.failed_per_s, max_rate.is_lower_bound) == (100.0, None, True)


def steady(rate: float, *meets_slo: bool) -> list[Stage]:
    return [
        stage(rate, 40 if passes else 60, (35, 45) if passes else (55, 70), kind="steady", meets_slo=passes)
        for passes in meets_slo
    ]


def test_max_rate_of_configured_rates_is_highest_below_first_failure() -> None:
    stages = [*steady(50, True), *steady(80, True, True), *steady(100, True, False), *steady(120, True)]
    max_rate = compute_max_rate(stages, SLO, derive_search_outcome(stages))
    assert max_rate.per_s.value == 80.0
    assert max_rate.per_s.n == 1_000


def test_max_rate_of_single_passing_stage_is_lower_bound() -> None:
    max_rate = compute_max_rate(steady(50, True), SLO, derive_search_outcome(steady(50, True)))
    assert (max_rate.per_s.value, max_rate.per_s.ci95) == (50.0, None)
    assert (max_rate.failed_per_s, max_rate.is_lower_bound) == (None, True)
    assert not compute_max_rate(
        [*steady(50, True), *steady(80, False)], SLO, derive_search_outcome(steady(50, True))
    ).is_lower_bound


def test_max_rate_of_sessions_is_in_sessions_per_s() -> None:
    stages = [replace(stage, sessions=True) for stage in (*steady(50, True), *steady(80, False))]
    max_rate = compute_max_rate(stages, SLO, derive_search_outcome(stages))
    assert max_rate.sessions
    assert max_rate.limited_by.startswith("at 80 sessions/s p95 latency was")


def test_limited_by_has_withheld_percentile() -> None:
    (stage,) = steady(80, False)
    stage = replace(
        stage, metrics={**stage.metrics, "latency_ms": {"p95": Estimate(None, reason="9 of 72 required samples")}}
    )
    max_rate = compute_max_rate([stage], SLO, derive_search_outcome([stage]))
    assert max_rate.limited_by == (
        "at 80 req/s p95 latency is not available (9 of 72 required samples), but is needed for p95 latency < 50 ms"
    )


def test_search_without_passing_stage_has_no_max_rate() -> None:
    failed = derive_search_outcome(steady(50, False))
    assert (failed.max_rate_per_s, failed.reason) == (None, "even 50 req/s failed")
    open_stages = [replace(stage, meets_slo=None) for stage in steady(50, False)]
    assert "too few responses" in str(derive_search_outcome(open_stages).reason)


@pytest.mark.parametrize(
    ("objective", "value", "shown"),
    [
        ("latency_ms.p95 < 50", 2970.4, "2,970 ms"),
        ("latency_ms.p95 < 50", 50.02, "50.02 ms"),
        ("latency_ms.p95 < 50", 50.0, "50 ms"),
        ("error_rate < 1%", 0.03598, "3.6 %"),
        ("error_rate < 1%", 0.010004, "1.0004 %"),
        ("good_per_s > 71", 70.98, "70.98 req/s"),
    ],
)
def test_violated_objective_is_not_rounded_to_its_limit(objective: str, value: float, shown: str) -> None:
    assert format_against_limit(parse_objective(objective), value) == shown
