from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.analysis.token_samples import unpack_pairs
from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign

Read = Callable[..., ImportedCurve]


def test_vllm_aggregates_are_in_milliseconds(read_curve: Read) -> None:
    """300 responses in 36 s; latency p50 3,600 ms and p99.9 5,250 ms; ITL p99 34.25 ms; 1,000 tokens in, 270 out."""
    imported = read_curve("vllm-aggregates.json")
    (load_point,) = imported.load_points
    assert (imported.tool, imported.model, imported.precision) == ("vllm bench serve", "example/llama-8b", "aggregates")
    assert (load_point.offered_per_s, load_point.clients, load_point.duration_s) == (10.0, None, 36.0)
    assert (load_point.completed, load_point.failed) == (300, 0), "older versions do not count failures"
    assert load_point.achieved_per_s == pytest.approx(300 / 36)
    assert load_point.latencies_s["latency"] == pytest.approx({"mean": 3.7, "p50": 3.6, "p95": 4.5, "p99_9": 5.25})
    assert load_point.latencies_s["ttft"] == pytest.approx({"mean": 0.0545, "p50": 0.053, "p99": 0.08975})
    assert load_point.latencies_s["itl"]["p99"] == pytest.approx(0.03425)
    assert (load_point.input_tokens_mean, load_point.output_tokens_mean) == (1000.0, 270.0)


def test_vllm_details_yield_exact_aggregates_of_successful_requests(read_curve: Read) -> None:
    """Three requests succeeded, in 0.2 + 0.1 + 0.3, 0.3 + 4 x 0.1 and 0.4 s. TPOT: 0.4 / 2 and 0.4 / 4; a response of
    one token has none."""
    imported = read_curve("vllm-detailed.json")
    (load_point,) = imported.load_points
    assert imported.precision == "requests"
    assert (load_point.offered_per_s, load_point.clients) == (None, 2.0), (
        "an infinite rate under max_concurrency is a closed loop"
    )
    assert (load_point.completed, load_point.failed) == (3, 1)
    assert load_point.latencies_s["latency"]["mean"] == pytest.approx((0.6 + 0.7 + 0.4) / 3)
    assert load_point.latencies_s["latency"]["p50"] == pytest.approx(0.6)
    assert load_point.latencies_s["ttft"]["max"] == pytest.approx(0.4)
    assert load_point.latencies_s["tpot"]["mean"] == pytest.approx((0.2 + 0.1) / 2)
    assert load_point.latencies_s["itl"]["mean"] == pytest.approx((0.1 + 0.3 + 4 * 0.1) / 6)
    assert load_point.lengths is not None
    assert unpack_pairs(load_point.lengths).tolist() == [[10, 3], [10, 5], [10, 1]], (
        "lengths of the successful requests"
    )


def test_vllm_request_that_failed_midway_is_not_counted(write_changed_copy: Callable[..., Path]) -> None:
    imported = read_foreign([write_changed_copy("vllm-detailed.json", ttfts__1=0.9)])
    assert imported.precision == "requests"
    assert imported.load_points[0].latencies_s["latency"]["max"] == pytest.approx(0.7)


def test_vllm_files_and_appended_objects_are_one_curve_sorted_by_load(read_curve: Read) -> None:
    imported = read_curve("vllm-aggregates.json", "vllm-appended.json")
    assert [load_point.offered_per_s for load_point in imported.load_points] == [1.0, 2.0, 10.0]
    assert imported.source == "vllm-aggregates.json and 1 more"


def test_wait_under_max_concurrency_of_vllm_is_part_of_the_latency(read_curve: Read) -> None:
    """At 2 req/s: 0.5 s without a wait and 0.7 s after a wait of 0.25 s."""
    imported = read_curve("vllm-appended.json")
    assert imported.load_points[1].latencies_s["latency"]["mean"] == pytest.approx((0.5 + 0.95) / 2)
    assert imported.load_points[1].latencies_s["latency"]["max"] == pytest.approx(0.95)
    assert any("includes the wait" in note for note in imported.notes)


def test_vllm_latency_including_the_client_queue_is_preferred(write_changed_copy: Callable[..., Path]) -> None:
    changes = {"max_concurrency": 8, "mean_e2el_including_client_queue_ms": 4100.0}
    (load_point,) = read_foreign([write_changed_copy("vllm-aggregates.json", **changes)]).load_points
    assert load_point.latencies_s["latency"] == pytest.approx({"mean": 4.1})


def test_vllm_concurrency_limit_without_wait_times_is_noted(write_changed_copy: Callable[..., Path]) -> None:
    imported = read_foreign([write_changed_copy("vllm-aggregates.json", max_concurrency=8)])
    assert any("limited by max_concurrency" in note for note in imported.notes)


def test_vllm_run_with_an_infinite_rate_has_no_rate_or_concurrency(write_changed_copy: Callable[..., Path]) -> None:
    imported = read_foreign([write_changed_copy("vllm-aggregates.json", request_rate="inf")])
    assert (imported.load_points[0].offered_per_s, imported.load_points[0].clients) == (None, None)
    assert any("all its requests were sent at once" in note for note in imported.notes)


def test_vllm_details_that_do_not_match_the_number_of_successes_are_not_used(
    write_changed_copy: Callable[..., Path],
) -> None:
    imported = read_foreign([write_changed_copy("vllm-detailed.json", completed=2)])
    assert imported.precision == "aggregates"
    assert "latency" not in imported.load_points[0].latencies_s
    assert any("no end-to-end latency" in note for note in imported.notes)


def test_vllm_run_without_successes_has_no_latencies(write_changed_copy: Callable[..., Path]) -> None:
    changes = {
        "completed": 0,
        "request_throughput": 0.0,
        "mean_ttft_ms": 0.0,
        "median_ttft_ms": 0.0,
        "p99_ttft_ms": 0.0,
    }
    (load_point,) = read_foreign([write_changed_copy("vllm-aggregates.json", **changes)]).load_points
    assert (load_point.completed, load_point.failed, load_point.latencies_s) == (0, 300, {})


def test_vllm_ramp_is_rejected(write_changed_copy: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="its rate ramped up"):
        read_foreign([write_changed_copy("vllm-aggregates.json", ramp_up_strategy="linear")])


def test_vllm_lists_of_different_lengths_are_rejected(write_changed_copy: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"different lengths \(latencies 4, ttfts 4, itls 4, output_lens 3\)"):
        read_foreign([write_changed_copy("vllm-detailed.json", output_lens=[3, 0, 5])])
