"""Compute all metrics of one stage of a local model from its calls and its stage data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from app.analysis.estimates import compute_distribution, estimate_rate
from app.analysis.local.call_checks import check_calls
from app.analysis.local.call_rows import CALL_PARTS, CallRows, Floats, compute_lateness_ms, read_calls
from app.analysis.local.generation import summarize_generation
from app.analysis.number_format import format_number
from app.analysis.rows import NOT_STARTED
from app.analysis.validity import compute_verdict
from app.records.calls import CallStage
from app.records.estimate import Estimate
from app.records.result import Check, Stage, Window

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

THROUGHPUT_METRICS = ("throughput_per_s", "decode_tokens_per_s", "prefill_tokens_per_s")
"""Metrics of the throughput of a variant; the first that was measured is used."""
SEARCH_TAG = "search"
"""Tag of the stages of a search for the max rate within the SLO."""

_INFINITE_MS = 1e15
_NO_OFFERED_RATE = Estimate(None, reason="closed loop: the next call starts when the previous one ends")


def summarize_calls(rows: pd.DataFrame | pa.Table, stage_data: CallStage, checks: Sequence[Check] = ()) -> Stage:
    """Build the stage from its calls. `rows` includes the warm-up; `checks` are the checks that
    apply to the variant as a whole."""
    calls = read_calls(rows, stage_data)
    window = Window(stage_data.start_ns, stage_data.end_ns)
    bounds_ns = (window.start_ns, window.end_ns)
    if stage_data.test is not None:
        return summarize_generation(calls, stage_data, stage_data.test, checks)
    all_checks = (*checks, *check_calls(calls, stage_data))
    is_server = stage_data.scenario == "server"
    scheduled_ns = np.concatenate([calls.scheduled_ns, calls.never_started_ns]) if is_server else calls.scheduled_ns
    return Stage(
        name=format_stage_name(stage_data),
        kind="steady" if is_server else "closed",
        repeat=1,
        tags={"scenario": stage_data.scenario} | ({SEARCH_TAG: "yes"} if stage_data.in_search else {}),
        variant=stage_data.variant,
        window=window,
        offered_per_s=estimate_rate(np.sort(scheduled_ns), bounds_ns) if is_server else _NO_OFFERED_RATE,
        achieved_per_s=estimate_rate(np.sort(calls.begin_ns), bounds_ns),
        good_per_s=Estimate(None, reason="individual calls of a local model are not evaluated"),
        completed=len(calls),
        errors={NOT_STARTED: len(calls.never_started_ns)} if len(calls.never_started_ns) else {},
        metrics=_build_metrics(calls, stage_data, bounds_ns),
        verdict=compute_verdict(all_checks),
        checks=all_checks,
        scheduled_per_s=stage_data.rate_per_s,
        concurrency=_get_concurrency(stage_data),
        arrivals="Poisson" if is_server else None,
        arrival_kind="poisson" if is_server else None,
    )


def format_stage_name(stage_data: CallStage) -> str:
    """Return the display name of the stage, such as `offline: digits cpu as-is, batch 8`."""
    rate_suffix = "" if stage_data.rate_per_s is None else f" at {format_number(stage_data.rate_per_s)} calls/s"
    return f"{stage_data.scenario}{rate_suffix}: {stage_data.variant.label}"


def _get_concurrency(stage_data: CallStage) -> int | None:
    """Return the number of concurrent calls; `None` if the number depends on the arrivals."""
    match stage_data.scenario:
        case "server":
            return None
        case "single-stream":
            return 1
        case _:
            return stage_data.variant.streams * max(1, len(stage_data.variant.devices))


def _build_metrics(
    calls: CallRows, stage_data: CallStage, bounds_ns: tuple[int, int]
) -> dict[str, dict[str, Estimate]]:
    metrics = {"service_ms": compute_distribution(calls.service_ms)}
    if stage_data.scenario == "server":
        metrics["latency_ms"] = _compute_latency_distribution(calls)
        metrics["send_lag_ms"] = compute_distribution(compute_lateness_ms(calls))
    if stage_data.scenario == "multi-stream":
        metrics["latency_ms"] = compute_distribution(_compute_query_latencies_ms(calls))
    for part_name in CALL_PARTS:
        if not part_name.startswith("copy") or calls.has_separate_copies:
            metrics[part_name] = _compute_part_distribution(calls.compute_part_ms(part_name))
    metrics["throughput_per_s"] = {"value": _compute_throughput(calls, stage_data, bounds_ns)}
    return metrics


def _compute_throughput(calls: CallRows, stage_data: CallStage, bounds_ns: tuple[int, int]) -> Estimate:
    """Compute the throughput in rows per second.

    In a closed loop, a call that was running at the end of the stage counts by the fraction inside
    the stage. Otherwise, the throughput of a stage with few long calls would be too low."""
    end_ns = bounds_ns[1]
    completed_rate = estimate_rate(
        calls.end_ns, (bounds_ns[0], end_ns + 1)
    )  # include the last call of a single stream, which ends exactly at `end_ns`
    is_running_at_end = (calls.begin_ns < end_ns) & (calls.end_ns > end_ns)
    durations_ns = np.maximum(calls.end_ns - calls.begin_ns, 1)
    partial_call_count = (
        float(((end_ns - calls.begin_ns) / durations_ns)[is_running_at_end].sum())
        if stage_data.scenario != "server"
        else 0.0
    )
    completed_count = completed_rate.n or 0
    if not completed_count:
        duration_s = (end_ns - bounds_ns[0]) / 1e9
        value = (
            partial_call_count * stage_data.variant.batch / duration_s
            if duration_s > 0 and partial_call_count
            else None
        )
        return Estimate(value, n=0, reason="no call completed within the stage")
    return _scale_estimate(
        completed_rate, stage_data.variant.batch * (completed_count + partial_call_count) / completed_count
    )


def _compute_part_distribution(values_ms: Floats) -> dict[str, Estimate]:
    return {
        name: estimate
        for name, estimate in compute_distribution(values_ms).items()
        if name in ("p50", "p95", "p99", "mean", "max")
    }


def _compute_latency_distribution(calls: CallRows) -> dict[str, Estimate]:
    """Compute the latency from the scheduled start of each call to its end.

    Calls that were never started count as infinite, because they would have waited longest.
    Infinite aggregates are withheld."""
    latencies_ms = ((calls.end_ns - calls.scheduled_ns) / 1e6)[np.argsort(calls.scheduled_ns, kind="stable")]
    never_started_count = len(calls.never_started_ns)
    if not never_started_count:
        return compute_distribution(latencies_ms)
    reason = f"{never_started_count:,} calls were never started because the model could not keep up"
    estimates = compute_distribution(np.concatenate([latencies_ms, np.full(never_started_count, _INFINITE_MS)]))
    return {
        name: Estimate(None, reason=reason) if name == "mean" else _withhold_infinite_value(estimate, reason)
        for name, estimate in estimates.items()
    }


def _withhold_infinite_value(estimate: Estimate, reason: str) -> Estimate:
    if estimate.value is None:
        is_infinite = estimate.undersampled is not None and estimate.undersampled >= _INFINITE_MS
        return msgspec.structs.replace(estimate, undersampled=None) if is_infinite else estimate
    if estimate.value >= _INFINITE_MS:
        return Estimate(None, n=estimate.n, reason=reason)
    has_known_interval = estimate.ci95 is not None and estimate.ci95[1] < _INFINITE_MS
    return estimate if has_known_interval else Estimate(estimate.value, n=estimate.n, reason=f"no interval: {reason}")


def _compute_query_latencies_ms(calls: CallRows) -> Floats:
    """Compute the latency of each query in ms, in query order. The latency is the time from the
    scheduled start to the end of the last call."""
    queries, query_index = np.unique(calls.query, return_inverse=True)
    ends_ns = np.zeros(len(queries), np.int64)
    np.maximum.at(ends_ns, query_index, calls.end_ns)
    scheduled_ns = np.zeros(len(queries), np.int64)
    scheduled_ns[query_index] = calls.scheduled_ns
    latencies_ms: Floats = (ends_ns - scheduled_ns) / 1e6
    return latencies_ms


def _scale_estimate(estimate: Estimate, factor: float) -> Estimate:
    if estimate.value is None:
        return estimate
    interval = None if estimate.ci95 is None else (estimate.ci95[0] * factor, estimate.ci95[1] * factor)
    return Estimate(estimate.value * factor, interval, estimate.n, estimate.basis, estimate.reason)


def find_max_throughput_per_s(stages: Sequence[Stage]) -> float | None:
    """Return the highest throughput of a variant in inferences per second; `None` if there is none.
    INVALID stages are ignored."""
    return find_max_throughput(stages).value


def find_max_throughput(stages: Sequence[Stage]) -> Estimate:
    """Return the highest throughput of a variant in inferences per second, with its confidence
    interval. INVALID stages are ignored.

    For a language model, it is the highest decode throughput in tokens per second or, if no test
    generates tokens, the highest prefill throughput."""
    stage = find_fastest_stage([stage for stage in stages if stage.verdict.status != "INVALID"])
    return Estimate(None, reason="not measured") if stage is None else get_throughput(stage)


def find_fastest_stage(stages: Sequence[Stage], metrics: Sequence[str] = THROUGHPUT_METRICS) -> Stage | None:
    """Return the stage with the highest throughput by the first of the metrics that was measured.
    By default, the stages of a language model that generate tokens precede the others. Repeated
    measurements, which only serve to detect drift, are ignored. Return `None` if no stage has a
    throughput."""
    for name in metrics:
        measured_stages = [
            stage
            for stage in stages
            if stage.repeat == 1 and name in stage.metrics and stage.metrics[name]["value"].value is not None
        ]
        if measured_stages:
            return max(measured_stages, key=lambda stage: stage.metrics[name]["value"].value or 0.0)
    return None


def get_throughput(stage: Stage) -> Estimate:
    """Return the throughput of a stage, by the metric that `find_throughput_metric` returns."""
    estimates = stage.metrics.get(find_throughput_metric(stage), {})
    return estimates.get("value") or Estimate(None, reason="not measured")


def find_throughput_metric(stage: Stage) -> str:
    """Return the name of the throughput of a stage: inferences per second or, for a language model,
    decoded tokens or else prompt tokens per second."""
    return next((name for name in THROUGHPUT_METRICS if name in stage.metrics), THROUGHPUT_METRICS[0])
