from __future__ import annotations

import math

import numpy as np
import pytest

from app.planning.sizing.model_error import compute_cumulative_probability, compute_quantile
from app.records.service import TokenService
from tests.studies.step_time_draws import DRAWS, slow_down, state_draws

SERVICE = TokenService(0.01, 0.001, 0.0001, max_sequences=64, kv_tokens=100_000, chunk_tokens=8192, outside_s=0.05)


def test_draws_of_a_lognormal_rate_state_what_the_formula_of_plans_states() -> None:
    sigma, peak_per_s, instances = 0.3, 100.0, 14
    errors = np.array([compute_quantile((index + 0.5) / DRAWS) for index in range(DRAWS)])
    stated = state_draws(10.0 * np.exp(sigma * errors), 1, peak_per_s, instances)
    expected = [
        compute_cumulative_probability(math.log((instances + extra) * 10.0 / peak_per_s) / sigma)
        for extra in (-1, 0, 1)
    ]
    assert stated.probabilities == pytest.approx(expected, abs=0.011)
    assert stated.range == (7.0, 10.0, 15.0)


def test_draw_without_any_rate_within_the_slo_never_meets_it() -> None:
    stated = state_draws(np.array([0.0, 10.0]), 1, 10.0, 1)
    assert stated.probabilities == (0.0, 0.5, 0.5)


def test_slow_service_has_the_drawn_times() -> None:
    slow = slow_down(SERVICE, 2.0, 3.0)
    assert slow.compute_decode_step_s(4, 100) == pytest.approx(2 * SERVICE.compute_decode_step_s(4, 100))
    firsts_s = [service.outside_s + 1000 * service.prefill_s_per_token for service in (SERVICE, slow)]
    assert firsts_s[1] == pytest.approx(3 * firsts_s[0])
