"""What was counted in a fleet, or in the same fleet under several seeds, as percentiles and shares."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from app.planning.simulation.compiled import Floats, Ints
from app.planning.simulation.histogram import BUCKETS, quantiles_s
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


class Times(msgspec.Struct, frozen=True):
    """Percentiles in the order they were asked for; None where nothing was counted."""

    mean_s: float | None
    percentiles_s: tuple[float | None, ...]
    per_seed_s: tuple[tuple[float | None, ...], ...]


class ClassOutcome(msgspec.Struct, frozen=True):
    """`good_share` is of what ended: answered, dropped, timed out or failed; token times are None without tokens."""

    good_share: float | None
    latency: Times
    first_token: Times | None
    per_token: Times | None


def forget_counts(fleet: Fleet) -> None:
    """Ends a warm-up: what is in flight now counts as arrived, and all else is counted from here."""
    counted = fleet.tallies[:, :HISTOGRAMS].copy()
    fleet.tallies[:] = 0
    fleet.tallies[:, ARRIVED] = counted[:, ARRIVED] - counted[:, ARRIVED + 1 :].sum(axis=1)
    fleet.classes[:, SUM:] = 0.0
    fleet.reals[:, BUSY] = 0.0
    fleet.counts[:, [BATCHES, ITEMS]] = 0


def latency_counts(fleet: Fleet, which: int = LATENCY) -> Ints:
    """The histogram of all classes: LATENCY, or FIRST_TOKEN or PER_TOKEN where there are tokens."""
    start = HISTOGRAMS + which * BUCKETS
    return np.asarray(fleet.tallies[:, start : start + BUCKETS].sum(axis=0))


def class_outcome(fleets: Sequence[Fleet], classes: slice, percentiles: Sequence[float]) -> ClassOutcome:
    """Of the classes named, pooled over fleets that differ by their seed."""
    has_tokens = fleets[0].tallies.shape[1] > HISTOGRAMS + BUCKETS
    return ClassOutcome(
        good_share=good_share([fleet.tallies[classes] for fleet in fleets]),
        latency=_times(fleets, classes, LATENCY, percentiles),
        first_token=_times(fleets, classes, FIRST_TOKEN, percentiles) if has_tokens else None,
        per_token=_times(fleets, classes, PER_TOKEN, percentiles) if has_tokens else None,
    )


def good_share(tallies: Sequence[Ints]) -> float | None:
    ended = sum(int(each[:, GOOD : FAILED + 1].sum()) for each in tallies)
    return sum(int(each[:, GOOD].sum()) for each in tallies) / ended if ended else None


def mean_batch(fleets: Sequence[Fleet]) -> float | None:
    """Requests a batch; of tokens, sequences a step; of slots, 1."""
    batches = sum(int(fleet.counts[:, BATCHES].sum()) for fleet in fleets)
    return sum(int(fleet.counts[:, ITEMS].sum()) for fleet in fleets) / batches if batches else None


def busy_s(fleet: Fleet, now_s: float) -> Floats:
    """Each replica's busy time up to now, in whole replicas: what is in hand counts for the part that has passed.

    As of a `settle` at `now_s`; its growth over a span, divided by the span, is the utilisation an autoscaler sees.
    """
    working, kind, width = (fleet.counts[:, column] for column in (WORKING, KIND, WIDTH))
    done_s, done_sum_s = fleet.reals[:, DONE], fleet.reals[:, DONE_SUM]
    ahead_s = np.zeros(working.size)  # of batches and slots the whole is counted when it begins, of steps when they end
    in_hand = working > 0
    by_end = in_hand & (kind != SLOTS) & (kind != SHARED)
    ahead_s[by_end] = done_s[by_end] - now_s
    slots = in_hand & (kind == SLOTS)
    ahead_s[slots] = (done_sum_s[slots] - working[slots] * now_s) / width[slots]
    shared = in_hand & (kind == SHARED)
    speed = np.minimum(1.0, width[shared] / working[shared])
    clock_s = fleet.reals[shared, CLOCK] + (now_s - done_s[shared]) * speed
    ahead_s[shared] = (done_sum_s[shared] - working[shared] * clock_s) / width[shared]
    return np.asarray(fleet.reals[:, BUSY] - ahead_s)


def _times(fleets: Sequence[Fleet], classes: slice, which: int, percentiles: Sequence[float]) -> Times:
    start = HISTOGRAMS + which * BUCKETS
    each = [np.asarray(fleet.tallies[classes, start : start + BUCKETS].sum(axis=0)) for fleet in fleets]
    total = sum(int(counts.sum()) for counts in each)
    summed_s = sum(float(fleet.classes[classes, SUM + which].sum()) for fleet in fleets)
    shares = [percentile / 100 for percentile in percentiles]
    return Times(
        mean_s=summed_s / total if total else None,
        percentiles_s=quantiles_s(np.sum(each, axis=0), shares),
        per_seed_s=tuple(quantiles_s(counts, shares) for counts in each),
    )
