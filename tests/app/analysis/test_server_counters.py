from __future__ import annotations

import pytest

from app.analysis.rows import read_rows
from app.analysis.server_counters import (
    check_other_clients,
    compare_latencies,
    compute_quantile_bounds_ms,
    compute_server_counters,
    refuse_by_counts,
)
from app.records.server_counters import CountersRefusal, LatencyComparison, LatencyHistogram, ServerCounters
from app.records.telemetry import Samples
from app.telemetry.metrics_page import parse_metrics
from tests.fakes.streams import StreamedResponse, stream_rows

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


def test_vllm_counters_are_increase_over_stage() -> None:
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
def test_latency_counters_of_other_servers_are_read(page: str, kind: str, mean_ms: float) -> None:
    counters = compute_server_counters([read("up 1\n")], [read(page)])
    assert counters is not None
    assert {name: (histogram.count, histogram.mean_ms) for name, histogram in counters.latencies.items()} == {
        kind: (8, mean_ms)
    }


def test_counters_of_two_servers_are_summed() -> None:
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
def test_server_counters_are_none_without_two_readings_of_known_counters(
    before: list[Samples | None], after: list[Samples | None]
) -> None:
    assert compute_server_counters(before, after) is None


def test_restarted_server_without_process_start_time_has_no_counters() -> None:
    assert compute_server_counters([read(VLLM.format(n=3))], [read(VLLM.format(n=1))]) is None


REPLICA = """# TYPE process_start_time_seconds gauge
process_start_time_seconds {start}
# TYPE vllm:request_success_total counter
vllm:request_success_total{{pod="{pod}"}} {requests}
# TYPE vllm:request_success_created gauge
vllm:request_success_created{{pod="{pod}"}} {created}
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total {cpu_s}
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_sum {ttft_s}
vllm:time_to_first_token_seconds_count {requests}
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running {running}
"""
FIRST = {"start": 1.7e9, "created": 1.7e9 + 5, "pod": "a", "requests": 100, "cpu_s": 30.0, "ttft_s": 9.0, "running": 9}
LATER = FIRST | {"requests": 400, "cpu_s": 40.0, "ttft_s": 12.0, "running": 0}


@pytest.mark.parametrize(
    ("differences", "refusal"),
    [
        ({}, None),
        ({"start": 1.7e9 + 60}, "other_process"),
        ({"created": 1.7e9 + 65}, "other_process"),
        ({"pod": "b"}, "other_process"),
        ({"cpu_s": 20.0}, "counter_decreased"),
        ({"ttft_s": 8.0}, "counter_decreased"),
    ],
)
def test_counters_of_different_processes_are_refused(
    differences: dict[str, object], refusal: CountersRefusal | None
) -> None:
    before, after = read(REPLICA.format(**FIRST)), read(REPLICA.format(**(LATER | differences)))
    counters = compute_server_counters([before], [after])
    assert counters is not None
    assert counters.refusal == refusal
    assert (counters.requests, set(counters.latencies)) == ((300, {"ttft"}) if refusal is None else (None, set()))


def test_counters_are_refused_if_one_of_several_servers_is_another_replica() -> None:
    first, later, other = (
        read(REPLICA.format(**values)) for values in (FIRST, LATER, LATER | {"start": 1.7e9 + 60, "pod": "b"})
    )
    counters = compute_server_counters([first, first], [later, other])
    assert counters == ServerCounters(refusal="other_process")


@pytest.mark.parametrize(
    ("counted_requests", "sent", "responses", "refusal"),
    [
        (300, 300, 300, None),
        (302, 300, 300, None),
        (4158, 300, 300, "more_than_sent"),
        (300, 300, 250, None),
        (275, 300, 300, None),
        (150, 300, 300, "fewer_than_answered"),
        (0, 300, 300, "fewer_than_answered"),
        (3, 5, 5, None),
        (2, 5, 5, "fewer_than_answered"),
    ],
)
@pytest.mark.parametrize("has_total", [True, False])
def test_server_counters_are_refused_if_request_count_does_not_match_stage(
    counted_requests: int, sent: int, responses: int, refusal: CountersRefusal | None, has_total: bool
) -> None:
    requests = counted_requests if has_total else None
    counters = ServerCounters(
        requests=requests, cached_input_tokens=5, latencies={"ttft": LatencyHistogram(counted_requests, 48.0)}
    )
    expected = counters if refusal is None else ServerCounters(requests=requests, refusal=refusal)
    assert refuse_by_counts(counters, sent, responses) == expected


def test_server_counters_without_request_count_are_not_refused() -> None:
    assert refuse_by_counts(ServerCounters(input_tokens=5), 1, 1) == ServerCounters(input_tokens=5)


def test_histogram_quantile_has_bucket_bounds_and_no_upper_bound_above_last_bucket() -> None:
    histogram = LatencyHistogram(100, 50.0, (10.0, 20.0), (50, 40))
    assert [compute_quantile_bounds_ms(histogram, share) for share in (0.5, 0.51, 0.9, 0.91)] == [
        (0.0, 10.0),
        (10.0, 20.0),
        (10.0, 20.0),
        (20.0, None),
    ]
    assert compute_quantile_bounds_ms(LatencyHistogram(100, 50.0), 0.5) is None


def test_client_means_start_at_send_and_include_lead_in() -> None:
    rows = read_rows(
        stream_rows(
            [
                StreamedResponse(scheduled_ms=-100, sent_ms=-90, chunks_ms=(-50, -40, -30), tokens_out=3),
                StreamedResponse(scheduled_ms=100, sent_ms=100, chunks_ms=(160, 200), tokens_out=2),
                StreamedResponse(scheduled_ms=200, sent_ms=200, chunks_ms=(900,), error="truncated"),
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
def test_requests_of_other_clients_are_warning(sent: int, verdict: str) -> None:
    check = check_other_clients(sent, ServerCounters(requests=100))
    assert check is not None
    assert check.verdict == verdict


def test_server_without_request_counter_is_not_checked_for_other_clients() -> None:
    assert check_other_clients(5, ServerCounters(input_tokens=5)) is None
