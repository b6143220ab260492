"""Prefix cache hits of a generated trace: by the prefix tree, and by a cache that replays the log of the scheduler."""

from __future__ import annotations

import json

import numpy as np
import pytest

from loadgen.reference.llm_scheduler import EventKind, LlmConfig, LlmRequest, LlmScheduler, SchedulerEvent
from tests.studies.cache_truths import Case, Outcome, Request, build_texts, evaluate, main, read_requests

ROWS = 90


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Request]:
    """Requests of a file in Mooncake's format: conversations that continue, some of them with another end."""
    rng = np.random.default_rng(3)
    rows: list[list[int]] = []
    for number in range(ROWS):
        earlier = rows[-int(rng.integers(1, min(len(rows), 25) + 1))] if rows and rng.random() < 0.8 else [0]
        rows.append([*earlier[: int(rng.integers(1, 5))], *(100 * number + block for block in range(1, 3))])
    trace = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    trace.write_text(
        "".join(
            json.dumps(
                {
                    "timestamp": 50 * number,
                    "input_length": 512 * len(ids) - int(rng.integers(512)),
                    "output_length": int(rng.integers(1, 60)),
                    "hash_ids": ids,
                }
            )
            + "\n"
            for number, ids in enumerate(rows)
        )
    )
    return {str(number): request for number, request in enumerate(read_requests(trace, ROWS))}


def simulate_server(requests: dict[str, Request], config: LlmConfig, in_flight: int) -> list[SchedulerEvent]:
    """The log of the server whose clients send the next request as soon as one ends."""
    scheduler = LlmScheduler(config)
    waiting = [
        LlmRequest(name, text.split(), 0, request.output_tokens)
        for (name, request), text in zip(requests.items(), build_texts(list(requests.values())), strict=True)
    ][::-1]
    for _ in range(in_flight):
        scheduler.add(waiting.pop())
    log: list[SchedulerEvent] = []
    while scheduler.next_ns is not None:
        events = [event for event, _ in scheduler.advance(scheduler.next_ns)]
        log += [event for event in events if event.kind != EventKind.TOKEN or event.token == 1]  # as the server logs
        for event in events:
            if event.kind == EventKind.FINISHED and waiting:
                waiting[-1].arrival_ns = waiting[-1].blocked_until_ns = event.at_ns
                scheduler.add(waiting.pop())
    return log


def outcome(requests: dict[str, Request], case: Case) -> Outcome:
    config = LlmConfig(num_gpu_blocks=case.capacity_blocks, max_num_batched_tokens=1500)
    return evaluate(case, config, requests, simulate_server(requests, config, case.in_flight))


def test_cache_hits_of_sequential_requests_equal_trace_prediction(requests: dict[str, Request]) -> None:
    sequential = outcome(requests, Case(1, None))
    assert sequential.served == sequential.from_trace > 0.3
    assert sequential.exact_from_trace == sequential.exact_from_log == ROWS
    assert sequential.is_right


def test_cache_hits_of_concurrent_requests_equal_log_prediction(requests: dict[str, Request]) -> None:
    concurrent = outcome(requests, Case(8, 1300))
    assert concurrent.evicted_blocks > 1000
    assert concurrent.exact_from_log == ROWS
    assert concurrent.exact_from_trace < ROWS, "otherwise the log has no more information than the trace"
    assert abs(concurrent.from_trace - concurrent.served) < 0.02
    assert concurrent.is_right


def test_missing_trace_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--trace", "none.jsonl"]) == 3
    assert capsys.readouterr().err.splitlines()[0].startswith("Give a trace with --trace PATH")
