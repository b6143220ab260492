from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd
import pytest

from app.analysis.objectives import parse_objective, select_binding_objectives
from app.analysis.stages import (
    add_telemetry,
    compute_telemetry_metrics,
    find_remote_sources,
    read_metric_samples,
    summarize_stage,
)
from app.analysis.validity import check_telemetry
from app.records.result import Estimate, StageKind, Window
from tests.fakes.queues import START_NS, build_stage_data, constant_s, latency_s, poisson_s, request_rows

SLO = (parse_objective("latency_ms.p95 < 50"),)


def build_telemetry(*readings: tuple[float, str, str, float | None]) -> pd.DataFrame:
    frame = pd.DataFrame(readings, columns=["at_s", "source", "metric", "value"])
    frame.insert(0, "at_ns", START_NS + (frame.pop("at_s") * 1e9).astype("int64"))
    return frame.astype({"value": "float64"})


def test_latency_includes_wait_behind_stall_and_service_time_does_not() -> None:
    """Responses of 50 ms at 100 req/s for 12 s, with one freeze of 1 s in which the client cannot send.

    100 of 1,200 requests wait a uniform 0 to 1 s: p95 = 50 ms + 1 s · (1 − 60/100), p99 = 50 ms + 1 s · (1 − 12/100).
    """
    scheduled = constant_s(100, 12)
    wait = np.where((scheduled >= 5) & (scheduled < 6), 6 - scheduled, 0.0)
    stage = summarize_stage(
        request_rows(scheduled, wait + 0.05, lag_s=wait), None, build_stage_data(100, 12, arrivals="constant"), SLO
    )
    latency, service = stage.metrics["latency_ms"], stage.metrics["service_ms"]
    assert latency["p95"].value == pytest.approx(450, rel=0.05)
    assert latency["p99"].value == pytest.approx(930, rel=0.05)
    assert service["p99"].value == pytest.approx(50)
    assert stage.metrics["send_lag_ms"]["max"].value == pytest.approx(1000)
    assert stage.meets_slo is False


def test_stage_without_disturbance_meets_slo_and_is_valid() -> None:
    rng = np.random.default_rng(2)
    scheduled = poisson_s(200, 10, rng)
    latency = latency_s(scheduled, np.full(scheduled.size, 0.003))
    stage = summarize_stage(request_rows(scheduled, latency), None, build_stage_data(200, 10), SLO)
    assert stage.verdict.status == "VALID", stage.verdict.reasons
    assert stage.meets_slo is True
    assert stage.errors == {}
    assert stage.completed == scheduled.size
    assert stage.scheduled_per_s == 200
    for estimate in (stage.offered_per_s, stage.achieved_per_s, stage.good_per_s):
        assert estimate.value == pytest.approx(scheduled.size / 10, rel=0.01)
    assert stage.metrics["error_rate"]["value"].value == 0.0
    assert stage.metrics["goodput_share"]["value"].value == 1.0


def test_failures_reduce_goodput_and_do_not_count_in_latency() -> None:
    scheduled = constant_s(100, 10)
    errors = [None, None, None, "http-5xx"] * 250
    latency = np.where(np.arange(1000) % 4 == 3, 0.001, 0.02)
    stage = summarize_stage(request_rows(scheduled, latency, errors=errors), None, build_stage_data(100, 10), SLO)
    assert stage.metrics["latency_ms"]["p50"].value == pytest.approx(20)
    assert stage.metrics["latency_ms"]["p50"].n == 750
    assert stage.metrics["error_rate"]["value"].value == 0.25
    assert stage.metrics["goodput_share"]["value"].value == 0.75
    assert stage.good_per_s.value == pytest.approx(75)
    assert stage.errors == {"http-5xx": 250}


