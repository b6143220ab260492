"""Latency of a fleet over its load, played."""

from __future__ import annotations

import math

from app.planning.fleet_rate import FleetShape, play_traffic, requests_for, time_of
from app.planning.goals import DEFAULT_LATENCY_METRIC, Goal
from app.planning.latency_curve import LatencyCurve
from app.planning.service_speed import faster
from app.records.service import ServiceFit

_LOADS = (0.2, 0.4, 0.6, 0.75, 0.85, 0.93, 1.0)
_REQUESTS = (6_000, 300)


def fleet_curve(fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, highest_per_s: float) -> LatencyCurve:
    """The first goal's time, or p95 of the latency, against the rate of one replica up to its highest."""
    if highest_per_s <= 0:
        return LatencyCurve((), (), 0.0)
    goal = shape.goals.times[0] if shape.goals.times else Goal("", DEFAULT_LATENCY_METRIC, "latency", 0.95, math.inf)
    service = faster(fit.laws[0].service, speed)
    rates = [load * highest_per_s for load in _LOADS]
    enough = requests_for(replicas, *_REQUESTS)
    times_ms = [1000 * time_of(play_traffic(service, shape, replicas, rate * replicas, enough), goal) for rate in rates]
    rising = [max(times_ms[: place + 1]) for place in range(len(times_ms))]
    return LatencyCurve(tuple(rates), tuple(math.log(time) for time in rising), highest_per_s)
