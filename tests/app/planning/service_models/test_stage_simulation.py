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


def draw_stage(rate: float, requests: int = 400, repetitions: int = 50, seed: int = 1) -> StageSimulation:
    return StageSimulation.draw(rate, requests, repetitions, np.random.SeedSequence(seed))


def test_drawn_stage_has_its_rate_and_is_reproducible_by_seed() -> None:
    simulation = draw_stage(20.0)
    assert simulation.arrivals_s.shape == simulation.normals.shape == (50, 400)
    assert (np.diff(simulation.arrivals_s) > 0).all()
    assert 400 / simulation.arrivals_s[:, -1].mean() == pytest.approx(20.0, rel=0.02)
    assert (simulation.arrivals_s == draw_stage(20.0).arrivals_s).all()
    assert (simulation.arrivals_s != draw_stage(20.0, seed=2).arrivals_s).all()


def test_stage_percentiles_without_a_queue_equal_service_time_percentiles() -> None:
    # a lognormal of mean 1 and CV 0.5: exp(z × sigma − sigma² / 2), and its percentiles scatter as order statistics do
    statistics = draw_stage(0.001).simulate(RequestService(1, 1.0, 0.5), QUANTILES)
    variance = math.log(1.25)
    assert statistics.log_means == pytest.approx([-variance / 2, 1.6449 * math.sqrt(variance) - variance / 2], abs=0.02)
    scatter = math.sqrt(variance) * np.sqrt(QUANTILES * (1 - QUANTILES) / 400) / [0.3989, 0.1031]
    assert np.sqrt(np.diag(statistics.log_covariance)) == pytest.approx(scatter, rel=0.35)


def test_stage_starts_with_an_empty_queue() -> None:
    # at full load the median wait of 400 requests is far from that of 4,000
    short, long = (
        draw_stage(1.0, requests).simulate(RequestService(1, 1.0, 1.0), QUANTILES) for requests in (400, 4000)
    )
    assert long.log_means[0] > short.log_means[0] + 0.7


def test_covariance_of_a_single_percentile_is_a_1_by_1_matrix() -> None:
    assert draw_stage(0.5).simulate(RequestService(1, 1.0, 1.0), np.array([0.9])).log_covariance.shape == (1, 1)


def test_stage_simulation_accepts_batch_services_and_refuses_token_services() -> None:
    statistics = draw_stage(2.0).simulate(BatchService(1.0, 0.0, 64), QUANTILES)
    # at most the batch before it and its own
    assert 0 < statistics.log_means[0] < statistics.log_means[1] < math.log(2.0)
    with pytest.raises(TypeError, match="requires TokenSimulation"):
        draw_stage(2.0).simulate(TokenService(1.0, 0.1, 0.1, 8, 100), QUANTILES)


def test_even_gaps_give_lower_latency_than_random_gaps() -> None:
    service, seed = RequestService(1, 0.01, 0.3), np.random.SeedSequence(1)
    even = StageSimulation.draw(80.0, 400, 20, seed, "even")
    assert np.diff(even.arrivals_s) == pytest.approx(1 / 80)
    assert (
        even.simulate(service, QUANTILES).log_means < draw_stage(80.0).simulate(service, QUANTILES).log_means - 0.3
    ).all()


def test_select_sorted_equals_full_sort() -> None:
    values = np.random.default_rng(1).lognormal(size=(5, 400))
    places = np.array([379, 199, 199, 399, 0, 395])
    assert select_sorted(values.copy(), places).tolist() == np.sort(values, axis=1)[:, places].tolist()


# 10 ms per step for any batch; a prompt of 100 tokens adds 20 ms
SERVICE = TokenService(0.010, 1e-9, 2e-4, max_sequences=64, kv_tokens=UNLIMITED_TOKENS, outside_s=0.005)
SEED = np.random.SeedSequence(1)
EQUAL_LENGTHS = np.array([[100, 21]])