@pytest.mark.parametrize(("slo", "meets_slo"), [("error_rate < 50%", True), ("error_rate < 20%", False)])
def test_latency_only_slo_is_violated_by_failures(slo: str, meets_slo: bool) -> None:
    errors = [None, None, None, "http-4xx"] * 250
    rows = request_rows(constant_s(100, 10), np.full(1000, 0.02), errors=errors)
    assert summarize_stage(rows, None, build_stage_data(100, 10), SLO).meets_slo is False
    assert summarize_stage(rows, None, build_stage_data(100, 10), (*SLO, parse_objective(slo))).meets_slo is meets_slo


def test_unsent_requests_reduce_goodput_and_not_error_rate() -> None:
    frame = request_rows(constant_s(100, 10), np.full(1000, 0.02))
    times = ["sent_ns", "first_byte_ns", "end_ns"]
    frame[times] = frame[times].astype(float).where(frame["index"] % 10 != 0, axis=0)
    stage = summarize_stage(frame, None, build_stage_data(100, 10), SLO)
    assert stage.errors == {"not-started": 100}
    assert stage.metrics["error_rate"]["value"].value == 0.0
    assert stage.metrics["goodput_share"]["value"].value == 0.9
    assert stage.achieved_per_s.value == pytest.approx(90)
    assert stage.verdict.status == "INVALID"


def test_responses_in_drain_are_completed_and_not_throughput() -> None:
    scheduled = constant_s(100, 10)
    latency = latency_s(scheduled, np.full(1000, 0.02))  # capacity: 50 req/s
    stage = summarize_stage(request_rows(scheduled, latency), None, build_stage_data(100, 10, drain_s=10), SLO)
    assert stage.completed == 1000
    assert stage.metrics["completed_per_s"]["value"].value == pytest.approx(50, rel=0.01)
    assert stage.metrics["latency_ms"]["max"].value == pytest.approx(10_010, rel=0.01)
    assert stage.meets_slo is False


@pytest.mark.parametrize(
    ("stage_data", "meets_slo"),
    [
        (build_stage_data(100, 10, kind="warmup"), None),
        (build_stage_data(100, 10, stopped_early=True), None),
        (build_stage_data(100, 10, stopped_early=True, over_saturated=True), False),
        (build_stage_data(100, 10, kind="step"), True),
    ],
)
def test_only_complete_stage_is_evaluated_against_slo(stage_data: object, meets_slo: bool | None) -> None:
    rows = request_rows(constant_s(100, 10), np.full(1000, 0.02))
    assert summarize_stage(rows, None, stage_data, SLO).meets_slo is meets_slo  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "duration_s", "meets_slo"),
    [("steady", 3, None), ("steady", 10, None), ("probe", 10, None), ("probe", 11, False)],
)
def test_too_few_samples_leave_stage_undecided_and_fail_long_probe(
    kind: StageKind, duration_s: float, meets_slo: bool | None
) -> None:
    rows = request_rows(constant_s(10, 3), np.full(30, 0.02))
    stage = summarize_stage(rows, None, msgspec.structs.replace(build_stage_data(10, duration_s), kind=kind), SLO)
    assert stage.metrics["latency_ms"]["p95"].reason == "30 of 72 required samples"
    assert stage.meets_slo is meets_slo


def test_violated_objective_decides_despite_withheld_percentile() -> None:
    rows = request_rows(constant_s(10, 3), np.full(30, 0.02), errors=["http-5xx"] * 5 + [None] * 25)
    stage = summarize_stage(rows, None, build_stage_data(10, 3), select_binding_objectives(SLO))
    assert stage.metrics["latency_ms"]["p95"].value is None
    assert stage.meets_slo is False
    assert "samples" in " ".join(stage.verdict.reasons)


@pytest.mark.parametrize("rows", [request_rows(constant_s(100, 0), np.empty(0))])
def test_stage_without_rows_is_not_valid(rows: pd.DataFrame) -> None:
    stage = summarize_stage(rows, None, build_stage_data(100, 3), SLO)
    assert (stage.completed, stage.errors, stage.meets_slo) == (0, {}, None)
    assert stage.verdict.status != "VALID"
    assert stage.metrics["error_rate"]["value"].value is None


