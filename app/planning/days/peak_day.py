"""Simulation of the recommended fleet on the busiest day of the week, with an independent
simulation of each hour."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import numpy as np

from app.analysis.columns import Floats
from app.planning.offers.options import Option, get_candidate
from app.planning.service_models.service_times import speed_up
from app.planning.sizing.demand import compute_rates_per_s
from app.planning.sizing.slo_objectives import SloObjectives
from app.records.plan import Hour
from app.records.planning_inputs import PlanningInputs

if TYPE_CHECKING:
    from app.planning.simulation.steady import SteadyOutcome

_REQUESTS = 4_000


def simulate_peak_day(best_option: Option, plan_inputs: PlanningInputs, objectives: SloObjectives) -> tuple[Hour, ...]:
    """Simulate the busiest of the next seven days at today's traffic level. The result is empty if
    the target has no service model.

    Requests that are queued at the end of an hour are not carried over to the next hour. For a
    continuous day, use `sizewise simulate`.
    """
    fit = best_option.target.fit
    if fit is None:
        return ()
    # deferred, because the simulation takes a second to import
    from app.planning.sizing.fleet_rate import build_fleet_shape, simulate_traffic

    candidate = get_candidate(best_option)
    shape = build_fleet_shape(plan_inputs.traffic, objectives, plan_inputs.limits.router)
    replicas = candidate.instances * candidate.capacity.replicas
    service = speed_up(fit.services[0].service, candidate.capacity.speed)
    hours: list[Hour] = []
    outcomes: dict[float, SteadyOutcome] = {}
    for hour, mean_rate_per_s in enumerate(compute_busiest_day_rates_per_s(plan_inputs)):
        rate_per_s = max(float(f"{mean_rate_per_s:.6g}"), 1e-6)
        if rate_per_s not in outcomes:
            outcomes[rate_per_s] = simulate_traffic(service, shape, replicas, rate_per_s, _REQUESTS)
        outcome = outcomes[rate_per_s]
        latency = outcome.overall.latency
        p50_ms, p95_ms, p99_ms = (
            _to_ms(latency.percentiles_s[outcome.percentiles.index(percentile)]) for percentile in (50, 95, 99)
        )
        usd_per_hour = candidate.instances * candidate.usd_per_hour
        good_share = outcome.overall.good_share
        hours.append(
            Hour(
                hour,
                float(mean_rate_per_s),
                float(candidate.instances),
                p50_ms,
                p95_ms,
                p99_ms,
                good_share,
                usd_per_hour,
            )
        )
    return tuple(hours)


def _to_ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def compute_busiest_day_rates_per_s(plan_inputs: PlanningInputs) -> Floats:
    """Return the 24 hourly mean rates of the day with the busiest hour among the next seven
    days."""
    start = datetime.datetime.combine(plan_inputs.today, datetime.time())
    hourly_rates_per_s = compute_rates_per_s(
        plan_inputs.traffic, start, 7 * 24, 3600.0, today=plan_inputs.today
    ).reshape(7, 24)
    return np.asarray(hourly_rates_per_s[int(hourly_rates_per_s.max(axis=1).argmax())])
