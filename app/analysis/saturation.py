"""Ends a probe whose backlog keeps growing: it has failed, and its end would only cost time."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from app.records.result import Objective

_FEWEST_READINGS = 6
_SHORTEST_S = 1.25
_BEYOND_SLO = 2.0
_BEYOND_CHANCE = 3.0
_GROWING_SHARE = 0.05
_LIMIT_WITHOUT_SLO_S = 1.0
_LATENCIES = ("latency_ms", "service_ms", "first_byte_ms")


def is_over_saturated(history: Sequence[tuple[int, int]], rate_per_s: float, slo: Sequence[Objective]) -> bool:
    """`history` holds (at_ns, arrivals not answered yet) of a stage from its start, some readings a second.

    True only when the backlog is over twice what the SLO's latency allows (rate times limit, by Little's law), over
    three standard deviations of what chance piles up at exact capacity, and grew by at least 5 % of the arrivals in
    each third of the time: a single stall does not grow through all of it.
    """
    if len(history) < _FEWEST_READINGS:
        return False
    start_ns, at_ns, backlog = history[0][0], history[-1][0], history[-1][1]
    elapsed_s = (at_ns - start_ns) / 1e9
    if elapsed_s < _SHORTEST_S:
        return False
    arrivals = rate_per_s * elapsed_s
    enough = max(_BEYOND_SLO * rate_per_s * _tightest_limit_s(slo), _BEYOND_CHANCE * math.sqrt(arrivals))
    return backlog > enough and all(
        later - earlier > _GROWING_SHARE * arrivals / 3 for earlier, later in pairwise(_at_thirds(history))
    )


def _at_thirds(history: Sequence[tuple[int, int]]) -> list[int]:
    """The backlog at the start, after one and two thirds of the time, and at the end."""
    times_ns = [at_ns for at_ns, _ in history]
    length_ns = times_ns[-1] - times_ns[0]
    return [history[bisect_left(times_ns, times_ns[0] + length_ns * part // 3)][1] for part in range(4)]


def _tightest_limit_s(slo: Sequence[Objective]) -> float:
    limits_ms = [one.limit for one in slo if one.metric in _LATENCIES and one.comparator in ("<", "<=")]
    return min(limits_ms) / 1e3 if limits_ms else _LIMIT_WITHOUT_SLO_S
