"""Whether a running stage has come to what its profile gives up at.

Ends a probe whose backlog keeps growing: it has failed, and its end would only cost time.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np

from app.analysis.max_rate import shown_against
from app.analysis.objectives import is_met
from app.records.abort import AbortRule
from app.records.estimate import Estimate
from app.records.metrics import PERCENTILES
from app.records.result import Objective

ABORTABLE = ("error_rate", "latency_ms")
"""What is known while a stage runs."""


def reason_to_abort(
    rule: AbortRule, stage: str, elapsed_s: float, *, failed: int, completed: int, recent_ms: Collection[float]
) -> str | None:
    """The sentence that says why; None where the run may go on. Errors count from the start of the stage, latency is
    that of its recent answers. The point decides: to be stopped late is worse than to be stopped by chance."""
    if elapsed_s < rule.after_s:
        return None
    value = _seen(rule.objective, failed, completed, recent_ms)
    if is_met(rule.objective, Estimate(value)) is not True or value is None:
        return None
    return f"abort_when: {rule.text}: {shown_against(rule.objective, value)} in {stage} after {elapsed_s:.3g} s"


def _seen(objective: Objective, failed: int, completed: int, recent_ms: Collection[float]) -> float | None:
    if objective.metric == "error_rate":
        return failed / (failed + completed) if failed + completed else None
    if not recent_ms:
        return None
    values = np.fromiter(recent_ms, float)
    aggregate = objective.aggregate or ""
    if aggregate in PERCENTILES:
        return float(np.percentile(values, 100 * PERCENTILES[aggregate]))
    return float(values.mean() if aggregate == "mean" else values.max())


_FEWEST_READINGS = 6
_SHORTEST_S = 1.25
_BEYOND_SLO = 2.0
_BEYOND_CHANCE = 3.0
_GROWING_SHARE = 0.05
_LIMIT_WITHOUT_SLO_S = 0.25
_LATENCIES = ("latency_ms", "service_ms", "first_byte_ms")
_WHOLE = ("latency_ms", "service_ms")
FIRST_ANSWERS = 100
_FILLING = 2.0
_BEYOND_ANSWERS = 4.0


def is_over_saturated(
    history: Sequence[tuple[int, int]],
    rate_per_s: float,
    slo: Sequence[Objective],
    answer_s: float | None = None,
) -> bool:
    """`history` holds (at_ns, arrivals not answered yet) of a stage from its start, some readings a second.
    `answer_s` is the p95 of what the stage's first `FIRST_ANSWERS` took, or those there are; None without any. Later
    ones would not do: with a backlog they take as long as it has grown.

    True only when the backlog is over twice what the SLO's latency allows (rate times limit, by Little's law), over
    three standard deviations of what chance piles up at exact capacity, and grew by at least 5 % of the arrivals in
    each third of the time: a single stall does not grow through all of it.

    Answers under way are no queue: until one has had its time, their number grows at any rate. An SLO that sets no
    limit on whole answers says nothing of how many may be under way, so it waits for twice that time, and then allows
    a queue of half a second: nothing else would tell that the rate is more than the endpoint carries, until requests
    time out.
    """
    if len(history) < _FEWEST_READINGS:
        return False
    start_ns, at_ns, backlog = history[0][0], history[-1][0], history[-1][1]
    elapsed_s = (at_ns - start_ns) / 1e9
    if elapsed_s < _SHORTEST_S:
        return False
    if not _limits_whole_answers(slo) and not _outgrows_answers(history, elapsed_s, answer_s):
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


def _outgrows_answers(history: Sequence[tuple[int, int]], elapsed_s: float, answer_s: float | None) -> bool:
    """Whether the second half of the time, when answers under way had their full number, added more to them than
    chance does: twice their number is the variance of what two times differ by (M/G/∞)."""
    if answer_s is None or elapsed_s < _FILLING * answer_s:
        return False
    halfway_ns = (history[0][0] + history[-1][0]) // 2
    backlog, before = history[-1][1], history[bisect_left(history, (halfway_ns, 0))][1]
    return backlog - before > _BEYOND_ANSWERS * math.sqrt(2 * backlog)


def _limits_whole_answers(slo: Sequence[Objective]) -> bool:
    return any(one.metric in _WHOLE and one.comparator in ("<", "<=") for one in slo)


def _tightest_limit_s(slo: Sequence[Objective]) -> float:
    limits_ms = [one.limit for one in slo if one.metric in _LATENCIES and one.comparator in ("<", "<=")]
    return min(limits_ms) / 1e3 if limits_ms else _LIMIT_WITHOUT_SLO_S
