"""With a law whose only answer is its mean, so that all is arithmetic: ln of a play is ln mean_s, give or take."""

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


MISSES = 1.3  # fits of simulated truths miss by more than their own information says
CLOSE, NEAR, APART = [2.08, 2.1, 2.12, 2.1], [2.0, 2.1, 2.2, 2.1], [1.5, 2.1, 2.9, 2.1]


def stage(measured_s: float, share: float = 1.0, scatter: float = 0.05, per_s: float = 1.0) -> ObservedStage:
    """Each play is off by `scatter`, of which `share` of the variance is left in what was measured."""

    def played(service: ServiceModel) -> SimulatedStatistics:
        assert isinstance(service, RequestService)
        return SimulatedStatistics(math.log(service.mean_s) + scatter * NOISE[:, None])

    return ObservedStage(ObservedLoad(per_s, 1000, 1, ("p50",), (math.log(measured_s),)), played, share)


def law(slots: int = 1, start_s: float = 1.0, sigma: float = 10.0) -> ServiceFamily:
    return ServiceFamily(RequestService(slots, start_s, 0.5), {"mean_s": Prior(start_s, sigma, 1e-3, 1e3)})


def fitted(measured_s: Sequence[float], *laws: ServiceFamily, share: float = 1.0) -> ServiceFit:
    stages = [stage(one, share) for one in measured_s]
    return build_service_fit(find_best_fits(laws or [law()], stages, stages, max_fits=3), stages, highest_per_s=9.0)


def sigma(measured_s: Sequence[float], share: float = 1.0) -> float:
    return math.sqrt(fitted(measured_s, share=share).services[0].log_covariance[0][0])


def test_the_parameter_is_the_mean_of_what_was_measured_and_as_sure() -> None:
    fit = fitted(CLOSE)
    service = fit.services[0].service
    assert isinstance(service, RequestService)
    assert service.mean_s == pytest.approx(2.1, rel=2e-3)
    # of a play, and of what no queue explains
    assert sigma(CLOSE) == pytest.approx(MISSES * math.hypot(0.05, 0.02) / 2, rel=0.02)
    assert fit.spread == 1.0
    assert (fit.lowest_per_s, fit.highest_per_s) == (1.0, 9.0)


def test_longer_stages_are_surer_and_unexplained_ones_less_sure() -> None:
    assert sigma(CLOSE, share=0.25) == pytest.approx(MISSES * math.hypot(0.025, 0.02) / 2, rel=0.03)
    assert fitted(APART).spread > 2
    assert sigma(APART) > 1.5 * sigma(CLOSE)


def test_laws_that_explain_as_well_share_the_chance_and_what_does_not_has_none() -> None:
    alike = fitted(NEAR, law(1), law(2))
    assert [one.probability for one in alike.services] == pytest.approx([0.5, 0.5], abs=1e-3)
    bound = ServiceFamily(RequestService(2, 1.0, 0.5), {"mean_s": Prior(1.0, 10.0, 0.5, 1.5)})
    sole = fitted(NEAR, bound, law(1))
    assert [one.service for one in sole.services] == [alike.services[0].service]
    assert sole.services[0].probability == 1.0


def robust(squared_s: float) -> float:
    return 8 * (math.sqrt(1 + squared_s / 4) - 1)


@pytest.mark.parametrize("measured_s", [NEAR, [1.95, 2.1, 2.25, 2.1]])
def test_the_cost_of_held_out_load_points_is_that_of_fits_without_them(measured_s: list[float]) -> None:
    stages, expected = [stage(one) for one in measured_s], 0.0
    for held_out in stages:
        others = [one for one in stages if one is not held_out]
        service = find_best_fits([law()], others, others, max_fits=1)[0].family.service
        assert isinstance(service, RequestService)
        expected += robust(((math.log(service.mean_s) - held_out.observed_load.logs[0]) / math.hypot(0.05, 0.02)) ** 2)
    (found,) = find_best_fits([law()], stages, stages, max_fits=1, use_held_out=True)
    assert found.held_out_cost == pytest.approx(expected, rel=0.04)


def test_a_law_at_a_bound_does_not_step_beyond_it_for_a_held_out_point() -> None:
    stages = [stage(one) for one in CLOSE]
    bound = ServiceFamily(RequestService(1, 1.0, 0.5), {"mean_s": Prior(1.0, 10.0, 0.5, 2.0)})
    (found,) = find_best_fits([bound], stages, stages, max_fits=1, use_held_out=True)
    expected = sum(robust((math.log(one / 2.0) / math.hypot(0.05, 0.02)) ** 2) for one in CLOSE)
    assert found.held_out_cost == pytest.approx(expected, rel=0.01)


def test_a_law_that_only_follows_the_noise_of_the_points_is_not_preferred() -> None:
    """A trend over the points fits them better, and predicts each from the others worse."""

    def rising(measured_s: float, place: float) -> ObservedStage:
        def played(service: ServiceModel) -> SimulatedStatistics:
            assert isinstance(service, RequestService)
            return SimulatedStatistics(
                math.log(service.mean_s) + place * math.log(service.outside_s) + 0.05 * NOISE[:, None]
            )

        return ObservedStage(ObservedLoad(1.0, 1000, 1, ("p50",), (math.log(measured_s),)), played, 1.0)

    stages = [rising(one, place) for one, place in zip((2.02, 2.18, 2.03, 2.18), (-1.5, -0.5, 0.5, 1.5), strict=True)]
    plain = ServiceFamily(RequestService(2, 2.0, 0.5, outside_s=1.0), {"mean_s": Prior(2.0, 10.0, 0.1, 10.0)})
    trend = ServiceFamily(
        RequestService(1, 2.0, 0.5, outside_s=1.0), {**plain.priors, "outside_s": Prior(1.0, 10.0, 0.1, 10.0)}
    )
    by_fit = find_best_fits([plain, trend], stages, stages, max_fits=2)
    assert by_fit[0].family.parameters == trend.parameters
    by_held_out = find_best_fits([plain, trend], stages, stages, max_fits=2, use_held_out=True)
    assert by_held_out[0].family.parameters == plain.parameters
    chances = [one.probability for one in build_service_fit(by_held_out, stages, 9.0).services]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.5


def test_errors_are_in_standard_deviations_of_such_a_measurement() -> None:
    (low, _, high, _) = fitted(NEAR).errors
    assert (low.measured_s, high.measured_s) == pytest.approx((2.0, 2.2))
    assert low.deviations == pytest.approx(math.log(low.fitted_s / 2.0) / math.hypot(0.05, 0.02), rel=0.02)
    assert low.deviations > 0 > high.deviations


@pytest.mark.parametrize(("points", "most", "picked"), [(3, 8, [0, 1, 2]), (9, 3, [0, 4, 8]), (1, 4, [0])])
def test_points_are_spread_out_with_both_ends(points: int, most: int, picked: list[int]) -> None:
    assert pick_evenly(list(range(points)), most) == picked
