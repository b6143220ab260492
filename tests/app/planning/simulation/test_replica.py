from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from app.planning.service_models.service_times import compute_lognormal_factors
from app.planning.simulation.compiled import Floats, Ints
from app.planning.simulation.replica import (
    simulate_batch_latencies,
    simulate_request_latencies,
    simulate_token_latencies,
)
from app.records.service import BatchService, RequestService, TokenService


def draw_arrivals(count: int, rate_per_s: float, seed: int) -> tuple[Floats, Floats]:
    dice = np.random.default_rng(seed)
    return np.cumsum(dice.exponential(1 / rate_per_s, count)), dice.standard_normal(count)


def test_latencies_of_one_slot_equal_the_lindley_recursion() -> None:  # W' = max(0, W + S − A)
    arrivals_s, normals = draw_arrivals(5000, 0.95, 1)
    services_s = 1.0 * compute_lognormal_factors(normals, 1.5)
    wait_s, expected = 0.0, []
    for number in range(arrivals_s.size):
        expected.append(wait_s + services_s[number] + 0.25)
        if number + 1 < arrivals_s.size:
            wait_s = max(0.0, wait_s + services_s[number] - (arrivals_s[number + 1] - arrivals_s[number]))
    latencies_s = simulate_request_latencies(arrivals_s, normals, RequestService(1, 1.0, 1.5, outside_s=0.25))
    np.testing.assert_allclose(latencies_s, expected, rtol=1e-9)


def test_latencies_of_several_slots_equal_the_kiefer_wolfowitz_recursion() -> None:
    arrivals_s, normals = draw_arrivals(3000, 2.8, 2)
    services_s = compute_lognormal_factors(normals, 0.7)
    free_s, expected = [0.0] * 3, []
    for arrival_s, service_s in zip(arrivals_s, services_s, strict=True):
        free_s.sort()
        free_s[0] = max(free_s[0], arrival_s) + service_s
        expected.append(free_s[0] - arrival_s)
    np.testing.assert_allclose(simulate_request_latencies(arrivals_s, normals, RequestService(3, 1.0, 0.7)), expected)


def compute_erlang_c(slots: int, load: float) -> float:
    blocked = 1.0
    for slot in range(1, slots + 1):
        blocked = load * blocked / (slot + load * blocked)
    return blocked / (1 - load / slots * (1 - blocked))


@pytest.mark.parametrize(("slots", "utilization"), [(1, 0.8), (4, 0.85), (16, 0.9)])
def test_mean_wait_of_constant_service_times_equals_cosmetatos_formula(slots: int, utilization: float) -> None:
    """M/D/c lies near (1 + (1 − ρ)(c − 1)(√(4 + 5c) − 2)/(16ρc)) / 2 of M/M/c (Cosmetatos); exact for one slot."""
    arrivals_s, _ = draw_arrivals(2_000_000, utilization * slots, 3)
    waits_s = simulate_request_latencies(arrivals_s, np.zeros(arrivals_s.size), RequestService(slots, 1.0, 0.0)) - 1.0
    erlang_s = compute_erlang_c(slots, utilization * slots) / (slots - utilization * slots)
    correction = 1 + (1 - utilization) * (slots - 1) * (math.sqrt(4 + 5 * slots) - 2) / (16 * utilization * slots)
    assert waits_s.mean() == pytest.approx(erlang_s / 2 * correction, rel=0.04)


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
def test_mean_wait_of_one_slot_equals_the_pollaczek_khinchine_formula(cv: float) -> None:  # ρ(1 + cs²) / (2(1 − ρ))
    arrivals_s, normals = draw_arrivals(3_000_000, 0.6, 4)
    waits_s = simulate_request_latencies(arrivals_s, normals, RequestService(1, 1.0, cv)) - compute_lognormal_factors(
        normals, cv
    )
    assert waits_s.mean() == pytest.approx(0.6 * (1 + cv**2) / (2 * 0.4), rel=0.05)


def test_batch_has_all_queued_requests_up_to_max_batch() -> None:
    service = BatchService(fixed_s=1.0, per_item_s=0.1, max_batch=3, outside_s=0.5)
    arrivals_s = np.array([0.0, 0.2, 0.3, 0.4, 0.5, 9.0])
    ends_s = np.array([1.1, 2.4, 2.4, 2.4, 3.5, 10.1])
    np.testing.assert_allclose(simulate_batch_latencies(arrivals_s, np.zeros(6), service), ends_s - arrivals_s + 0.5)


