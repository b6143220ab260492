from __future__ import annotations

import msgspec
import pytest

from app.errors import ExitCode
from app.records.events import RateResolved, StageFinished
from app.session.spec import ShareOf, StageSpec
from loadgen.records import ClosedArrivals, OpenArrivals
from tests.fakes.bench import SPEC, Bench, check_of, poisson
from tests.fakes.load import ScriptedLoad

FULL = StageSpec("full", "closed", ClosedArrivals(4), 5.0)
HALF = StageSpec("half", "steady", poisson(1.0), 5.0, share_of=ShareOf("full", 0.5))


def test_a_rate_is_a_share_of_what_an_earlier_stage_completed(bench: Bench) -> None:
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=(FULL, HALF)))
    (resolved,) = bench.told(RateResolved)
    assert resolved.stage == "half"
    assert resolved.rate_per_s == pytest.approx(125, rel=0.05)
    assert "50 % of what full completed" in resolved.message
    half = outcome.result.stages[1]
    assert half.scheduled_per_s == resolved.rate_per_s
    assert [judged.stage for judged in outcome.result.slo] == ["half", "half"], "judged on what ran steadily"


def test_a_whole_curve_is_scaled(bench: Bench) -> None:
    ramp = msgspec.structs.replace(HALF, kind="varying", arrivals=OpenArrivals("constant", ((0.0, 0.1), (5.0, 0.8))))
    bench.run(msgspec.structs.replace(SPEC, stages=(FULL, ramp)))
    facts = bench.told(StageFinished)[-1].facts
    (low, high) = (rate for _, rate in facts.rates)
    assert high == pytest.approx(8 * low)
    assert bench.told(RateResolved)[0].rate_per_s == high


def test_a_stage_whose_rate_cannot_be_known_is_left_out_and_said_so(bench: Bench) -> None:
    after = StageSpec("after", "steady", poisson(50.0), 2.0)
    spec = msgspec.structs.replace(SPEC, stages=(FULL, HALF, after), slo=())
    load = ScriptedLoad(bench.clock, error="http-5xx")
    outcome = bench.run(spec, load)
    assert [plan.name for plan in load.plans] == ["full", "after"], "the run goes on"
    check = check_of(outcome, "stage left out")
    assert check is not None
    assert (check.value, check.verdict) == ("half", "WARN")
    assert "share of what full completed" in str(check.hint)
    assert outcome.result.exit.code == ExitCode.GATE_FAILED


def test_a_share_that_would_be_too_many_requests_is_left_out(bench: Bench) -> None:
    huge = msgspec.structs.replace(HALF, share_of=ShareOf("full", 1.0), duration_s=1e7)
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=(FULL, huge)))
    check = check_of(outcome, "stage left out")
    assert check is not None
    assert "more than 50,000,000 requests" in str(check.hint)
