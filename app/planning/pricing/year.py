"""A year of traffic against fleets, as a fluid: what does not fit the capacity of a minute waits for the next.

In each bin q += (rate − min(capacity, q / bin + rate)) × bin. It knows queues of overload and none
of chance: inside a minute, the simulation knows.

The recommended fleet through the coming year's minutes, as a fluid.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from app.planning.candidates import Candidate
from app.planning.demand import year_rates_per_s
from app.planning.sizing import Demand, peak_carried_per_s
from app.records.plan import Outlook
from app.records.plan_question import PlanQuestion

WORST = 20
_HOUR_S = 3_600.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_Sums = tuple[int, int, float, float, float]
_Kernel = Callable[[Floats, Floats, int, Ints, Floats, Floats], _Sums]


class Year(msgspec.Struct, frozen=True):
    """One row a design, as in the capacities. Waits are inf where nothing is served.

    `worst_bins` are the worst minute of each of the worst hours, worst first: by its wait, then by how far the rate
    is over the capacity or near it; −1 where the span has fewer hours. `delayed_share` is that of requests that come
    while a backlog stands.
    """

    hours_over: Floats
    hours_delayed: Floats
    delayed_share: Floats
    worst_backlog: Floats
    worst_wait_s: Floats
    backlog_left: Floats
    mean_utilisation: Floats
    worst_bins: Ints
    worst_waits_s: Floats


def year_of(rates: Floats, capacities_per_s: Floats, bin_s: float = 60.0) -> Year:
    """What `rates` a second, one a bin, do to each design: to a capacity each, or a row each of one for every hour.

    Bins go evenly into an hour. About 1 ms a design and year.
    """
    per_hour = round(_HOUR_S / bin_s)
    hours = -(-len(rates) // per_hour)
    columns = capacities_per_s if capacities_per_s.ndim == 2 else capacities_per_s[:, None]
    if columns.shape[1] not in (1, hours):
        raise ValueError(f"capacities of {columns.shape[1]} hours for rates of {hours}")
    arrivals = np.asarray(rates, float) * bin_s
    designs = [_design(arrivals, np.array(np.broadcast_to(row, hours), float), bin_s, per_hour) for row in columns]
    return Year(*(np.array(values) for values in zip(*designs, strict=True)))


def _design(arrivals: Floats, capacity_per_s: Floats, bin_s: float, per_hour: int) -> tuple[float | Floats | Ints, ...]:
    """One design's row of a Year."""
    hours = len(capacity_per_s)
    worst_bins, worst_scores, backlogs = np.zeros(hours, np.int64), np.zeros(hours), np.zeros(hours)
    over, delayed, delayed_requests, left, served = _kernel()(
        arrivals, capacity_per_s * bin_s, per_hour, worst_bins, worst_scores, backlogs
    )
    waits_s = np.divide(backlogs, capacity_per_s, out=np.where(backlogs > 0, np.inf, 0.0), where=capacity_per_s > 0)
    order = np.lexsort((-worst_scores, -waits_s))[:WORST]
    bins, waits = np.full(WORST, -1), np.zeros(WORST)
    bins[: len(order)], waits[: len(order)] = worst_bins[order], waits_s[order]
    arrived = arrivals.sum()
    most = float((capacity_per_s * np.diff(np.r_[0 : len(arrivals) : per_hour, len(arrivals)])).sum() * bin_s)
    return (
        over * bin_s / _HOUR_S,
        delayed * bin_s / _HOUR_S,
        delayed_requests / arrived if arrived else 0.0,
        backlogs.max(initial=0.0),
        waits_s.max(initial=0.0),
        left,
        served / most if most else 0.0,
        bins,
        waits,
    )


def replicas_by_hour(rates: Floats, per_replica_per_s: Floats, bin_s: float = 60.0) -> Ints:
    """Designs × hours: the replicas that carry each hour's busiest bin; at least one. For reserved or on demand."""
    per_hour = round(_HOUR_S / bin_s)
    busiest = np.maximum.reduceat(rates, np.arange(0, len(rates), per_hour))
    needed = np.ceil(busiest[None, :] / per_replica_per_s[:, None] - 1e-9)
    return np.maximum(needed, 1).astype(np.int64)


@functools.cache
def _kernel() -> _Kernel:
    """Compiled at the first call and kept on disk: numba takes half a second to load, so not at import."""
    import numba

    try:
        compiled: _Kernel = numba.njit(cache=True, nogil=True)(_play)
    except RuntimeError:  # no folder to keep it in
        compiled = numba.njit(nogil=True)(_play)
    return compiled


def _play(
    arrivals: Floats, capacity: Floats, per_hour: int, worst_bins: Ints, worst_scores: Floats, backlogs: Floats
) -> _Sums:
    """Requests a bin against what the bins of each hour serve.

    Fills in, for each hour, the bin with the longest queue, else that nearest to the capacity; by how much what came
    is over it; and the queue. Gives bins over the capacity, bins that leave a queue, requests that came in those, what
    is left, what was served.
    """
    over, delayed, came_late, queue, served = 0, 0, 0.0, 0.0, 0.0
    for hour in range(capacity.shape[0]):
        fits = capacity[hour]
        worst, longest, where = -np.inf, 0.0, hour * per_hour
        for at in range(where, min(where + per_hour, arrivals.shape[0])):
            comes = arrivals[at]
            queue += comes
            done = min(fits, queue)
            queue -= done
            served += done
            over += comes > fits
            if queue > 0.0:
                delayed += 1
                came_late += comes
            if queue > longest or (longest == 0.0 and comes - fits > worst):
                worst, longest, where = comes - fits, queue, at
        worst_bins[hour], worst_scores[hour], backlogs[hour] = where, worst, longest
    return over, delayed, came_late, queue, served


def outlook_of(best: Candidate, demand: Demand, question: PlanQuestion) -> Outlook:
    """With all its instances, spares too, at the rate that each carries inside the SLO as surely as was asked."""
    rates = year_rates_per_s(question.traffic, question.today)
    year = year_of(rates, np.array([peak_carried_per_s(best.instances, best.capacity, demand)]))
    return Outlook(
        hours_over=float(year.hours_over[0]),
        delayed_share=float(year.delayed_share[0]),
        worst_wait_s=float(year.worst_wait_s[0]),
        mean_utilisation=float(year.mean_utilisation[0]),
    )
