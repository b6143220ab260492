"""Ten requests and the metrics that every tool derives from them, computed by hand. Times in ms: due and sent times
from the stage's start, all others from the send of the request.

    due   sent   first   role  deltas                    tokens            end
a   50    50     role    10    30 50 70 90               1 1 1 1           95
b   150   150    role    10    (30 50) 70 90             1 1 1 1           100    the first two are reasoning
c   250   250    role    20    40 40 80                  1 1 2             90     two read together, two in one
d   350   350    role    10    30                        1                 50     fails: truncated
e   450   450    role    20    40                        1                 50     one token
f   550   610    role    10    40 80                     1 1               90     sent 60 late
g   650   650    –             20 40 60                  1 1 1             70     no separate role message
h   750   750    role    5     60 60                     1 1               60.5   both read together
i   850   850    role    20    50 70 90 110 130          1 1 1 1 1         140
j   950   950    role    40    100 300                   3 4               350    ends after the stage, at 1,300
"""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from app.analysis.definitions import compute_tool_metrics
from app.analysis.definitions.requests import compute_weighted_percentiles
from app.analysis.rows import read_rows
from app.analysis.stages import summarize_stage
from app.records.definitions import TOOL_METRICS, ToolMetrics
from app.records.result import Stage
from tests.fakes.queues import build_stage_data, constant_s, request_rows
from tests.fakes.streams import StreamedResponse, stream_table

STAGE_DATA = build_stage_data(10, 1.0, arrivals="constant")
Table = dict[str, dict[str, float | None]]


def build_answer(
    sent_ms: float,
    deltas: tuple[float, ...],
    end_ms: float,
    role_ms: float | None = None,
    *,
    due_ms: float | None = None,
    output_ms: float | None = None,
    **changes: object,
) -> StreamedResponse:
    base = StreamedResponse(
        scheduled_ms=sent_ms if due_ms is None else due_ms,
        sent_ms=sent_ms,
        first_event_ms=None if role_ms is None else sent_ms + role_ms,
        chunks_ms=tuple(sent_ms + at for at in deltas),
        output_ms=sent_ms + (deltas[0] if output_ms is None else output_ms),
        end_ms=sent_ms + end_ms,
    )
    return msgspec.structs.replace(base, **changes)


TEN = (
    build_answer(50, (30, 50, 70, 90), 95, 10, tokens_out=4),
    build_answer(150, (30, 50, 70, 90), 100, 10, tokens_out=4, output_ms=70),
    build_answer(250, (40, 40, 80), 90, 20, tokens_out=4, tokens=(1, 1, 2)),
    build_answer(350, (30,), 50, 10, tokens_out=1, token_source="chunks", error="truncated"),
    build_answer(450, (40,), 50, 20, tokens_out=1),
    build_answer(610, (40, 80), 90, 10, tokens_out=2, due_ms=550),
    build_answer(650, (20, 40, 60), 70, tokens_out=3),
    build_answer(750, (60, 60), 60.5, 5, tokens_out=2),
    build_answer(850, (50, 70, 90, 110, 130), 140, 20, tokens_out=5),
    build_answer(950, (100, 300), 350, 40, tokens_out=7, tokens=(3, 4)),
)


def compute_tools(*answers: StreamedResponse, older: bool = False) -> dict[str, ToolMetrics]:
    table = stream_table(answers)
    if older:
        table = table.drop_columns(["worker", "first_event_ns", "max_output_tokens"])
    return compute_tools_of_rows(table)


def compute_tools_of_rows(rows: pa.Table) -> dict[str, ToolMetrics]:
    stage: Stage = summarize_stage(rows, None, STAGE_DATA, ())
    return {metrics.tool: metrics for metrics in compute_tool_metrics(read_rows(rows), stage)}


@pytest.fixture(scope="module")
def ten() -> dict[str, ToolMetrics]:
    return compute_tools(*TEN)


def values(tool_metrics: ToolMetrics) -> Table:
    return {name: {key: of.value for key, of in spread.items()} for name, spread in tool_metrics.metrics.items()}


def check(tool_metrics: ToolMetrics, expected: Table) -> None:
    observed = values(tool_metrics)
    assert {name: [*spread] for name, spread in observed.items()} == {
        name: [*spread] for name, spread in expected.items()
    }
    for name, spread in expected.items():
        assert observed[name] == pytest.approx(spread), name