def simulate_means(load: TokenLoad, names: tuple[str, ...], requests: int = 400) -> list[float]:
    simulation = TokenSimulation.draw(load, requests, 3, SEED)
    return [float(value) for value in np.exp(simulation.simulate(SERVICE, names).log_means)]


def test_single_client_has_ttft_of_its_prompt_and_tpot_of_one_step() -> None:
    ttft_s, tpot_s, latency_s, itl_s, gap_s = simulate_means(
        TokenLoad(None, 1, EQUAL_LENGTHS), ("ttft p50", "tpot mean", "latency p50", "itl mean", RESPONSE_GAP)
    )
    assert ttft_s == pytest.approx(0.005 + 0.010 + 0.020)
    assert (tpot_s, itl_s) == pytest.approx((0.010, 0.010))
    assert latency_s == pytest.approx(ttft_s + 20 * 0.010)
    assert gap_s == pytest.approx(latency_s, rel=0.01)


def test_throughput_grows_with_clients_that_share_steps() -> None:
    gaps = [simulate_means(TokenLoad(None, clients, EQUAL_LENGTHS), (RESPONSE_GAP,))[0] for clients in (1, 4, 16)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[1] < 0.5 * gaps[0]


def test_tpot_and_ttft_of_open_loop_grow_with_rate() -> None:
    idle, busy = (
        simulate_means(TokenLoad(per_s, None, EQUAL_LENGTHS), ("tpot p50", "ttft p95")) for per_s in (0.01, 20.0)
    )
    assert idle[0] == pytest.approx(0.010, rel=0.01)
    assert busy[0] > 1.2 * idle[0]
    assert busy[1] > idle[1]


def test_each_repetition_has_the_same_requests_in_another_order() -> None:
    pairs = np.array([[1000, 1], [10, 50], [30, 200], [20, 90]])
    simulation = TokenSimulation.draw(TokenLoad(1.0, None, pairs), 8, 3, SEED)
    sorted_lengths = [sorted(zip(*rows, strict=True)) for rows in zip(*simulation.tokens.tolist(), strict=True)]
    assert sorted_lengths == [sorted(map(tuple, np.repeat(pairs, 2, axis=0).tolist()))] * 3
    assert simulation.tokens[0, 0].tolist() != simulation.tokens[0, 1].tolist()


def test_stage_larger_than_its_sample_has_the_mean_length_of_the_sample() -> None:
    """Samples are sorted: without the random order, 16 requests from 10 pairs would repeat the six shortest."""
    pairs = np.column_stack([np.full(10, 100), np.arange(1, 11)])
    simulation = TokenSimulation.draw(TokenLoad(1.0, None, pairs), 16, 200, SEED)
    assert simulation.tokens[1].mean() == pytest.approx(5.5, abs=0.1)
    assert all(np.unique(outputs).size == 10 for outputs in simulation.tokens[1])


def test_responses_of_one_token_do_not_count_toward_tpot() -> None:
    (tpot_s,) = simulate_means(TokenLoad(0.01, None, np.array([[100, 1], [100, 2]])), ("tpot p50",))
    assert tpot_s == pytest.approx(0.010, rel=0.02)


def test_p95_ttft_grows_with_uneven_prompt_lengths_of_equal_mean() -> None:
    alike, uneven = np.array([[1000, 20]]), np.array([[100, 20]] * 9 + [[9100, 20]])
    ttft_s = [simulate_means(TokenLoad(1.0, None, pairs), ("ttft p95",))[0] for pairs in (alike, uneven)]
    assert ttft_s[1] > 3 * ttft_s[0]


def test_ttft_of_a_fractional_sequence_limit_lies_between_its_neighbors() -> None:
    simulation = TokenSimulation.draw(TokenLoad(40.0, None, EQUAL_LENGTHS), 200, 2, SEED)
    times_s = [
        float(np.exp(simulation.simulate(replace(SERVICE, max_sequences=limit), ("ttft p95",)).log_means[0]))
        for limit in (4, 4.5, 5)
    ]
    assert times_s[0] > times_s[1] > times_s[2]
