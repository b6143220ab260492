from __future__ import annotations

import pytest

from app.analysis.rows import read_rows
from app.analysis.server_counters import (
    check_other_clients,
    compare_latencies,
    compute_quantile_bounds_ms,
    compute_server_counters,
)
from app.records.server_counters import LatencyComparison, LatencyHistogram, ServerCounters
from app.records.telemetry import Samples
from app.telemetry.metrics_page import parse_metrics
from tests.fakes.streams import Answer, stream_rows

VLLM = """vllm:request_success_total{{finished_reason="stop"}} {n}
vllm:request_success_total{{finished_reason="length"}} {n}
vllm:prompt_tokens_total 1{n}00
vllm:prefix_cache_queries_total {n}00
vllm:prefix_cache_hits_total {n}0
vllm:generation_tokens_total {n}6
vllm:num_preemptions_total {n}
vllm:time_to_first_token_seconds_bucket{{engine="0",le="0.1"}} {n}
vllm:time_to_first_token_seconds_bucket{{engine="1",le="0.1"}} {n}
vllm:time_to_first_token_seconds_bucket{{engine="0",le="0.5"}} {n}
vllm:time_to_first_token_seconds_bucket{{engine="1",le="0.5"}} {n}5
vllm:time_to_first_token_seconds_bucket{{engine="0",le="+Inf"}} {n}9
vllm:time_to_first_token_seconds_sum {n}.5
vllm:time_to_first_token_seconds_count {n}4
vllm:request_queue_time_seconds_sum {n}
vllm:request_queue_time_seconds_count {n}0
"""


def read(page: str) -> Samples:
    samples = parse_metrics(page)
    assert samples is not None
    return samples


def test_counters_of_vllm_are_the_increase_over_a_stage() -> None:
    counters = compute_server_counters([read(VLLM.format(n=1))], [read(VLLM.format(n=3))])
    assert counters == ServerCounters(
        requests=4,
        input_tokens=200,
        cached_input_tokens=20,
        looked_up_input_tokens=200,
        output_tokens=20,
        preemptions=2,
        latencies={
            "ttft": LatencyHistogram(20, 100.0, (100.0, 500.0), (4, 18)),
            "queue": LatencyHistogram(20, 100.0),
        },
    )


@pytest.mark.parametrize(
    ("page", "kind", "mean_ms"),
    [
        ("sglang:time_to_first_token_seconds_sum 4\nsglang:time_to_first_token_seconds_count 8\n", "ttft", 500),
        ("trtllm:e2e_request_latency_seconds_sum 4\ntrtllm:e2e_request_latency_seconds_count 8\n", "e2e", 500),
        ("tgi_request_queue_duration_sum 4\ntgi_request_queue_duration_count 8\n", "queue", 500),
        ("dynamo_frontend_inter_token_latency_seconds_sum 4\ndynamo_frontend_inter_token_latency_seconds_count 8\n",
         "itl", 500),
        ("nv_inference_queue_duration_us 4\nnv_inference_request_success 8\n", "queue", 0.0005),
    ],
)  # fmt: skip
def test_latencies_of_other_servers_are_read(page: str, kind: str, mean_ms: float) -> None:
    counters = compute_server_counters([read("up 1\n")], [read(page)])
    assert counters is not None
    assert {name: (found.count, found.mean_ms) for name, found in counters.latencies.items()} == {kind: (8, mean_ms)}


def test_two_servers_are_added_up() -> None:
    before, after = read(VLLM.format(n=1)), read(VLLM.format(n=2))
    counters = compute_server_counters([before, before], [after, read(VLLM.format(n=3))])
    assert counters is not None
    assert (counters.requests, counters.preemptions) == (6, 3)
    assert counters.latencies["ttft"] == LatencyHistogram(30, 100.0, (100.0, 500.0), (6, 27))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], []),
        ([None], [read(VLLM.format(n=1))]),
        ([read(VLLM.format(n=1))], [None]),
        ([read(VLLM.format(n=1))], []),
        ([read(VLLM.format(n=1))], [read(VLLM.format(n=1))]),
        ([read("up 1\n")], [read("up 2\n")]),
    ],
)
def test_without_two_readings_or_known_counters_nothing_is_known(
    before: list[Samples | None], after: list[Samples | None]
) -> None:
    assert compute_server_counters(before, after) is None


def test_a_restarted_server_is_unknown() -> None:
    assert compute_server_counters([read(VLLM.format(n=3))], [read(VLLM.format(n=1))]) is None


def test_a_quantile_lies_in_a_bucket_and_beyond_the_last_one_has_no_upper_bound() -> None:
    histogram = LatencyHistogram(100, 50.0, (10.0, 20.0), (50, 40))
    assert [compute_quantile_bounds_ms(histogram, share) for share in (0.5, 0.51, 0.9, 0.91)] == [
        (0.0, 10.0),
        (10.0, 20.0),
        (10.0, 20.0),
        (20.0, None),
    ]
    assert compute_quantile_bounds_ms(LatencyHistogram(100, 50.0), 0.5) is None


def test_the_clients_means_start_at_the_send_and_include_the_requests_of_the_lead_in() -> None:
    rows = read_rows(
        stream_rows(
            [
                Answer(scheduled_ms=-100, sent_ms=-90, chunks_ms=(-50, -40, -30), tokens_out=3),
                Answer(scheduled_ms=100, sent_ms=100, chunks_ms=(160, 200), tokens_out=2),
                Answer(scheduled_ms=200, sent_ms=200, chunks_ms=(900,), error="truncated"),
            ]
        )
    )
    histogram = LatencyHistogram(2, 48.0)
    counters = ServerCounters(latencies={"ttft": histogram, "queue": histogram, "itl": histogram, "e2e": histogram})
    assert compare_latencies(rows, counters) == (
        LatencyComparison("ttft", 48.0, 2, 50.0, 2),
        LatencyComparison("queue", 48.0, 2, None, None),
        LatencyComparison("itl", 48.0, 2, 20.0, 3),
        LatencyComparison("e2e", 48.0, 2, 80.0, 2),
    )


@pytest.mark.parametrize(("sent", "verdict"), [(100, "VALID"), (99, "VALID"), (98, "WARN"), (120, "VALID")])
def test_requests_of_other_clients_are_a_warning(sent: int, verdict: str) -> None:
    check = check_other_clients(sent, ServerCounters(requests=100))
    assert check is not None
    assert check.verdict == verdict


def test_a_server_that_counts_no_requests_is_not_checked() -> None:
    assert check_other_clients(5, ServerCounters(input_tokens=5)) is None
