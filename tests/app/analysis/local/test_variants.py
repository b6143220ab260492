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
from tests.fakes.calls import call, stage_of, table_of, unserved_call
from tests.fakes.local_runs import SLO, local_run, stage, variant
from tests.fakes.searched_runs import searched_run

_LATENCY = Objective("latency_ms.p95 < 8", "latency_ms", "p95", "<", 8.0)
_RATE = Objective("throughput_per_s > 700", "throughput_per_s", None, ">", 700.0)
_STAGES = (
    stage(variant(), "single-stream", 2.0),
    stage(variant(), "server", 4.0),
    stage(variant(), "offline", 1.0),
)


def test_objective_is_evaluated_in_scenario_of_its_metric() -> None:
    stages = [find_objective_stage(item, _STAGES)[0] for item in (SLO, _LATENCY, _RATE)]
    assert [item and item.tags["scenario"] for item in stages] == ["single-stream", "server", "offline"]


def test_objective_is_evaluated_at_worst_of_several_rates() -> None:
    slow = stage(variant(), "server", 9.0)
    assert find_objective_stage(_LATENCY, (*_STAGES, slow))[0] is slow
    assert [objective.text for objective, _ in find_violated_objectives((SLO, _LATENCY, _RATE), (*_STAGES, slow))] == [
        "latency_ms.p95 < 8"
    ]


def test_unmeasured_objective_is_violated_with_reason() -> None:
    ((objective, measured),) = find_violated_objectives((_LATENCY,), _STAGES[:1])
    assert objective is _LATENCY
    assert (measured.value, measured.reason) == (None, "p95 latency was not measured")


def test_warning_objective_is_never_violated() -> None:
    assert find_violated_objectives((Objective("x | warn", "latency_ms", "p95", "<", 0.1, "warn"),), _STAGES) == ()


def simulate_stage(
    scenario: Scenario,
    duration_ms: float = 10.0,
    *,
    rate_per_s: float | None = None,
    in_search: bool = False,
    never_started: int = 0,
) -> Stage:
    due = scenario in ("server", "multi-stream")
    rows = [call(duration_ms * n, duration_ms, query=n, due_ms=duration_ms * n if due else None) for n in range(100)]
    rows += [unserved_call(100 + n, 1000 + n) for n in range(never_started)]
    return summarize_calls(table_of(rows), replace(stage_of(scenario, rate_per_s=rate_per_s), in_search=in_search))


def parse_slo(*written: str) -> list[Objective]:
    return [parse_objective(text) for text in written]


def test_slo_is_violated_by_point_estimate_or_missing_value() -> None:
    stages = [simulate_stage("single-stream")]
    assert not find_violated_objectives(parse_slo("service_ms.p95 < 9"), stages)
    assert (
        find_violated_objectives(parse_slo("service_ms.p95 < 7", "accuracy > 90%"), stages)[0][0].metric == "service_ms"
    )
    withheld = replace(stages[0], metrics={"service_ms": {"p95": Estimate(None, reason="too few")}})
    assert find_violated_objectives(parse_slo("service_ms.p95 < 9"), [withheld])
    assert not is_slo_certainly_violated(parse_slo("service_ms.p95 < 9"), [withheld]), "the value is only missing"
    assert is_slo_certainly_violated(parse_slo("service_ms.p95 < 7"), stages)


def test_unfinished_variant_violates_only_measured_objectives() -> None:
    stages = [simulate_stage("single-stream")]
    assert not find_violated_objectives_so_far(parse_slo("service_ms.p95 < 9", "accuracy > 90%"), stages)
    assert find_violated_objectives_so_far(parse_slo("service_ms.p95 < 7", "accuracy > 90%"), stages)


def test_infinite_latency_violates_every_limit() -> None:
    stage = simulate_stage("server", rate_per_s=110.0, never_started=10)
    p95, p50 = parse_slo("latency_ms.p95 < 9999", "latency_ms.p50 < 9999")
    assert is_latency_infinite(p95, stage)
    assert is_slo_certainly_violated([p95], [stage])
    assert not is_latency_infinite(p50, stage)
    assert not is_slo_certainly_violated([p50], [stage])
    assert not is_slo_certainly_violated(parse_slo("latency_ms.p95 < 9999 | warn"), [stage])


