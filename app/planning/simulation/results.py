"""Percentiles and shares from the counts of a simulated fleet, pooled over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled
from app.planning.simulation.histogram import BUCKET_COUNT, compute_quantiles_s
from app.planning.simulation.state import (
    ARRIVED,
    BUSY,
    CLOCK,
    DONE,
    DONE_SUM,
    FAILED,
    FIRST_TOKEN,
    GOOD,
    HISTOGRAMS,
    KIND,
    LATENCY,
    PER_TOKEN,
    RUNNING,
    SHARED,
    SLOTS,
    SUM,
    WIDTH,
    Fleet,
)


class LatencyStatistics(msgspec.Struct, frozen=True):
    """Mean and percentiles of a latency, in seconds. Values are `None` if no request was counted.

    Percentiles are in the requested order, pooled over all seeds.
    """

    mean_s: float | None
    percentiles_s: tuple[float | None, ...]


class ClassOutcome(msgspec.Struct, frozen=True):
    """Results of a request class.

    `good_share` is the share of good requests among all requests that were answered, dropped, timed
    out or failed. `first_token` and `per_token` are `None` if requests have no tokens.
    """

    good_share: float | None
    latency: LatencyStatistics
    first_token: LatencyStatistics | None
    per_token: LatencyStatistics | None


def reset_counts(fleet: Fleet) -> None:
    """End the warm-up: count the requests in flight as arrived, and reset all other counts to 0."""
    counts = fleet.tallies[:, :HISTOGRAMS].copy()
    fleet.tallies[:] = 0
    fleet.tallies[:, ARRIVED] = counts[:, ARRIVED] - counts[:, ARRIVED + 1 :].sum(axis=1)
    fleet.classes[:, SUM:] = 0.0
    fleet.floats[:, BUSY] = 0.0


def get_histograms(fleet: Fleet) -> Ints:
    """Return the histograms of all latencies over all request classes, one per row: LATENCY and, if
    requests have tokens, FIRST_TOKEN and PER_TOKEN."""
    return np.asarray(fleet.tallies[:, HISTOGRAMS:].sum(axis=0).reshape(-1, BUCKET_COUNT))


def compute_latency_percentiles(histograms: Ints) -> dict[str, float | None]:
    """Return the fields of LatencyPercentiles for the rows of `get_histograms`, or for the increase
    of each during a period."""
    return {
        f"{prefix}p{percent}_s": quantile_s
        for prefix, histogram in zip(("", "ttft_", "tpot_"), histograms, strict=False)
        for percent, quantile_s in zip((50, 95, 99), compute_quantiles_s(histogram, (0.50, 0.95, 0.99)), strict=True)
    }


def get_histogram(fleet: Fleet, latency_index: int = LATENCY) -> Ints:
    """Return the histogram of a latency over all request classes. The latency is LATENCY or, if
    requests have tokens, FIRST_TOKEN or PER_TOKEN."""
    start = HISTOGRAMS + latency_index * BUCKET_COUNT
    return np.asarray(fleet.tallies[:, start : start + BUCKET_COUNT].sum(axis=0))


def summarize_classes(fleets: Sequence[Fleet], classes: slice, percentiles: Sequence[float]) -> ClassOutcome:
    """Summarize the results of the given request classes, pooled over fleets that differ only in
    their seed."""
    has_tokens = fleets[0].tallies.shape[1] > HISTOGRAMS + BUCKET_COUNT
    return ClassOutcome(
        good_share=compute_good_share([fleet.tallies[classes] for fleet in fleets]),
        latency=_summarize_latency(fleets, classes, LATENCY, percentiles),
        first_token=_summarize_latency(fleets, classes, FIRST_TOKEN, percentiles) if has_tokens else None,
        per_token=_summarize_latency(fleets, classes, PER_TOKEN, percentiles) if has_tokens else None,
    )


def compute_good_share(tallies: Sequence[Ints]) -> float | None:
    finished_requests = sum(int(fleet_tallies[:, GOOD : FAILED + 1].sum()) for fleet_tallies in tallies)
    return (
        sum(int(fleet_tallies[:, GOOD].sum()) for fleet_tallies in tallies) / finished_requests
        if finished_requests
        else None
    )


def compute_busy_s(fleet: Fleet, now_s: float) -> Floats:
    """Return the busy time of each replica up to `now_s`, in seconds of the entire replica.

    Work in progress counts up to `now_s`. The fleet must have been advanced to `now_s`. Utilization
    is the increase of the busy time over a time span, divided by the span.
    """
    busy_s = np.empty(fleet.floats.shape[0])
    _write_busy_s(fleet, now_s, busy_s)
    return busy_s


@compiled
def _write_busy_s(fleet: Fleet, now_s: float, busy_s: Floats) -> None:
    """Write the busy time of each replica to `busy_s`.

    The counters already contain running batches and running requests in slots in full, so the part
    after `now_s` is subtracted. The steps of token replicas are counted only when they end.
    """
    for replica in range(fleet.floats.shape[0]):
        running_count, kind, width = (
            fleet.counts[replica, RUNNING],
            fleet.counts[replica, KIND],
            fleet.counts[replica, WIDTH],
        )
        done_s, done_sum_s, future_s = fleet.floats[replica, DONE], fleet.floats[replica, DONE_SUM], 0.0
        if running_count > 0:
            if kind == SLOTS:
                future_s = (done_sum_s - running_count * now_s) / width
            elif kind == SHARED:
                clock_s = fleet.floats[replica, CLOCK] + (now_s - done_s) * min(1.0, width / running_count)
                future_s = (done_sum_s - running_count * clock_s) / width
            else:
                future_s = done_s - now_s
        busy_s[replica] = fleet.floats[replica, BUSY] - future_s


def _summarize_latency(
    fleets: Sequence[Fleet], classes: slice, latency_index: int, percentiles: Sequence[float]
) -> LatencyStatistics:
    start = HISTOGRAMS + latency_index * BUCKET_COUNT
    histograms = [np.asarray(fleet.tallies[classes, start : start + BUCKET_COUNT].sum(axis=0)) for fleet in fleets]
    total_count = sum(int(counts.sum()) for counts in histograms)
    total_s = sum(float(fleet.classes[classes, SUM + latency_index].sum()) for fleet in fleets)
    probabilities = [percentile / 100 for percentile in percentiles]
    return LatencyStatistics(
        mean_s=total_s / total_count if total_count else None,
        percentiles_s=compute_quantiles_s(np.sum(histograms, axis=0), probabilities),
    )
