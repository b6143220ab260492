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
FOUND = SearchOutcome(100.0, None, (100.0, 110.0), 12)


def stage(
    rate: float,
    p95: float,
    ci95: tuple[float, float] | None,
    *,
    kind: StageKind = "probe",
    held: bool = True,
    errors: float = 0.0,
    goodput: tuple[float, float] = (0.9, 1.0),
    invalid: bool = False,
    **telemetry: float,
) -> Stage:
    nothing = Estimate(None, reason="not asked")
    latency = Estimate(p95, ci95, 500, reason=None if ci95 else "no interval")
    return Stage(
        name=f"{kind} {rate:g}/s",
        kind=kind,
        repeat=1,
        tags={},
        variant=None,
        window=Window(0, 1),
        offered_per_s=nothing,
        achieved_per_s=Estimate(rate),
        good_per_s=nothing,
        completed=500,
        errors={},
        metrics={
            "latency_ms": {"p95": latency},
            "error_rate": {"value": Estimate(errors, (errors, errors), 500)},
            "goodput_share": {"value": Estimate(sum(goodput) / 2, goodput, 500)},
            **{name: {"mean": Estimate(value)} for name, value in telemetry.items()},
        },
        verdict=Verdict("INVALID" if invalid else "VALID"),
        meets_slo=held,
        scheduled_per_s=rate,
    )


HOLDS = [stage(100, 45, (40, 55), kind="step") for _ in range(3)]


def test_the_interval_runs_from_surely_inside_to_surely_outside() -> None:
    stages = [
        stage(80, 30, (25, 35)),
        stage(90, 40, (35, 49)),
        stage(95, 44, (39, 52)),
        *HOLDS,
        stage(110, 52, (45, 60), held=False),
        stage(120, 70, (60, 90), held=False),
        stage(160, 900, (800, 990), held=False),
    ]
    found = compute_max_rate(stages, SLO, FOUND)
    assert found.per_s == Estimate(100.0, (90.0, 120.0), 1_500)
    assert found.slo == ("latency_ms.p95 < 50", "error_rate < 1%")


def test_a_rate_counts_only_when_all_its_stages_agree() -> None:
    stages = [stage(80, 30, (25, 35)), stage(90, 40, (35, 49)), stage(90, 45, (40, 51)), *HOLDS]
    outside = [stage(120, 70, (60, 90), held=False), stage(120, 48, (40, 60), held=False), stage(130, 80, (60, 90))]
    assert compute_max_rate([*stages, *outside], SLO, FOUND).per_s.ci95 == (80.0, 130.0)


def test_a_lower_rate_that_failed_by_bad_luck_does_not_turn_the_interval_round() -> None:
    stages = [
        stage(80, 30, (25, 35)),
        stage(70, 80, (70, 90), held=False),
        *HOLDS,
        stage(120, 70, (60, 90), held=False),
    ]
    assert compute_max_rate(stages, SLO, FOUND).per_s.ci95 == (80.0, 120.0)


def test_warm_up_is_no_evidence() -> None:
    stages = [stage(80, 30, (25, 35)), stage(90, 30, (25, 35), kind="warmup"), *HOLDS, stage(120, 70, (60, 90))]
    assert compute_max_rate(stages, SLO, FOUND).per_s.ci95 == (80.0, 120.0)


def test_a_backlog_that_pushed_the_interval_away_is_outside_by_its_goodput() -> None:
    stages = [stage(80, 30, (25, 35)), *HOLDS]
    surely = stage(120, 700, None, held=False, goodput=(0.3, 0.6))
    perhaps = stage(110, 60, None, held=False, goodput=(0.9, 0.96))
    assert compute_max_rate([*stages, surely, perhaps], SLO, FOUND).per_s.ci95 == (80.0, 120.0)
    withheld = compute_max_rate([*stages, perhaps], SLO, FOUND).per_s
    assert (withheld.value, withheld.ci95) == (100.0, None)
    assert "not clearly violated" in str(withheld.reason)


def test_an_interval_withheld_is_inside_by_its_goodput() -> None:
    outside = stage(120, 70, (60, 90), held=False)
    surely = stage(90, 30, None, goodput=(0.96, 1.0))
    perhaps = stage(95, 30, None, goodput=(0.94, 1.0))
    assert compute_max_rate([surely, perhaps, *HOLDS, outside], SLO, FOUND).per_s.ci95 == (90.0, 120.0)