def test_vllm_metrics_match_hand_computed_values(ten: dict[str, ToolMetrics]) -> None:
    """n = 9. Linear percentiles: of 9 values p99 is at rank 8 × 0.99 = 7.92, of 25 at 23.76, of 8 at 6.93."""
    check(
        ten["vLLM"],
        {
            # sorted: 40 60 60 80 80 90 90 130 300
            "e2e_ms": {
                "mean": (90 + 90 + 80 + 40 + 80 + 60 + 60 + 130 + 300) / 9,
                "p50": 80,
                "p99": 130 + 0.92 * (300 - 130),
            },
            # the first message; sorted: 5 10 10 10 20 20 20 20 40
            "ttft_ms": {"mean": (10 + 10 + 20 + 20 + 10 + 20 + 5 + 20 + 40) / 9, "p50": 20, "p99": 20 + 0.92 * 20},
            # role → first delta and between deltas; sorted: 0 0, 16 × 20, 30 30 40 40 55 60 200
            "itl_ms": {
                "mean": (
                    (20 + 20 + 20 + 20)  # a
                    + (20 + 20 + 20 + 20)  # b
                    + (20 + 0 + 40)  # c
                    + 20  # e
                    + (30 + 40)  # f
                    + (20 + 20)  # g: its first message is its first token
                    + (55 + 0)  # h
                    + (30 + 20 + 20 + 20 + 20)  # i
                    + (60 + 200)  # j
                )
                / 25,
                "p50": 20,
                "p99": 60 + 0.76 * (200 - 60),
            },
            # (E2E − TTFT)/(tokens − 1), without e; sorted: 20 20 26.67 26.67 27.5 43.33 55 70
            "tpot_ms": {
                "mean": (80 / 3 + 80 / 3 + 60 / 3 + 70 / 1 + 40 / 2 + 55 / 1 + 110 / 4 + 260 / 6) / 8,
                "p50": (80 / 3 + 110 / 4) / 2,
                "p99": 55 + 0.93 * (70 - 55),
            },
            # from the stage's start to j's end
            "requests_per_s": {"value": 9 / 1.3},
            "output_tokens_per_s": {"value": (4 + 4 + 4 + 1 + 2 + 3 + 2 + 5 + 7) / 1.3},
        },
    )


def test_guidellm_metrics_match_hand_computed_values(ten: dict[str, ToolMetrics]) -> None:
    """A percentile is the value at which the cumulative weight reaches its share of the total weight."""
    check(
        ten["GuideLLM"],
        {
            # to the end of the stream; sorted: 50 60.5 70 90 90 95 100 140 350. 8 of 9 are below 0.9
            "e2e_ms": {
                "mean": (95 + 100 + 90 + 50 + 90 + 70 + 60.5 + 140 + 350) / 9,
                "p50": 90,
                "p90": 350,
                "p95": 350,
                "p99": 350,
            },
            # sorted: 20 30 30 40 40 40 50 60 100
            "ttft_ms": {
                "mean": (30 + 30 + 40 + 40 + 40 + 20 + 60 + 50 + 100) / 9,
                "p50": 40,
                "p90": 100,
                "p95": 100,
                "p99": 100,
            },
            # (last − first)/(tokens − 1), weight tokens − 1, of 23:
            # h 0 × 1, c 13.33 × 3, a b g i 20 × (3 + 3 + 2 + 4), j 33.33 × 6, f 40 × 1; sums: 1 4 16 22 23
            "itl_ms": {
                "mean": (60 + 60 + 40 + 40 + 40 + 0 + 80 + 200) / 23,
                "p50": 20,  # 11.5 of 23
                "p90": 200 / 6,  # 20.7
                "p95": 200 / 6,  # 21.85
                "p99": 40,  # 22.77
            },
            # (last − send)/tokens, weight tokens, of 32: g 20 × 3, c 20 × 4, a b 22.5 × 8, i 26 × 5, h 30 × 2,
            # e 40 × 1, f 40 × 2, j 42.86 × 7; sums: 7 15 20 22 25 32
            "tpot_ms": {
                "mean": (90 + 90 + 80 + 40 + 80 + 60 + 60 + 130 + 300) / 32,
                "p50": 26,  # 16 of 32
                "p90": 300 / 7,  # 28.8
                "p95": 300 / 7,
                "p99": 300 / 7,
            },
            # d counts, with its one delta; from a's send to j's end
            "requests_per_s": {"value": (9 + 1) / 1.25},
            "output_tokens_per_s": {"value": (32 + 1) / 1.25},
        },
    )


