from __future__ import annotations

import numpy as np
import pytest

from app.analysis.objectives import parse_objective
from app.analysis.stages import summarize_stage
from app.analysis.token_samples import unpack_pairs
from app.records.result import Estimate, Stage
from tests.fakes.queues import build_stage_data, constant_s, request_rows
from tests.fakes.streams import StreamedResponse, stream_rows, stream_table

STAGE_DATA = build_stage_data(10, 10, arrivals="constant")


def summarize(*answers: StreamedResponse, slo: str = "error_rate < 1%") -> Stage:
    return summarize_stage(stream_table(answers), None, STAGE_DATA, (parse_objective(slo),))


def mean(stage: Stage, metric: str) -> float | None:
    return stage.metrics[metric]["mean"].value


def test_token_latencies_start_at_their_documented_times() -> None:
    """Scheduled at 100 ms, sent at 110 ms; reasoning at 150 ms, output at 170 and 190 ms; closed at 500 ms."""
    stage = summarize(
        StreamedResponse(
            scheduled_ms=100,
            sent_ms=110,
            chunks_ms=(150, 170, 190),
            output_ms=170,
            end_ms=500,
            tokens_out=3,
            tokens_in=7,
        )
    )
    means = {
        name: mean(stage, name) for name in ("ttft_ms", "ttft_service_ms", "ttfo_ms", "tpot_ms", "icl_ms", "itl_ms")
    }
    assert means == {
        "ttft_ms": 50, "ttft_service_ms": 40, "ttfo_ms": 70, "tpot_ms": 20, "icl_ms": 20, "itl_ms": 20,
    }  # fmt: skip
    assert (mean(stage, "latency_ms"), mean(stage, "service_ms")) == (90, 80)
    assert (mean(stage, "output_tokens"), mean(stage, "input_tokens")) == (3, 7)
    assert stage.metrics["coalesced_share"]["value"].value == 0


def test_streams_without_tokens_have_message_metrics() -> None:
    """A successful and a failed stream, a response without a message, and one that started before the stage."""
    stage = summarize(
        StreamedResponse(scheduled_ms=100, sent_ms=110, chunks_ms=(150, 170, 200), end_ms=500, has_tokens=False),
        StreamedResponse(scheduled_ms=100, chunks_ms=(120, 190), error="http-5xx", has_tokens=False),
        StreamedResponse(scheduled_ms=200, end_ms=210, has_tokens=False),
        StreamedResponse(scheduled_ms=-50, chunks_ms=(-10, 30), has_tokens=False),
        slo="first_message_ms.p95 < 60",
    )
    first = stage.metrics["first_message_ms"]["mean"]
    assert (first.value, first.n) == (50, 1)
    assert (mean(stage, "message_gap_ms"), mean(stage, "response_messages")) == (25, 1.5)
    assert stage.metrics["messages_per_s"]["value"].value == pytest.approx(0.4)
    assert stage.metrics["latency_ms"]["max"].value == 400
    assert stage.metrics["goodput_share"]["value"].value == pytest.approx(1 / 3)
    assert not {"ttft_ms", "icl_ms", "itl_ms", "coalesced_share"} & stage.metrics.keys()
    assert "coalesced_chunks" not in {check.id for check in stage.checks}


def test_responses_without_stream_have_no_token_metrics() -> None:
    stage = summarize_stage(request_rows(constant_s(10, 10), np.full(100, 0.02)), None, STAGE_DATA, ())
    assert not {name for name in stage.metrics if "token" in name or name.startswith(("tt", "ic", "it", "tp"))}


def test_response_without_tokens_has_no_ttft() -> None:
    stage = summarize(StreamedResponse(chunks_ms=(30, 40), tokens_out=2), StreamedResponse(end_ms=5, tokens_out=0))
    assert stage.metrics["ttft_ms"]["mean"].n == 1
    assert stage.completed == 2
    assert mean(stage, "output_tokens") == 1.0


