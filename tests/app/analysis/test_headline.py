from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from app.analysis.headline import (
    find_highest_passed_stages,
    find_lowest_failed_stage,
    find_pooled_indices,
    mark_headline,
    select_evaluated_stages,
    select_headline_stages,
)
from app.analysis.search import SearchOutcome
from app.records.result import SWEEP_TAG, Estimate, MaxRate, Stage, Verdict
from tests.fakes.results import full_run
from tests.fakes.traffic import clients_run

STAGE = next(stage for stage in clients_run().result.stages if stage.kind == "closed")


def swept(clients: int, meets_slo: bool | None) -> Stage:
    return replace(STAGE, tags={SWEEP_TAG: "yes"}, concurrency=clients, meets_slo=meets_slo, verdict=Verdict("VALID"))


def test_headline_of_sweep_is_highest_load_below_lowest_failed_load() -> None:
    stages = [swept(1, True), swept(2, True), swept(4, True), swept(8, False), swept(16, True), swept(32, False)]
    assert find_highest_passed_stages(stages) == (stages[2],)
    assert find_lowest_failed_stage(stages) is stages[3]


def test_load_passes_only_if_every_repeat_meets_slo() -> None:
    stages = [swept(1, True), swept(1, True), swept(2, True), swept(2, False)]
    assert find_highest_passed_stages(stages) == tuple(stages[:2])


def test_invalid_unfinished_and_untagged_stages_are_not_sweep_results() -> None:
    invalidated = replace(swept(1, False), verdict=Verdict("INVALID", ("late",)))
    untagged = replace(swept(64, True), tags={})
    stages = [invalidated, swept(2, True), swept(4, None), untagged]
    assert find_highest_passed_stages(stages) == (stages[1],)
    assert find_lowest_failed_stage(stages) is None
    assert find_highest_passed_stages([swept(1, False)]) == ()
    assert find_highest_passed_stages([swept(1, None)]) == ()


def test_headline_of_rate_sweep_is_its_highest_passed_stage() -> None:
    stages = [
        replace(swept(1, meets_slo), concurrency=None, scheduled_per_s=rate)
        for rate, meets_slo in ((50, True), (90, False))
    ]
    assert find_highest_passed_stages(stages) == (stages[0],)


SWEEP = {SWEEP_TAG: "yes"}
INVALID = Verdict("INVALID", ("send lag",))


def stage(name: str, kind: str, rate: float | None = None, **changes: Any) -> Stage:
    changes = {"meets_slo": True, "tags": {}, "verdict": Verdict("VALID"), "checks": (), **changes}
    return replace(full_run().result.stages[-1], name=name, kind=kind, scheduled_per_s=rate, **changes)


def headline(*stages: Stage, max_rate_per_s: float | None = None, pooled: Stage | None = None) -> list[str]:
    """Names of the headline stages, of a rate search or of given rates, with max rate `max_rate_per_s`."""
    is_searched = any(stage.kind in ("probe", "step") for stage in stages)
    search = SearchOutcome(max_rate_per_s, None, (max_rate_per_s, None), len(stages)) if is_searched else None
    evaluated = select_evaluated_stages(stages, select_headline_stages(stages, search), pooled)
    max_rate = None if max_rate_per_s is None else MaxRate(Estimate(max_rate_per_s), (), "the endpoint")
    all_stages = stages if pooled is None else (*stages, pooled)
    return [stage.name for stage in mark_headline(all_stages, evaluated, max_rate) if stage.in_headline]


STEPS = (stage("probe 40 req/s", "probe", 40), stage("step 40 req/s", "step", 40), stage("step 40 req/s", "step", 40))


@pytest.mark.parametrize("meets_slo", [True, False, None])
def test_headline_of_rate_search_is_its_pooled_steps(meets_slo: bool | None) -> None:
    pooled = stage("2 steps at 40 req/s", "step", 40, tags={"pooled": "2"}, meets_slo=meets_slo)
    assert headline(*STEPS, max_rate_per_s=40, pooled=pooled) == ["2 steps at 40 req/s"]


def test_headline_of_max_rate_without_step_is_its_probe() -> None:
    probes = stage("probe 20 req/s", "probe", 20), stage("again", "probe", 20, verdict=INVALID)
    assert headline(*probes, *STEPS, max_rate_per_s=20) == ["probe 20 req/s"]


def test_headline_of_interrupted_search_is_its_last_steps() -> None:
    last = stage("step 30 req/s", "step", 30)
    assert headline(*STEPS, last, stage("step 30 req/s", "step", 30, verdict=INVALID)) == ["step 30 req/s"]
    assert headline(STEPS[0]) == []


def test_headline_of_configured_rates_is_valid_stage_at_max_rate() -> None:
    rates = [stage(f"{rate}/s", "steady", rate) for rate in (40, 100, 300)]
    assert headline(*rates, stage("again", "steady", 100, verdict=INVALID), max_rate_per_s=100) == ["100/s"]
    assert headline(*rates) == ["40/s", "100/s", "300/s"]


def test_sweep_is_headline_only_without_other_stages() -> None:
    sweep = [stage(f"{clients} clients", "closed", concurrency=clients, tags=SWEEP) for clients in (1, 4)]
    failed = stage("16 clients", "closed", concurrency=16, tags=SWEEP, meets_slo=False)
    assert headline(*sweep, failed) == ["4 clients"]
    assert headline(*sweep, failed, stage("configured", "closed", concurrency=2)) == ["configured"]


def test_many_stages_are_pooled_for_headline() -> None:
    staircase = [stage(f"step {number}", "steady", 10 + number) for number in range(1_000)]
    warmup = stage("warm-up", "warmup", 10)
    assert find_pooled_indices([warmup, *staircase], None) == tuple(range(1, 1_001))
    pooled = stage("1,000 stages", "varying", tags={"pooled": "1000"})
    assert headline(*staircase, max_rate_per_s=500, pooled=pooled) == ["1,000 stages"]
    assert headline(*staircase, pooled=pooled) == ["1,000 stages"]


def test_few_different_or_large_stages_are_not_pooled() -> None:
    staircase = [stage(f"step {number}", "steady", 10 + number) for number in range(21)]
    assert find_pooled_indices(staircase[:20], None) == ()
    assert find_pooled_indices([*staircase[:20], replace(staircase[20], arrival_kind="constant")], None) == ()
    assert find_pooled_indices([replace(step, completed=1_000_000) for step in staircase], None) == ()
    assert find_pooled_indices([*STEPS, *staircase], SearchOutcome(40, None, (40, None), 3)) == (1, 2)


def test_repeats_of_highest_passed_sweep_load_are_pooled() -> None:
    sweep = [swept(1, True)] * 30 + [swept(2, True) for _ in range(30)] + [swept(4, False)]
    assert find_pooled_indices(sweep, None) == tuple(range(30, 60))
