from __future__ import annotations

import math

import numpy as np
import pytest

from app.planning.service_models.service_times import (
    compute_fleet_normals,
    compute_lognormal_factors,
    compute_service_factors,
    compute_total_cv,
    speed_up_target,
)
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.steady import simulate_steady
from app.records.service import RequestService
from tests.fakes.offers import curve, target
from tests.fakes.services import fit_of, fitted_service
from tests.studies.event_simulator import Slots, simulate

NORMALS = np.random.default_rng(3).standard_normal(400_000)
HYPEREXPONENTIAL = RequestService(4, 1.0, 1.0, slow_share=0.1127, slow_factor=7.873)
"""Hyperexponential times with balanced means and a squared coefficient of variation of 4."""
BIMODAL = RequestService(8, 1.0, 0.02, slow_share=0.1, slow_factor=11.0)


def test_times_with_a_slow_share_have_the_computed_mean_and_cv() -> None:
    for service, cv in ((HYPEREXPONENTIAL, 2.0), (BIMODAL, 1.5)):
        factors = compute_service_factors(NORMALS, service)
        assert factors.mean() == pytest.approx(1.0, rel=0.01)
        assert factors.std() == pytest.approx(compute_total_cv(service), rel=0.02)
        assert compute_total_cv(service) == pytest.approx(cv, rel=0.01)


def test_bimodal_times_have_two_values() -> None:
    factors = compute_service_factors(NORMALS, BIMODAL)
    slow = factors > 2.0
    assert slow.mean() == pytest.approx(0.1, rel=0.02)
    assert factors[slow].mean() / factors[~slow].mean() == pytest.approx(11.0, rel=0.01)
    assert factors[~slow].std() / factors[~slow].mean() == pytest.approx(0.02, rel=0.1)


def test_times_without_a_slow_share_are_lognormal() -> None:
    service = RequestService(1, 2.0, 0.7)
    assert np.array_equal(compute_service_factors(NORMALS, service), compute_lognormal_factors(NORMALS, 0.7))
    assert compute_fleet_normals(NORMALS, service) is NORMALS


@pytest.mark.parametrize("service", [HYPEREXPONENTIAL, BIMODAL])
def test_simulated_fleet_has_the_latencies_of_the_event_simulator(service: RequestService) -> None:
    rng = np.random.default_rng(5)
    per_s, requests = 2 * 0.7 * service.slots, 60_000  # at 0.8 percentiles of so many scatter by a tenth
    arrivals_s = np.cumsum(rng.exponential(1 / per_s, requests)).tolist()
    is_slow = rng.random(requests) < service.slow_share
    fast_factor = 1 / (1 - service.slow_share + service.slow_share * service.slow_factor)
    order = 1 / service.cv**2
    services_s = rng.gamma(order, 1 / order, requests) * np.where(
        is_slow, fast_factor * service.slow_factor, fast_factor
    )
    true_latencies_s = np.array(
        simulate(arrivals_s, services_s.tolist(), lambda: Slots(service.slots), 2, "least-outstanding")
    )
    design = FleetDesign((service,) * 2, "least-outstanding")
    outcome = simulate_steady(design, per_s, 40_000, seeds=(1, 2, 3), percentiles=(50, 95))
    times_s = outcome.overall.latency.percentiles_s
    for q, time_s in zip((0.5, 0.95), times_s, strict=True):
        assert time_s is not None
        assert math.log(time_s / float(np.quantile(true_latencies_s[3000:], q))) == pytest.approx(0.0, abs=0.12)


SERVICE = RequestService(2, 1.0, 0.5, outside_s=0.2)
MEASURED = target(fit=fit_of(fitted_service(SERVICE, mean_s=0.1), highest_per_s=1.8))


def test_sped_up_target_scales_rates_and_service_time_and_is_assumed() -> None:
    faster = speed_up_target(MEASURED, 2.0)
    assert faster.fit is not None
    assert MEASURED.fit is not None
    assert faster.fit.services[0].service == RequestService(2, 0.5, 0.5, outside_s=0.2)
    assert faster.fit.services[0].log_covariance == MEASURED.fit.services[0].log_covariance
    assert faster.fit.highest_per_s == 3.6
    assert (faster.curve.max_rate_per_s, faster.curve.max_rate_ci95) == (200.0, (190.0, 210.0))
    assert faster.is_assumed
    assert (faster.name, faster.hardware) == (MEASURED.name, MEASURED.hardware)


def test_sped_up_target_scales_each_point_of_the_curve() -> None:
    for before, after in zip(MEASURED.curve.points, speed_up_target(MEASURED, 4.0).curve.points, strict=True):
        assert after.offered_per_s == pytest.approx(4 * before.offered_per_s)
        assert after.achieved_per_s == pytest.approx(4 * before.achieved_per_s)
        assert after.latency_ms == pytest.approx((before.latency_ms or 0.0) / 4)
        assert after.meets_slo == before.meets_slo


def test_sped_up_target_without_fit_and_interval_has_none() -> None:
    faster = speed_up_target(target(curve(max_rate_ci95=None)), 2.0)
    assert (faster.fit, faster.curve.max_rate_ci95) == (None, None)
