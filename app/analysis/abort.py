"""Decides whether a running stage must be aborted: by an abort rule of the profile, or because its backlog keeps
growing.

A probe with a growing backlog has failed, and running it to its end would only cost time.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np

from app.analysis.max_rate import format_against_limit
from app.analysis.objectives import is_met
from app.records.abort import AbortRule
from app.records.estimate import Estimate
from app.records.metrics import PERCENTILES
from app.records.result import Objective

ABORTABLE = ("error_rate", "latency_ms")
"""Metrics that are known while a stage runs."""


def find_abort_reason(
    rule: AbortRule, stage: str, elapsed_s: float, *, failed: int, completed: int, recent_ms: Collection[float]
) -> str | None:
    """Return the reason to abort as a sentence; None if the run may continue.

    Errors count from the start of the stage; latency is that of its recent responses. The point estimate decides,
    because a late abort is worse than one by chance.
    """
    if elapsed_s < rule.after_s:
        return None
    value = _observe(rule.objective, failed, completed, recent_ms)
    if is_met(rule.objective, Estimate(value)) is not True or value is None:
        return None
    return f"abort_when: {rule.text}: {format_against_limit(rule.objective, value)} in {stage} after {elapsed_s:.3g} s"


def _observe(objective: Objective, failed: int, completed: int, recent_ms: Collection[float]) -> float | None:
    if objective.metric == "error_rate":
        return failed / (failed + completed) if failed + completed else None
    if not recent_ms:
        return None
    values = np.fromiter(recent_ms, float)
    aggregate = objective.aggregate or ""
    if aggregate in PERCENTILES:
        return float(np.percentile(values, 100 * PERCENTILES[aggregate]))
    return float(values.mean() if aggregate == "mean" else values.max())


_MIN_READINGS = 6
_MIN_ELAPSED_S = 1.25
_SLO_BACKLOG_FACTOR = 2.0
_CHANCE_SIGMAS = 3.0
_GROWING_SHARE = 0.05
_LIMIT_WITHOUT_SLO_S = 0.25
_LATENCIES = ("latency_ms", "service_ms", "first_byte_ms")
_WHOLE_RESPONSE_METRICS = ("latency_ms", "service_ms")
FIRST_RESPONSES = 100
_FILL_FACTOR = 2.0
_IN_FLIGHT_SIGMAS = 4.0


def is_over_saturated(
    history: Sequence[tuple[int, int]],
    rate_per_s: float,
    slo: Sequence[Objective],
    response_s: float | None = None,
) -> bool:
    """Return True if the backlog of a stage shows that the endpoint cannot sustain the rate.

    `history` holds pairs (at_ns, open requests) of a stage from its start, several per second. `response_s` is the p95
    response time of the stage's first `FIRST_RESPONSES` responses, or of those so far; None without any. Later
    responses are not usable, because with a backlog they take as long as it has grown.

    Three conditions must hold: the backlog is over twice what the SLO's latency allows (rate times limit, by Little's
    law), it exceeds three standard deviations of the random backlog at exact capacity, and it grew by at least 5 % of
    the arrivals in each third of the time: a single stall does not grow through all of it.

    Requests in flight are not a queue: their number grows at any rate until one response time has passed. An SLO
    without a limit on whole responses does not bound the number in flight, so twice that time must pass first, and a
    queue of half a second is allowed: otherwise nothing would show that the rate is more than the endpoint sustains,
    until requests time out.
    """
    if len(history) < _MIN_READINGS:
        return False
    start_ns, at_ns, backlog = history[0][0], history[-1][0], history[-1][1]
    elapsed_s = (at_ns - start_ns) / 1e9
    if elapsed_s < _MIN_ELAPSED_S:
        return False
    if not _limits_whole_responses(slo) and not _exceeds_in_flight(history, elapsed_s, response_s):
        return False
    arrivals = rate_per_s * elapsed_s
    limit = max(_SLO_BACKLOG_FACTOR * rate_per_s * _tightest_limit_s(slo), _CHANCE_SIGMAS * math.sqrt(arrivals))
    return backlog > limit and all(
        later - earlier > _GROWING_SHARE * arrivals / 3 for earlier, later in pairwise(_backlog_at_thirds(history))
    )


def _backlog_at_thirds(history: Sequence[tuple[int, int]]) -> list[int]:
    """Return the backlog at the start, after one and two thirds of the time, and at the end."""
    times_ns = [at_ns for at_ns, _ in history]
    length_ns = times_ns[-1] - times_ns[0]
    return [history[bisect_left(times_ns, times_ns[0] + length_ns * part // 3)][1] for part in range(4)]


def _exceeds_in_flight(history: Sequence[tuple[int, int]], elapsed_s: float, answer_s: float | None) -> bool:
    """Return True if the backlog grew by more than random variation in the second half of the time, when the number of
    requests in flight is stationary: the variance of the difference between two times is twice their number (M/G/∞)."""
    if answer_s is None or elapsed_s < _FILL_FACTOR * answer_s:
        return False
    halfway_ns = (history[0][0] + history[-1][0]) // 2
    backlog, before = history[-1][1], history[bisect_left(history, (halfway_ns, 0))][1]
    return backlog - before > _IN_FLIGHT_SIGMAS * math.sqrt(2 * backlog)


def _limits_whole_responses(slo: Sequence[Objective]) -> bool:
    return any(objective.metric in _WHOLE_RESPONSE_METRICS and objective.comparator in ("<", "<=") for objective in slo)


def _tightest_limit_s(slo: Sequence[Objective]) -> float:
    limits_ms = [
        objective.limit for objective in slo if objective.metric in _LATENCIES and objective.comparator in ("<", "<=")
    ]
    return min(limits_ms) / 1e3 if limits_ms else _LIMIT_WITHOUT_SLO_S
