from __future__ import annotations

import numpy as np
import pytest

from app.analysis.breakdown import break_down_latency, break_down_request
from app.analysis.rows import StageRows, read_rows
from app.records.breakdown import LatencyBreakdown
from app.records.server_counters import LatencyComparison, ServerLatencyKind
from tests.fakes.queues import constant_s, request_rows
from tests.fakes.streams import StreamedResponse, stream_rows

REPORTED = {"server_queue_ms": 30.0, "server_prefill_ms": 60.0}


def build_answer(at_ms: float) -> StreamedResponse:
    """Response sent 5 ms late, with 10 ms of network, 30 ms of queue and 60 ms of prefill before the first of six
    chunks. Chunks arrive every 20 ms, except one that stalls for 50 ms more. The response ends 7 ms after the last."""
    first_ms = at_ms + 5 + 10 + 30 + 60
    chunks_ms = tuple(first_ms + 20 * index + (50 if index > 2 else 0) for index in range(6))
    return StreamedResponse(
        scheduled_ms=at_ms, sent_ms=at_ms + 5, chunks_ms=chunks_ms, end_ms=chunks_ms[-1] + 7, tokens_out=6
    )


def rows(*answers: StreamedResponse, reported: dict[str, float] | None = None) -> StageRows:
    frame = stream_rows(answers)
    for name, value in (reported or {}).items():
        frame[name] = value
    return read_rows(frame)


def break_down(stage_rows: StageRows, *comparisons: LatencyComparison) -> dict[str, LatencyBreakdown]:
    return {breakdown.aggregate: breakdown for breakdown in break_down_latency(stage_rows, stage_rows, comparisons)}


def test_latency_is_split_into_parts_with_unexplained_remainder() -> None:
    breakdowns = break_down(rows(*(build_answer(100.0 * index) for index in range(20)), reported=REPORTED))
    assert set(breakdowns) == {"mean", "p50", "p95", "p99"}
    assert [breakdown.requests for breakdown in breakdowns.values()] == [20, 2, 2, 1]
    for breakdown in breakdowns.values():
        assert (breakdown.latency_ms, breakdown.ttft_ms) == pytest.approx((262, 105))
        assert breakdown.evidence == "requests"
        assert breakdown.parts_ms == pytest.approx(
            {"send_delay": 5, "queue": 30, "prefill": 60, "decode": 100, "stalls": 50, "tail": 7}
        )
        assert breakdown.unknown_ms == pytest.approx(10)
        assert breakdown.largest_part == "decode"


def test_queue_and_prefill_are_unknown_without_server_evidence() -> None:
    p95 = break_down(rows(build_answer(0.0), build_answer(500.0)))["p95"]
    assert p95.parts_ms == pytest.approx(
        {"send_delay": 5, "queue": None, "prefill": None, "decode": 100, "stalls": 50, "tail": 7}
    )
    assert p95.unknown_ms == pytest.approx(10 + 30 + 60)
    assert (p95.evidence, p95.largest_part) == (None, None)


def test_part_missing_in_some_requests_is_unknown() -> None:
    frame = stream_rows([build_answer(0.0), build_answer(500.0)])
    frame["server_queue_ms"] = [30.0, None]
    breakdowns = break_down(read_rows(frame))
    assert breakdowns["mean"].parts_ms["queue"] is None
    assert breakdowns["mean"].evidence == "requests"


@pytest.mark.parametrize(
    ("comparisons", "parts"),
    [
        ({"queue": 30, "prefill": 60, "decode": 150, "ttft": 90}, {"queue": 30, "prefill": 60}),
        ({"queue": 30, "ttft": 90, "e2e": 240}, {"queue": 30, "prefill": 60}),
    ],
)
def test_server_counters_explain_only_mean_latency(
    comparisons: dict[str, float], parts: dict[str, float | None]
) -> None:
    stage_rows = rows(build_answer(0.0), build_answer(500.0))
    breakdowns = break_down(stage_rows, *(LatencyComparison(kind, mean, 2) for kind, mean in comparisons.items()))  # type: ignore[arg-type]
    assert {name: breakdowns["mean"].parts_ms[name] for name in parts} == pytest.approx(parts)  # type: ignore[index]
    assert breakdowns["mean"].evidence == "stage"
    assert breakdowns["p50"].parts_ms["prefill"] is None
    assert breakdowns["p50"].evidence is None


