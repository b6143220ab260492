from __future__ import annotations

import pytest
from scipy import stats

from app.planning.bursts import burst_factor

LOADS, SHARES = (0.5, 0.8, 1.0, 1.05), (0.0, 0.01, 0.05, 1.0)


def test_arrivals_that_hardly_vary_lower_nothing() -> None:
    assert burst_factor(LOADS, SHARES, 0.052, shape=1e9) == 1.0


def test_burstier_is_lower_and_a_laxer_goal_higher() -> None:
    factors = [burst_factor(LOADS, SHARES, 0.05, shape) for shape in (1000.0, 100.0, 10.0, 1.0)]
    assert factors == sorted(factors, reverse=True)
    assert 0.9 < factors[0] < 1
    assert 0 < factors[-1] < 0.4
    assert burst_factor(LOADS, SHARES, 0.2, 10.0) > burst_factor(LOADS, SHARES, 0.05, 10.0)


# where nobody is late up to the full rate and all are beyond, the late are those of the windows over it, and a window's
# share of the requests is its factor times a gamma density: a gamma of a shape one higher
@pytest.mark.parametrize("allowed", [0.05, 0.2])
@pytest.mark.parametrize("shape", [3.0, 30.0])
def test_a_fleet_that_is_early_or_late_has_the_factor_of_theory(shape: float, allowed: float) -> None:
    exact = 1 / stats.gamma.ppf(1 - allowed, shape + 1, scale=1 / shape)
    assert burst_factor((0.0, 1.0), (0.0, 0.0), allowed, shape) == pytest.approx(exact, rel=0.01)
