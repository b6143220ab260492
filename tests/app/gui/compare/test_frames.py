from __future__ import annotations

from msgspec.structs import replace

from app.analysis.comparisons.comparison import compare_runs
from app.gui.compare.entries import ComparisonRequest
from app.gui.compare.frames import build_stage_table, summarize_outcome
from app.gui.compare.outcome import Outcome
from app.reporting.comparison import build_comparison_section
from tests.fakes.repeated import result, steady


def test_states_are_those_of_the_verdicts_whatever_the_summary_says() -> None:
    compared = compare_runs([result(steady(10.0, 0.1))], [result(steady(20.0, 0.5), run_id="later")])
    section = replace(build_comparison_section(compared), summary="placeholder")
    assert summarize_outcome(Outcome(ComparisonRequest((), 0.05, False), section=section)) == ("REGRESSION", "bad")
    _, states = build_stage_table(section)
    assert states["latency_ms.p95"] == ["bad"]