@pytest.mark.parametrize("kind", ["ttft", "e2e"])
def test_server_latency_including_unknown_queue_time_is_not_used_as_part(kind: ServerLatencyKind) -> None:
    mean = break_down(rows(build_answer(0.0), build_answer(500.0)), LatencyComparison(kind, 90, 2))["mean"]
    assert (mean.parts_ms["queue"], mean.parts_ms["prefill"], mean.parts_ms.get("processing")) == (None, None, None)
    assert (mean.evidence, mean.largest_part) == (None, None)
    without_tokens = read_rows(request_rows(constant_s(10, 1), np.full(10, 0.02)))
    mean = break_down(without_tokens, LatencyComparison(kind, 19.0, 10))["mean"]
    assert (mean.parts_ms["processing"], mean.parts_ms.get("prefill"), mean.largest_part) == (None, None, None)


def test_response_without_tokens_does_not_change_breakdown_of_others() -> None:
    streamed = [build_answer(100.0 * index) for index in range(20)]
    expected = break_down(rows(*streamed, reported=REPORTED))
    empty = StreamedResponse(scheduled_ms=2_500.0, sent_ms=2_500.0, end_ms=9_000.0, tokens_out=0)
    assert break_down(rows(*streamed, empty, reported=REPORTED)) == expected


def test_response_with_few_chunks_does_not_hide_stalls_of_others() -> None:
    short = StreamedResponse(scheduled_ms=500.0, chunks_ms=(510, 520, 530))
    mean = break_down(rows(build_answer(0.0), short))["mean"]
    assert (mean.parts_ms["stalls"], mean.parts_ms["decode"]) == pytest.approx((50 / 2, (100 + 20) / 2))


def test_mean_based_on_server_counters_includes_lead_in_requests() -> None:
    stage_rows, all_rows = rows(build_answer(0.0)), rows(build_answer(-500.0), build_answer(0.0))
    mean, *percentiles = break_down_latency(stage_rows, all_rows, (LatencyComparison("queue", 90, 2),))
    assert mean.requests == 2
    assert {breakdown.requests for breakdown in percentiles} == {1}


def test_percentile_breakdown_averages_requests_around_percentile() -> None:
    answers = [
        StreamedResponse(scheduled_ms=1_000.0 * index, chunks_ms=(1_000 * index + 10.0 + index,))
        for index in range(100)
    ]
    breakdowns = break_down(rows(*answers))
    assert breakdowns["p50"].latency_ms == pytest.approx(np.mean([10 + index + 1 for index in range(45, 55)]))
    assert breakdowns["p99"].latency_ms == pytest.approx(10 + 98.5 + 1, abs=0.51)


def test_overlapping_parts_leave_negative_unknown_remainder() -> None:
    mean = break_down(rows(build_answer(0.0), reported={**REPORTED, "server_queue_ms": 100.0}))["mean"]
    assert mean.unknown_ms == pytest.approx(10 - 70)


def test_chunks_read_together_do_not_count_as_usual_gap() -> None:
    mean = break_down(rows(StreamedResponse(chunks_ms=(10, 10, 10, 40, 40, 40, 70, 70, 70, 200))))["mean"]
    assert (mean.parts_ms["decode"], mean.parts_ms["stalls"]) == pytest.approx((90, 100))


def test_few_chunks_have_unknown_stalls() -> None:
    mean = break_down(rows(StreamedResponse(chunks_ms=(10, 20, 500))))["mean"]
    assert mean.parts_ms["stalls"] is None


def test_latency_without_tokens_is_split_into_queue_and_processing() -> None:
    stage_rows = read_rows(request_rows(constant_s(10, 1), np.full(10, 0.02)))
    breakdowns = break_down(stage_rows, LatencyComparison("queue", 4.0, 10), LatencyComparison("e2e", 19.0, 10))
    assert breakdowns["mean"].parts_ms == pytest.approx({"send_delay": 0, "queue": 4, "processing": 15}, abs=0.5)


def test_round_trip_and_connection_wait_are_separate_parts() -> None:
    frame = stream_rows([build_answer(0.0), build_answer(500.0)])
    for name, value in REPORTED.items():
        frame[name] = value
    frame["connection_wait_ms"] = [4.0, 0.0]
    stage_rows = read_rows(frame)
    mean, *_ = break_down_latency(stage_rows, stage_rows, (), 7.5)
    parts_ms = {part: mean.parts_ms[part] for part in ("send_delay", "connection", "network")}
    assert parts_ms == {"send_delay": 3.0, "connection": 2.0, "network": 7.5}
    assert mean.unknown_ms == pytest.approx(2.5)
    first, second = (break_down_request(stage_rows, number, 7.5) for number in (0, 1))
    assert (first.parts_ms["send_delay"], first.parts_ms["connection"]) == (1.0, 4.0)
    assert (second.parts_ms["send_delay"], second.parts_ms["connection"]) == (5.0, 0.0)
    assert second.parts_ms["network"] == 7.5


def test_breakdown_without_successful_request_is_empty() -> None:
    assert break_down(rows(StreamedResponse(chunks_ms=(10,), error="truncated"))) == {}