def test_batching_window_ends_when_the_batch_is_full_or_the_window_has_passed() -> None:
    service = BatchService(fixed_s=1.0, per_item_s=0.0, max_batch=3, window_s=0.25)
    arrivals_s = np.array([0.0, 0.2, 0.3, 5.0, 5.1, 5.2])
    ends_s = np.array([1.25, 1.25, 2.25, 6.2, 6.2, 6.2])
    np.testing.assert_allclose(simulate_batch_latencies(arrivals_s, np.zeros(6), service), ends_s - arrivals_s)


@pytest.mark.parametrize("rate_per_s", [20.0, 200.0, 800.0])
def test_mean_latency_of_batches_is_within_the_inoue_bound(rate_per_s: float) -> None:
    """Inoue 2021 (arXiv 1912.06322), batches without limit that take fixed_s + per_item_s × b:
    mean ≤ (fixed + per_item)/2 × (1 + 2λ fixed + (1 − λ fixed) / (1 + λ per_item)) / (1 − λ per_item), at light load,
    and ≤ (3 fixed / (2 (1 − λ per_item)) + per_item / 2 × (λ per_item + 2) / (1 − λ² per_item²)), at heavy load.
    """
    fixed_s, per_item_s = 0.01, 0.001
    arrivals_s, _ = draw_arrivals(1_000_000, rate_per_s, 5)
    service = BatchService(fixed_s, per_item_s, max_batch=1_000_000)
    mean_s = simulate_batch_latencies(arrivals_s, np.zeros(arrivals_s.size), service).mean()
    utilization = rate_per_s * per_item_s
    light_s = (
        (fixed_s + per_item_s)
        / (2 * (1 - utilization))
        * (1 + 2 * rate_per_s * fixed_s + (1 - rate_per_s * fixed_s) / (1 + utilization))
    )
    heavy_s = 3 * fixed_s / (2 * (1 - utilization)) + per_item_s / 2 * (utilization + 2) / (1 - utilization**2)
    bound_s = min(light_s, heavy_s)
    assert 0.9 * bound_s <= mean_s <= 1.005 * bound_s


@pytest.mark.parametrize("rate_per_s", [50.0, 300.0])
def test_mean_latency_of_unlimited_batches_equals_the_embedded_markov_chain(rate_per_s: float) -> None:
    """The sizes of successive batches are a Markov chain, so its mean latency can be summed."""
    fixed_s, per_item_s, max_batch = 0.01, 0.001, 60
    sizes = np.arange(1, max_batch + 1)
    durations_s = fixed_s + per_item_s * sizes
    mean = rate_per_s * durations_s[:, None]
    counts = np.arange(0, max_batch + 1)
    factorials = np.array([math.lgamma(count + 1) for count in counts])
    arrival_shares = np.exp(counts * np.log(mean) - mean - factorials)
    chain = arrival_shares[:, 1:].copy()
    chain[:, 0] += arrival_shares[:, 0]  # without arrivals, the next batch is the first request to arrive
    chain /= chain.sum(axis=1, keepdims=True)
    shares = np.linalg.matrix_power(chain, 400)[0]
    # requests of a batch arrive uniformly during the batch before and stay for their own batch
    waited_s = shares @ (rate_per_s * durations_s**2 / 2)
    served_s = shares @ (sizes * durations_s)
    arrivals_s, _ = draw_arrivals(1_000_000, rate_per_s, 6)
    latencies_s = simulate_batch_latencies(
        arrivals_s, np.zeros(arrivals_s.size), BatchService(fixed_s, per_item_s, 10**6)
    )
    assert latencies_s.mean() == pytest.approx((waited_s + served_s) / (shares @ sizes), rel=0.01)


