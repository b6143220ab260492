"""Day of the week's peak with the recommended fleet, hour by hour; each hour's rate is simulated independently."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import numpy as np

from app.analysis.columns import Floats
from app.planning.demand import compute_rates_per_s
from app.planning.goals import Goals
from app.planning.options import Option, get_candidate
from app.planning.service_models.service_times import speed_up
from app.records.plan import Hour
from app.records.planning_inputs import PlanningInputs

if TYPE_CHECKING:
    from app.planning.simulation.steady import SteadyOutcome

_REQUESTS = 4_000


def simulate_peak_day(best: Option, question: PlanningInputs, goals: Goals) -> tuple[Hour, ...]:
    """Simulate the busiest of the coming seven days at today's level; empty without a service model.

    Requests that one hour leaves unanswered do not carry over to the next: `sizewise simulate` simulates a whole day.
    """
    fit = best.target.fit
    if fit is None:
        return ()
    from app.planning.fleet_rate import (
        build_fleet_shape,
        simulate_traffic,
    )  # imported here because the simulation takes a second to
    # import

    candidate = get_candidate(best)
    shape = build_fleet_shape(question.traffic, goals, question.limits.router)
    replicas = candidate.instances * candidate.capacity.replicas
    service = speed_up(fit.services[0].service, candidate.capacity.speed)
    hours: list[Hour] = []
    outcomes: dict[float, SteadyOutcome] = {}
    for hour, rate in enumerate(find_busiest_day(question)):
        per_s = max(float(f"{rate:.6g}"), 1e-6)
        if per_s not in outcomes:
            outcomes[per_s] = simulate_traffic(service, shape, replicas, per_s, _REQUESTS)
        outcome = outcomes[per_s]
        times = outcome.overall.latency
        p50, p95, p99 = (_ms(times.percentiles_s[outcome.percentiles.index(percentile)]) for percentile in (50, 95, 99))
        usd = candidate.instances * candidate.usd_per_hour
        good = outcome.overall.good_share
        hours.append(Hour(hour, float(rate), float(candidate.instances), p50, p95, p99, good, usd))
    return tuple(hours)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def find_busiest_day(question: PlanningInputs) -> Floats:
    """Return 24 mean rates of the one of the coming seven days that has the busiest hour."""
    start = datetime.datetime.combine(question.today, datetime.time())
    week = compute_rates_per_s(question.traffic, start, 7 * 24, 3600.0, today=question.today).reshape(7, 24)
    return np.asarray(week[int(week.max(axis=1).argmax())])
