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


def swept(clients: int, held: bool | None) -> Stage:
    return replace(STAGE, tags={SWEEP_TAG: "yes"}, concurrency=clients, meets_slo=held, verdict=Verdict("VALID"))


def test_the_heaviest_load_below_the_lightest_that_failed_is_the_answer() -> None:
    stages = [swept(1, True), swept(2, True), swept(4, True), swept(8, False), swept(16, True), swept(32, False)]
    assert find_highest_passed_stages(stages) == (stages[2],)
    assert find_lowest_failed_stage(stages) is stages[3]


def test_every_repeat_of_a_load_must_hold() -> None:
    stages = [swept(1, True), swept(1, True), swept(2, True), swept(2, False)]
    assert find_highest_passed_stages(stages) == tuple(stages[:2])


def test_what_is_invalid_cut_short_or_of_no_sweep_reports_nothing() -> None:
    invalidated = replace(swept(1, False), verdict=Verdict("INVALID", ("late",)))
    asked_for = replace(swept(64, True), tags={})
    stages = [invalidated, swept(2, True), swept(4, None), asked_for]
    assert find_highest_passed_stages(stages) == (stages[1],)
    assert find_lowest_failed_stage(stages) is None
    assert find_highest_passed_stages([swept(1, False)]) == ()
    assert find_highest_passed_stages([swept(1, None)]) == ()


def test_rates_count_as_clients_do() -> None:
    stages = [
        replace(swept(1, held), concurrency=None, scheduled_per_s=rate) for rate, held in ((50, True), (90, False))
    ]
    assert find_highest_passed_stages(stages) == (stages[0],)


SWEEP = {SWEEP_TAG: "yes"}
INVALID = Verdict("INVALID", ("send lag",))


def stage(name: str, kind: str, rate: float | None = None, **changes: Any) -> Stage:
    changes = {"meets_slo": True, "tags": {}, "verdict": Verdict("VALID"), "checks": (), **changes}
    return replace(full_run().result.stages[-1], name=name, kind=kind, scheduled_per_s=rate, **changes)


def headline(*stages: Stage, found: float | None = None, pooled: Stage | None = None) -> list[str]:
    """Names of the stages that are marked when the run searched for a rate, or found one among those it was given."""
    is_searched = any(one.kind in ("probe", "step") for one in stages)
    search = SearchOutcome(found, None, (found, None), len(stages)) if is_searched else None
    judged_on = select_evaluated_stages(stages, select_headline_stages(stages, search), pooled)
    max_rate = None if found is None else MaxRate(Estimate(found), (), "the endpoint")
    every = stages if pooled is None else (*stages, pooled)
    return [one.name for one in mark_headline(every, judged_on, max_rate) if one.in_headline]


HOLDS = (stage("probe 40 req/s", "probe", 40), stage("step 40 req/s", "step", 40), stage("step 40 req/s", "step", 40))


@pytest.mark.parametrize("held", [True, False, None])
def test_the_headline_of_a_search_is_based_on_its_holds_together(held: bool | None) -> None:
    pooled = stage("2 steps at 40 req/s", "step", 40, tags={"pooled": "2"}, meets_slo=held)
    assert headline(*HOLDS, found=40, pooled=pooled) == ["2 steps at 40 req/s"]


def test_a_rate_that_was_only_probed_is_the_headline_of_another_slo() -> None:
    probes = stage("probe 20 req/s", "probe", 20), stage("again", "probe", 20, verdict=INVALID)
    assert headline(*probes, *HOLDS, found=20) == ["probe 20 req/s"]


def test_a_search_that_was_cut_short_shows_its_last_holds() -> None:
    last = stage("step 30 req/s", "step", 30)
    assert headline(*HOLDS, last, stage("step 30 req/s", "step", 30, verdict=INVALID)) == ["step 30 req/s"]
    assert headline(HOLDS[0]) == []


def test_of_given_rates_the_headline_is_the_max_rate_without_invalid_stages() -> None:
    rates = [stage(f"{rate}/s", "steady", rate) for rate in (40, 100, 300)]
    assert headline(*rates, stage("again", "steady", 100, verdict=INVALID), found=100) == ["100/s"]
    assert headline(*rates) == ["40/s", "100/s", "300/s"]


def test_a_sweep_is_the_headline_only_where_nothing_else_was_asked() -> None:
    sweep = [stage(f"{clients} clients", "closed", concurrency=clients, tags=SWEEP) for clients in (1, 4)]
    failed = stage("16 clients", "closed", concurrency=16, tags=SWEEP, meets_slo=False)
    assert headline(*sweep, failed) == ["4 clients"]
    assert headline(*sweep, failed, stage("asked", "closed", concurrency=2)) == ["asked"]


def test_many_stages_are_pooled_for_the_headline() -> None:
    staircase = [stage(f"step {number}", "steady", 10 + number) for number in range(1_000)]
    warmup = stage("warm-up", "warmup", 10)
    assert find_pooled_indices([warmup, *staircase], None) == tuple(range(1, 1_001))
    pooled = stage("1,000 stages", "varying", tags={"pooled": "1000"})
    assert headline(*staircase, found=500, pooled=pooled) == ["1,000 stages"]
    assert headline(*staircase, pooled=pooled) == ["1,000 stages"]


def test_stages_that_can_be_shown_or_are_not_alike_are_not_pooled() -> None:
    staircase = [stage(f"step {number}", "steady", 10 + number) for number in range(21)]
    assert find_pooled_indices(staircase[:20], None) == ()
    assert find_pooled_indices([*staircase[:20], replace(staircase[20], arrival_kind="constant")], None) == ()
    assert find_pooled_indices([replace(one, completed=1_000_000) for one in staircase], None) == ()
    assert find_pooled_indices([*HOLDS, *staircase], SearchOutcome(40, None, (40, None), 3)) == (1, 2)


def test_the_repeats_of_a_sweeps_highest_load_are_pooled() -> None:
    sweep = [swept(1, True)] * 30 + [swept(2, True) for _ in range(30)] + [swept(4, False)]
    assert find_pooled_indices(sweep, None) == tuple(range(30, 60))