def test_single_chunk_response_has_no_tpot() -> None:
    stage = summarize(StreamedResponse(chunks_ms=(30,), tokens_out=1), StreamedResponse(chunks_ms=(30,), tokens_out=9))
    assert stage.metrics["tpot_ms"]["mean"] == Estimate(None, n=0, reason="no values")
    assert "icl_ms" not in stage.metrics


def test_chunk_of_k_tokens_has_k_equal_token_gaps() -> None:
    stage = summarize(StreamedResponse(chunks_ms=(10, 40, 60), tokens=(1, 3, 1), tokens_out=5))
    assert mean(stage, "icl_ms") == 25
    assert stage.metrics["itl_ms"]["mean"].n == 4
    assert mean(stage, "itl_ms") == pytest.approx((10 + 10 + 10 + 20) / 4)
    assert mean(stage, "tpot_ms") == 12.5


def test_itl_combines_reported_and_inferred_tokens_per_chunk() -> None:
    reported, counted = (
        StreamedResponse(chunks_ms=(10, 40), tokens=(5, 2), tokens_out=7),
        StreamedResponse(chunks_ms=(10, 30), tokens_out=2),
    )
    assert mean(summarize(reported, counted), "itl_ms") == pytest.approx((15 + 15 + 20) / 3)


@pytest.mark.parametrize(
    "answer",
    [
        StreamedResponse(chunks_ms=(10, 40), tokens_out=5),
        StreamedResponse(chunks_ms=(10, 40)),
        StreamedResponse(chunks_ms=(10, 40), tokens_out=2, token_source="chunks"),
    ],
)
def test_itl_is_withheld_if_tokens_per_chunk_are_unknown(answer: StreamedResponse) -> None:
    stage = summarize(StreamedResponse(chunks_ms=(10, 40), tokens_out=2), answer)
    itl = stage.metrics["itl_ms"]["p50"]
    assert itl.value is None
    assert str(itl.reason).startswith("the server does not report the number of tokens per chunk;")
    assert mean(stage, "icl_ms") == 30


def test_token_without_text_after_last_chunk_does_not_count_in_tpot() -> None:
    """Four tokens in 30 ms after the first, and the end of the sequence: 3 gaps of 10 ms, not 4."""
    stage = summarize(StreamedResponse(chunks_ms=(10, 20, 40), tokens=(1, 1, 2), tokens_out=5))
    assert mean(stage, "tpot_ms") == mean(stage, "itl_ms") == 10
    assert mean(stage, "user_tokens_per_s") == 100
    assert mean(stage, "output_tokens") == 5
    assert mean(summarize(StreamedResponse(chunks_ms=(10, 20, 40), tokens_out=5)), "tpot_ms") == 7.5, (
        "it is unknown which token has no text"
    )


def test_response_of_one_chunk_does_not_withhold_itl() -> None:
    stage = summarize(
        StreamedResponse(chunks_ms=(10, 40), tokens_out=2), StreamedResponse(chunks_ms=(10,), tokens_out=5)
    )
    assert mean(stage, "itl_ms") == 30


def test_chunks_read_together_have_gap_0_and_coalesced_share() -> None:
    stage = summarize(
        StreamedResponse(chunks_ms=(10, 10, 10, 40), tokens_out=4), StreamedResponse(chunks_ms=(20, 40), tokens_out=2)
    )
    assert mean(stage, "icl_ms") == pytest.approx((0 + 0 + 30 + 20) / 4)
    assert stage.metrics["coalesced_share"]["value"].value == 0.5


