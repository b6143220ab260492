from __future__ import annotations

import numpy as np
import pytest

from app.planning.step_times.calibration import NOISE_SHARE, LogIntervals, correlate_loads
from app.planning.step_times.intervals import Z_LEVEL
from tests.studies.published_reveal import calibrate_curve

CLIENTS = np.array([1.0, 4.0, 16.0, 64.0, 256.0])
PRIOR = LogIntervals(np.log(np.array([10.0, 11.0, 13.0, 18.0, 30.0])), np.full(5, 0.3))


def calibrate(measured: dict[int, float]) -> LogIntervals:
    return calibrate_curve(PRIOR, CLIENTS, np.array([*measured], dtype=np.intp), np.array([*measured.values()]))


def test_quantiles_of_log_intervals_equal_their_bounds() -> None:
    intervals = LogIntervals.from_bounds(np.array([8.0]), np.array([18.0]))
    assert intervals.compute_quantile(-Z_LEVEL) == pytest.approx([8.0])
    assert intervals.compute_quantile(0.0) == pytest.approx([12.0])
    assert intervals.compute_quantile(Z_LEVEL) == pytest.approx([18.0])


def test_measured_load_shifts_nearby_loads_more_than_distant_loads() -> None:
    posterior = calibrate({0: 15.0})
    shift = posterior.mean - PRIOR.mean
    assert shift[0] == pytest.approx(np.log(1.5), rel=0.05)
    assert np.all(np.diff(shift) < 0)
    assert np.all(shift > 0)


def test_intervals_near_measured_loads_narrow_more_than_distant_intervals() -> None:
    one, two = calibrate({0: 10.0}), calibrate({0: 10.0, 1: 11.0})
    assert np.all(np.diff(one.sigma) > 0)
    assert np.all(one.sigma < PRIOR.sigma)
    assert np.all(two.sigma <= one.sigma + 1e-12)
    assert np.all(two.sigma >= np.sqrt(NOISE_SHARE) * PRIOR.sigma - 1e-12)


def test_measurements_equal_to_the_prediction_do_not_shift_it() -> None:
    assert calibrate({0: 10.0, 2: 13.0}).mean == pytest.approx(PRIOR.mean)


def test_repeated_measurements_of_one_load_are_averaged() -> None:
    clients = np.array([4.0, 4.0, 64.0])
    prior = LogIntervals(np.zeros(3), np.full(3, 0.3))
    posterior = calibrate_curve(prior, clients, np.array([0, 1]), np.exp(np.array([0.1, 0.3])))
    assert posterior.mean[0] == pytest.approx(0.2, rel=0.05)


def test_intervals_of_curves_drawn_from_the_prior_have_80_percent_coverage() -> None:
    """Curves drawn from the prior are covered as often as stated."""
    rng = np.random.default_rng(1)
    loads = np.log2(CLIENTS)
    covariance = 0.3**2 * (correlate_loads(loads[:, None], loads[None, :]) + NOISE_SHARE * np.eye(5))
    inside = []
    for errors in rng.multivariate_normal(np.zeros(5), covariance, 400):
        posterior = calibrate_curve(PRIOR, CLIENTS, np.arange(2), np.exp(PRIOR.mean + errors)[:2])
        inside.append(np.abs(PRIOR.mean + errors - posterior.mean)[2:] <= Z_LEVEL * posterior.sigma[2:])
    assert np.mean(inside) == pytest.approx(0.8, abs=0.04)
