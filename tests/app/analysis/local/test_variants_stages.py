from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.analysis.local.call_stages import find_fastest_stage, summarize_calls
from app.analysis.local.variants import (
    find_objective_stage,
    find_violated_objectives,
    find_violated_objectives_so_far,
    is_slo_certainly_violated,
    select_headline_stages,
)
from app.analysis.objectives import parse_objective
from app.records.estimate import Estimate
from app.records.local import GenerationTest, Scenario
from app.records.result import Objective, Stage
from tests.fakes import language_model_runs
from tests.fakes.calls import call, stage_of, table_of


def simulate_stage(
    scenario: Scenario, duration_ms: float = 10.0, *, rate_per_s: float | None = None, in_search: bool = False
) -> Stage:
    due = scenario in ("server", "multi-stream")
    rows = [call(duration_ms * n, duration_ms, query=n, due_ms=duration_ms * n if due else None) for n in range(100)]
    call_stage = replace(stage_of(scenario, rate_per_s=rate_per_s), in_search=in_search)
    return summarize_calls(table_of(rows), call_stage)


def parse_slo(*texts: str) -> list[Objective]:
    return [parse_objective(text) for text in texts]


@pytest.mark.parametrize(
    ("objective", "scenario"),
    [
        ("latency_ms.p95 < 50", "server"),
        ("throughput_per_s > 10", "offline"),
        ("service_ms.p95 < 50", "single-stream"),
    ],
)
def test_objective_is_evaluated_in_scenario_of_its_metric(objective: str, scenario: str) -> None:
    stages = [
        simulate_stage("multi-stream"),
        simulate_stage("server", rate_per_s=50),
        simulate_stage("single-stream"),
        simulate_stage("offline"),
    ]
    stage, estimate = find_objective_stage(parse_objective(objective), stages)
    assert stage is not None
    assert stage.tags["scenario"] == scenario
    assert estimate.value is not None


def test_objective_is_evaluated_at_worst_of_several_rates() -> None:
    stages = [
        simulate_stage("server", 10, rate_per_s=50),
        simulate_stage("server", 30, rate_per_s=30),
        simulate_stage("server", 5, rate_per_s=90),
    ]
    stage, _ = find_objective_stage(parse_objective("latency_ms.p95 < 50"), stages)
    assert stage is stages[1]


def test_slo_is_violated_by_point_estimate_or_missing_value() -> None:
    stages = [simulate_stage("single-stream")]
    assert not find_violated_objectives(parse_slo("service_ms.p95 < 9"), stages)
    assert find_violated_objectives(parse_slo("service_ms.p95 < 7"), stages)
    assert not find_violated_objectives(parse_slo("service_ms.p95 < 7 | warn"), stages)
    withheld = replace(stages[0], metrics={"service_ms": {"p95": Estimate(None, reason="too few")}})
    assert find_violated_objectives(parse_slo("service_ms.p95 < 9"), [withheld])
    assert find_violated_objectives(parse_slo("accuracy > 90%"), stages)
    assert not is_slo_certainly_violated(parse_slo("service_ms.p95 < 9"), [withheld])
    assert is_slo_certainly_violated(parse_slo("service_ms.p95 < 7"), stages)


def test_unfinished_variant_violates_only_measured_objectives() -> None:
    stages = [simulate_stage("single-stream")]
    assert not find_violated_objectives_so_far(parse_slo("service_ms.p95 < 9", "accuracy > 90%"), stages)
    assert find_violated_objectives_so_far(parse_slo("service_ms.p95 < 7", "accuracy > 90%"), stages)


def test_failed_rates_of_search_are_not_headline_if_one_passed() -> None:
    passed = simulate_stage("server", 10, rate_per_s=50, in_search=True)
    failed = simulate_stage("server", 60, rate_per_s=90, in_search=True)
    single_stream = simulate_stage("single-stream")
    objectives = parse_slo("latency_ms.p95 < 50")
    assert select_headline_stages(objectives, [single_stream, passed, failed]) == (single_stream, passed)
    assert select_headline_stages(objectives, [single_stream, failed]) == (single_stream, failed)


def test_rate_that_passed_and_failed_is_not_headline() -> None:
    lower = simulate_stage("server", 10, rate_per_s=40, in_search=True)
    passed, failed = (simulate_stage("server", takes, rate_per_s=50, in_search=True) for takes in (10, 60))
    assert select_headline_stages(parse_slo("latency_ms.p95 < 50"), [lower, passed, failed]) == (lower,)


def test_objective_is_evaluated_in_worst_test_without_repeated_test() -> None:
    variant = language_model_runs.variant()
    prompt, output, deep, _ = stages = [
        language_model_runs.measured_stage(variant, GenerationTest(512, 0)),
        language_model_runs.measured_stage(variant, GenerationTest(0, 16)),
        language_model_runs.measured_stage(variant, GenerationTest(0, 16, 1024)),
        language_model_runs.measured_stage(variant, GenerationTest(512, 0), repeat=2, slower=2.0),
    ]
    for text, worst in (
        ("prefill_tokens_per_s > 10", prompt),
        ("decode_tokens_per_s > 10", deep),
        ("itl_ms.p50 < 10", deep),
        ("decode_tokens_per_s < 10", output),
    ):
        assert find_objective_stage(parse_objective(text), stages)[0] is worst
    assert find_fastest_stage(stages[:1] + stages[3:]) is prompt
