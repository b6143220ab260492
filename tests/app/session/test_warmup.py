from __future__ import annotations

import msgspec

from app.session.spec import LimitSpec, RunSpec, StageSpec
from loadgen.records import ClosedArrivals, OpenArrivals
from tests.fakes.bench import SEARCH, SPEC, Bench, poisson
from tests.fakes.load import ScriptedLoad

WARM: RunSpec = msgspec.structs.replace(SPEC, warmup_s=3.0)


def windows(bench: Bench) -> list[object]:
    return [plan.arrivals for plan in bench.load.plans if plan.name == "warm-up"]


def test_it_ends_when_three_windows_agree_and_is_no_part_of_the_numbers(bench: Bench) -> None:
    outcome = bench.run(WARM)
    assert windows(bench) == [poisson(100.0)] * 3
    assert [stage.kind for stage in outcome.result.stages] == ["warmup"] * 3 + ["steady"]


def test_before_a_closed_loop_its_clients_warm_up(bench: Bench) -> None:
    closed = StageSpec("closed", "closed", ClosedArrivals(3), 5.0)
    bench.run(msgspec.structs.replace(WARM, stages=(closed,)))
    assert windows(bench) == [ClosedArrivals(3)] * 3


def test_before_a_varying_rate_it_is_the_curves_first(bench: Bench) -> None:
    ramp = OpenArrivals("constant", ((0.0, 20.0), (5.0, 90.0)))
    bench.run(msgspec.structs.replace(WARM, stages=(StageSpec("ramp", "varying", ramp, 5.0),)))
    assert windows(bench) == [OpenArrivals("constant", ((0.0, 20.0),))] * 3


def test_before_a_search_it_is_where_the_search_starts(bench: Bench) -> None:
    bench.run(msgspec.structs.replace(SEARCH, warmup_s=6.0, limits=LimitSpec(duration_s=10.0)))
    assert set(windows(bench)) == {poisson(20.0)}


def test_a_target_that_answers_nothing_has_six_windows_at_most(bench: Bench) -> None:
    bench.run(WARM, ScriptedLoad(bench.clock, error="http-5xx"))
    assert len(windows(bench)) == 6
