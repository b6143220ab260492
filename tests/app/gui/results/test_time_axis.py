from __future__ import annotations

from types import SimpleNamespace

from msgspec.structs import replace

from app.gui.results.time_axis import steady_spans
from app.records.result import SteadyState, Window
from app.reporting.load import build_steady_rows
from tests.fakes.results import full_run


def test_steady_state_of_each_stage_is_a_span_relative_to_the_run_start() -> None:
    result = full_run().result
    stage, zero_ns = result.stages[-1], result.time_zero_ns
    steady = SteadyState(Window(zero_ns + 3 * 10**9, zero_ns + 5 * 10**9), 4.0, {})
    rows = build_steady_rows([stage, replace(stage, steady_state=steady)], "latency_ms", zero_ns)
    report = SimpleNamespace(steady=(*rows, replace(rows[0], window_s=None)))  # the last is of an older report
    assert steady_spans(report) == ((3.0, 5.0, "steady state"),)  # type: ignore[arg-type]