def test_failed_rates_of_search_are_not_headline_if_one_passed() -> None:
    passed = simulate_stage("server", 10, rate_per_s=50, in_search=True)
    failed = simulate_stage("server", 60, rate_per_s=90, in_search=True)
    single_stream = simulate_stage("single-stream")
    objectives = parse_slo("latency_ms.p95 < 50")
    assert select_headline_stages(objectives, [single_stream, passed, failed]) == (single_stream, passed)
    assert select_headline_stages(objectives, [single_stream, failed]) == (single_stream, failed)


def test_stricter_slo_changes_best_variant_and_not_stages() -> None:
    original = local_run().result
    reevaluated = reevaluate_variants(original, (parse_objective("service_ms.p99 < 1.5"),))
    assert original.local is not None
    assert reevaluated.local is not None
    assert (original.local.best, reevaluated.local.best) == (variant("int8-static", 4), variant("int8-static", 1))
    assert reevaluated.stages == original.stages
    assert [objective_result.objective.text for objective_result in reevaluated.slo] == ["service_ms.p99 < 1.5"]
    assert reevaluated.slo[0].outcome == "PASS"
    assert reevaluated.reevaluation is not None
    assert reevaluated.exit.code == 0


def test_reevaluation_without_passing_variant_exits_with_10() -> None:
    reevaluated = reevaluate_variants(local_run().result, (parse_objective("service_ms.p99 < 0.1"),))
    assert reevaluated.local is not None
    assert (reevaluated.local.best, reevaluated.local.best_reason) == (None, "missed")
    assert reevaluated.slo[0].outcome == "FAIL"
    assert reevaluated.exit.code == 10


def test_reevaluating_rate_search_with_other_slo_is_rejected() -> None:
    with pytest.raises(UsageError, match="searched for the max rate within its own SLO"):
        reevaluate_variants(searched_run().result, (parse_objective("latency_ms.p95 < 5"),))


def build_point(latency_ms: float | None, cost: float | None, accuracy: float | None = None) -> VariantPoint:
    return VariantPoint(latency_ms=latency_ms, cost=cost, accuracy=accuracy)


def dominates(candidate: VariantPoint, other: VariantPoint) -> bool:
    """Pareto dominance by its definition. Only the accuracy can be unknown."""
    assert candidate.latency_ms is not None
    assert other.latency_ms is not None
    assert candidate.cost is not None
    assert other.cost is not None
    accurate = other.accuracy is None or (candidate.accuracy is not None and candidate.accuracy >= other.accuracy)
    more_accurate = candidate.accuracy is not None and (other.accuracy is None or candidate.accuracy > other.accuracy)
    better = candidate.latency_ms < other.latency_ms or candidate.cost < other.cost or more_accurate
    return candidate.latency_ms <= other.latency_ms and candidate.cost <= other.cost and accurate and better


def test_pareto_front_dominates_all_other_points() -> None:
    rng = random.Random(6)
    for _ in range(300):
        points = [
            build_point(rng.randint(1, 9), rng.randint(1, 9), rng.choice([None, 0.7, 0.8, 0.9]))
            for _ in range(rng.randrange(12))
        ]
        front = find_pareto_front(points)
        assert not any(dominates(candidate, points[index]) for candidate in points for index in front)
        dominated = [candidate for index, candidate in enumerate(points) if index not in front]
        assert all(any(dominates(points[index], candidate) for index in front) for candidate in dominated)


def test_equal_points_are_all_in_pareto_front() -> None:
    assert find_pareto_front([build_point(1, 1), build_point(2, 2), build_point(1, 1)]) == (0, 2)


def test_unknown_accuracy_does_not_dominate_known_accuracy() -> None:
    assert find_pareto_front([build_point(1, 1), build_point(2, 2, 0.9)]) == (0, 1)
    assert find_pareto_front([build_point(2, 2), build_point(1, 1, 0.9)]) == (1,)


def test_point_without_latency_or_cost_is_not_in_pareto_front() -> None:
    assert find_pareto_front([build_point(None, 1), build_point(1, None), build_point(9, 9)]) == (2,)
    assert find_pareto_front([]) == ()


def test_cost_per_row_assumes_full_utilization() -> None:
    """$3.60 an hour are $0.001 a second, in which 100 rows are processed."""
    assert compute_usd_per_million_rows(100, 3.6) == pytest.approx(10.0)
    assert compute_machine_s_per_thousand_rows(100) == pytest.approx(10.0)
