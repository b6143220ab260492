from __future__ import annotations

import msgspec
import pytest

from app.errors import ExitCode
from app.records.events import RateResolved, StageFinished
from app.records.search import RateShare
from app.session.spec import StageSpec
from loadgen.records import ClosedArrivals, OpenArrivals, StageLoad
from tests.fakes.bench import SPEC, Bench, check_of, poisson
from tests.fakes.load import ScriptedLoad

FULL = StageSpec("full", "closed", StageLoad(ClosedArrivals(4), 5.0))
HALF = StageSpec("half", "steady", StageLoad(poisson(1.0), 5.0), rate_share=RateShare("full", 0.5))


def test_relative_rate_is_a_share_of_the_throughput_of_an_earlier_stage(bench: Bench) -> None:
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=(FULL, HALF)))
    (resolved,) = bench.reported(RateResolved)
    assert resolved.stage == "half"
    assert resolved.rate_per_s == pytest.approx(125, rel=0.05)
    assert "50 % of the completed rate of full" in resolved.message
    half = outcome.result.stages[1]
    assert half.scheduled_per_s == resolved.rate_per_s
    assert [evaluated.stage for evaluated in outcome.result.slo] == ["half", "half"], (
        "the SLO is evaluated on the steady stage"
    )


def test_relative_rate_scales_a_whole_rate_curve(bench: Bench) -> None:
    ramp = StageSpec(
        "half",
        "varying",
        StageLoad(OpenArrivals("constant", ((0.0, 0.1), (5.0, 0.8))), 5.0),
        rate_share=RateShare("full", 0.5),
    )
    bench.run(msgspec.structs.replace(SPEC, stages=(FULL, ramp)))
    stage_data = bench.reported(StageFinished)[-1].data
    (low, high) = (rate for _, rate in stage_data.rates)
    assert high == pytest.approx(8 * low)
    assert bench.reported(RateResolved)[0].rate_per_s == high


def test_stage_with_an_unknown_relative_rate_is_skipped_with_a_warning(bench: Bench) -> None:
    after = StageSpec("after", "steady", StageLoad(poisson(50.0), 2.0))
    spec = msgspec.structs.replace(SPEC, stages=(FULL, HALF, after), slo=())
    load = ScriptedLoad(bench.clock, error="http-5xx")
    outcome = bench.run(spec, load)
    assert [plan.name for plan in load.plans] == ["full", "after"], "the run continues"
    check = check_of(outcome, "excluded_stage")
    assert check is not None
    assert (check.value, check.verdict) == ("half", "WARN")
    assert "relative to the completed rate of full" in str(check.hint)
    assert outcome.result.exit.code == ExitCode.GATE_FAILED


def test_relative_rate_with_too_many_requests_is_skipped_with_a_warning(bench: Bench) -> None:
    huge = StageSpec("half", "steady", StageLoad(poisson(1.0), 1e7), rate_share=RateShare("full", 1.0))
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=(FULL, huge)))
    check = check_of(outcome, "excluded_stage")
    assert check is not None
    assert "exceed 50,000,000 requests" in str(check.hint)


def build_sweep(*rates: float, repeats: int = 1) -> tuple[StageSpec, ...]:
    return tuple(
        StageSpec(f"sweep {rate:g} req/s", "steady", StageLoad(poisson(rate), 10.0), repeat=repeat, is_in_sweep=True)
        for rate in rates
        for repeat in range(1, repeats + 1)
    )


def test_rate_sweep_ends_after_two_consecutive_rates_above_the_capacity(bench: Bench) -> None:
    """The capacity is 250 req/s."""
    spec = msgspec.structs.replace(SPEC, stages=build_sweep(25, 50, 100, 150, 200, 225, 400, 500, 800, 900, repeats=2))
    outcome = bench.run(spec)
    names = list(dict.fromkeys(plan.name for plan in bench.load.plans))
    assert names == [f"sweep {rate} req/s" for rate in (25, 50, 100, 150, 200, 225, 400, 500)]
    assert "These stages were skipped: sweep 800 req/s, sweep 900 req/s." in outcome.result.notes[-1]
    assert all(stage.tags == {"sweep": "yes"} for stage in outcome.result.stages)
    max_rate = outcome.result.max_rate
    assert max_rate is not None
    assert max_rate.per_s.value in (200, 225)
    assert not max_rate.is_lower_bound
    assert outcome.result.exit.code == ExitCode.OK, "violations in a sweep do not fail the run"
    assert outcome.result.verdict.status != "INVALID"
    assert [knee.load for knee in outcome.result.knees] == ["rate"] * 3
    assert all(knee.at is None or 100 <= knee.at <= 400 for knee in outcome.result.knees)


def test_sweep_without_an_slo_has_knees_and_no_max_rate(bench: Bench) -> None:
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=build_sweep(50, 100, 150, 200), slo=()))
    assert outcome.result.max_rate is None
    assert len(outcome.result.knees) == 3
    assert outcome.result.exit.code == ExitCode.OK


def test_concurrency_sweep_runs_all_stages_and_has_knees(bench: Bench) -> None:
    """With one server of 4 ms, a second concurrent request only waits."""
    stages = tuple(
        StageSpec(f"sweep {n} clients", "closed", StageLoad(ClosedArrivals(n), 2.0), is_in_sweep=True)
        for n in (1, 2, 4, 8)
    )
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=stages, slo=()))
    assert [plan.name for plan in bench.load.plans] == [stage.name for stage in stages]
    assert [knee.load for knee in outcome.result.knees] == ["clients"] * 3
    assert outcome.result.exit.code == ExitCode.OK


def test_sweep_without_a_rate_that_meets_the_slo_fails(bench: Bench) -> None:
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=build_sweep(600, 700)))
    assert outcome.result.exit.code == ExitCode.GATE_FAILED
    assert outcome.result.max_rate is not None
    assert outcome.result.max_rate.per_s.value is None