def simulate_step_by_step(
    arrivals_s: Floats, inputs: Ints, outputs: Ints, service: TokenService
) -> tuple[Floats, Floats]:
    """Simulate continuous batching as specified, one step at a time."""
    waiting = list(range(arrivals_s.size))
    prefilling: list[int] = []
    decoding: dict[int, int] = {}
    remaining, first_s, last_s = dict(enumerate(inputs)), np.zeros(arrivals_s.size), np.zeros(arrivals_s.size)
    now_s = 0.0
    while waiting or prefilling or decoding:
        if not prefilling and not decoding:
            now_s = max(now_s, arrivals_s[waiting[0]])
        while waiting and arrivals_s[waiting[0]] <= now_s:
            admitted = [*prefilling, *decoding]
            tokens = sum(int(inputs[index] + outputs[index]) for index in [*admitted, waiting[0]])
            if len(admitted) == service.max_sequences or (admitted and tokens > service.kv_tokens):
                break
            prefilling.append(waiting.pop(0))
        cached = sum(int(inputs[index]) + token_count for index, token_count in decoding.items())
        duration_s = service.step_s + service.per_sequence_s * len(decoding) + service.per_kv_token_s * cached
        budget, prefilled = service.chunk_tokens, []
        for index in list(prefilling):
            chunk = min(budget, remaining[index])
            remaining[index] -= chunk
            budget -= chunk
            if remaining[index] == 0:
                prefilled.append(index)
                prefilling.remove(index)
        prompt_tokens = service.chunk_tokens - budget
        missed_share = (1 - service.expert_share) ** (len(decoding) + prompt_tokens)
        now_s += duration_s + service.prefill_s_per_token * prompt_tokens + service.experts_s * (1 - missed_share)
        for index in decoding:
            decoding[index] += 1
        for index in prefilled:
            decoding[index], first_s[index] = 1, now_s
        for index in [index for index, token_count in decoding.items() if token_count == outputs[index]]:
            del decoding[index]
            last_s[index] = now_s
    return first_s - arrivals_s, last_s - arrivals_s


@pytest.mark.parametrize("kv_tokens", [100_000, 900, 150])
@pytest.mark.parametrize("rate_per_s", [1.0, 8.0])
@pytest.mark.parametrize("experts_s", [0.0, 0.02])
def test_continuous_batching_equals_a_step_by_step_simulation(
    kv_tokens: int, rate_per_s: float, experts_s: float
) -> None:
    dice = np.random.default_rng(7)
    arrivals_s, _ = draw_arrivals(300, rate_per_s, 8)
    inputs, outputs = dice.integers(1, 120, 300), dice.integers(1, 80, 300)
    service = TokenService(
        0.01, 0.0005, 0.0002, max_sequences=8, kv_tokens=kv_tokens, chunk_tokens=64, per_kv_token_s=2e-6,
        experts_s=experts_s, expert_share=0.1,
    )  # fmt: skip
    expected = simulate_step_by_step(arrivals_s, inputs, outputs, service)
    first_s, last_s = simulate_token_latencies(arrivals_s, inputs, outputs, np.zeros(300), service)
    np.testing.assert_allclose(first_s, expected[0], rtol=1e-8)
    np.testing.assert_allclose(last_s, expected[1], rtol=1e-8)


def test_concatenated_runs_each_start_empty() -> None:
    arrivals_s, normals = draw_arrivals(900, 5.0, 9)
    parts = [slice(0, 300), slice(300, 450), slice(450, 900)]
    concatenated_s = np.concatenate([arrivals_s[part] - arrivals_s[part][0] for part in parts])
    ends = np.array([300, 450, 900])
    inputs = np.full(900, 30)
    tokens = TokenService(0.01, 0.0, 0.001, max_sequences=4, kv_tokens=10_000, cv=0.3)
    runs: tuple[Callable[[Floats, Floats, Ints, Ints | None], Floats], ...] = (
        lambda times, z, n, at: simulate_request_latencies(times, z, RequestService(2, 0.5, 1.0), at),
        lambda times, z, n, at: simulate_batch_latencies(times, z, BatchService(0.3, 0.1, 8, cv=0.2), at),
        lambda times, z, n, at: simulate_token_latencies(times, n, n, z, tokens, at)[1],
    )
    for run in runs:
        concatenated = run(concatenated_s, normals, inputs, ends)
        separate = [run(concatenated_s[part], normals[part], inputs[part], None) for part in parts]
        np.testing.assert_allclose(concatenated, np.concatenate(separate))


def test_mean_latency_is_a_continuous_function_of_service_time() -> None:
    arrivals_s, normals = draw_arrivals(20_000, 0.9, 10)
    means_s = [
        simulate_request_latencies(arrivals_s, normals, RequestService(1, m, 1.0)).mean() for m in (1.0, 1.0001, 1.0002)
    ]
    assert means_s[1] - means_s[0] == pytest.approx(means_s[2] - means_s[1], rel=0.05)


def test_lognormal_factors_have_mean_1_and_the_requested_cv() -> None:
    factors = compute_lognormal_factors(np.random.default_rng(11).standard_normal(1_000_000), 0.8)
    assert factors.mean() == pytest.approx(1.0, abs=0.003)
    assert factors.std() == pytest.approx(0.8, rel=0.01)
