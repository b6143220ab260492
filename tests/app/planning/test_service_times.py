from __future__ import annotations

import math

import numpy as np
import pytest

from app.planning.service_times import fleet_normals, lognormal_factors, service_factors, total_cv
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.steady import simulate_steady
from app.records.service import RequestService
from tests.checks.event_simulator import Slots, simulate

NORMALS = np.random.default_rng(3).standard_normal(400_000)
HYPEREXPONENTIAL = RequestService(4, 1.0, 1.0, slow_share=0.1127, slow_factor=7.873)
"""Of balanced means: a squared coefficient of variation of 4."""
BIMODAL = RequestService(8, 1.0, 0.02, slow_share=0.1, slow_factor=11.0)


def test_two_phases_have_the_mean_and_the_variation_they_are_said_to_have() -> None:
    for service, cv in ((HYPEREXPONENTIAL, 2.0), (BIMODAL, 1.5)):
        factors = service_factors(NORMALS, service)
        assert factors.mean() == pytest.approx(1.0, rel=0.01)
        assert factors.std() == pytest.approx(total_cv(service), rel=0.02)
        assert total_cv(service) == pytest.approx(cv, rel=0.01)


def test_bimodal_times_are_two_values() -> None:
    factors = service_factors(NORMALS, BIMODAL)
    slow = factors > 2.0
    assert slow.mean() == pytest.approx(0.1, rel=0.02)
    assert factors[slow].mean() / factors[~slow].mean() == pytest.approx(11.0, rel=0.01)
    assert factors[~slow].std() / factors[~slow].mean() == pytest.approx(0.02, rel=0.1)


def test_without_a_slow_share_times_are_lognormal_as_before() -> None:
    service = RequestService(1, 2.0, 0.7)
    assert np.array_equal(service_factors(NORMALS, service), lognormal_factors(NORMALS, 0.7))
    assert fleet_normals(NORMALS, service) is NORMALS


@pytest.mark.parametrize("service", [HYPEREXPONENTIAL, BIMODAL])
def test_a_simulated_fleet_has_the_latencies_that_the_event_simulator_finds(service: RequestService) -> None:
    rng = np.random.default_rng(5)
    per_s, requests = 2 * 0.7 * service.slots, 60_000  # at 0.8 percentiles of so many scatter by a tenth
    arrivals_s = np.cumsum(rng.exponential(1 / per_s, requests)).tolist()
    is_slow = rng.random(requests) < service.slow_share
    fast = 1 / (1 - service.slow_share + service.slow_share * service.slow_factor)
    order = 1 / service.cv**2
    services_s = rng.gamma(order, 1 / order, requests) * np.where(is_slow, fast * service.slow_factor, fast)
    truth = np.array(simulate(arrivals_s, services_s.tolist(), lambda: Slots(service.slots), 2, "least_outstanding"))
    design = FleetDesign((service,) * 2, "least_outstanding")
    found = simulate_steady(design, per_s, 40_000, seeds=(1, 2, 3), percentiles=(50, 95))
    times_s = found.overall.latency.percentiles_s
    for q, time_s in zip((0.5, 0.95), times_s, strict=True):
        assert time_s is not None
        assert math.log(time_s / float(np.quantile(truth[3000:], q))) == pytest.approx(0.0, abs=0.12)