def test_chunk_gaps_are_only_within_successful_responses() -> None:
    """Failed responses, responses without chunks and responses of the lead-in lie between the streams."""
    stage = summarize(
        StreamedResponse(scheduled_ms=-50, chunks_ms=(-40, 300), tokens_out=2),
        StreamedResponse(chunks_ms=(10, 20), tokens_out=2),
        StreamedResponse(chunks_ms=(1_000, 5_000), error="truncated"),
        StreamedResponse(end_ms=8_000),
        StreamedResponse(scheduled_ms=7_900, chunks_ms=(8_000, 8_010, 8_020), tokens_out=3),
    )
    assert stage.metrics["icl_ms"]["max"].value == 10
    assert stage.metrics["icl_ms"]["max"].n == 3
    assert stage.metrics["ttft_ms"]["mean"].n == 2


def test_output_throughput_counts_only_tokens_inside_window() -> None:
    """Half of the first response's tokens precede the window, half of the last one's follow it: 100 + 60 + 100."""
    stage = summarize(
        StreamedResponse(scheduled_ms=-2_000, chunks_ms=(-1_000, 1_000), tokens_out=200),
        StreamedResponse(scheduled_ms=4_000, end_ms=5_000, tokens_out=60),
        StreamedResponse(scheduled_ms=8_000, chunks_ms=(9_000, 11_000), tokens_out=200),
        StreamedResponse(scheduled_ms=8_000, chunks_ms=(9_000, 9_500), tokens_out=1_000, error="truncated"),
    )
    assert stage.metrics["output_tokens_per_s"]["value"].value == pytest.approx(26.0)


def test_goodput_is_evaluated_by_ttft_and_tpot_limits() -> None:
    answers = (
        StreamedResponse(chunks_ms=(30, 40), tokens_out=2),
        StreamedResponse(chunks_ms=(60, 70), tokens_out=2),
        StreamedResponse(chunks_ms=(30, 90), tokens_out=2),
        StreamedResponse(chunks_ms=(30,), tokens_out=1),
        StreamedResponse(end_ms=10, tokens_out=0),
    )

    def compute_goodput(*slo: str) -> float | None:
        objectives = tuple(map(parse_objective, slo))
        return (
            summarize_stage(stream_table(answers), None, STAGE_DATA, objectives).metrics["goodput_share"]["value"].value
        )

    assert compute_goodput("ttft_ms.p99 < 50") == 0.6
    assert compute_goodput("tpot_ms.mean < 50") == 0.8
    assert compute_goodput("ttft_ms.p99 < 50", "tpot_ms.mean < 50") == 0.4
    assert compute_goodput("latency_ms.p95 <= 40", "ttft_ms.p99 < 50") == 0.4


def test_slo_on_token_metrics_is_met_or_violated() -> None:
    answers = [
        StreamedResponse(scheduled_ms=at * 10, chunks_ms=(at * 10 + 30, at * 10 + 50), tokens_out=2)
        for at in range(500)
    ]
    assert summarize(*answers, slo="ttft_ms.p99 < 50").meets_slo is True
    assert summarize(*answers, slo="ttft_ms.p99 < 20").meets_slo is False
    assert summarize(*answers, slo="output_tokens_per_s > 99").meets_slo is True


def test_ttft_is_withheld_if_scheduled_start_is_unknown() -> None:
    stage = summarize(StreamedResponse(scheduled_ms=None, sent_ms=10, chunks_ms=(30, 40), tokens_out=2))
    assert stage.metrics["ttft_ms"]["p50"].reason == "the scheduled start is unknown"
    assert mean(stage, "ttft_service_ms") == 20


@pytest.mark.parametrize("convert", [stream_table, stream_rows, lambda answers: stream_rows(answers).astype(object)])
def test_token_metrics_are_equal_for_table_and_data_frame(convert: object) -> None:
    answers = (StreamedResponse(chunks_ms=(10, 40), tokens=(5, 2), tokens_out=7), StreamedResponse(end_ms=3, target=1))
    rows = convert(answers)  # type: ignore[operator]
    stage = summarize_stage(rows, None, STAGE_DATA, ())
    assert stage.metrics == summarize(*answers).metrics


