"""Service models as a fit returns them, with chosen uncertainties, and load points as a server with a known service
model has them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from app.planning.simulation.replica import simulate_batch_latencies, simulate_request_latencies
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import BatchService, FittedService, RequestService, ServiceFit, ServiceModel

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


def fitted_service(service: ServiceModel, probability: float = 1.0, **sigmas: float) -> FittedService:
    """`sigmas` are of the logarithms of the named fields, independent of each other."""
    covariance = np.diag([sigma**2 for sigma in sigmas.values()])
    return FittedService(service, probability, tuple(sigmas), tuple(tuple(row) for row in covariance.tolist()))


def fit_of(*services: FittedService, highest_per_s: float = math.inf) -> ServiceFit:
    return ServiceFit(services, (), 0.01, 1.0, 0.0, highest_per_s)


def measured_load_point(
    service: RequestService | BatchService, per_s: float, requests: int, seed: int
) -> MeasuredLoadPoint:
    """Poisson arrivals to an idle replica, with exact percentiles."""
    rng = np.random.default_rng(seed)
    arrivals_s, normals = np.cumsum(rng.exponential(1 / per_s, requests)), rng.standard_normal(requests)
    match service:
        case RequestService():
            latencies_s = simulate_request_latencies(arrivals_s, normals, service)
        case BatchService():
            latencies_s = simulate_batch_latencies(arrivals_s, normals, service)
    percentiles_s = {name: float(np.quantile(latencies_s, q, method="inverted_cdf")) for name, q in PERCENTILES.items()}
    last_s = float((arrivals_s + latencies_s).max())
    return MeasuredLoadPoint(per_s, None, requests / last_s, requests / per_s, requests, 0, {"latency": percentiles_s})


def measured_load_points(
    service: RequestService | BatchService, shares: Sequence[float], requests: int = 3000, seed: int = 1
) -> tuple[MeasuredLoadPoint, ...]:
    """Load points at shares of the maximum rate."""
    return tuple(
        measured_load_point(service, share * service.max_throughput_per_s, requests, seed * 1000 + place)
        for place, share in enumerate(shares)
    )
