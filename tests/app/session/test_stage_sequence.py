from __future__ import annotations

import msgspec
import pytest

from app.errors import ExitCode
from app.records.events import RateResolved, StageFinished
from app.session.spec import RateShare, StageSpec
from loadgen.records import ClosedArrivals, OpenArrivals
from tests.fakes.bench import SPEC, Bench, check_of, poisson
from tests.fakes.load import ScriptedLoad

FULL = StageSpec("full", "closed", ClosedArrivals(4), 5.0)
HALF = StageSpec("half", "steady", poisson(1.0), 5.0, rate_share=RateShare("full", 0.5))


def test_a_rate_is_a_share_of_what_an_earlier_stage_completed(bench: Bench) -> None:
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=(FULL, HALF)))
    (resolved,) = bench.reported(RateResolved)
    assert resolved.stage == "half"
    assert resolved.rate_per_s == pytest.approx(125, rel=0.05)
    assert "50 % of the completed rate of full" in resolved.message
    half = outcome.result.stages[1]
    assert half.scheduled_per_s == resolved.rate_per_s
    assert [evaluated.stage for evaluated in outcome.result.slo] == ["half", "half"], "judged on what ran steadily"


def test_a_whole_curve_is_scaled(bench: Bench) -> None:
    ramp = msgspec.structs.replace(HALF, kind="varying", arrivals=OpenArrivals("constant", ((0.0, 0.1), (5.0, 0.8))))
    bench.run(msgspec.structs.replace(SPEC, stages=(FULL, ramp)))
    facts = bench.reported(StageFinished)[-1].data
    (low, high) = (rate for _, rate in facts.rates)
    assert high == pytest.approx(8 * low)
    assert bench.reported(RateResolved)[0].rate_per_s == high


def test_a_stage_whose_rate_cannot_be_known_is_left_out_and_said_so(bench: Bench) -> None:
    after = StageSpec("after", "steady", poisson(50.0), 2.0)
    spec = msgspec.structs.replace(SPEC, stages=(FULL, HALF, after), slo=())
    load = ScriptedLoad(bench.clock, error="http-5xx")
    outcome = bench.run(spec, load)
    assert [plan.name for plan in load.plans] == ["full", "after"], "the run goes on"
    check = check_of(outcome, "excluded_stage")
    assert check is not None
    assert (check.value, check.verdict) == ("half", "WARN")
    assert "relative to the completed rate of full" in str(check.hint)
    assert outcome.result.exit.code == ExitCode.GATE_FAILED


def test_a_share_that_would_be_too_many_requests_is_left_out(bench: Bench) -> None:
    huge = msgspec.structs.replace(HALF, rate_share=RateShare("full", 1.0), duration_s=1e7)
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=(FULL, huge)))
    check = check_of(outcome, "excluded_stage")
    assert check is not None
    assert "exceed 50,000,000 requests" in str(check.hint)


def swept(*rates: float, repeats: int = 1) -> tuple[StageSpec, ...]:
    return tuple(
        StageSpec(f"sweep {rate:g} req/s", "steady", poisson(rate), 10.0, repeat=repeat, is_in_sweep=True)
        for rate in rates
        for repeat in range(1, repeats + 1)
    )


def test_a_sweep_ends_after_two_rates_in_a_row_that_the_target_cannot_carry(bench: Bench) -> None:
    """250/s is the most it can do."""
    spec = msgspec.structs.replace(SPEC, stages=swept(25, 50, 100, 150, 200, 225, 400, 500, 800, 900, repeats=2))
    outcome = bench.run(spec)
    names = list(dict.fromkeys(plan.name for plan in bench.load.plans))
    assert names == [f"sweep {rate} req/s" for rate in (25, 50, 100, 150, 200, 225, 400, 500)]
    assert "These stages were skipped: sweep 800 req/s, sweep 900 req/s." in outcome.result.notes[-1]
    assert all(stage.tags == {"sweep": "yes"} for stage in outcome.result.stages)
    found = outcome.result.max_rate
    assert found is not None
    assert found.per_s.value in (200, 225)
    assert not found.is_lower_bound
    assert outcome.result.exit.code == ExitCode.OK, "what failed was to be found out"
    assert outcome.result.verdict.status != "INVALID"
    assert [knee.load for knee in outcome.result.knees] == ["rate"] * 3
    assert all(knee.at is None or 100 <= knee.at <= 400 for knee in outcome.result.knees)


def test_a_sweep_without_an_slo_is_measured_and_evaluated_by_nothing(bench: Bench) -> None:
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=swept(50, 100, 150, 200), slo=()))
    assert outcome.result.max_rate is None
    assert len(outcome.result.knees) == 3
    assert outcome.result.exit.code == ExitCode.OK


def test_a_sweep_of_clients_goes_to_its_end_and_has_knees(bench: Bench) -> None:
    """One server of 4 ms: a second client only waits."""
    stages = tuple(
        StageSpec(f"sweep {n} clients", "closed", ClosedArrivals(n), 2.0, is_in_sweep=True) for n in (1, 2, 4, 8)
    )
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=stages, slo=()))
    assert [plan.name for plan in bench.load.plans] == [stage.name for stage in stages]
    assert [knee.load for knee in outcome.result.knees] == ["clients"] * 3
    assert outcome.result.exit.code == ExitCode.OK


def test_a_sweep_that_fails_everywhere_fails(bench: Bench) -> None:
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=swept(600, 700)))
    assert outcome.result.exit.code == ExitCode.GATE_FAILED
    assert outcome.result.max_rate is not None
    assert outcome.result.max_rate.per_s.value is None
