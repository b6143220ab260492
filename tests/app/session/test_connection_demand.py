from __future__ import annotations

import msgspec
import numpy as np
import pytest

from app.analysis.generator_checks import MachineLimits
from app.errors import ExitCode, UsageError
from app.records.events import CheckCompleted, PhaseChanged
from app.session.connection_demand import estimate_demand
from app.session.spec import StageSpec
from loadgen.records import ClosedArrivals, StageLoad, TraceArrivals
from tests.fakes.bench import SEARCH, SPEC, Bench, check_of, poisson
from tests.fakes.load import OK, ScriptedLoad

CLIENTS = msgspec.structs.replace(SPEC, stages=(StageSpec("clients", "closed", StageLoad(ClosedArrivals(200), 1.0)),))


def test_connection_demand_is_the_peak_of_all_stages() -> None:
    offsets = np.array([0, 1, 2, 1_500_000_000], "<i8").tobytes()
    stages = (
        StageSpec("a", "steady", StageLoad(poisson(2.0), 1.0)),
        StageSpec("b", "varying", StageLoad(TraceArrivals(offsets), 2.0)),
    )
    demand = estimate_demand(msgspec.structs.replace(SPEC, stages=stages), SPEC.endpoint, 1, 1.0)
    assert (demand.rate_per_s, demand.concurrency) == (3.0, 0)
    assert estimate_demand(CLIENTS, SPEC.endpoint, 1, None).concurrency == 200
    assert estimate_demand(SEARCH, SPEC.endpoint, 1, None).rate_per_s == 20.0


def test_closed_loop_with_too_few_file_descriptors_is_rejected_before_any_request(bench: Bench) -> None:
    with pytest.raises(UsageError, match="this machine cannot open connections for 200 clients") as raised:
        bench.run(CLIENTS, local_limits=MachineLimits(descriptors=100))
    assert "264 open files" in str(raised.value.hint)
    assert bench.load.preflight_count == 0


def test_open_loop_with_few_file_descriptors_is_accepted(bench: Bench) -> None:
    assert bench.run(SPEC, local_limits=MachineLimits(descriptors=10)).result.exit.code == 0


def test_file_descriptors_needed_by_timeouts_are_a_note(bench: Bench) -> None:
    result = bench.run(SPEC, local_limits=MachineLimits(descriptors=1_024)).result
    assert result.verdict.status == "VALID"
    assert result.notes == (
        "If all requests timed out (target.timeouts.total is 60 s), each load worker would need about 2,112 file "
        "descriptors, "
        "but only 1,024 are available.",
    )


def test_rate_that_may_need_more_file_descriptors_is_a_warning_before_the_load(bench: Bench) -> None:
    slow = msgspec.structs.replace(OK, service_ms=1_000.0)
    outcome = bench.run(
        SPEC, ScriptedLoad(bench.clock, preflights=(slow,)), local_limits=MachineLimits(descriptors=100)
    )
    check = check_of(outcome, "file_descriptors")
    assert check is not None
    assert (check.verdict, check.value, check.limit) == ("WARN", 189.0, 100.0)
    events = [event for event in bench.events if isinstance(event, CheckCompleted | PhaseChanged)]
    stages = next(n for n, event in enumerate(events) if isinstance(event, PhaseChanged) and event.phase == "stages")
    assert any(isinstance(event, CheckCompleted) and event.check == check for event in events[:stages])


def test_local_limit_errors_are_the_only_exit_cause_and_make_the_slo_inconclusive(bench: Bench) -> None:
    result = bench.run(SPEC, ScriptedLoad(bench.clock, error="local-limit", error_share=0.5)).result
    assert [cause.code for cause in result.exit.causes] == [ExitCode.INVALID]
    assert "local limits" in result.exit.texts[0]
    assert {objective.outcome for objective in result.slo} == {"INCONCLUSIVE"}
