"""Find the steady state of a stage: the part after the ramp-up and before the end, in which the
number of requests in flight is level.

A stage of sessions begins with few requests in flight, and in a closed loop that runs out of
requests, or at the end of a benchmark, clients stop one after another. Throughput over such a stage
understates what the endpoint sustains, and latency too."""

from __future__ import annotations

import numpy as np

from app.analysis.columns import Floats, Nanoseconds
from app.analysis.estimates import BATCH_COUNT, compute_distribution, estimate_rate
from app.analysis.rows import StageRows
from app.analysis.spans import compute_durations_ms
from app.analysis.token_metrics import estimate_output_rate
from app.records.result import SteadyState, Window
from app.records.stage import StageData
from app.records.stage_kinds import STAGE_KINDS

MIN_LEVEL = 0.9
"""Share of the median number of requests in flight that a part of a stage must reach to be steady."""
_MIN_DEVIATIONS = 3.0
"""Random arrivals vary too: a part is left out only if it is this number of standard deviations, as
observed in the middle half of the stage, below the median."""
_MIN_SHARE = 0.5
"""Minimum share of the stage that must be steady."""
_METRICS = ("latency_ms", "ttft_ms", "tpot_ms")


def find_steady_state(rows: StageRows, stage_data: StageData, window: Window) -> SteadyState | None:
    """Return the metrics of the steady state of a stage whose load is constant, if it is shorter
    than the stage; None if the whole stage is steady, or less than half of it.

    The window is divided into 20 parts. Parts at its start and at its end are left out while their
    mean number of requests in flight is below 90 % of the median part's by more than random
    arrivals explain. `rows` contains all rows
    of the stage.
    """
    if (
        not STAGE_KINDS[stage_data.kind].has_constant_load
        or stage_data.stopped_early
        or window.end_ns <= window.start_ns
    ):
        return None
    edges_ns = np.linspace(window.start_ns, window.end_ns, BATCH_COUNT + 1).round().astype(np.int64)
    in_flight = compute_requests_in_flight(rows, edges_ns)
    median, middle = float(np.median(in_flight)), in_flight[BATCH_COUNT // 4 : -BATCH_COUNT // 4]
    noise = _MIN_DEVIATIONS * float(middle.std(ddof=1))
    steady_parts = np.flatnonzero(in_flight >= median - max((1 - MIN_LEVEL) * median, noise))
    if not in_flight.any() or not steady_parts.size:
        return None
    first, last = int(steady_parts[0]), int(steady_parts[-1])
    if last - first + 1 == BATCH_COUNT or last - first + 1 < _MIN_SHARE * BATCH_COUNT:
        return None
    start_ns, end_ns = int(edges_ns[first]), int(edges_ns[last + 1])
    inside = rows.filter((rows.scheduled_ns >= start_ns) & (rows.scheduled_ns < end_ns) & rows.is_success)
    bounds_ns = (start_ns, end_ns)
    metrics = {"completed_per_s": {"value": estimate_rate(rows.end_ns[rows.is_success], bounds_ns)}}
    for metric in _METRICS:
        values_ms = compute_durations_ms(inside, metric)
        if values_ms is not None and values_ms.size and not np.isnan(values_ms).all():
            metrics[metric] = compute_distribution(values_ms)
    output_rate = estimate_output_rate(rows.filter(rows.is_success), bounds_ns)
    if output_rate is not None:
        metrics["output_tokens_per_s"] = {"value": output_rate}
    return SteadyState(Window(start_ns, end_ns), median, metrics)


def compute_requests_in_flight(rows: StageRows, edges_ns: Nanoseconds) -> Floats:
    """Return the mean number of requests in flight between consecutive edges."""
    was_ended = rows.was_sent & (rows.end_ns > 0)
    sent_ns, end_ns = rows.sent_ns[was_ended], rows.end_ns[was_ended]
    request_ns = [float(np.clip(edge_ns - sent_ns, 0, end_ns - sent_ns).sum(dtype=np.float64)) for edge_ns in edges_ns]
    in_flight: Floats = np.diff(request_ns) / np.diff(edges_ns)
    return in_flight
