from __future__ import annotations

import math

import numpy as np
import pytest

from app.planning.stage_play import StagePlay, in_order
from app.records.service import BatchService, RequestService, TokenService

QUANTILES = np.array([0.5, 0.95])


def drawn(rate: float, requests: int = 400, times: int = 50, seed: int = 1) -> StagePlay:
    return StagePlay.drawn(rate, requests, times, np.random.SeedSequence(seed))


def test_a_stage_has_its_rate_and_the_same_seed_the_same_numbers() -> None:
    play = drawn(20.0)
    assert play.arrivals_s.shape == play.normals.shape == (50, 400)
    assert (np.diff(play.arrivals_s) > 0).all()
    assert 400 / play.arrivals_s[:, -1].mean() == pytest.approx(20.0, rel=0.02)
    assert (play.arrivals_s == drawn(20.0).arrivals_s).all()
    assert (play.arrivals_s != drawn(20.0, seed=2).arrivals_s).all()


def test_without_a_queue_percentiles_are_those_of_the_service() -> None:
    # a lognormal of mean 1 and CV 0.5: exp(z × sigma − sigma² / 2), and its percentiles scatter as order statistics do
    found = drawn(0.001).played(RequestService(1, 1.0, 0.5), QUANTILES)
    variance = math.log(1.25)
    assert found.log_means == pytest.approx([-variance / 2, 1.6449 * math.sqrt(variance) - variance / 2], abs=0.02)
    scatter = math.sqrt(variance) * np.sqrt(QUANTILES * (1 - QUANTILES) / 400) / [0.3989, 0.1031]
    assert np.sqrt(np.diag(found.log_covariance)) == pytest.approx(scatter, rel=0.35)


def test_a_stage_starts_empty() -> None:
    # at full load the median wait of 400 requests is far from that of 4,000
    short, long = (drawn(1.0, requests).played(RequestService(1, 1.0, 1.0), QUANTILES) for requests in (400, 4000))
    assert long.log_means[0] > short.log_means[0] + 0.7


def test_one_percentile_has_a_covariance_too() -> None:
    assert drawn(0.5).played(RequestService(1, 1.0, 1.0), np.array([0.9])).log_covariance.shape == (1, 1)


def test_batches_are_played_and_tokens_are_not() -> None:
    found = drawn(2.0).played(BatchService(1.0, 0.0, 64), QUANTILES)
    # the whole batch before, at most, and one's own
    assert 0 < found.log_means[0] < found.log_means[1] < math.log(2.0)
    with pytest.raises(TypeError, match="by tokens"):
        drawn(2.0).played(TokenService(1.0, 0.1, 0.1, 8, 100), QUANTILES)


def test_even_gaps_queue_less_than_random_ones() -> None:
    service, seed = RequestService(1, 0.01, 0.3), np.random.SeedSequence(1)
    even = StagePlay.drawn(80.0, 400, 20, seed, "even")
    assert np.diff(even.arrivals_s) == pytest.approx(1 / 80)
    assert (even.played(service, QUANTILES).log_means < drawn(80.0).played(service, QUANTILES).log_means - 0.3).all()


def test_values_at_places_are_those_of_a_sort() -> None:
    values = np.random.default_rng(1).lognormal(size=(5, 400))
    places = np.array([379, 199, 199, 399, 0, 395])
    assert in_order(values.copy(), places).tolist() == np.sort(values, axis=1)[:, places].tolist()