def test_stage_with_only_failures_violates_slo_with_warning() -> None:
    rows = request_rows(constant_s(100, 5), np.full(500, 0.02), errors=["http-5xx"] * 500)
    stage = summarize_stage(rows, None, build_stage_data(100, 5), SLO)
    assert (stage.completed, stage.meets_slo) == (0, False)
    assert stage.verdict.status == "WARN"


def test_labeled_responses_have_accuracy() -> None:
    rows = request_rows(constant_s(100, 1), np.full(100, 0.02))
    correct = pd.Series([True] * 60 + [False] * 20 + [None] * 20, dtype="boolean")
    accuracy = summarize_stage(rows.assign(correct_rows=correct), None, build_stage_data(100, 1), SLO).metrics[
        "accuracy"
    ]["value"]
    assert (accuracy.value, accuracy.n) == (0.75, 80)
    batched = msgspec.structs.replace(build_stage_data(100, 1), rows_per_request=4)
    counts = pd.Series([3] * 80 + [None] * 20, dtype="Int32")
    accuracy = summarize_stage(rows.assign(correct_rows=counts), None, batched, SLO).metrics["accuracy"]["value"]
    assert (accuracy.value, accuracy.n) == (0.75, 320)
    assert "accuracy" not in summarize_stage(rows, None, build_stage_data(100, 1), SLO).metrics


def test_telemetry_added_later_is_evaluated_as_if_present_before() -> None:
    rows, stage_data = (
        request_rows(constant_s(100, 10), np.full(1000, 0.01)),
        build_stage_data(100, 10, arrivals="constant"),
    )
    readings = build_telemetry(*((at, "host", "host_cpu_percent", 50.0) for at in range(10)))
    for limit, meets_slo in ((60, True), (40, False)):
        slo = (parse_objective(f"host_cpu_percent.mean < {limit}"),)
        first = summarize_stage(rows, None, stage_data, slo)
        assert first.meets_slo is None, "an unknown metric neither meets nor violates the SLO"
        later = add_telemetry(first, read_metric_samples(readings), stage_data, slo)
        assert later == summarize_stage(rows, readings, stage_data, slo)
        assert later.meets_slo is meets_slo


def test_telemetry_inside_window_is_aggregated_by_metric() -> None:
    readings = build_telemetry(
        (-0.1, "endpoint", "endpoint_cpu_cores", 9.0),
        (0.1, "endpoint", "endpoint_cpu_cores", 1.0),
        (0.2, "endpoint", "endpoint_cpu_cores", 3.0),
        (1.0, "endpoint", "endpoint_cpu_cores", 9.0),
        (0.1, "gpu0", "gpu_power_w", 100.0),
        (0.1, "gpu1", "gpu_power_w", 200.0),
        (0.1, "gpu0", "gpu_memory_gib", None),
        (0.1, "host", "not_in_the_catalog", 1.0),
    )
    rows = request_rows(constant_s(100, 1), np.full(100, 0.02))
    metrics = summarize_stage(rows, readings, build_stage_data(100, 1), SLO).metrics
    assert metrics["endpoint_cpu_cores"]["mean"].value == 2.0
    assert metrics["endpoint_cpu_cores"]["max"].value == 3.0
    assert metrics["gpu_power_w"]["mean"].value == 150.0
    assert metrics["gpu_memory_gib"]["mean"] == Estimate(None, n=0, reason="no values")
    assert "not_in_the_catalog" not in metrics


def test_requests_of_lead_in_complete_in_stage_throughput() -> None:
    """100 req/s with a latency of 1 s, a lead-in of 2 s and a stage of 5 s: throughput is 100 req/s from the start."""
    rows = request_rows(constant_s(100, 7) - 2, np.full(700, 1.0))
    stage = summarize_stage(rows, None, msgspec.structs.replace(build_stage_data(100, 5), lead_in_s=2.0), SLO)
    assert stage.completed == 500
    assert stage.offered_per_s.value == pytest.approx(100)
    assert stage.metrics["completed_per_s"]["value"].value == pytest.approx(100)


