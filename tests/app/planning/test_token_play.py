from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from app.planning.token_play import GAP, TokenLoad, TokenPlay
from app.records.service import NO_LIMIT, TokenService

# 10 ms a step, whatever is in it; a prompt of 100 tokens takes 20 ms beside
LAW = TokenService(0.010, 1e-9, 2e-4, max_sequences=64, kv_tokens=NO_LIMIT, outside_s=0.005)
SEED = np.random.SeedSequence(1)
ALIKE = np.array([[100, 21]])


def means(load: TokenLoad, names: tuple[str, ...], requests: int = 400) -> list[float]:
    play = TokenPlay.drawn(load, requests, 3, SEED)
    return [float(value) for value in np.exp(play.played(LAW, names).log_means)]


def test_a_lone_client_sees_its_prompt_and_then_one_step_a_token() -> None:
    ttft_s, tpot_s, latency_s, itl_s, gap_s = means(
        TokenLoad(None, 1, ALIKE), ("ttft p50", "tpot mean", "latency p50", "itl mean", GAP)
    )
    assert ttft_s == pytest.approx(0.005 + 0.010 + 0.020)
    assert (tpot_s, itl_s) == pytest.approx((0.010, 0.010))
    assert latency_s == pytest.approx(ttft_s + 20 * 0.010)
    assert gap_s == pytest.approx(latency_s, rel=0.01)


def test_more_clients_share_steps_and_answer_more() -> None:
    gaps = [means(TokenLoad(None, clients, ALIKE), (GAP,))[0] for clients in (1, 4, 16)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[1] < 0.5 * gaps[0]


def test_prompts_of_others_lengthen_an_open_loops_tokens() -> None:
    idle, busy = (means(TokenLoad(per_s, None, ALIKE), ("tpot p50", "ttft p95")) for per_s in (0.01, 20.0))
    assert idle[0] == pytest.approx(0.010, rel=0.01)
    assert busy[0] > 1.2 * idle[0]
    assert busy[1] > idle[1]


def test_each_play_has_the_same_requests_in_another_order() -> None:
    pairs = np.array([[1000, 1], [10, 50], [30, 200], [20, 90]])
    drawn = TokenPlay.drawn(TokenLoad(1.0, None, pairs), 8, 3, SEED)
    played = [
        sorted(zip(*rows, strict=True)) for rows in zip(drawn.inputs.tolist(), drawn.outputs.tolist(), strict=True)
    ]
    assert played == [sorted(map(tuple, np.repeat(pairs, 2, axis=0).tolist()))] * 3
    assert drawn.inputs.tolist()[0] != drawn.inputs.tolist()[1]


def test_a_stage_of_more_requests_than_the_sample_has_no_more_short_ones() -> None:
    """Samples are sorted: 10 pairs for 16 requests would otherwise have the six shortest twice."""
    pairs = np.column_stack([np.full(10, 100), np.arange(1, 11)])
    drawn = TokenPlay.drawn(TokenLoad(1.0, None, pairs), 16, 200, SEED)
    assert drawn.outputs.mean() == pytest.approx(5.5, abs=0.1)
    assert all(np.unique(outputs).size == 10 for outputs in drawn.outputs)


def test_an_answer_of_one_token_has_no_time_per_token() -> None:
    (tpot_s,) = means(TokenLoad(0.01, None, np.array([[100, 1], [100, 2]])), ("tpot p50",))
    assert tpot_s == pytest.approx(0.010, rel=0.02)


def test_one_long_prompt_in_ten_makes_others_wait_as_a_mean_prompt_does_not() -> None:
    alike, uneven = np.array([[1000, 20]]), np.array([[100, 20]] * 9 + [[9100, 20]])
    ttft_s = [means(TokenLoad(1.0, None, pairs), ("ttft p95",))[0] for pairs in (alike, uneven)]
    assert ttft_s[1] > 3 * ttft_s[0]


def test_a_limit_between_two_whole_numbers_is_between_their_times() -> None:
    play = TokenPlay.drawn(TokenLoad(40.0, None, ALIKE), 200, 2, SEED)
    times_s = [
        float(np.exp(play.played(replace(LAW, max_sequences=limit), ("ttft p95",)).log_means[0]))
        for limit in (4, 4.5, 5)
    ]
    assert times_s[0] > times_s[1] > times_s[2]
