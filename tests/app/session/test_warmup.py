from __future__ import annotations

import msgspec

from app.session.spec import LimitSpec, RunSpec, StageSpec
from loadgen.records import ClosedArrivals, OpenArrivals, StageLoad
from tests.fakes.bench import SEARCH, SPEC, Bench, poisson
from tests.fakes.load import ScriptedLoad

WARM: RunSpec = msgspec.structs.replace(SPEC, warmup_s=3.0)


def list_warmup_arrivals(bench: Bench) -> list[object]:
    return [plan.load.arrivals for plan in bench.load.plans if plan.name == "warm-up"]


def test_warm_up_runs_three_windows_that_agree_before_the_stage(bench: Bench) -> None:
    outcome = bench.run(WARM)
    assert list_warmup_arrivals(bench) == [poisson(100.0)] * 3
    assert [stage.kind for stage in outcome.result.stages] == ["warmup"] * 3 + ["steady"]


def test_warm_up_before_a_closed_loop_has_its_concurrency(bench: Bench) -> None:
    closed = StageSpec("closed", "closed", StageLoad(ClosedArrivals(3), 5.0))
    bench.run(msgspec.structs.replace(WARM, stages=(closed,)))
    assert list_warmup_arrivals(bench) == [ClosedArrivals(3)] * 3


def test_warm_up_before_a_varying_rate_has_its_initial_rate(bench: Bench) -> None:
    ramp = OpenArrivals("constant", ((0.0, 20.0), (5.0, 90.0)))
    bench.run(msgspec.structs.replace(WARM, stages=(StageSpec("ramp", "varying", StageLoad(ramp, 5.0)),)))
    assert list_warmup_arrivals(bench) == [OpenArrivals("constant", ((0.0, 20.0),))] * 3


def test_warm_up_before_a_search_has_the_start_rate(bench: Bench) -> None:
    bench.run(msgspec.structs.replace(SEARCH, warmup_s=6.0, limits=LimitSpec(duration_s=10.0)))
    assert set(list_warmup_arrivals(bench)) == {poisson(20.0)}


def test_warm_up_of_a_failing_target_has_at_most_six_windows(bench: Bench) -> None:
    bench.run(WARM, ScriptedLoad(bench.clock, error="http-5xx"))
    assert len(list_warmup_arrivals(bench)) == 6
