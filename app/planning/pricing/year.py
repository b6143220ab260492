"""Fluid simulation of a year of traffic against fleets: requests beyond the capacity of a minute wait for the next.

In each bin q += (rate − min(capacity, q / bin + rate)) × bin. It covers queues from overload, not those from random
variation within a minute, which the simulation of requests covers. Also computes the 12-month forecast of the
recommended fleet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from app.planning.candidates import Candidate
from app.planning.demand import compute_year_rates_per_s
from app.planning.sizing import Demand, sustained_peak_per_s
from app.records.plan import AnnualForecast
from app.records.planning_inputs import PlanningInputs

WORST_HOURS = 20
_HOUR_S = 3_600.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_Totals = tuple[int, int, float, float, float]
_Kernel = Callable[[Floats, Floats, int, Ints, Floats, Floats], _Totals]


class YearResult(msgspec.Struct, frozen=True):
    """Results of a year, one row per design, in the order of the capacities. Waits are inf where nothing is served.

    `worst_bins` are the worst minute of each of the worst hours, worst first: by its wait, then by how far the rate is
    above the capacity or close to it; −1 where the span has fewer hours. `delayed_share` is the share of requests that
    arrive while there is a backlog.
    """

    hours_over: Floats
    hours_delayed: Floats
    delayed_share: Floats
    worst_backlog: Floats
    worst_wait_s: Floats
    backlog_left: Floats
    mean_utilization: Floats
    worst_bins: Ints
    worst_waits_s: Floats


def simulate_year(rates: Floats, capacities_per_s: Floats, bin_s: float = 60.0) -> YearResult:
    """Simulate `rates` per second, one per bin, for each design.

    `capacities_per_s` has one capacity per design, or one row per design with a capacity for every hour. Bins have to
    divide an hour. Takes about 1 ms per design and year. Raises ValueError for capacities of another number of hours.
    """
    per_hour = round(_HOUR_S / bin_s)
    hours = -(-len(rates) // per_hour)
    columns = capacities_per_s if capacities_per_s.ndim == 2 else capacities_per_s[:, None]
    if columns.shape[1] not in (1, hours):
        raise ValueError(f"capacities of {columns.shape[1]} hours for rates of {hours}")
    arrivals = np.asarray(rates, float) * bin_s
    designs = [_design(arrivals, np.array(np.broadcast_to(row, hours), float), bin_s, per_hour) for row in columns]
    return YearResult(*(np.array(values) for values in zip(*designs, strict=True)))


def _design(arrivals: Floats, capacity_per_s: Floats, bin_s: float, per_hour: int) -> tuple[float | Floats | Ints, ...]:
    """Return one design's row of a Year."""
    hours = len(capacity_per_s)
    worst_bins, worst_scores, backlogs = np.zeros(hours, np.int64), np.zeros(hours), np.zeros(hours)
    bins_over, delayed, delayed_requests, remaining, served = _kernel()(
        arrivals, capacity_per_s * bin_s, per_hour, worst_bins, worst_scores, backlogs
    )
    waits_s = np.divide(backlogs, capacity_per_s, out=np.where(backlogs > 0, np.inf, 0.0), where=capacity_per_s > 0)
    order = np.lexsort((-worst_scores, -waits_s))[:WORST_HOURS]
    bins, waits = np.full(WORST_HOURS, -1), np.zeros(WORST_HOURS)
    bins[: len(order)], waits[: len(order)] = worst_bins[order], waits_s[order]
    arrived = arrivals.sum()
    capacity_requests = float(
        (capacity_per_s * np.diff(np.r_[0 : len(arrivals) : per_hour, len(arrivals)])).sum() * bin_s
    )
    return (
        bins_over * bin_s / _HOUR_S,
        delayed * bin_s / _HOUR_S,
        delayed_requests / arrived if arrived else 0.0,
        backlogs.max(initial=0.0),
        waits_s.max(initial=0.0),
        remaining,
        served / capacity_requests if capacity_requests else 0.0,
        bins,
        waits,
    )


def count_replicas_by_hour(rates: Floats, per_replica_per_s: Floats, bin_s: float = 60.0) -> Ints:
    """Return the replicas for each hour's busiest bin, of shape designs × hours and at least 1.

    The result is used for reserved and on-demand instances.
    """
    per_hour = round(_HOUR_S / bin_s)
    busiest = np.maximum.reduceat(rates, np.arange(0, len(rates), per_hour))
    needed = np.ceil(busiest[None, :] / per_replica_per_s[:, None] - 1e-9)
    return np.maximum(needed, 1).astype(np.int64)


@functools.cache
def _kernel() -> _Kernel:
    """Return the compiled kernel, compiled at the first call and cached on disk.

    numba takes half a second to load, so it is not imported with the module.
    """
    import numba

    try:
        compiled: _Kernel = numba.njit(cache=True, nogil=True)(_simulate_queue)
    except RuntimeError:  # no folder for the cache
        compiled = numba.njit(nogil=True)(_simulate_queue)
    return compiled


def _simulate_queue(
    arrivals: Floats, capacity: Floats, per_hour: int, worst_bins: Ints, worst_scores: Floats, backlogs: Floats
) -> _Totals:
    """Simulate the queue of each bin against its capacity.

    Fills in, for each hour, the bin with the longest queue, or else the one closest to the capacity; how far its
    arrivals exceed the capacity; and the queue. Returns the bins over the capacity, the bins that leave a queue, the
    requests that arrived in those, the remaining queue, and the number served.
    """
    bins_over, delayed, delayed_requests, queue, served = 0, 0, 0.0, 0.0, 0.0
    for hour in range(capacity.shape[0]):
        bin_capacity = capacity[hour]
        worst, longest, worst_bin = -np.inf, 0.0, hour * per_hour
        for bin_index in range(worst_bin, min(worst_bin + per_hour, arrivals.shape[0])):
            arriving = arrivals[bin_index]
            queue += arriving
            processed = min(bin_capacity, queue)
            queue -= processed
            served += processed
            bins_over += arriving > bin_capacity
            if queue > 0.0:
                delayed += 1
                delayed_requests += arriving
            if queue > longest or (longest == 0.0 and arriving - bin_capacity > worst):
                worst, longest, worst_bin = arriving - bin_capacity, queue, bin_index
        worst_bins[hour], worst_scores[hour], backlogs[hour] = worst_bin, worst, longest
    return bins_over, delayed, delayed_requests, queue, served


def forecast_year(best: Candidate, demand: Demand, question: PlanningInputs) -> AnnualForecast:
    """Return the 12-month forecast of the fleet with all its instances, spares included.

    Each instance sustains its rate within the SLO at the plan's confidence.
    """
    rates = compute_year_rates_per_s(question.traffic, question.today)
    year = simulate_year(rates, np.array([sustained_peak_per_s(best.instances, best.capacity, demand)]))
    return AnnualForecast(
        hours_over=float(year.hours_over[0]),
        delayed_share=float(year.delayed_share[0]),
        worst_wait_s=float(year.worst_wait_s[0]),
        mean_utilization=float(year.mean_utilization[0]),
    )
