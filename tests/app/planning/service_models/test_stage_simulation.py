from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from app.planning.service_models.stage_simulation import (
    RESPONSE_GAP,
    StageSimulation,
    TokenLoad,
    TokenSimulation,
    select_sorted,
)
from app.records.service import UNLIMITED_TOKENS, BatchService, RequestService, TokenService

QUANTILES = np.array([0.5, 0.95])


def drawn(rate: float, requests: int = 400, times: int = 50, seed: int = 1) -> StageSimulation:
    return StageSimulation.draw(rate, requests, times, np.random.SeedSequence(seed))


def test_a_stage_has_its_rate_and_the_same_seed_the_same_numbers() -> None:
    play = drawn(20.0)
    assert play.arrivals_s.shape == play.normals.shape == (50, 400)
    assert (np.diff(play.arrivals_s) > 0).all()
    assert 400 / play.arrivals_s[:, -1].mean() == pytest.approx(20.0, rel=0.02)
    assert (play.arrivals_s == drawn(20.0).arrivals_s).all()
    assert (play.arrivals_s != drawn(20.0, seed=2).arrivals_s).all()


def test_without_a_queue_percentiles_are_those_of_the_service() -> None:
    # a lognormal of mean 1 and CV 0.5: exp(z × sigma − sigma² / 2), and its percentiles scatter as order statistics do
    found = drawn(0.001).simulate(RequestService(1, 1.0, 0.5), QUANTILES)
    variance = math.log(1.25)
    assert found.log_means == pytest.approx([-variance / 2, 1.6449 * math.sqrt(variance) - variance / 2], abs=0.02)
    scatter = math.sqrt(variance) * np.sqrt(QUANTILES * (1 - QUANTILES) / 400) / [0.3989, 0.1031]
    assert np.sqrt(np.diag(found.log_covariance)) == pytest.approx(scatter, rel=0.35)


def test_a_stage_starts_empty() -> None:
    # at full load the median wait of 400 requests is far from that of 4,000
    short, long = (drawn(1.0, requests).simulate(RequestService(1, 1.0, 1.0), QUANTILES) for requests in (400, 4000))
    assert long.log_means[0] > short.log_means[0] + 0.7


def test_one_percentile_has_a_covariance_too() -> None:
    assert drawn(0.5).simulate(RequestService(1, 1.0, 1.0), np.array([0.9])).log_covariance.shape == (1, 1)


def test_batches_are_played_and_tokens_are_not() -> None:
    found = drawn(2.0).simulate(BatchService(1.0, 0.0, 64), QUANTILES)
    # the whole batch before, at most, and one's own
    assert 0 < found.log_means[0] < found.log_means[1] < math.log(2.0)
    with pytest.raises(TypeError, match="requires TokenSimulation"):
        drawn(2.0).simulate(TokenService(1.0, 0.1, 0.1, 8, 100), QUANTILES)


def test_even_gaps_queue_less_than_random_ones() -> None:
    service, seed = RequestService(1, 0.01, 0.3), np.random.SeedSequence(1)
    even = StageSimulation.draw(80.0, 400, 20, seed, "even")
    assert np.diff(even.arrivals_s) == pytest.approx(1 / 80)
    assert (
        even.simulate(service, QUANTILES).log_means < drawn(80.0).simulate(service, QUANTILES).log_means - 0.3
    ).all()


def test_values_at_places_are_those_of_a_sort() -> None:
    values = np.random.default_rng(1).lognormal(size=(5, 400))
    places = np.array([379, 199, 199, 399, 0, 395])
    assert select_sorted(values.copy(), places).tolist() == np.sort(values, axis=1)[:, places].tolist()


# 10 ms a step, whatever is in it; a prompt of 100 tokens takes 20 ms beside
LAW = TokenService(0.010, 1e-9, 2e-4, max_sequences=64, kv_tokens=UNLIMITED_TOKENS, outside_s=0.005)
SEED = np.random.SeedSequence(1)
ALIKE = np.array([[100, 21]])


