"""Percentiles and shares from the counts of a fleet, or of the same fleet under several seeds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from app.planning.simulation.compiled import Floats, Ints
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

    Work in progress counts for the part that has passed. As of a `settle` at `now_s`. Its increase over a span, divided
    by the span, is the utilization that an autoscaler reads.
    """
    working, kind, width = (fleet.counts[:, column] for column in (WORKING, KIND, WIDTH))
    done_s, done_sum_s = fleet.floats[:, DONE], fleet.floats[:, DONE_SUM]
    future_s = np.zeros(working.size)  # batches and slots are counted in full when they begin, steps when they end
    in_work = working > 0
    until_end = in_work & (kind != SLOTS) & (kind != SHARED)
    future_s[until_end] = done_s[until_end] - now_s
    slots = in_work & (kind == SLOTS)
    future_s[slots] = (done_sum_s[slots] - working[slots] * now_s) / width[slots]
    shared = in_work & (kind == SHARED)
    speed = np.minimum(1.0, width[shared] / working[shared])
    clock_s = fleet.floats[shared, CLOCK] + (now_s - done_s[shared]) * speed
    future_s[shared] = (done_sum_s[shared] - working[shared] * clock_s) / width[shared]
    return np.asarray(fleet.floats[:, BUSY] - future_s)


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
