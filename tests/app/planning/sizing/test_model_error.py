from __future__ import annotations

import pytest
from scipy import stats

from app.planning.sizing.model_error import (
    DEGREES_OF_FREEDOM,
    SCALE,
    Z80,
    compute_cumulative_probability,
    compute_quantile,
)

STUDENT_T = stats.t(DEGREES_OF_FREEDOM, scale=SCALE)


@pytest.mark.parametrize("z", [-40.0, -3.0, -0.2, 0.0, 0.7, Z80, 2.9, 8.0, 1e6])
def test_cumulative_probability_equals_that_of_the_t_distribution(z: float) -> None:
    assert compute_cumulative_probability(z) == pytest.approx(STUDENT_T.cdf(z), abs=1e-12)


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.3, 0.5, 0.8, 0.9, 0.99, 0.9999])
def test_quantile_inverts_the_cumulative_probability(probability: float) -> None:
    assert compute_quantile(probability) == pytest.approx(STUDENT_T.ppf(probability), abs=1e-7)
    assert compute_cumulative_probability(compute_quantile(probability)) == pytest.approx(probability, abs=1e-12)


def test_p10_and_p90_equal_those_of_the_normal_distribution() -> None:
    assert compute_cumulative_probability(Z80) == pytest.approx(stats.norm.cdf(Z80), abs=1e-6)
    assert compute_cumulative_probability(-Z80) == pytest.approx(stats.norm.cdf(-Z80), abs=1e-6)
