from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from app.analysis.local.call_stages import summarize_calls
from app.analysis.local.variants import (
    VariantPoint,
    compute_machine_s_per_thousand_rows,
    compute_usd_per_million_rows,
    find_objective_stage,
    find_pareto_front,
    find_violated_objectives,
    find_violated_objectives_so_far,
    is_latency_infinite,
    is_slo_certainly_violated,
    reevaluate_variants,
    select_headline_stages,
)
from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.records.estimate import Estimate
from app.records.local import Scenario
from app.records.result import Objective, Stage
from tests.fakes.calls import call, never, stage_of, table_of
from tests.fakes.local_runs import SLO, local_run, stage, variant
from tests.fakes.searched_runs import searched_run

_LATENCY = Objective("latency_ms.p95 < 8", "latency_ms", "p95", "<", 8.0)
_RATE = Objective("throughput_per_s > 700", "throughput_per_s", None, ">", 700.0)
_STAGES = (
    stage(variant(), "single-stream", 2.0),
    stage(variant(), "server", 4.0),
    stage(variant(), "offline", 1.0),
)


def test_each_metric_is_answered_in_the_scenario_that_it_is_most_of() -> None:
    found = [find_objective_stage(one, _STAGES)[0] for one in (SLO, _LATENCY, _RATE)]
    assert [one and one.tags["scenario"] for one in found] == ["single-stream", "server", "offline"]


def test_of_several_rates_the_worst_answers() -> None:
    slow = stage(variant(), "server", 9.0)
    assert find_objective_stage(_LATENCY, (*_STAGES, slow))[0] is slow
    assert [one.text for one, _ in find_violated_objectives((SLO, _LATENCY, _RATE), (*_STAGES, slow))] == [
        "latency_ms.p95 < 8"
    ]


def test_what_was_not_measured_is_missed_and_says_so() -> None:
    ((missed, seen),) = find_violated_objectives((_LATENCY,), _STAGES[:1])
    assert missed is _LATENCY
    assert (seen.value, seen.reason) == (None, "p95 latency was not measured")


def test_what_only_warns_is_missed_by_nobody() -> None:
    assert find_violated_objectives((Objective("x | warn", "latency_ms", "p95", "<", 0.1, "warn"),), _STAGES) == ()


def played(
    scenario: Scenario,
    takes_ms: float = 10.0,
    *,
    rate_per_s: float | None = None,
    searched: bool = False,
    never_begun: int = 0,
) -> Stage:
    due = scenario in ("server", "multi-stream")
    rows = [call(takes_ms * n, takes_ms, query=n, due_ms=takes_ms * n if due else None) for n in range(100)]
    rows += [never(100 + n, 1000 + n) for n in range(never_begun)]
    return summarize_calls(table_of(rows), replace(stage_of(scenario, rate_per_s=rate_per_s), in_search=searched))


def slo_of(*written: str) -> list[Objective]:
    return [parse_objective(text) for text in written]


def test_an_slo_is_missed_by_a_point_estimate_or_by_having_none() -> None:
    stages = [played("single-stream")]
    assert not find_violated_objectives(slo_of("service_ms.p95 < 9"), stages)
    assert find_violated_objectives(slo_of("service_ms.p95 < 7", "accuracy > 90%"), stages)[0][0].metric == "service_ms"
    withheld = replace(stages[0], metrics={"service_ms": {"p95": Estimate(None, reason="too few")}})
    assert find_violated_objectives(slo_of("service_ms.p95 < 9"), [withheld])
    assert not is_slo_certainly_violated(slo_of("service_ms.p95 < 9"), [withheld]), "for want of a value alone"
    assert is_slo_certainly_violated(slo_of("service_ms.p95 < 7"), stages)


def test_before_the_end_only_what_is_measured_so_far_is_missed() -> None:
    stages = [played("single-stream")]
    assert not find_violated_objectives_so_far(slo_of("service_ms.p95 < 9", "accuracy > 90%"), stages)
    assert find_violated_objectives_so_far(slo_of("service_ms.p95 < 7", "accuracy > 90%"), stages)


def test_a_latency_without_an_end_is_beyond_every_limit() -> None:
    stage = played("server", rate_per_s=110.0, never_begun=10)
    p95, p50 = slo_of("latency_ms.p95 < 9999", "latency_ms.p50 < 9999")
    assert is_latency_infinite(p95, stage)
    assert is_slo_certainly_violated([p95], [stage])
    assert not is_latency_infinite(p50, stage)
    assert not is_slo_certainly_violated([p50], [stage])
    assert not is_slo_certainly_violated(slo_of("latency_ms.p95 < 9999 | warn"), [stage])


