"""Fits of a service model whose only statistic is its mean: the log of a simulation is ln mean_s plus noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from app.planning.service_models.families import Prior, ServiceFamily
from app.planning.service_models.moments import (
    ObservedLoad,
    ObservedStage,
    SimulatedStatistics,
    build_service_fit,
    find_best_fits,
    pick_evenly,
)
from app.records.service import RequestService, ServiceFit, ServiceModel

NOISE = np.random.default_rng(1).standard_normal(40)
NOISE = (NOISE - NOISE.mean()) / NOISE.std(ddof=1)


ERROR_FACTOR = 1.3  # fits of simulated services are off by more than their information matrix predicts
CLOSE, NEAR, APART = [2.08, 2.1, 2.12, 2.1], [2.0, 2.1, 2.2, 2.1], [1.5, 2.1, 2.9, 2.1]


def build_stage(measured_s: float, share: float = 1.0, scatter: float = 0.05, per_s: float = 1.0) -> ObservedStage:
    """Return a stage whose simulations scatter by `scatter`; the measurement has `share` of that variance."""

    def simulate_stage(service: ServiceModel) -> SimulatedStatistics:
        assert isinstance(service, RequestService)
        return SimulatedStatistics(math.log(service.mean_s) + scatter * NOISE[:, None])

    return ObservedStage(ObservedLoad(per_s, 1000, 1, ("p50",), (math.log(measured_s),)), simulate_stage, share)


def build_family(slots: int = 1, start_s: float = 1.0, prior_sigma: float = 10.0) -> ServiceFamily:
    return ServiceFamily(RequestService(slots, start_s, 0.5), {"mean_s": Prior(start_s, prior_sigma, 1e-3, 1e3)})


def fit_stages(measured_s: Sequence[float], *families: ServiceFamily, share: float = 1.0) -> ServiceFit:
    stages = [build_stage(latency_s, share) for latency_s in measured_s]
    return build_service_fit(
        find_best_fits(families or [build_family()], stages, stages, max_fits=3), stages, highest_per_s=9.0
    )


def fit_sigma(measured_s: Sequence[float], share: float = 1.0) -> float:
    return math.sqrt(fit_stages(measured_s, share=share).services[0].log_covariance[0][0])


def test_fitted_mean_and_sigma_match_the_measurements() -> None:
    fit = fit_stages(CLOSE)
    service = fit.services[0].service
    assert isinstance(service, RequestService)
    assert service.mean_s == pytest.approx(2.1, rel=2e-3)
    # the scatter of a simulation, and the error that no queue explains
    assert fit_sigma(CLOSE) == pytest.approx(ERROR_FACTOR * math.hypot(0.05, 0.02) / 2, rel=0.02)
    assert fit.spread == 1.0
    assert (fit.lowest_per_s, fit.highest_per_s) == (1.0, 9.0)


def test_sigma_falls_with_stage_length_and_grows_with_unexplained_spread() -> None:
    assert fit_sigma(CLOSE, share=0.25) == pytest.approx(ERROR_FACTOR * math.hypot(0.025, 0.02) / 2, rel=0.03)
    assert fit_stages(APART).spread > 2
    assert fit_sigma(APART) > 1.5 * fit_sigma(CLOSE)


def test_equally_good_families_have_equal_probability_and_poor_ones_are_omitted() -> None:
    alike = fit_stages(NEAR, build_family(1), build_family(2))
    assert [candidate.probability for candidate in alike.services] == pytest.approx([0.5, 0.5], abs=1e-3)
    bounded = ServiceFamily(RequestService(2, 1.0, 0.5), {"mean_s": Prior(1.0, 10.0, 0.5, 1.5)})
    fit = fit_stages(NEAR, bounded, build_family(1))
    assert [candidate.service for candidate in fit.services] == [alike.services[0].service]
    assert fit.services[0].probability == 1.0


def compute_robust_cost(squared_s: float) -> float:
    return 8 * (math.sqrt(1 + squared_s / 4) - 1)


@pytest.mark.parametrize("measured_s", [NEAR, [1.95, 2.1, 2.25, 2.1]])
def test_held_out_cost_equals_the_error_of_fits_without_the_held_out_stage(measured_s: list[float]) -> None:
    stages, expected = [build_stage(observed_stage) for observed_stage in measured_s], 0.0
    for held_out in stages:
        other_stages = [observed_stage for observed_stage in stages if observed_stage is not held_out]
        service = find_best_fits([build_family()], other_stages, other_stages, max_fits=1)[0].family.service
        assert isinstance(service, RequestService)
        expected += compute_robust_cost(
            ((math.log(service.mean_s) - held_out.observed_load.logs[0]) / math.hypot(0.05, 0.02)) ** 2
        )
    (best_fit,) = find_best_fits([build_family()], stages, stages, max_fits=1, use_held_out=True)
    assert best_fit.held_out_cost == pytest.approx(expected, rel=0.04)


def test_held_out_cost_respects_the_bounds_of_the_parameters() -> None:
    stages = [build_stage(latency_s) for latency_s in CLOSE]
    bounded = ServiceFamily(RequestService(1, 1.0, 0.5), {"mean_s": Prior(1.0, 10.0, 0.5, 2.0)})
    (best_fit,) = find_best_fits([bounded], stages, stages, max_fits=1, use_held_out=True)
    expected = sum(
        compute_robust_cost((math.log(latency_s / 2.0) / math.hypot(0.05, 0.02)) ** 2) for latency_s in CLOSE
    )
    assert best_fit.held_out_cost == pytest.approx(expected, rel=0.01)


def test_family_that_overfits_noise_ranks_lower_with_held_out_cost() -> None:
    """A trend over the points fits them better, and predicts each from the others worse."""

    def build_rising_stage(measured_s: float, position: float) -> ObservedStage:
        def simulate_stage(service: ServiceModel) -> SimulatedStatistics:
            assert isinstance(service, RequestService)
            return SimulatedStatistics(
                math.log(service.mean_s) + position * math.log(service.outside_s) + 0.05 * NOISE[:, None]
            )

        return ObservedStage(ObservedLoad(1.0, 1000, 1, ("p50",), (math.log(measured_s),)), simulate_stage, 1.0)

    stages = [
        build_rising_stage(latency_s, place)
        for latency_s, place in zip((2.02, 2.18, 2.03, 2.18), (-1.5, -0.5, 0.5, 1.5), strict=True)
    ]
    plain = ServiceFamily(RequestService(2, 2.0, 0.5, outside_s=1.0), {"mean_s": Prior(2.0, 10.0, 0.1, 10.0)})
    trend = ServiceFamily(
        RequestService(1, 2.0, 0.5, outside_s=1.0), {**plain.priors, "outside_s": Prior(1.0, 10.0, 0.1, 10.0)}
    )
    by_fit = find_best_fits([plain, trend], stages, stages, max_fits=2)
    assert by_fit[0].family.parameters == trend.parameters
    by_held_out = find_best_fits([plain, trend], stages, stages, max_fits=2, use_held_out=True)
    assert by_held_out[0].family.parameters == plain.parameters
    probabilities = [latency_s.probability for latency_s in build_service_fit(by_held_out, stages, 9.0).services]
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities[0] > 0.5


def test_fit_errors_are_in_standard_deviations_of_the_measurement() -> None:
    (low, _, high, _) = fit_stages(NEAR).errors
    assert (low.measured_s, high.measured_s) == pytest.approx((2.0, 2.2))
    assert low.deviations == pytest.approx(math.log(low.fitted_s / 2.0) / math.hypot(0.05, 0.02), rel=0.02)
    assert low.deviations > 0 > high.deviations


@pytest.mark.parametrize(("point_count", "max_points", "picked"), [(3, 8, [0, 1, 2]), (9, 3, [0, 4, 8]), (1, 4, [0])])
def test_picked_points_are_evenly_spread_and_include_both_ends(
    point_count: int, max_points: int, picked: list[int]
) -> None:
    assert pick_evenly(list(range(point_count)), max_points) == picked