def test_a_share_counts_by_its_point_estimate() -> None:
    outside = stage(120, 70, (60, 90), held=False)
    failing = stage(95, 30, (25, 35), errors=0.02)
    assert compute_max_rate([stage(90, 30, (25, 35)), failing, *HOLDS, outside], SLO, FOUND).per_s.ci95 == (90.0, 120.0)


def test_an_open_lower_end_leaves_no_interval() -> None:
    withheld = compute_max_rate([*HOLDS, stage(120, 70, (60, 90), held=False)], SLO, FOUND).per_s
    assert (withheld.value, withheld.ci95) == (100.0, None)
    assert "not clearly met" in str(withheld.reason)


def test_no_rate_has_the_searchs_reason() -> None:
    outcome = SearchOutcome(None, "even the lowest tested rate of 1 req/s failed", (None, 1.0), 7)
    found = compute_max_rate(
        [stage(1, 300, (200, 400), held=False), stage(2, 600, (500, 700), held=False)], SLO, outcome
    )
    assert found.per_s == Estimate(None, n=0, reason=outcome.reason)
    assert found.limited_by == "at 1 req/s p95 latency was 300 ms (objective: p95 latency < 50 ms)"


def test_what_limits_is_what_failed_just_above_with_its_evidence() -> None:
    stages = [
        *HOLDS,
        stage(140, 900, None, held=False),
        stage(
            110,
            52.34,
            (45, 60),
            held=False,
            endpoint_cpu_cores=1.936,
            host_cpu_percent=97.2,
            gpu_utilization_percent=35.0,
        ),
    ]
    assert compute_max_rate(stages, SLO, FOUND).limited_by == (
        "at 110 req/s p95 latency was 52.3 ms (objective: p95 latency < 50 ms); at this rate, the endpoint used "
        "1.94 cores, host CPU utilization was 97 % and GPU utilization was 35 %"
    )


def test_failures_can_be_the_limit() -> None:
    refused = stage(110, 20, (15, 25), held=False, errors=0.123)
    assert (
        "error rate was 12.3 % (objective: error rate < 1 %)"
        in compute_max_rate([*HOLDS, refused], SLO, FOUND).limited_by
    )
    implied = compute_max_rate([*HOLDS, refused], SLO[:1], FOUND)
    assert "error rate was 12.3 % (objective: error rate <= 1 %)" in implied.limited_by
    assert implied.slo == ("latency_ms.p95 < 50", "error_rate <= 1%")


BEYOND = SearchOutcome(100.0, None, (100.0, None), 12, unsendable_per_s=110.0)


def test_a_generator_that_could_not_send_more_is_the_limit_and_not_the_endpoint() -> None:
    late = stage(110, 60, (55, 70), held=False, invalid=True)
    late = replace(late, verdict=Verdict("INVALID", ("generator capacity: 96 % (limit 85 %)", "late sends: 4 %")))
    found = compute_max_rate([*HOLDS, late], SLO, BEYOND)
    assert (found.is_lower_bound, found.is_generator_limit, found.per_s.value) == (True, True, 100.0)
    assert found.limited_by == (
        "the load generator, not the endpoint: it could not send 110 req/s (generator capacity: 96 % (limit 85 %)); it "
        "is reliable up to 100 req/s, and the endpoint may sustain more. Add workers (load.workers, `sizewise "
        "worker`), or run them on a faster machine or one without other load"
    )
    assert check_generator_reach(BEYOND) == (), "there is an answer"


def test_a_stage_that_is_invalid_is_no_end_of_the_interval() -> None:
    outside = stage(130, 70, (60, 90), held=False)
    late = stage(110, 60, (55, 70), held=False, invalid=True)
    found = compute_max_rate([stage(90, 30, (25, 35)), *HOLDS, late, outside], SLO, FOUND)
    assert found.per_s.ci95 == (90.0, 130.0)
    assert found.limited_by.startswith("at 130 req/s p95 latency was 70 ms")


