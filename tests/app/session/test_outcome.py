from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from app.analysis.objectives import parse_objective
from app.errors import ExitCode
from app.session.spec import StageSpec
from app.storage.run_directory import StoredRun
from app.telemetry.clock import ClockReading
from loadgen.records import ClosedArrivals
from tests.fakes.bench import SPEC, Bench, check_of, poisson
from tests.fakes.clock import FakeClock
from tests.fakes.parts import NOON

HOUR_S = 3_600


def stepped(clock: FakeClock, wall_s: float, boot_s: float) -> Callable[[], ClockReading]:
    """The clocks of this machine: after the run's start the wall clock is so far ahead, the boot clock so far."""
    began_ns = clock.now_ns

    def read() -> ClockReading:
        is_later = clock.now_ns > began_ns
        wall_ns, boot_ns = round(wall_s * 1e9) * is_later, round(boot_s * 1e9) * is_later
        return ClockReading(clock.now_ns, 10**18 + clock.now_ns + wall_ns, clock.now_ns + boot_ns)

    return read


def dates(clock: FakeClock, wall_s: float) -> Callable[[], datetime.datetime]:
    began_ns = clock.now_ns
    return lambda: NOON + datetime.timedelta(seconds=wall_s * (clock.now_ns > began_ns))


@pytest.mark.parametrize("wall_s", [HOUR_S, -HOUR_S])
def test_a_wall_clock_that_is_set_by_an_hour_changes_no_number_and_is_a_doubt(tmp_path: Path, wall_s: float) -> None:
    bench, undisturbed = Bench(tmp_path / "stepped"), Bench(tmp_path / "undisturbed")
    reading, date = stepped(bench.clock, wall_s, 0.0), dates(bench.clock, wall_s)
    outcome = bench.run(msgspec.structs.replace(SPEC, warmup_s=6.0), read_clock=reading, wall_now=date)
    expected = undisturbed.run(msgspec.structs.replace(SPEC, warmup_s=6.0))
    check = check_of(outcome, "clock")
    assert check is not None
    assert check.verdict == "WARN"
    assert "No number here is of the wall clock" in str(check.hint)
    assert outcome.result.stages == expected.result.stages
    assert outcome.result.slo == expected.result.slo
    assert outcome.result.exit == expected.result.exit
    assert StoredRun(bench.directory).requests() == StoredRun(undisturbed.directory).requests()
    assert outcome.result.clock.wall_start == expected.result.clock.wall_start
    assert outcome.result.clock.duration_s == expected.result.clock.duration_s


def test_a_machine_that_slept_during_the_run_spoils_it(bench: Bench) -> None:
    outcome = bench.run(SPEC, read_clock=stepped(bench.clock, 5.0, 5.0))
    check = check_of(outcome, "clock")
    assert check is not None
    assert (check.value, check.unit, check.verdict) == (pytest.approx(5.0), "s suspended", "INVALID")
    assert outcome.result.exit.code == ExitCode.INVALID


def test_the_objectives_of_a_sweep_are_judged_where_it_was_heaviest_and_held(bench: Bench) -> None:
    """A lighter load has fewer answers, so that a share of errors may not be settled there."""
    slo = (parse_objective("latency_ms.p95 < 50"), parse_objective("error_rate < 1%"))
    rates = tuple(
        StageSpec(f"sweep {rate:g}/s", "steady", poisson(rate), 5.0, in_sweep=True)
        for rate in (20.0, 60.0, 180.0, 400.0)
    )
    result = bench.run(msgspec.structs.replace(SPEC, stages=rates, slo=slo)).result
    assert [one.stage for one in result.slo] == ["sweep 180/s"] * 2
    assert result.slo[1].judgement == "PASS"
    clients = tuple(
        StageSpec(f"sweep {n} clients", "closed", ClosedArrivals(n), 5.0, in_sweep=True) for n in (1, 4, 8, 64)
    )
    closed = Bench(bench.directory.parent / "closed").run(msgspec.structs.replace(SPEC, stages=clients, slo=slo))
    assert [(one.stage, one.judgement) for one in closed.result.slo] == [("sweep 8 clients", "PASS")] * 2
