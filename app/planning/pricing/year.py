"""Fluid simulation of a year of traffic: requests beyond the capacity of a minute wait until the
next minute.

In each time bin, the queue q changes by (rate − min(capacity, q / bin + rate)) × bin. The
simulation covers queues due to overload. Queues due to random variation within a minute are covered
by the request-level simulation. The module also computes the 12-month forecast of the recommended
fleet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from app.planning.offers.candidates import Candidate
from app.planning.sizing.demand import compute_year_rates_per_s
from app.planning.sizing.instances import Demand, compute_sustained_peak_per_s
from app.records.plan import AnnualForecast
from app.records.planning_inputs import PlanningInputs

_HOUR_S = 3_600.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_Totals = tuple[int, float, float]
_Kernel = Callable[[Floats, Floats, int, Floats], _Totals]


class YearResult(msgspec.Struct, frozen=True):
    """Results of a simulated year, one row per fleet, in the order of the capacities.

    `hours_over` is the total time, in hours, in which the rate exceeds the capacity.
    `delayed_share` is the share of requests that arrive with a backlog. Waits are infinite if the
    capacity is 0.
    """

    hours_over: Floats
    delayed_share: Floats
    worst_wait_s: Floats
    mean_utilization: Floats


def simulate_year(rates_per_s: Floats, capacities_per_s: Floats, bin_s: float = 60.0) -> YearResult:
    """Simulate one or several fleets under `rates_per_s` in req/s, one per bin.

    `capacities_per_s` has one capacity per fleet, or one row per fleet with a capacity for each
    hour. An hour must be a multiple of `bin_s`. The simulation takes about 1 ms per fleet and year.
    Raises ValueError if capacities and rates cover different numbers of hours.
    """
    bins_per_hour = round(_HOUR_S / bin_s)
    hour_count = -(-len(rates_per_s) // bins_per_hour)
    capacity_rows = capacities_per_s if capacities_per_s.ndim == 2 else capacities_per_s[:, None]
    if capacity_rows.shape[1] not in (1, hour_count):
        raise ValueError(f"the capacities cover {capacity_rows.shape[1]} hours, but the rates cover {hour_count}")
    arrivals = np.asarray(rates_per_s, float) * bin_s
    rows = [
        _simulate_fleet(arrivals, np.array(np.broadcast_to(row, hour_count), float), bin_s, bins_per_hour)
        for row in capacity_rows
    ]
    return YearResult(*(np.array(values) for values in zip(*rows, strict=True)))


def _simulate_fleet(
    arrivals: Floats, hourly_capacities_per_s: Floats, bin_s: float, bins_per_hour: int
) -> tuple[float, ...]:
    """Simulate one fleet and return the values of its row in a YearResult."""
    backlogs = np.zeros(len(hourly_capacities_per_s))
    bins_over, delayed_requests, served_requests = _load_kernel()(
        arrivals, hourly_capacities_per_s * bin_s, bins_per_hour, backlogs
    )
    waits_s = np.divide(
        backlogs, hourly_capacities_per_s, out=np.where(backlogs > 0, np.inf, 0.0), where=hourly_capacities_per_s > 0
    )
    total_arrivals = arrivals.sum()
    capacity_requests = float(
        (hourly_capacities_per_s * np.diff(np.r_[0 : len(arrivals) : bins_per_hour, len(arrivals)])).sum() * bin_s
    )
    return (
        bins_over * bin_s / _HOUR_S,
        delayed_requests / total_arrivals if total_arrivals else 0.0,
        waits_s.max(initial=0.0),
        served_requests / capacity_requests if capacity_requests else 0.0,
    )


def count_hourly_replicas(rates_per_s: Floats, rates_per_replica_per_s: Floats, bin_s: float = 60.0) -> Ints:
    """Return the number of replicas that the busiest bin of each hour needs, at least 1, with shape
    fleets × hours.

    The result is the demand for comparing reserved and on-demand instances.
    """
    bins_per_hour = round(_HOUR_S / bin_s)
    busiest_rates_per_s = np.maximum.reduceat(rates_per_s, np.arange(0, len(rates_per_s), bins_per_hour))
    needed_replicas = np.ceil(busiest_rates_per_s[None, :] / rates_per_replica_per_s[:, None] - 1e-9)
    return np.maximum(needed_replicas, 1).astype(np.int64)


@functools.cache
def _load_kernel() -> _Kernel:
    """Return the compiled `_simulate_queue`. The function is compiled at the first call and cached
    on disk.

    numba is imported only here, because the import takes half a second.
    """
    import numba

    try:
        compiled: _Kernel = numba.njit(cache=True, nogil=True)(_simulate_queue)
    except RuntimeError:  # no writable cache directory
        compiled = numba.njit(nogil=True)(_simulate_queue)
    return compiled


def _simulate_queue(
    arrivals: Floats,
    hourly_capacities: Floats,
    bins_per_hour: int,
    backlogs: Floats,
) -> _Totals:
    """Simulate the queue over all bins. `backlogs` receives the longest queue of each hour.

    Return the number of bins above the capacity, the number of requests that arrived in bins that
    end with a queue, and the number of served requests.
    """
    bins_over, delayed_requests, backlog, served_requests = 0, 0.0, 0.0, 0.0
    for hour in range(hourly_capacities.shape[0]):
        bin_capacity = hourly_capacities[hour]
        largest_backlog, first_bin = 0.0, hour * bins_per_hour
        for bin_index in range(first_bin, min(first_bin + bins_per_hour, arrivals.shape[0])):
            bin_arrivals = arrivals[bin_index]
            backlog += bin_arrivals
            bin_served = min(bin_capacity, backlog)
            backlog -= bin_served
            served_requests += bin_served
            bins_over += bin_arrivals > bin_capacity
            if backlog > 0.0:
                delayed_requests += bin_arrivals
            largest_backlog = max(largest_backlog, backlog)
        backlogs[hour] = largest_backlog
    return bins_over, delayed_requests, served_requests


def forecast_year(best_candidate: Candidate, demand: Demand, plan_inputs: PlanningInputs) -> AnnualForecast:
    """Forecast 12 months of the fleet with all its instances, including spares.

    Each instance is assumed to sustain its rate within the SLO at the plan's confidence.
    """
    rates_per_s = compute_year_rates_per_s(plan_inputs.traffic, plan_inputs.today)
    year = simulate_year(
        rates_per_s, np.array([compute_sustained_peak_per_s(best_candidate.instances, best_candidate.capacity, demand)])
    )
    return AnnualForecast(
        hours_over=float(year.hours_over[0]),
        delayed_share=float(year.delayed_share[0]),
        worst_wait_s=float(year.worst_wait_s[0]),
        mean_utilization=float(year.mean_utilization[0]),
    )