def test_token_gaps_match_plain_loop_over_responses() -> None:
    """200 random responses of 0 to 30 chunks, some failed, are compared with a plain loop."""
    random = np.random.default_rng(5)
    answers = []
    for index in range(200):
        chunks = tuple(np.round(index * 40 + 5 + np.cumsum(random.exponential(10, random.integers(0, 31))), 3))
        tokens = tuple(int(count) for count in random.integers(1, 4, len(chunks)))
        failed = "truncated" if random.random() < 0.1 else None
        answers.append(
            StreamedResponse(
                scheduled_ms=index * 40,
                chunks_ms=chunks,
                tokens=tokens,
                end_ms=index * 40 + 900,
                tokens_out=sum(tokens),
                error=failed,
            )
        )
    successful = [answer for answer in answers if answer.error is None]
    icl = [gap for answer in successful for gap in np.diff(answer.chunks_ms)]
    itl = [
        gap / k
        for answer in successful
        for gap, k in zip(np.diff(answer.chunks_ms), (answer.tokens or ())[1:], strict=True)
        for _ in range(k)
    ]
    stage = summarize(*answers)
    assert stage.metrics["icl_ms"]["mean"].n == len(icl)
    assert mean(stage, "icl_ms") == pytest.approx(np.mean(icl))
    assert stage.metrics["icl_ms"]["p90"].value == pytest.approx(np.quantile(icl, 0.9, method="inverted_cdf"))
    assert stage.metrics["itl_ms"]["mean"].n == len(itl)
    assert mean(stage, "itl_ms") == pytest.approx(np.mean(itl))


def test_stage_without_rows_has_no_token_metrics() -> None:
    assert "ttft_ms" not in summarize().metrics


def test_stage_has_token_lengths_of_completed_responses() -> None:
    stage = summarize(
        StreamedResponse(chunks_ms=(50, 60, 70), tokens_in=7, tokens_out=3),
        StreamedResponse(scheduled_ms=100, chunks_ms=(900,), tokens_in=900, tokens_out=1),
        StreamedResponse(scheduled_ms=200, tokens_in=5, tokens_out=None, error="timeout"),
    )
    assert stage.lengths is not None
    assert sorted(unpack_pairs(stage.lengths).tolist()) == [[7, 3], [900, 1]]


def test_user_speed_cached_share_and_good_tokens_are_computed_per_response() -> None:
    frame = stream_rows(
        [
            StreamedResponse(scheduled_ms=0, chunks_ms=(100, 120, 140), tokens_out=3, tokens_in=100),
            StreamedResponse(scheduled_ms=500, chunks_ms=(900, 950), tokens_out=2, tokens_in=300),
        ]
    )
    frame["tokens_cached"], frame["tokens_reasoning"] = [50, 30], [1, None]
    stage = summarize_stage(frame, None, STAGE_DATA, (parse_objective("ttft_ms.p95 < 200"),))
    assert mean(stage, "latency_per_token_ms") == pytest.approx((140 / 3 + 450 / 2) / 2)
    assert mean(stage, "user_tokens_per_s") == pytest.approx((50 + 20) / 2)
    assert stage.metrics["cached_input_share"]["value"].value == pytest.approx(80 / 400)
    assert (mean(stage, "reasoning_tokens"), stage.metrics["reasoning_tokens"]["mean"].n) == (1, 1)
    assert stage.metrics["good_tokens_per_s"]["value"].value == pytest.approx(3 / 10), (
        "the second response violates the SLO"
    )


def test_unreported_cached_and_reasoning_tokens_are_not_metrics() -> None:
    stage = summarize(StreamedResponse(chunks_ms=(10, 20), tokens_out=2))
    assert not stage.metrics.keys() & {"cached_input_share", "reasoning_tokens"}
    assert stage.metrics["good_tokens_per_s"]["value"].value == pytest.approx(2 / 10)
