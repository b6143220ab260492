"""What a jump of the rate did: how long the SLO was broken, how deep the backlog went, how it drained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.analysis.arrivals import RateCurve, curve_of
from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.rows import StageRows
from app.analysis.spans import SPANS, meets, span_ms
from app.records.metrics import PERCENTILES
from app.records.result import Estimate, Objective, Spike, Window
from app.records.stage import StageFacts

_USUAL = 0.99


def analyse_spike(rows: StageRows, facts: StageFacts, window: Window, deciding: Sequence[Objective]) -> Spike | None:
    """`rows` are all of the stage, its lead-in too; None where the rate has no spike."""
    curve = curve_of(facts)
    times_s = None if curve is None else _spike_times_s(curve)
    if curve is None or times_s is None:
        return None
    start_ns, end_ns = (facts.start_ns + round(at * 1e9) for at in times_s)
    at_ns, depth = _backlog(rows, facts.end_ns)
    return Spike(
        baseline_per_s=float(curve.per_s[0]),
        peak_per_s=float(curve.per_s.max()),
        spike_s=times_s[1] - times_s[0],
        slo_broken_s=_slo_broken(rows, window, deciding),
        backlog_peak=_peak(at_ns, depth, window),
        drained_s=_drained(at_ns, depth, Window(window.start_ns, start_ns), Window(end_ns, window.end_ns)),
    )


def _spike_times_s(curve: RateCurve) -> tuple[float, float] | None:
    """When the rate leaves its first value, and when it is back at it or below; None where it never rises above it.

    One that never comes back is over at its last point.
    """
    above = np.flatnonzero(curve.per_s > curve.per_s[0])
    if not above.size:
        return None
    back = np.flatnonzero(curve.per_s[above[0] :] <= curve.per_s[0])
    over = above[0] + back[0] if back.size else curve.at_s.size - 1
    return float(curve.at_s[above[0] - 1]), float(curve.at_s[over])


def _backlog(rows: StageRows, end_ns: int) -> tuple[Nanoseconds, Nanoseconds]:
    """How many requests are due and not answered, after each change; those never answered stay to the stage's end."""
    ends_ns = np.where(rows.end_ns > 0, rows.end_ns, end_ns)
    at_ns = np.concatenate((ends_ns, rows.intended_ns))
    steps = np.concatenate((np.full(ends_ns.size, -1), np.ones(ends_ns.size, dtype=np.int64)))
    order = np.argsort(at_ns, kind="stable")  # an answer and an arrival at one time: the answer comes first
    return at_ns[order], np.cumsum(steps[order])


def _peak(at_ns: Nanoseconds, depth: Nanoseconds, window: Window) -> Estimate:
    during = depth[at_ns >= window.start_ns]
    return Estimate(float(during.max()), n=during.size) if during.size else Estimate(None, n=0, reason="no requests")


def _drained(at_ns: Nanoseconds, depth: Nanoseconds, before: Window, after: Window) -> Estimate:
    """Back at what it was: at or below the 99th percentile of the backlog over the time before the spike.

    What goes down once no more arrivals come is no recovery.
    """
    usual = _over_time(at_ns, depth, before)
    if usual is None:
        return Estimate(None, reason="no request came before the spike")
    last = int(np.searchsorted(at_ns, after.start_ns, side="right")) - 1
    if last >= 0 and depth[last] <= usual:
        return Estimate(0.0)
    below = np.flatnonzero((depth[last + 1 :] <= usual) & (at_ns[last + 1 :] < after.end_ns))
    if not below.size:
        return Estimate(None, reason="the backlog was not back when the arrivals ended")
    return Estimate((int(at_ns[last + 1 + below[0]]) - after.start_ns) / 1e9)


def _over_time(at_ns: Nanoseconds, depth: Nanoseconds, during: Window) -> float | None:
    """The percentile of the backlog, each depth counted for as long as it lasted."""
    inside = (at_ns >= during.start_ns) & (at_ns < during.end_ns)
    if not inside.any():
        return None
    lasted = np.diff(at_ns[inside], append=during.end_ns)
    order = np.argsort(depth[inside], kind="stable")
    shares = np.cumsum(lasted[order]) / lasted.sum()
    return float(depth[inside][order][min(np.searchsorted(shares, _USUAL), shares.size - 1)])


def _slo_broken(rows: StageRows, window: Window, deciding: Sequence[Objective]) -> Estimate:
    """Second by second of the intended starts: from the first that broke a limit to the end of the last."""
    inside = rows.where((rows.intended_ns >= window.start_ns) & (rows.intended_ns < window.end_ns))
    second = (inside.intended_ns - window.start_ns) // 1_000_000_000
    broken = [one for one in (_broken_seconds(inside, second, objective) for objective in deciding) if one is not None]
    if not broken:
        return Estimate(None, reason="the SLO has no limit that a second can be held against")
    seconds = np.flatnonzero(np.logical_or.reduce(broken))
    length_s = (window.end_ns - window.start_ns) / 1e9
    if not seconds.size:
        return Estimate(0.0, n=0)
    end_s = min(length_s, float(seconds[-1]) + 1)
    lasts = "at least: it was broken at the stage's end" if end_s >= length_s else None
    return Estimate(end_s - float(seconds[0]), n=seconds.size, reason=lasts)


def _broken_seconds(rows: StageRows, second: Nanoseconds, objective: Objective) -> Mask | None:
    """None for an objective that is on neither a time of a request nor a share of requests."""
    count = int(second.max(initial=0)) + 1
    if objective.comparator not in ("<", "<="):
        return None
    if objective.metric == "error_rate":
        started = rows.was_started
        return _share_is_over(second[started], rows.is_failed[started], objective, count)
    values_ms = span_ms(rows, objective.metric) if objective.metric in SPANS else None
    if values_ms is None:
        return None
    known = rows.is_success & ~np.isnan(values_ms)
    second, values_ms = second[known], values_ms[known]
    if objective.aggregate == "mean":
        return _mean_is_over(second, values_ms, objective, count)
    needed = np.ceil(PERCENTILES.get(objective.aggregate or "", 1.0) * np.bincount(second, minlength=count) - 1e-9)
    met = meets(objective, values_ms, values_ms.size)
    return np.asarray(np.bincount(second[met], minlength=count) < needed)


def _share_is_over(second: Nanoseconds, hits: Mask, objective: Objective, count: int) -> Mask:
    of = np.bincount(second, minlength=count)
    shares = np.bincount(second[hits], minlength=count) / np.maximum(of, 1)
    return (of > 0) & ~(shares < objective.limit if objective.comparator == "<" else shares <= objective.limit)


def _mean_is_over(second: Nanoseconds, values_ms: Floats, objective: Objective, count: int) -> Mask:
    of = np.bincount(second, minlength=count)
    means = np.bincount(second, values_ms, minlength=count) / np.maximum(of, 1)
    return (of > 0) & ~(means < objective.limit if objective.comparator == "<" else means <= objective.limit)