def means(load: TokenLoad, names: tuple[str, ...], requests: int = 400) -> list[float]:
    play = TokenSimulation.draw(load, requests, 3, SEED)
    return [float(value) for value in np.exp(play.simulate(LAW, names).log_means)]


def test_a_lone_client_sees_its_prompt_and_then_one_step_a_token() -> None:
    ttft_s, tpot_s, latency_s, itl_s, gap_s = means(
        TokenLoad(None, 1, ALIKE), ("ttft p50", "tpot mean", "latency p50", "itl mean", RESPONSE_GAP)
    )
    assert ttft_s == pytest.approx(0.005 + 0.010 + 0.020)
    assert (tpot_s, itl_s) == pytest.approx((0.010, 0.010))
    assert latency_s == pytest.approx(ttft_s + 20 * 0.010)
    assert gap_s == pytest.approx(latency_s, rel=0.01)


def test_more_clients_share_steps_and_answer_more() -> None:
    gaps = [means(TokenLoad(None, clients, ALIKE), (RESPONSE_GAP,))[0] for clients in (1, 4, 16)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[1] < 0.5 * gaps[0]


def test_prompts_of_others_lengthen_an_open_loops_tokens() -> None:
    idle, busy = (means(TokenLoad(per_s, None, ALIKE), ("tpot p50", "ttft p95")) for per_s in (0.01, 20.0))
    assert idle[0] == pytest.approx(0.010, rel=0.01)
    assert busy[0] > 1.2 * idle[0]
    assert busy[1] > idle[1]


def test_each_play_has_the_same_requests_in_another_order() -> None:
    pairs = np.array([[1000, 1], [10, 50], [30, 200], [20, 90]])
    drawn = TokenSimulation.draw(TokenLoad(1.0, None, pairs), 8, 3, SEED)
    played = [sorted(zip(*rows, strict=True)) for rows in zip(*drawn.tokens.tolist(), strict=True)]
    assert played == [sorted(map(tuple, np.repeat(pairs, 2, axis=0).tolist()))] * 3
    assert drawn.tokens[0, 0].tolist() != drawn.tokens[0, 1].tolist()


def test_a_stage_of_more_requests_than_the_sample_has_no_more_short_ones() -> None:
    """Samples are sorted: 10 pairs for 16 requests would otherwise have the six shortest twice."""
    pairs = np.column_stack([np.full(10, 100), np.arange(1, 11)])
    drawn = TokenSimulation.draw(TokenLoad(1.0, None, pairs), 16, 200, SEED)
    assert drawn.tokens[1].mean() == pytest.approx(5.5, abs=0.1)
    assert all(np.unique(outputs).size == 10 for outputs in drawn.tokens[1])


def test_an_answer_of_one_token_has_no_time_per_token() -> None:
    (tpot_s,) = means(TokenLoad(0.01, None, np.array([[100, 1], [100, 2]])), ("tpot p50",))
    assert tpot_s == pytest.approx(0.010, rel=0.02)


def test_one_long_prompt_in_ten_makes_others_wait_as_a_mean_prompt_does_not() -> None:
    alike, uneven = np.array([[1000, 20]]), np.array([[100, 20]] * 9 + [[9100, 20]])
    ttft_s = [means(TokenLoad(1.0, None, pairs), ("ttft p95",))[0] for pairs in (alike, uneven)]
    assert ttft_s[1] > 3 * ttft_s[0]


def test_a_limit_between_two_whole_numbers_is_between_their_times() -> None:
    play = TokenSimulation.draw(TokenLoad(40.0, None, ALIKE), 200, 2, SEED)
    times_s = [
        float(np.exp(play.simulate(replace(LAW, max_sequences=limit), ("ttft p95",)).log_means[0]))
        for limit in (4, 4.5, 5)
    ]
    assert times_s[0] > times_s[1] > times_s[2]
