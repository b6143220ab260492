"""Decides whether to abort a running stage, either because an abort rule of the profile is met or
because the backlog keeps growing.

A search probe with a growing backlog has already failed, so running the probe to its end would only
waste time."""

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

ABORTABLE_METRICS = ("error_rate", "latency_ms")
"""Metrics that abort rules can use: their values are known while a stage runs."""


def find_abort_reason(
    rule: AbortRule, stage: str, elapsed_s: float, *, failed: int, completed: int, recent_ms: Collection[float]
) -> str | None:
    """Return the reason to abort the stage; `None` if the stage may continue.

    The error rate covers the whole stage so far; latency covers only its most recent responses. The
    point estimate is compared with the limit, without a confidence interval, because aborting late
    is worse than aborting by chance."""
    if elapsed_s < rule.after_s:
        return None
    value = _compute_value(rule.objective, failed, completed, recent_ms)
    if is_met(rule.objective, Estimate(value)) is not True or value is None:
        return None
    value_text = format_against_limit(rule.objective, value)
    return f"the abort rule {rule.text} was met in {stage} after {elapsed_s:.3g} s: measured {value_text}"


def _compute_value(objective: Objective, failed: int, completed: int, recent_ms: Collection[float]) -> float | None:
    if objective.metric == "error_rate":
        return failed / (failed + completed) if failed + completed else None
    if not recent_ms:
        return None
    values = np.fromiter(recent_ms, float)
    aggregate = objective.aggregate or ""
    if aggregate in PERCENTILES:
        return float(np.percentile(values, 100 * PERCENTILES[aggregate]))
    return float(values.mean() if aggregate == "mean" else values.max())


_MIN_SAMPLES = 6
_MIN_ELAPSED_S = 1.25
_SLO_BACKLOG_FACTOR = 2.0
_RANDOM_BACKLOG_SIGMAS = 3.0
_MIN_GROWTH_SHARE = 0.05
_DEFAULT_LATENCY_LIMIT_S = 0.25
_LATENCY_METRICS = ("latency_ms", "service_ms", "first_byte_ms")
_WHOLE_RESPONSE_METRICS = ("latency_ms", "service_ms")
RESPONSE_TIME_SAMPLE_COUNT = 100
_MIN_ELAPSED_RESPONSE_TIMES = 2.0
_IN_FLIGHT_SIGMAS = 4.0


def is_over_saturated(
    history: Sequence[tuple[int, int]],
    rate_per_s: float,
    slo: Sequence[Objective],
    response_s: float | None = None,
) -> bool:
    """Return True if the backlog of a stage shows that the endpoint cannot sustain the rate.

    `history` holds pairs (timestamp in ns, open requests) from the start of the stage, several per
    second. `response_s` is the p95 response time, in s, of the first `RESPONSE_TIME_SAMPLE_COUNT`
    responses (or of all responses so far); `None` if there is no response. Later responses are not
    used, because their latency includes the wait in the backlog.

    Three conditions must be met:

    - The backlog exceeds twice the number of requests in flight that the SLO's latency limit allows
      (rate times limit, by Little's law).
    - The backlog exceeds three standard deviations of the number of arrivals so far, assuming
      Poisson arrivals.
    - The backlog grew in each third of the elapsed time by at least 5 % of the arrivals in that
      third, which a single stall does not cause.

    Without an SLO limit on whole responses, requests in flight could be mistaken for a queue,
    because their number grows at any rate until the first responses arrive. In that case, at least
    twice the response time must have elapsed. If the SLO has no latency limit at all, a limit of
    250 ms is assumed."""
    if len(history) < _MIN_SAMPLES:
        return False
    start_ns, now_ns, backlog = history[0][0], history[-1][0], history[-1][1]
    elapsed_s = (now_ns - start_ns) / 1e9
    if elapsed_s < _MIN_ELAPSED_S:
        return False
    if not _limits_whole_responses(slo) and not _has_grown_since_halfway(history, elapsed_s, response_s):
        return False
    expected_arrivals = rate_per_s * elapsed_s
    max_backlog = max(
        _SLO_BACKLOG_FACTOR * rate_per_s * _find_tightest_limit_s(slo),
        _RANDOM_BACKLOG_SIGMAS * math.sqrt(expected_arrivals),
    )
    return backlog > max_backlog and all(
        later_backlog - earlier_backlog > _MIN_GROWTH_SHARE * expected_arrivals / 3
        for earlier_backlog, later_backlog in pairwise(_get_backlogs_at_thirds(history))
    )


def _get_backlogs_at_thirds(history: Sequence[tuple[int, int]]) -> list[int]:
    """Return the backlog at the start, at one third, at two thirds and at the end of the elapsed
    time."""
    times_ns = [time_ns for time_ns, _ in history]
    elapsed_ns = times_ns[-1] - times_ns[0]
    return [history[bisect_left(times_ns, times_ns[0] + elapsed_ns * third // 3)][1] for third in range(4)]


def _has_grown_since_halfway(history: Sequence[tuple[int, int]], elapsed_s: float, response_s: float | None) -> bool:
    """Return True if the backlog grew by more than random variation in the second half of the
    elapsed time. By then, the number of requests in flight is stationary.

    For a stationary M/G/∞ system, the variance of the difference between two points in time is
    twice the number in flight."""
    if response_s is None or elapsed_s < _MIN_ELAPSED_RESPONSE_TIMES * response_s:
        return False
    halfway_ns = (history[0][0] + history[-1][0]) // 2
    backlog, halfway_backlog = history[-1][1], history[bisect_left(history, (halfway_ns, 0))][1]
    return backlog - halfway_backlog > _IN_FLIGHT_SIGMAS * math.sqrt(2 * backlog)


def _limits_whole_responses(slo: Sequence[Objective]) -> bool:
    return any(objective.metric in _WHOLE_RESPONSE_METRICS and objective.comparator in ("<", "<=") for objective in slo)


def _find_tightest_limit_s(slo: Sequence[Objective]) -> float:
    limits_ms = [
        objective.limit
        for objective in slo
        if objective.metric in _LATENCY_METRICS and objective.comparator in ("<", "<=")
    ]
    return min(limits_ms) / 1e3 if limits_ms else _DEFAULT_LATENCY_LIMIT_S
