from __future__ import annotations

import numpy as np
import pytest

from app.planning.step_times.closed_loop import count_decoding, count_prompts_waited_for


def decoding(clients: float, cached: float = 1e9, prefill_s: float = 0.0, max_prefilled: float = 1e9) -> float:
    decoding_count = np.array([clients])
    for _ in range(30):
        decoding_count = count_decoding(
            np.array([clients]), np.array([cached]), np.array([prefill_s]), np.array([0.02]), np.array([500.0]),
            np.array([max_prefilled]), decoding_count,
        )  # fmt: skip
    return float(decoding_count[0])


def test_all_clients_decode_without_prefill_time_and_cache_limit() -> None:
    assert decoding(64.0) == pytest.approx(64.0)


def test_decoding_sequences_are_limited_by_the_kv_cache() -> None:
    assert decoding(64.0, cached=20.0) == pytest.approx(20.0)


def test_clients_whose_prompts_are_prefilled_do_not_decode() -> None:
    """By Little's law, clients = decoding × (1 + prefill / response time): a response takes 500 × 20 ms."""
    assert decoding(64.0, prefill_s=2.0) == pytest.approx(64 / (1 + 2 / 10), rel=1e-3)


def test_decoding_sequences_are_limited_by_the_prompts_prefilled_per_step() -> None:
    assert decoding(64.0, max_prefilled=0.05) == pytest.approx(500 * 0.05)


def test_single_client_has_no_queue_and_a_burst_waits_for_half_of_its_prompts() -> None:
    alone, burst = count_prompts_waited_for(np.array([1.0, 101.0]), np.array([1e-9, 1e-9]), np.array([10.0, 10.0]))
    assert alone == 0
    assert burst == pytest.approx(0.1 * 50, rel=1e-3)


def test_prompt_queue_grows_with_prefill_utilization() -> None:
    clients = np.full(3, 32.0)
    light, medium, heavy = count_prompts_waited_for(clients, np.array([0.001, 0.05, 0.5]), np.full(3, 5.0))
    assert light < medium < heavy <= 0.1 * 15.5 + 0.9 * 0.5 * 32**0.5
