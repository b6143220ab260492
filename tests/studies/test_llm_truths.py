"""The simulator of language model servers is compared with manually computed timelines, and fits with the simulator."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from app.analysis.curve import build_load_points
from app.analysis.objectives import parse_objective
from app.planning.service_models.token_fit import fit_token_service
from app.planning.simulation.replica import simulate_token_latencies
from app.records.service import UNLIMITED_TOKENS, TokenService
from tests.studies.llm_truths import (
    Outcome,
    Requests,
    Server,
    draw_truth,
    interval,
    list_bounds,
    measure,
    poisson,
    read_outcomes,
    simulate,
)

SERVER = Server(
    step_s=1.0, sequence_s=0.1, context_token_s=0.0, prompt_token_s=0.01, step_cv=0.0, network_s=0.5,
    max_sequences=8, kv_blocks=1000, chunk_tokens=100,
)  # fmt: skip


def simulate_requests(server: Server, *requests: tuple[float, int, int]) -> list[tuple[float, float]]:
    arrivals, inputs, outputs = (list(column) for column in zip(*requests, strict=True))
    times = simulate(server, Requests(arrivals, inputs, outputs), np.random.default_rng(1))
    return [(round(first, 9), round(last, 9)) for first, last in zip(times.first_token_s, times.latency_s, strict=True)]


def test_request_prefills_in_chunks_and_then_decodes_token_per_step() -> None:
    """150 tokens: 1 + 1 s and 1 + 0.5 s; two more tokens of 1.1 s each; 0.5 s of network."""
    assert simulate_requests(SERVER, (0.0, 150, 3)) == [(4.0, 6.2)]
    assert simulate_requests(dataclasses.replace(SERVER, chunk_tokens=None), (0.0, 150, 3)) == [(3.0, 5.2)]


def test_prefill_lengthens_decode_steps_of_other_requests() -> None:
    """The first decodes from 2 s on; the second comes at 2.5 s, and the step that begins at 3.1 s reads its prompt."""
    assert simulate_requests(SERVER, (0.0, 100, 4), (2.5, 50, 1)) == [(2.5, 6.3), (2.7, 2.7)]


@pytest.mark.parametrize("limits", [{"max_sequences": 1}, {"kv_blocks": 10}])
def test_request_waits_for_free_sequence_and_kv_blocks(limits: dict[str, int]) -> None:
    """Each reserves 7 of the blocks of 16 tokens; the second is admitted when the first has ended, at 4.2 s."""
    server = dataclasses.replace(SERVER, **limits)
    assert simulate_requests(server, (0.0, 100, 3), (0.0, 100, 3)) == [(2.5, 4.7), (6.7, 8.9)]


def test_product_simulation_matches_reference_for_each_request() -> None:
    server = dataclasses.replace(
        SERVER, step_s=0.01, sequence_s=0.0004, context_token_s=3e-8, prompt_token_s=3e-5, chunk_tokens=512,
        kv_blocks=800,
    )  # fmt: skip
    truth = draw_truth(1, 0)
    requests = poisson(
        4.0, 800, dataclasses.replace(truth.lengths, input_median=256, output_median=64), np.random.default_rng(3)
    )
    requests.inputs[:] = [-(-tokens // 16) * 16 for tokens in requests.inputs]
    requests.outputs[:] = [-(-tokens // 16) * 16 for tokens in requests.outputs]  # blocks are then tokens
    times = simulate(server, requests, np.random.default_rng(1))
    token_service = TokenService(
        server.step_s, server.sequence_s, server.prompt_token_s, server.max_sequences, server.kv_blocks * 16,
        chunk_tokens=512, per_kv_token_s=server.context_token_s, outside_s=server.network_s,
    )  # fmt: skip
    first_s, last_s = simulate_token_latencies(
        np.array(requests.arrivals_s),
        np.array(requests.inputs),
        np.array(requests.outputs),
        np.zeros(800),
        token_service,
    )
    assert first_s == pytest.approx(times.first_token_s, rel=1e-9)
    assert last_s == pytest.approx(times.latency_s, rel=1e-9)


@pytest.mark.parametrize(("number", "limit"), [(3, "sequences"), pytest.param(0, "kv blocks", marks=pytest.mark.soak)])
def test_limit_of_random_server_is_fitted_from_its_run(number: int, limit: str) -> None:
    """A cut of the program: seed 2, which has a limit of 48 sequences, and one of 596 blocks."""
    truth = draw_truth(2, number)
    assert truth.limit == limit
    objectives = tuple(parse_objective(text) for text in truth.slo)
    stages, _ = measure(truth, objectives, np.random.default_rng([2, number, 1]))
    service = fit_token_service(build_load_points(stages)).services[0].service
    assert isinstance(service, TokenService)
    if limit == "sequences":
        assert service.max_sequences == pytest.approx(truth.server.max_sequences, rel=0.1)
    else:
        assert service.kv_tokens == pytest.approx(truth.server.kv_blocks * 16, rel=0.1)
        assert service.kv_tokens < UNLIMITED_TOKENS


@pytest.mark.soak
def test_steps_lengthened_by_load_are_not_fitted_as_slow_prefill() -> None:
    """Of seed 1: load makes a step ten times as long, and a fit that begins with slow prompts stays there."""
    truth = draw_truth(1, 2)
    objectives = tuple(parse_objective(text) for text in truth.slo)
    stages, _ = measure(truth, objectives, np.random.default_rng([1, 2, 1]))
    fit = fit_token_service(build_load_points(stages))
    service = fit.services[0].service
    assert isinstance(service, TokenService)
    assert service.per_sequence_s == pytest.approx(truth.server.sequence_s, rel=0.3)
    assert service.prefill_s_per_token == pytest.approx(truth.server.prompt_token_s, rel=0.5)
    assert fit.median_error < 0.1


def test_llm_bounds_are_evaluated_by_intervals_and_exceptions() -> None:
    def evaluate_bounds(count: int, **changes: object) -> list[bool]:
        good = Outcome(1, 0, "none", "random", "ttft_ms.p95 < 5", needed=9, bought=10, p10=9, p90=11, stated=0.95)
        wide = [dataclasses.replace(good, number=at, p10=9 if at % 5 else 9.5) for at in range(100)]
        missed = [dataclasses.replace(good, bought=8, stated=0.5) for _ in range(4)]
        changed = [dataclasses.replace(good, **changes)] * count  # type: ignore[arg-type]
        return [bound.is_met for bound in list_bounds([*wide, *missed, *changed])]

    assert evaluate_bounds(1) == [True] * 5
    assert evaluate_bounds(100, p10=9.5) == [False, True, True, True, True]
    assert evaluate_bounds(30, bought=8, stated=0.99)[1:3] == [False, False]
    assert evaluate_bounds(1, is_above_a_miss=True)[3] is False
    assert evaluate_bounds(1, is_below_a_pass=True)[4] is False


def test_stored_outcomes_are_read_and_truncated_line_is_skipped(tmp_path: Path) -> None:
    outcome = Outcome(101, 3, "none", "random", "ttft_ms.p95 < 5", needed=9, bought=10, p10=8, p90=11, stated=0.92)
    line = json.dumps(dataclasses.asdict(outcome))
    (tmp_path / "state").write_text(f"{line}\n{line[:40]}")
    outcome_by_key = read_outcomes(tmp_path / "state")
    assert list(outcome_by_key) == [(101, 3)]
    assert outcome_by_key[101, 3].is_met
    assert outcome_by_key[101, 3].is_covered
    assert read_outcomes(tmp_path / "none") == {}
    assert interval(8, 10) == "80 % (44–97)"