def test_aiperf_metrics_match_hand_computed_values(ten: dict[str, ToolMetrics]) -> None:
    """Linear percentiles: of 9 values p90, p95, p99 are at ranks 7.2, 7.6, 7.92, of 8 at 6.3, 6.65, 6.93."""
    check(
        ten["AIPerf"],
        {
            # sorted: 40 60 60 80 80 90 90 130 300
            "e2e_ms": {
                "mean": 930 / 9,
                "p50": 80,
                "p90": 130 + 0.2 * 170,
                "p95": 130 + 0.6 * 170,
                "p99": 130 + 0.92 * 170,
            },
            # sorted: 20 30 30 40 40 40 50 60 100
            "ttft_ms": {
                "mean": 410 / 9,
                "p50": 40,
                "p90": 60 + 0.2 * 40,
                "p95": 60 + 0.6 * 40,
                "p99": 60 + 0.92 * 40,
            },
            # (E2E − TTFT)/(tokens − 1), without e; sorted: 0 13.33 20 20 20 20 33.33 40
            "itl_ms": {
                "mean": (60 / 3 + 60 / 3 + 40 / 3 + 40 / 1 + 40 / 2 + 0 / 1 + 80 / 4 + 200 / 6) / 8,
                "p50": 20,
                "p90": 100 / 3 + 0.3 * (40 - 100 / 3),
                "p95": 100 / 3 + 0.65 * (40 - 100 / 3),
                "p99": 100 / 3 + 0.93 * (40 - 100 / 3),
            },
            # between deltas; sorted: 0 0, 12 × 20, 40 40 200: ranks 8, 14.4, 15.2, 15.84 of 0 … 16
            "icl_ms": {
                "mean": (60 + 60 + (0 + 40) + 40 + 40 + 0 + 80 + 200) / 17,
                "p50": 20,
                "p90": 40,
                "p95": 40 + 0.2 * 160,
                "p99": 40 + 0.84 * 160,
            },
            # from a's send to j's last token
            "requests_per_s": {"value": 9 / 1.2},
            "output_tokens_per_s": {"value": 32 / 1.2},
        },
    )


def test_genai_bench_metrics_match_hand_computed_values(ten: dict[str, ToolMetrics]) -> None:
    check(
        ten["genai-bench"],
        {
            # to the end of the stream; sorted: 50 60.5 70 90 90 95 100 140 350
            "e2e_ms": {
                "mean": 1045.5 / 9,
                "p50": 90,
                "p90": 140 + 0.2 * 210,
                "p95": 140 + 0.6 * 210,
                "p99": 140 + 0.92 * 210,
            },
            "ttft_ms": {
                "mean": 410 / 9,
                "p50": 40,
                "p90": 60 + 0.2 * 40,
                "p95": 60 + 0.6 * 40,
                "p99": 60 + 0.92 * 40,
            },
            # (E2E − TTFT)/(tokens − 1), without e and without h, whose tokens took 0.5 ms
            # sorted: 16.67 21.67 22.5 23.33 25 41.67 50; ranks 3, 5.4, 5.7, 5.94
            "tpot_ms": {
                "mean": (65 / 3 + 70 / 3 + 50 / 3 + 50 / 1 + 50 / 2 + 90 / 4 + 250 / 6) / 7,
                "p50": 70 / 3,
                "p90": 125 / 3 + 0.4 * (50 - 125 / 3),
                "p95": 125 / 3 + 0.7 * (50 - 125 / 3),
                "p99": 125 / 3 + 0.94 * (50 - 125 / 3),
            },
            "requests_per_s": {"value": 9 / 1.3},
            "output_tokens_per_s": {"value": 32 / 1.3},
        },
    )