def test_an_endpoint_that_failed_below_what_could_not_be_sent_is_the_limit() -> None:
    outcome = SearchOutcome(100.0, None, (100.0, 105.0), 12, unsendable_per_s=110.0)
    assert not outcome.is_generator_limited
    assert not SearchOutcome(100.0, None, (100.0, 104.0), 12, unsendable_per_s=102.0).is_generator_limited, (
        "as near as it gets"
    )
    assert SearchOutcome(100.0, None, (100.0, 140.0), 12, unsendable_per_s=110.0).is_generator_limited
    found = compute_max_rate([*HOLDS, stage(105, 60, (55, 70), held=False)], SLO, outcome)
    assert (found.is_lower_bound, found.is_generator_limit) == (False, False)
    assert found.limited_by.startswith("at 105 req/s p95 latency was 60 ms")


def test_without_a_rate_that_the_generator_can_vouch_for_the_run_is_invalid() -> None:
    (check,) = check_generator_reach(
        SearchOutcome(None, "the load generator could not send even 1 req/s", (None, None), 7, 1.0)
    )
    assert (check.id, check.verdict, check.limit) == ("generator_reach", "INVALID", 1.0)
    assert check_generator_reach(SearchOutcome(None, "even 1 req/s failed", (None, 1.0), 7)) == ()


def test_chosen_rates_beyond_the_generator_neither_hold_nor_fail() -> None:
    late = replace(steady(100, False)[0], verdict=Verdict("INVALID", ("late sends: 4 %",)))
    outcome = derive_search_outcome([*steady(50, True), *steady(80, True), late])
    assert (outcome.max_rate_per_s, outcome.bracket, outcome.is_generator_limited) == (80.0, (80.0, None), True)
    between = derive_search_outcome([*steady(50, True), late, *steady(120, True), *steady(150, False)])
    assert (between.max_rate_per_s, between.unsendable_per_s) == (120.0, None), "a mishap: a higher rate was sent"
    alone = derive_search_outcome([late])
    assert (alone.max_rate_per_s, alone.reason) == (
        None,
        "the load generator could not sustain any of the tested rates",
    )


def test_nothing_failed() -> None:
    assert compute_max_rate(HOLDS, SLO, FOUND).limited_by == "highest rate tested; the maximum may be higher"


def steady(rate: float, *held: bool) -> list[Stage]:
    return [stage(rate, 40 if one else 60, (35, 45) if one else (55, 70), kind="steady", held=one) for one in held]


def test_stages_at_chosen_rates_give_the_highest_that_always_held() -> None:
    stages = [*steady(50, True), *steady(80, True, True), *steady(100, True, False), *steady(120, True)]
    found = compute_max_rate(stages, SLO, derive_search_outcome(stages))
    assert found.per_s.value == 80.0
    assert found.per_s.n == 1_000


def test_one_stage_that_held_is_a_rate_without_an_upper_end() -> None:
    found = compute_max_rate(steady(50, True), SLO, derive_search_outcome(steady(50, True)))
    assert (found.per_s.value, found.per_s.ci95) == (50.0, None)
    assert found.limited_by == "highest rate tested; the maximum may be higher"
    assert found.is_lower_bound
    assert not compute_max_rate(
        [*steady(50, True), *steady(80, False)], SLO, derive_search_outcome(steady(50, True))
    ).is_lower_bound


def test_a_rate_of_sessions_is_reported_as_one() -> None:
    stages = [replace(one, sessions=True) for one in (*steady(50, True), *steady(80, False))]
    found = compute_max_rate(stages, SLO, derive_search_outcome(stages))
    assert found.sessions
    assert found.limited_by.startswith("at 80 sessions/s p95 latency was")


def test_a_percentile_that_could_not_be_had_is_no_evidence_of_what_was_busy() -> None:
    (stage,) = steady(80, False)
    stage = replace(
        stage, metrics={**stage.metrics, "latency_ms": {"p95": Estimate(None, reason="9 of 72 required samples")}}
    )
    found = compute_max_rate([stage], SLO, derive_search_outcome([stage]))
    assert found.limited_by == (
        "at 80 req/s p95 latency is not available (9 of 72 required samples), but is needed for p95 latency < 50 ms"
    )


def test_no_stage_that_held_is_no_rate() -> None:
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
def test_a_missed_objective_is_not_shown_as_met_by_rounding(objective: str, value: float, shown: str) -> None:
    assert format_against_limit(parse_objective(objective), value) == shown
