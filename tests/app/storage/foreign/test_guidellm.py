from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign

Read = Callable[..., ImportedCurve]


def test_guidellm_0_3_strategy_and_model_are_read(read_curve: Read) -> None:
    imported = read_curve("guidellm-0.3.json")
    assert (imported.tool, imported.version, imported.model) == ("GuideLLM", None, "example/llama-8b")
    assert [(load_point.offered_per_s, load_point.clients) for load_point in imported.load_points] == [
        (None, 1.0),
        (2.0, None),
    ]
    assert [
        (load_point.completed, load_point.failed, load_point.achieved_per_s) for load_point in imported.load_points
    ] == [
        (40, 1, 1.6),
        (4, 1, 1.9),
    ]
    assert imported.precision == "aggregates", "one load point has no requests"


def test_guidellm_aggregates_in_seconds_and_milliseconds_are_read(read_curve: Read) -> None:
    """In the file: latency p95 0.6 s, p99.9 0.8 s; TTFT p50 95 ms; inter-token latency p99 12.5 ms."""
    latencies = read_curve("guidellm-0.3.json").load_points[0].latencies_s
    assert latencies["latency"]["p95"] == pytest.approx(0.6)
    assert latencies["latency"]["p99_9"] == pytest.approx(0.8)
    assert latencies["ttft"]["p50"] == pytest.approx(0.095)
    assert latencies["tpot"]["p99"] == pytest.approx(0.0125)
    assert "itl" not in latencies, "GuideLLM's ITL is a mean per request"


def test_guidellm_latency_of_a_rate_starts_at_the_scheduled_start(read_curve: Read) -> None:
    """Sent 0.1, 0, 0.4 and 0 s late; service times 0.5, 0.5, 0.5 and 0.2 s; first tokens after 0.1, 0.1, 0.1 and 0.2
    s."""
    imported = read_curve("guidellm-0.3.json")
    rate = imported.load_points[1]
    assert rate.latencies_s["latency"]["mean"] == pytest.approx((0.6 + 0.5 + 0.9 + 0.2) / 4)
    assert rate.latencies_s["latency"]["p50"] == pytest.approx(0.5)
    assert rate.latencies_s["latency"]["max"] == pytest.approx(0.9)
    assert rate.latencies_s["ttft"]["mean"] == pytest.approx((0.2 + 0.1 + 0.5 + 0.2) / 4)
    assert rate.latencies_s["tpot"]["mean"] == pytest.approx(0.4 / 40), "a response of one token has no TPOT"
    assert any("from the scheduled start, using" in note for note in imported.notes)


def test_guidellm_warm_up_requests_are_not_counted(read_curve: Read) -> None:
    """The report has three requests; two are in its window: 0.4 s, and 0.5 s late plus 0.5 s."""
    imported = read_curve("guidellm-0.7.json")
    rate = imported.load_points[0]
    assert (imported.version, imported.model) == ("0.7.3", "example/llama-8b")
    assert rate.latencies_s["latency"]["mean"] == pytest.approx((0.5 + 1.0) / 2)
    assert (rate.completed, rate.failed) == (2, 1)
    assert any("in flight at the end of a stage" in note for note in imported.notes)


def test_guidellm_streams_are_clients_and_throughput_runs_have_no_load(read_curve: Read) -> None:
    imported = read_curve("guidellm-0.7.json")
    assert [(load_point.offered_per_s, load_point.clients) for load_point in imported.load_points] == [
        (1.0, None),
        (None, 8.0),
        (None, None),
    ]
    assert any("all its requests were sent at once" in note for note in imported.notes)


def test_guidellm_aggregates_are_preferred_to_a_sample_of_requests(write_changed_copy: Callable[..., Path]) -> None:
    path = write_changed_copy("guidellm-0.7.json", benchmarks__0__metrics__request_totals__successful=90)
    imported = read_foreign([path])
    assert imported.load_points[0].latencies_s["latency"]["p95"] == pytest.approx(0.6)
    assert any("measured from the send" in note for note in imported.notes)


def test_guidellm_latency_without_scheduled_starts_starts_at_the_send(write_changed_copy: Callable[..., Path]) -> None:
    key_path = "benchmarks__0__requests__successful__1__info__timings__targeted_start"
    imported = read_foreign([write_changed_copy("guidellm-0.7.json", **{key_path: None})])
    assert imported.load_points[0].latencies_s["latency"]["mean"] == pytest.approx(0.5)
    assert any("measured from the send" in note for note in imported.notes)


@pytest.mark.parametrize("strategy", [{"type_": "trace"}, {}, None, "constant"])
def test_guidellm_benchmark_without_a_constant_load_is_rejected(
    write_changed_copy: Callable[..., Path], strategy: Any
) -> None:
    with pytest.raises(UsageError, match=r"guidellm-0.7.json cannot be read as a curve: its strategy"):
        read_foreign([write_changed_copy("guidellm-0.7.json", benchmarks__1__config__strategy=strategy)])


def test_guidellm_report_without_benchmarks_is_rejected(write_changed_copy: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="its list of benchmarks is empty"):
        read_foreign([write_changed_copy("guidellm-0.7.json", benchmarks=[])])
