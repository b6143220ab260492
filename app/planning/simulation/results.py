"""Percentiles and shares from the counts of a fleet, or of the same fleet under several seeds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled
from app.planning.simulation.histogram import BUCKETS, compute_quantiles_s
from app.planning.simulation.state import (
    ARRIVED,
    BATCHES,
    BUSY,
    CLOCK,
    DONE,
    DONE_SUM,
    FAILED,
    FIRST_TOKEN,
    GOOD,
    HISTOGRAMS,
    ITEMS,
    KIND,
    LATENCY,
    PER_TOKEN,
    SHARED,
    SLOTS,
    SUM,
    WIDTH,
    WORKING,
    Fleet,
)


class TimeStatistics(msgspec.Struct, frozen=True):
    """Mean and percentiles of a time, in the requested order; `None` where nothing was counted."""

    mean_s: float | None
    percentiles_s: tuple[float | None, ...]
    per_seed_s: tuple[tuple[float | None, ...], ...]


class ClassOutcome(msgspec.Struct, frozen=True):
    """Results of one class.

    `good_share` is the share of the requests that ended: with a response, dropped, timed out or failed. Token times are
    `None` without tokens.
    """

    good_share: float | None
    latency: TimeStatistics
    first_token: TimeStatistics | None
    per_token: TimeStatistics | None


def reset_counts(fleet: Fleet) -> None:
    """End a warm-up: requests in flight now count as arrived, and all other counts start here."""
    counts = fleet.tallies[:, :HISTOGRAMS].copy()
    fleet.tallies[:] = 0
    fleet.tallies[:, ARRIVED] = counts[:, ARRIVED] - counts[:, ARRIVED + 1 :].sum(axis=1)
    fleet.classes[:, SUM:] = 0.0
    fleet.floats[:, BUSY] = 0.0
    fleet.counts[:, [BATCHES, ITEMS]] = 0


def get_histogram(fleet: Fleet, time_index: int = LATENCY) -> Ints:
    """Return the histogram over all classes of LATENCY or, where there are tokens, FIRST_TOKEN or PER_TOKEN."""
    start = HISTOGRAMS + time_index * BUCKETS
    return np.asarray(fleet.tallies[:, start : start + BUCKETS].sum(axis=0))


def summarize_classes(fleets: Sequence[Fleet], classes: slice, percentiles: Sequence[float]) -> ClassOutcome:
    """Return the results of the given classes, pooled over fleets that differ by their seed."""
    has_tokens = fleets[0].tallies.shape[1] > HISTOGRAMS + BUCKETS
    return ClassOutcome(
        good_share=compute_good_share([fleet.tallies[classes] for fleet in fleets]),
        latency=_times(fleets, classes, LATENCY, percentiles),
        first_token=_times(fleets, classes, FIRST_TOKEN, percentiles) if has_tokens else None,
        per_token=_times(fleets, classes, PER_TOKEN, percentiles) if has_tokens else None,
    )


def compute_good_share(tallies: Sequence[Ints]) -> float | None:
    ended = sum(int(counts[:, GOOD : FAILED + 1].sum()) for counts in tallies)
    return sum(int(counts[:, GOOD].sum()) for counts in tallies) / ended if ended else None


def compute_mean_batch(fleets: Sequence[Fleet]) -> float | None:
    """Return the mean requests per batch; for tokens sequences per step; for slots 1."""
    batches = sum(int(fleet.counts[:, BATCHES].sum()) for fleet in fleets)
    return sum(int(fleet.counts[:, ITEMS].sum()) for fleet in fleets) / batches if batches else None


def compute_busy_s(fleet: Fleet, now_s: float) -> Floats:
    """Return each replica's busy time up to now, in whole replicas.

    Work in progress counts for the part that has passed. The state must be that of an `advance_to` at `now_s`. Its
    increase over a span, divided by the span, is the utilization that an autoscaler reads.
    """
    busy_s = np.empty(fleet.floats.shape[0])
    _write_busy_s(fleet, now_s, busy_s)
    return busy_s


@compiled
def _write_busy_s(fleet: Fleet, now_s: float, busy_s: Floats) -> None:
    """Write each replica's busy time. Batches and slots are counted in full when they begin, steps when they end."""
    for replica in range(fleet.floats.shape[0]):
        working, kind, width = (
            fleet.counts[replica, WORKING],
            fleet.counts[replica, KIND],
            fleet.counts[replica, WIDTH],
        )
        done_s, done_sum_s, future_s = fleet.floats[replica, DONE], fleet.floats[replica, DONE_SUM], 0.0
        if working > 0:
            if kind == SLOTS:
                future_s = (done_sum_s - working * now_s) / width
            elif kind == SHARED:
                clock_s = fleet.floats[replica, CLOCK] + (now_s - done_s) * min(1.0, width / working)
                future_s = (done_sum_s - working * clock_s) / width
            else:
                future_s = done_s - now_s
        busy_s[replica] = fleet.floats[replica, BUSY] - future_s


def _times(fleets: Sequence[Fleet], classes: slice, which: int, percentiles: Sequence[float]) -> TimeStatistics:
    start = HISTOGRAMS + which * BUCKETS
    histograms = [np.asarray(fleet.tallies[classes, start : start + BUCKETS].sum(axis=0)) for fleet in fleets]
    total = sum(int(counts.sum()) for counts in histograms)
    total_s = sum(float(fleet.classes[classes, SUM + which].sum()) for fleet in fleets)
    shares = [percentile / 100 for percentile in percentiles]
    return TimeStatistics(
        mean_s=total_s / total if total else None,
        percentiles_s=compute_quantiles_s(np.sum(histograms, axis=0), shares),
        per_seed_s=tuple(compute_quantiles_s(counts, shares) for counts in histograms),
    )
