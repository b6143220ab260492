from __future__ import annotations

from msgspec.structs import replace

from app.analysis.comparisons.comparison import compare_runs
from app.analysis.comparisons.metric_pairs import list_unpaired_metrics
from app.gui.compare.entries import ComparisonRequest
from app.gui.compare.frames import (
    CHANGE_HEADERS,
    build_stage_table,
    select_unpaired,
    summarize_outcome,
    unpaired_frame,
)
from app.gui.compare.outcome import Outcome
from app.records.estimate import Estimate
from app.reporting.comparison import build_comparison_section
from tests.fakes.repeated import result, steady


def test_comparison_state_comes_from_verdicts_rather_than_the_summary_text() -> None:
    comparison = compare_runs([result(steady(10.0, 0.1))], [result(steady(20.0, 0.5), run_id="later")])
    section = replace(build_comparison_section(comparison), summary="placeholder")
    assert summarize_outcome(Outcome(ComparisonRequest((), 0.05, False), section=section)) == ("REGRESSION", "bad")
    _, states = build_stage_table(section)
    assert states["latency_ms.p95"] == ["bad"]


def test_unpaired_metric_is_na_on_one_side_with_the_reason() -> None:
    stage = steady(10.0, 0.1)
    with_ttft = replace(stage, metrics=stage.metrics | {"ttft_ms": {"p95": Estimate(5.0)}})
    frame = unpaired_frame(
        select_unpaired(
            list_unpaired_metrics([result(stage)], [result(with_ttft)]), is_headline_only=True, stage="steady"
        )
    )
    (row,) = frame.to_dict("records")
    assert row["metric"] == "ttft_ms.p95"
    assert (row["verdict"], row["baseline"], row["candidate"]) == ("n/a", "n/a", "5.00\u202fms")
    assert row["remark"] == "baseline: not measured"
    assert list(frame.columns) == list(CHANGE_HEADERS)
