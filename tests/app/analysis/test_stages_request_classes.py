"""Results by request class: which requests count in which class, and which limits apply to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from app.analysis.gating import evaluate_gate
from app.analysis.objectives import (
    count_needed_slo_samples,
    parse_gate,
    parse_objective,
    select_binding_objectives,
)
from app.analysis.pooling import pool_stages
from app.analysis.rows import read_rows
from app.analysis.stages import reevaluate_stage, summarize_rows, summarize_stage
from app.records.result import Objective, Stage, TokenTotals
from app.records.stage import ClassShare, StageData
from tests.fakes.queues import build_stage_data, constant_s, request_rows
from tests.fakes.streams import StreamedResponse, stream_rows

SHARES = (ClassShare("chat", 0.75), ClassShare("batch", 0.25))
STAGE_DATA = replace(build_stage_data(100, 40, arrivals="constant"), classes=SHARES)
NO_TELEMETRY = pd.DataFrame(columns=["at_ns", "source", "metric", "value"])


def mixed_rows(classes: Sequence[int | None] = (0, 0, 0, 1)) -> pd.DataFrame:
    """4,000 requests: 10 ms for class 0, and 200 ms for the others; every fourth request of class 1 fails."""
    arrivals = constant_s(100, 40)
    numbers = np.resize(np.array(classes, dtype=object), arrivals.size)
    is_chat = numbers == 0
    fails = (numbers == 1) & (np.arange(arrivals.size) % 16 == 15)
    errors = ["http-5xx" if failed else None for failed in fails]
    frame = request_rows(arrivals, np.where(is_chat, 0.010, 0.200), errors=errors)
    return frame.assign(**{"class": pd.array(numbers[frame["index"].to_numpy()], dtype="Int16")})


def summarize(*objectives: str, rows: pd.DataFrame | None = None, stage_data: StageData = STAGE_DATA) -> Stage:
    return summarize_stage(mixed_rows() if rows is None else rows, None, stage_data, slo(*objectives))


def slo(*objectives: str) -> tuple[Objective, ...]:
    return tuple(map(parse_objective, objectives))


def test_each_class_has_metrics_of_its_requests() -> None:
    chat, batch = summarize().classes
    assert (chat.name, chat.weight_share, chat.requests, chat.completed, chat.errors) == ("chat", 0.75, 3000, 3000, {})
    assert (batch.requests, batch.completed, batch.errors) == (1000, 750, {"http-5xx": 250})
    assert chat.metrics["latency_ms"]["p95"].value == pytest.approx(10)
    assert batch.metrics["latency_ms"]["p95"].value == pytest.approx(200)
    assert batch.metrics["error_rate"]["value"].value == pytest.approx(0.25)
    assert chat.offered_per_s.value == pytest.approx(75)
    assert batch.metrics["completed_per_s"]["value"].value == pytest.approx(18.75, rel=0.02)
    assert (chat.meets_slo, batch.meets_slo) == (None, None), "the classes have no objectives"


def test_stage_meets_slo_only_if_all_classes_meet_slo() -> None:
    loose, tight = "latency_ms.p95{class=batch} < 500", "latency_ms.p95{class=batch} < 100"
    errors = "error_rate < 30%"
    passed = summarize("latency_ms.p95{class=chat} < 50", loose, errors)
    assert (passed.meets_slo, *(summary.meets_slo for summary in passed.classes)) == (True, True, True)
    failed = summarize("latency_ms.p95{class=chat} < 50", tight, errors)
    assert (failed.meets_slo, *(summary.meets_slo for summary in failed.classes)) == (False, True, False)
    warned = summarize("latency_ms.p95{class=chat} < 50", f"{tight} | warn", errors)
    assert warned.meets_slo is True


def test_goodput_uses_limits_of_class_or_else_of_slo() -> None:
    stage = summarize("latency_ms.p95 < 50", "latency_ms.p95{class=batch} < 500")
    shares = [summary.metrics["goodput_share"]["value"].value for summary in stage.classes]
    assert shares == [1.0, 0.75], "failed requests are not good"
    assert stage.metrics["goodput_share"]["value"].value == pytest.approx((3000 + 750) / 4000)
    assert stage.good_per_s.value == pytest.approx(75 + 18.75)
    strict = summarize("latency_ms.p95 < 50")
    assert [summary.metrics["goodput_share"]["value"].value for summary in strict.classes] == [1.0, 0.0]


def test_requests_with_unknown_class_number_count_in_no_class() -> None:
    """A worker on another machine can send any class number."""
    stage = summarize(rows=mixed_rows((0, 1, 7, None, -3)))
    assert [summary.requests for summary in stage.classes] == [800, 800]
    assert stage.completed == 4000 - sum(sum(summary.errors.values()) for summary in stage.classes)
    named = read_rows(mixed_rows((0, 1, 7, None, -3))).name_classes(("chat", "batch")).classes
    assert named is not None
    assert set(named.codes.tolist()) == {-1, 0, 1}
    assert summarize(stage_data=build_stage_data(100, 40, arrivals="constant")).classes == ()
    assert summarize(rows=mixed_rows().drop(columns="class")).classes == ()


def test_reevaluated_stage_matches_new_summary() -> None:
    rows, new = mixed_rows(), slo("latency_ms.p95{class=batch} < 100", "error_rate < 30%")
    original = summarize("latency_ms.p95{class=chat} < 50")
    reevaluated = reevaluate_stage(read_rows(rows), STAGE_DATA, original, new)
    assert reevaluated == summarize_rows(read_rows(rows), None, STAGE_DATA, new)
    assert reevaluated.meets_slo is False


def test_pooled_stage_has_request_classes() -> None:
    pooled = pool_stages(
        [mixed_rows(), mixed_rows()], NO_TELEMETRY, [STAGE_DATA, STAGE_DATA], slo("latency_ms.p95 < 50")
    )
    assert [(summary.name, summary.requests) for summary in pooled.classes] == [("chat", 6000), ("batch", 2000)]


def test_gate_with_class_and_stage_is_evaluated_in_both() -> None:
    stages = (replace(summarize(), name="calm"), replace(summarize(), name="peak"))
    gate = parse_gate("latency_ms.p95{class=batch, stage=peak} < 100")
    evaluated = evaluate_gate(gate, stages, stages, {})
    assert (evaluated.outcome, evaluated.stage) == ("FAIL", "peak")
    assert evaluated.observed.value == pytest.approx(200)
    assert evaluate_gate(parse_gate("latency_ms.p95{class=chat} < 100"), stages, stages, {}).outcome == "PASS"
    unknown = evaluate_gate(parse_gate("latency_ms.p95{class=other} < 100"), stages, stages, {})
    assert (unknown.outcome, unknown.observed.reason) == ("INCONCLUSIVE", "the stage has no class other")


def test_rare_class_needs_more_samples() -> None:
    (objective,) = slo("latency_ms.p95{class=batch} < 500")
    needed = count_needed_slo_samples([objective])
    assert count_needed_slo_samples([replace(objective, request_share=0.25)]) == 4 * needed


def test_default_error_rate_objective_is_omitted_only_if_every_class_has_error_limit() -> None:
    def count(*objectives: str) -> int:
        return sum(objective.implied for objective in select_binding_objectives(slo(*objectives)))

    assert count("ttft_ms.p95{class=a} < 5") == 1
    assert count("ttft_ms.p95{class=a} < 5", "error_rate{class=a} < 5%") == 0
    assert count("ttft_ms.p95{class=a} < 5", "ttft_ms.p95{class=b} < 5", "error_rate{class=a} < 5%") == 1
    assert count("ttft_ms.p95{class=a} < 5", "error_rate < 5%") == 0


def test_token_totals_are_counted_by_class() -> None:
    answers = [
        StreamedResponse(scheduled_ms=float(at), chunks_ms=(at + 5.0, at + 9.0), tokens_in=10 + at, tokens_out=2)
        for at in range(4)
    ]
    rows = stream_rows(answers).assign(
        **{"class": pd.array([0, 1, 0, 1], dtype="Int16"), "tokens_cached": pd.array([4, None, 2, None], dtype="Int32")}
    )
    chat, batch = summarize(rows=rows).classes
    assert chat.tokens == TokenTotals(responses=2, input_tokens=22, cached_input_tokens=6, output_tokens=4)
    assert batch.tokens == TokenTotals(responses=2, input_tokens=24, cached_input_tokens=None, output_tokens=4)
    assert chat.metrics["ttft_ms"]["max"].value == pytest.approx(5)