def test_rates_that_a_search_found_too_high_do_not_answer_where_one_held() -> None:
    held = played("server", 10, rate_per_s=50, searched=True)
    failed = played("server", 60, rate_per_s=90, searched=True)
    asked = played("single-stream")
    objectives = slo_of("latency_ms.p95 < 50")
    assert select_headline_stages(objectives, [asked, held, failed]) == (asked, held)
    assert select_headline_stages(objectives, [asked, failed]) == (asked, failed)


def test_a_stricter_slo_makes_another_variant_the_best_and_leaves_all_stages_as_they_were() -> None:
    own = local_run().result
    again = reevaluate_variants(own, (parse_objective("service_ms.p99 < 1.5"),))
    assert own.local is not None
    assert again.local is not None
    assert (own.local.best, again.local.best) == (variant("int8-static", 4), variant("int8-static", 1))
    assert again.stages == own.stages
    assert [one.objective.text for one in again.slo] == ["service_ms.p99 < 1.5"]
    assert again.slo[0].outcome == "PASS"
    assert again.reevaluation is not None
    assert again.exit.code == 0


def test_where_none_meets_it_the_nearest_is_reported_of_and_the_exit_is_10() -> None:
    again = reevaluate_variants(local_run().result, (parse_objective("service_ms.p99 < 0.1"),))
    assert again.local is not None
    assert (again.local.best, again.local.best_reason) == (None, "missed")
    assert again.slo[0].outcome == "FAIL"
    assert again.exit.code == 10


def test_a_search_was_made_for_its_own_slo() -> None:
    with pytest.raises(UsageError, match="searched for the max rate within its own SLO"):
        reevaluate_variants(searched_run().result, (parse_objective("latency_ms.p95 < 5"),))


def point(
    latency_ms: float | None, cost: float | None, accuracy: float | None = None, rows_per_s: float | None = None
) -> VariantPoint:
    return VariantPoint(latency_ms=latency_ms, cost=cost, accuracy=accuracy, rows_per_s=rows_per_s)


def dominates(one: VariantPoint, other: VariantPoint) -> bool:
    """By the words of the definition, with every part known but accuracy."""
    assert one.latency_ms is not None
    assert other.latency_ms is not None
    assert one.cost is not None
    assert other.cost is not None
    accurate = other.accuracy is None or (one.accuracy is not None and one.accuracy >= other.accuracy)
    more_accurate = one.accuracy is not None and (other.accuracy is None or one.accuracy > other.accuracy)
    better = one.latency_ms < other.latency_ms or one.cost < other.cost or more_accurate
    return one.latency_ms <= other.latency_ms and one.cost <= other.cost and accurate and better


def test_the_front_has_no_dominated_point_and_a_point_of_it_dominates_every_other() -> None:
    dice = random.Random(6)
    for _ in range(300):
        points = [
            point(dice.randint(1, 9), dice.randint(1, 9), dice.choice([None, 0.7, 0.8, 0.9]))
            for _ in range(dice.randrange(12))
        ]
        front = find_pareto_front(points)
        assert not any(dominates(one, points[index]) for one in points for index in front)
        left_out = [one for index, one in enumerate(points) if index not in front]
        assert all(any(dominates(points[index], one) for index in front) for one in left_out)


def test_points_alike_all_stand() -> None:
    assert find_pareto_front([point(1, 1), point(2, 2), point(1, 1)]) == (0, 2)


def test_an_accuracy_not_known_beats_none_that_is() -> None:
    assert find_pareto_front([point(1, 1), point(2, 2, 0.9)]) == (0, 1)
    assert find_pareto_front([point(2, 2), point(1, 1, 0.9)]) == (1,)


def test_a_point_without_a_latency_or_a_cost_takes_no_part() -> None:
    assert find_pareto_front([point(None, 1), point(1, None), point(9, 9)]) == (2,)
    assert find_pareto_front([]) == ()


def test_costs_are_of_a_machine_that_is_never_idle() -> None:
    """3.60 USD an hour are 0.001 a second, in which 100 rows pass."""
    assert compute_usd_per_million_rows(100, 3.6) == pytest.approx(10.0)
    assert compute_machine_s_per_thousand_rows(100) == pytest.approx(10.0)
