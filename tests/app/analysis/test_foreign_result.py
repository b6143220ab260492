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


def curve(*load_points: MeasuredLoadPoint) -> ImportedCurve:
    return ImportedCurve(
        tool="AIPerf",
        version="0.13",
        model="llama",
        source="run.json",
        precision="requests",
        load_points=load_points,
        notes=("measured from the send",),
    )


def stages(*load_points: MeasuredLoadPoint) -> tuple[Stage, ...]:
    return build_foreign_result(curve(*load_points)).stages


def test_imported_load_point_is_converted_to_stage_without_intervals() -> None:
    (stage,) = stages(OPEN)
    assert (stage.name, stage.kind, stage.scheduled_per_s, stage.arrivals) == ("9/s", "steady", 9.0, "constant")
    p95 = stage.metrics["latency_ms"]["p95"]
    assert (p95.value, p95.ci95) == (20.0, None)
    assert stage.metrics["ttft_ms"]["p99"].value == 5.0
    assert stage.metrics["error_rate"]["value"].value == 0.05
    assert stage.metrics["output_tokens"]["mean"].value == 128.0
    assert (stage.completed, stage.errors, stage.achieved_per_s.value) == (380, {"failed": 20}, 8.0)


def test_imported_closed_loop_has_concurrency_and_only_reported_metrics() -> None:
    closed, at_once = stages(CLOSED, AT_ONCE)
    assert (closed.name, closed.kind, closed.concurrency) == ("4 clients", "closed", 4)
    assert closed.offered_per_s.value is None
    assert set(closed.metrics) == {"latency_ms", "completed_per_s"}
    assert (at_once.name, at_once.concurrency) == ("all at once", None)


def test_imported_result_is_warning_that_names_measuring_tool() -> None:
    result = build_foreign_result(curve(OPEN))
    assert result.verdict.status == "WARN"
    assert result.verdict.reasons == ("the run was measured by AIPerf 0.13 and not checked by Sizewise",)
    assert (result.target.model, result.notes) == ("llama", ("measured from the send",))


def test_comparison_with_unknown_machine_is_advisory() -> None:
    slower = {"latency": {name: 2 * value for name, value in TIMES["latency"].items()}}
    baseline, candidate = (
        build_foreign_result(curve(OPEN)),
        build_foreign_result(curve(MeasuredLoadPoint(9.0, None, 8.0, 50.0, 380, 20, slower, gaps="even"))),
    )
    comparison = compare_runs((baseline,), (candidate,))
    assert comparison.is_advisory
    (machine,) = comparison.differences
    assert (machine.name, machine.baseline, machine.candidate, machine.forbids) == ("machine", "n/a", "n/a", False)
    p95 = next(change for change in comparison.changes if (change.metric, change.aggregate) == ("latency_ms", "p95"))
    assert p95.ratio.value == pytest.approx(2.0)
    native_result = full_run().result
    differences = {change.name: change for change in compare_runs((baseline,), (native_result,)).differences}
    assert differences["machine"].candidate == native_result.environment.host
    assert "Sizewise version" not in differences
    tool = differences["measurement tool"]
    assert (tool.baseline, tool.candidate) == ("AIPerf 0.13", f"sizewise {native_result.tool.version}")