def test_inference_perf_metrics_match_hand_computed_values(ten: dict[str, ToolMetrics]) -> None:
    """Content tokens: a 4, b 2, c 4, e 1, f 2, g 3, h 2, i 5, j 7."""
    check(
        ten["inference-perf"],
        {
            "e2e_ms": {
                "mean": 1045.5 / 9,
                "p50": 90,
                "p90": 140 + 0.2 * 210,
                "p95": 140 + 0.6 * 210,
                "p99": 140 + 0.92 * 210,
            },
            # without e; b's reasoning is not content; sorted: 20 30 40 40 50 60 70 100
            "ttft_ms": {
                "mean": (30 + 70 + 40 + 40 + 20 + 60 + 50 + 100) / 8,
                "p50": 45,
                "p90": 70 + 0.3 * 30,
                "p95": 70 + 0.65 * 30,
                "p99": 70 + 0.93 * 30,
            },
            # k tokens in a delta are k − 1 gaps of 0. Sorted: 8 × 0, 10 × 20, 40 40 200; ranks 10, 18, 19, 19.8
            "itl_ms": {
                "mean": (
                    (20 + 20 + 20)  # a
                    + 20  # b
                    + (0 + 40 + 0)  # c
                    + 40  # f
                    + (20 + 20)  # g
                    + 0  # h
                    + (20 + 20 + 20 + 20)  # i
                    + (0 + 0 + 200 + 0 + 0 + 0)  # j
                )
                / 21,
                "p50": 20,
                "p90": 40,
                "p95": 40,
                "p99": 40 + 0.8 * 160,
            },
            # (last − first)/(tokens − 1) of content, without e; sorted: 0 13.33 20 20 20 20 33.33 40
            "tpot_ms": {
                "mean": (60 / 3 + 20 / 1 + 40 / 3 + 40 / 1 + 40 / 2 + 0 / 1 + 80 / 4 + 200 / 6) / 8,
                "p50": 20,
                "p90": 100 / 3 + 0.3 * (40 - 100 / 3),
                "p95": 100 / 3 + 0.65 * (40 - 100 / 3),
                "p99": 100 / 3 + 0.93 * (40 - 100 / 3),
            },
            # from a's send to j's end
            "requests_per_s": {"value": 9 / 1.25},
            # E2E/tokens; sorted: 22.5 23.33 23.75 28 30.25 45 50 50 50
            "ntpot_ms": {
                "mean": (95 / 4 + 100 / 2 + 90 / 4 + 50 / 1 + 90 / 2 + 70 / 3 + 60.5 / 2 + 140 / 5 + 350 / 7) / 9,
                "p50": 30.25,
                "p90": 50,
                "p95": 50,
                "p99": 50,
            },
            "output_tokens_per_s": {"value": (4 + 2 + 4 + 1 + 2 + 3 + 2 + 5 + 7) / 1.25},
        },
    )


def test_sizewise_latency_starts_at_scheduled_time_and_withholds_undersampled_p99(ten: dict[str, ToolMetrics]) -> None:
    sizewise = values(ten["Sizewise"])
    assert sizewise["ttft_ms"]["mean"] == pytest.approx((410 + 60) / 9)
    assert sizewise["e2e_ms"]["mean"] == pytest.approx((930 + 60) / 9)
    assert sizewise["requests_per_s"] == {"value": pytest.approx(8 / 1.0)}
    assert ten["Sizewise"].metrics["ttft_ms"]["p99"].reason == "9 of 368 required samples"
    assert "ntpot_ms" not in sizewise


def test_every_tool_metric_has_explanation(ten: dict[str, ToolMetrics]) -> None:
    for tool_metrics in ten.values():
        assert {*tool_metrics.metrics} <= {*tool_metrics.explanations} <= {*TOOL_METRICS}
        assert tool_metrics.source
        assert tool_metrics.notes


def test_lead_in_and_unsent_requests_do_not_change_other_tools_metrics(ten: dict[str, ToolMetrics]) -> None:
    lead_in = build_answer(-100, (500, 900), 950, 20, tokens_out=2)
    unsent = StreamedResponse(scheduled_ms=500, sent_ms=None, end_ms=900, error="timeout")
    table = stream_table([lead_in, *TEN, unsent]).to_pandas()
    table.loc[len(table) - 1, "sent_ns"] = None
    for name, tool_metrics in compute_tools_of_rows(table).items():
        if name != "Sizewise":
            assert values(tool_metrics) == values(ten[name])


def test_tool_metrics_do_not_depend_on_row_order(ten: dict[str, ToolMetrics]) -> None:
    for name, tool_metrics in compute_tools(*reversed(TEN)).items():
        for metric, spread in values(tool_metrics).items():
            assert spread == pytest.approx(values(ten[name])[metric]), (name, metric)


def test_weighted_percentile_is_where_cumulative_weight_reaches_its_share() -> None:
    """The first of two values reaches the median. Nine tenths sum to less than 0.9 by rounding, as in GuideLLM."""
    assert compute_weighted_percentiles(np.array([2.0, 1.0]), np.ones(2))["p50"].value == 1.0
    assert compute_weighted_percentiles(np.array([1.0, 2.0]), np.array([1.0, 3.0]))["p50"].value == 2.0
    assert compute_weighted_percentiles(np.arange(1.0, 11.0), np.ones(10))["p90"].value == 10.0
    assert compute_weighted_percentiles(np.arange(2.0), np.zeros(2))["mean"].reason == "no response has this metric"


