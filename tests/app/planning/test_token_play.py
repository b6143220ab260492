from __future__ import annotations

import numpy as np
import pytest

from app.planning.token_play import GAP, TokenLoad, TokenPlay
from app.records.service import NO_LIMIT, TokenService

# 10 ms a step, whatever is in it; a prompt of 100 tokens takes 20 ms beside
LAW = TokenService(0.010, 1e-9, 2e-4, max_sequences=64, kv_tokens=NO_LIMIT, outside_s=0.005)
SEED = np.random.SeedSequence(1)


def means(load: TokenLoad, names: tuple[str, ...], requests: int = 400) -> list[float]:
    play = TokenPlay.drawn(load, requests, 3, SEED)
    return [float(value) for value in np.exp(play.played(LAW, names).log_means)]


def test_a_lone_client_sees_its_prompt_and_then_one_step_a_token() -> None:
    ttft_s, tpot_s, latency_s, itl_s, gap_s = means(
        TokenLoad(None, 1, 100.0, 21.0), ("ttft p50", "tpot mean", "latency p50", "itl mean", GAP)
    )
    assert ttft_s == pytest.approx(0.005 + 0.010 + 0.020)
    assert (tpot_s, itl_s) == pytest.approx((0.010, 0.010))
    assert latency_s == pytest.approx(ttft_s + 20 * 0.010)
    assert gap_s == pytest.approx(latency_s, rel=0.01)


def test_more_clients_share_steps_and_answer_more() -> None:
    gaps = [means(TokenLoad(None, clients, 100.0, 21.0), (GAP,))[0] for clients in (1, 4, 16)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[1] < 0.5 * gaps[0]


def test_prompts_of_others_lengthen_an_open_loops_tokens() -> None:
    idle, busy = (means(TokenLoad(per_s, None, 100.0, 21.0), ("tpot p50", "ttft p95")) for per_s in (0.01, 20.0))
    assert idle[0] == pytest.approx(0.010, rel=0.01)
    assert busy[0] > 1.2 * idle[0]
    assert busy[1] > idle[1]


def test_lengths_that_vary_keep_their_mean_and_answers_of_one_token_have_no_gap() -> None:
    drawn = TokenPlay.drawn(TokenLoad(1.0, None, 100.0, 50.0, output_sigma=1.0), 4000, 1, SEED)
    assert drawn.outputs.mean() == pytest.approx(50.0, rel=0.02)
    assert np.log(drawn.outputs).std() == pytest.approx(1.0, rel=0.1)
    assert drawn.outputs.min() == 1
    (tpot_s,) = means(TokenLoad(0.01, None, 100.0, 2.0, output_sigma=1.0), ("tpot p50",))
    assert tpot_s == pytest.approx(0.010, rel=0.02)