def test_closed_loop_has_no_offered_rate() -> None:
    stage_data = msgspec.structs.replace(
        build_stage_data(100, 5, kind="closed", arrivals="closed"), rate_per_s=None, concurrency=2
    )
    stage = summarize_stage(request_rows(constant_s(100, 5), np.full(500, 0.02)), None, stage_data, SLO)
    assert stage.offered_per_s.reason == "closed loop: the next request waits for a response"
    assert (stage.concurrency, stage.scheduled_per_s, stage.arrivals) == (2, None, "closed loop, 2 clients")
    assert stage.achieved_per_s.value == pytest.approx(100)


def test_metrics_from_scheduled_start_are_withheld_if_start_is_unknown() -> None:
    frame = request_rows(constant_s(100, 5), np.full(500, 0.02))
    frame = frame.assign(scheduled_ns=pd.array([None] * 500, dtype="Int64"))
    stage_data = msgspec.structs.replace(
        build_stage_data(100, 5, kind="closed", arrivals="locust"), rate_per_s=None, concurrency=2
    )
    stage = summarize_stage(frame, None, stage_data, SLO)
    for name in ("latency_ms", "first_byte_ms", "send_lag_ms"):
        assert stage.metrics[name]["p50"] == Estimate(None, reason="the scheduled start is unknown")
    assert stage.metrics["service_ms"]["p95"].value == pytest.approx(20)
    assert stage.completed == 500
    assert str(stage.good_per_s.reason).startswith(
        "the scheduled start is unknown, but p95 latency < 50 ms is measured"
    )
    assert stage.metrics["goodput_share"]["value"].value is None
    served = (parse_objective("service_ms.p95 < 50"),)
    assert summarize_stage(frame, None, stage_data, served).metrics["goodput_share"]["value"].value == 1.0
    assert summarize_stage(frame, None, stage_data, served).meets_slo is True


READINGS = [
    ("host", "host_cpu_percent", 40.0),
    ("host/core0", "core_cpu_percent", 80.0),
    ("gpu0", "gpu_power_w", 100.0),
    ("gpu0", "gpu_energy_j", 1e6),
    ("lab", "scrape_ok", 1.0),
    ("lab", "scrape_ms", 3.0),
    ("lab/host", "host_cpu_percent", 90.0),
    ("lab/gpu0", "gpu_power_w", 700.0),
]


def build_multi_source_telemetry(every_ns: int = 1_000_000_000) -> pd.DataFrame:
    return pd.DataFrame(
        [(at * every_ns, *row) for at in range(10) for row in READINGS], columns=["at_ns", "source", "metric", "value"]
    )


def test_metrics_page_and_its_sources_are_remote() -> None:
    assert find_remote_sources(build_multi_source_telemetry()) == {"lab", "lab/host", "lab/gpu0"}


def test_telemetry_metrics_exclude_remote_sources() -> None:
    metrics = compute_telemetry_metrics(read_metric_samples(build_multi_source_telemetry()), Window(0, 10_000_000_000))
    assert metrics["gpu_power_w"]["mean"].value == 100
    assert metrics["host_cpu_percent"]["max"].value == 40


def test_energy_counter_is_not_aggregated_as_metric() -> None:
    assert "gpu_energy_j" not in read_metric_samples(build_multi_source_telemetry())


def test_slow_telemetry_sources_do_not_count_as_gaps() -> None:
    slow = build_multi_source_telemetry()
    steady = pd.DataFrame(
        [(at * 100_000_000, "host", "host_cpu_percent", 1.0) for at in range(100)], columns=list(slow.columns)
    )
    others = slow[~slow["source"].isin(["host", "gpu0"])]
    assert check_telemetry(pd.concat([others, steady], ignore_index=True)).verdict == "VALID"
    assert check_telemetry(slow).verdict == "WARN"