def test_rows_of_older_version_withhold_vllm_metrics_of_first_message(ten: dict[str, ToolMetrics]) -> None:
    older = compute_tools(*TEN, older=True)
    for name in ("ttft_ms", "itl_ms", "tpot_ms"):
        spread = older["vLLM"].metrics[name].values()
        assert all(estimate.value is None and "older version" in (estimate.reason or "") for estimate in spread)
    assert older["vLLM"].metrics["e2e_ms"] == ten["vLLM"].metrics["e2e_ms"]
    for name in ("GuideLLM", "AIPerf", "genai-bench", "inference-perf"):
        assert older[name] == ten[name]


def test_responses_without_tokens_have_only_latency_and_request_rate() -> None:
    metrics_by_tool = compute_tools_of_rows(request_rows(constant_s(10, 1), np.full(10, 0.02)))
    for metrics in metrics_by_tool.values():
        assert [*metrics.metrics] == ["e2e_ms", "requests_per_s"]
        assert metrics.metrics["e2e_ms"]["mean"].value == pytest.approx(20)


def test_unstreamed_responses_with_tokens_have_token_throughput() -> None:
    metrics_by_tool = compute_tools(
        *(StreamedResponse(scheduled_ms=at, end_ms=at + 10, tokens_out=3) for at in (0, 100))
    )
    for metrics in metrics_by_tool.values():
        assert {*metrics.metrics} - {"ntpot_ms"} == {"e2e_ms", "requests_per_s", "output_tokens_per_s"}
    assert metrics_by_tool["vLLM"].metrics["output_tokens_per_s"]["value"].value == pytest.approx(6 / 0.11)


def test_unknown_content_tokens_per_delta_withhold_inference_perf_metrics() -> None:
    """Five tokens in three deltas, the first with reasoning: the number of content tokens is unknown."""
    metrics_by_tool = compute_tools(
        build_answer(0, (10, 20, 30), 40, tokens_out=5, output_ms=20), build_answer(100, (10, 20), 40, tokens_out=2)
    )
    spreads = metrics_by_tool["inference-perf"].metrics
    assert spreads["itl_ms"]["mean"].reason == "the server does not report the number of tokens per delta"
    for name, aggregate in (("tpot_ms", "p50"), ("ntpot_ms", "mean"), ("output_tokens_per_s", "value")):
        assert spreads[name][aggregate].value is None
        assert "the number of reasoning tokens" in (spreads[name][aggregate].reason or "")
    assert spreads["ttft_ms"]["mean"].value == (20 + 10) / 2
    assert metrics_by_tool["AIPerf"].metrics["itl_ms"]["mean"].value == pytest.approx((20 / 4 + 10 / 1) / 2)


def test_single_content_delta_with_unknown_token_count_has_no_ttft() -> None:
    (spread,) = [
        compute_tools(build_answer(0, (10, 20), 40, tokens_out=5, output_ms=20))["inference-perf"].metrics["ttft_ms"]
    ]
    assert spread["mean"].value is None
    assert spread["mean"].reason


def test_response_without_tokens_counts_as_ttft_0_only_in_guidellm() -> None:
    metrics_by_tool = compute_tools(
        build_answer(0, (30, 50), 60, tokens_out=2), StreamedResponse(scheduled_ms=100, end_ms=110, tokens_out=0)
    )
    assert metrics_by_tool["GuideLLM"].metrics["ttft_ms"]["mean"].value == (30 + 0) / 2
    for name in ("AIPerf", "genai-bench", "inference-perf"):
        assert metrics_by_tool[name].metrics["ttft_ms"]["mean"].value == 30
    assert metrics_by_tool["inference-perf"].metrics["ntpot_ms"]["mean"].value == (60 / 2 + 0) / 2


def test_tools_without_successful_request_have_no_latency() -> None:
    for tool_metrics in compute_tools(StreamedResponse(end_ms=20, error="timeout")).values():
        assert tool_metrics.requests == 0
        assert all(
            estimate.value is None
            for spread in [tool_metrics.metrics.get("e2e_ms", {})]
            for estimate in spread.values()
        )
