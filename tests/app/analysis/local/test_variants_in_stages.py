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


def stage(
    scenario: Scenario, takes_ms: float = 10.0, *, rate_per_s: float | None = None, searched: bool = False
) -> Stage:
    due = scenario in ("server", "multi-stream")
    rows = [call(takes_ms * n, takes_ms, query=n, due_ms=takes_ms * n if due else None) for n in range(100)]
    facts = replace(stage_of(scenario, rate_per_s=rate_per_s), in_search=searched)
    return summarize_calls(table_of(rows), facts)


def slo(*written: str) -> list[Objective]:
    return [parse_objective(text) for text in written]


@pytest.mark.parametrize(
    ("objective", "scenario"),
    [
        ("latency_ms.p95 < 50", "server"),
        ("throughput_per_s > 10", "offline"),
        ("service_ms.p95 < 50", "single-stream"),
    ],
)
def test_an_objective_is_held_against_the_scenario_that_it_is_most_of(objective: str, scenario: str) -> None:
    stages = [stage("multi-stream"), stage("server", rate_per_s=50), stage("single-stream"), stage("offline")]
    found, estimate = find_objective_stage(parse_objective(objective), stages)
    assert found is not None
    assert found.tags["scenario"] == scenario
    assert estimate.value is not None


def test_of_several_rates_the_worst_decides() -> None:
    stages = [stage("server", 10, rate_per_s=50), stage("server", 30, rate_per_s=30), stage("server", 5, rate_per_s=90)]
    found, _ = find_objective_stage(parse_objective("latency_ms.p95 < 50"), stages)
    assert found is stages[1]


def test_a_slo_is_missed_by_a_point_estimate_or_by_having_none() -> None:
    stages = [stage("single-stream")]
    assert not find_violated_objectives(slo("service_ms.p95 < 9"), stages)
    assert find_violated_objectives(slo("service_ms.p95 < 7"), stages)
    assert not find_violated_objectives(slo("service_ms.p95 < 7 | warn"), stages)
    withheld = replace(stages[0], metrics={"service_ms": {"p95": Estimate(None, reason="too few")}})
    assert find_violated_objectives(slo("service_ms.p95 < 9"), [withheld])
    assert find_violated_objectives(slo("accuracy > 90%"), stages)
    assert not is_slo_certainly_violated(slo("service_ms.p95 < 9"), [withheld])
    assert is_slo_certainly_violated(slo("service_ms.p95 < 7"), stages)


def test_before_the_end_only_what_is_measured_so_far_fails() -> None:
    stages = [stage("single-stream")]
    assert not find_violated_objectives_so_far(slo("service_ms.p95 < 9", "accuracy > 90%"), stages)
    assert find_violated_objectives_so_far(slo("service_ms.p95 < 7", "accuracy > 90%"), stages)


def test_rates_that_a_search_found_too_high_do_not_answer_where_one_held() -> None:
    held = stage("server", 10, rate_per_s=50, searched=True)
    failed = stage("server", 60, rate_per_s=90, searched=True)
    asked = stage("single-stream")
    objectives = slo("latency_ms.p95 < 50")
    assert select_headline_stages(objectives, [asked, held, failed]) == (asked, held)
    assert select_headline_stages(objectives, [asked, failed]) == (asked, failed)


def test_a_rate_that_failed_once_is_no_answer_though_it_held_before() -> None:
    lower = stage("server", 10, rate_per_s=40, searched=True)
    held, failed = (stage("server", takes, rate_per_s=50, searched=True) for takes in (10, 60))
    assert select_headline_stages(slo("latency_ms.p95 < 50"), [lower, held, failed]) == (lower,)


def test_of_several_tests_the_worst_is_evaluated_and_not_one_that_was_repeated() -> None:
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
