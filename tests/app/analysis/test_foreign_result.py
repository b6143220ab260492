from __future__ import annotations

import pytest

from app.analysis.comparisons.comparison import compare_runs
from app.analysis.foreign_result import build_foreign_result
from app.records.planning_inputs import ImportedCurve, MeasuredLoadPoint
from app.records.result import Stage
from tests.fakes.results import full_run

TIMES = {"latency": {"p50": 0.010, "p95": 0.020, "p99": 0.030}, "ttft": {"p99": 0.005}}
OPEN = MeasuredLoadPoint(9.0, None, 8.0, 50.0, 380, 20, TIMES, 512.0, 128.0, gaps="even")
CLOSED = MeasuredLoadPoint(None, 4.0, 30.0, None, None, None, {"latency": {"p95": 0.1}})
AT_ONCE = MeasuredLoadPoint(None, None, 40.0, 10.0, 400, 0, {})


def curve(*rungs: MeasuredLoadPoint) -> ImportedCurve:
    return ImportedCurve(
        tool="AIPerf",
        version="0.13",
        model="llama",
        source="run.json",
        precision="requests",
        load_points=rungs,
        notes=("measured from the send",),
    )


def stages(*rungs: MeasuredLoadPoint) -> tuple[Stage, ...]:
    return build_foreign_result(curve(*rungs)).stages


def test_a_load_point_is_a_stage_in_our_units_without_intervals() -> None:
    (one,) = stages(OPEN)
    assert (one.name, one.kind, one.scheduled_per_s, one.arrivals) == ("9/s", "steady", 9.0, "constant")
    p95 = one.metrics["latency_ms"]["p95"]
    assert (p95.value, p95.ci95) == (20.0, None)
    assert one.metrics["ttft_ms"]["p99"].value == 5.0
    assert one.metrics["error_rate"]["value"].value == 0.05
    assert one.metrics["output_tokens"]["mean"].value == 128.0
    assert (one.completed, one.errors, one.achieved_per_s.value) == (380, {"failed": 20}, 8.0)


def test_a_closed_loop_has_its_clients_and_what_is_not_reported_is_not_there() -> None:
    closed, at_once = stages(CLOSED, AT_ONCE)
    assert (closed.name, closed.kind, closed.concurrency) == ("4 clients", "closed", 4)
    assert closed.offered_per_s.value is None
    assert set(closed.metrics) == {"latency_ms", "completed_per_s"}
    assert (at_once.name, at_once.concurrency) == ("all at once", None)


def test_it_is_a_warning_that_says_whose_measurement_it_is() -> None:
    result = build_foreign_result(curve(OPEN))
    assert result.verdict.status == "WARN"
    assert result.verdict.reasons == ("the run was measured by AIPerf 0.13 and not checked by Sizewise",)
    assert (result.target.model, result.notes) == ("llama", ("measured from the send",))


def test_a_comparison_of_machines_that_are_not_known_is_advisory() -> None:
    slower = {"latency": {name: 2 * value for name, value in TIMES["latency"].items()}}
    baseline, candidate = (
        build_foreign_result(curve(OPEN)),
        build_foreign_result(curve(MeasuredLoadPoint(9.0, None, 8.0, 50.0, 380, 20, slower, gaps="even"))),
    )
    found = compare_runs((baseline,), (candidate,))
    assert found.is_advisory
    (machine,) = found.differences
    assert (machine.name, machine.baseline, machine.candidate, machine.forbids) == ("machine", "n/a", "n/a", False)
    p95 = next(one for one in found.changes if (one.metric, one.aggregate) == ("latency_ms", "p95"))
    assert p95.ratio.value == pytest.approx(2.0)
    ours = full_run().result
    differences = {one.name: one for one in compare_runs((baseline,), (ours,)).differences}
    assert differences["machine"].candidate == ours.environment.host
    assert "Sizewise version" not in differences
    tool = differences["measurement tool"]
    assert (tool.baseline, tool.candidate) == ("AIPerf 0.13", f"sizewise {ours.tool.version}")
