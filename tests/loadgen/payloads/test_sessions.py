import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadgen.payloads.datasets import DatasetError, DatasetReader
from loadgen.payloads.sessions import (
    SessionGraph,
    SessionOutcome,
    SessionRequest,
    SessionState,
    build_session_graph,
    read_session_graphs,
)
from loadgen.payloads.texts import TextGenerator
from loadgen.workloads import Dataset


def make_graph(*parents: tuple[int, ...]) -> SessionGraph:
    return build_session_graph(
        [SessionRequest(text="t", tokens=1, parents=request_parents) for request_parents in parents]
    )


CHAIN = make_graph((), (0,), (1,))
FAN = make_graph((), (0,), (0,), (0,), (1, 2, 3))
"""One request, three that follow it in parallel, and one that follows all of them."""


def test_chain_session_completes_after_last_request() -> None:
    state = SessionState(CHAIN)
    assert [state.on_success(index) for index in range(3)] == [[1], [2], []]
    assert (state.outcome, state.is_over) == (SessionOutcome.COMPLETED, True)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
def test_request_starts_after_last_of_its_parents(order: tuple[int, ...]) -> None:
    state = SessionState(FAN)
    assert state.on_success(0) == [1, 2, 3]
    assert state.pending_count == 3
    assert [state.on_success(index) for index in order] == [[], [], [4]]
    assert not state.is_over
    state.on_success(4)
    assert state.is_over


def test_failed_session_starts_no_request_and_ends_after_pending_requests() -> None:
    state = SessionState(FAN)
    state.on_success(0)
    state.end(SessionOutcome.FAILED, dropped_count=1)
    assert (state.outcome, state.is_over) == (SessionOutcome.FAILED, False)
    assert [state.on_success(index) for index in (2, 3)] == [[], []]
    assert (state.outcome, state.is_over) == (SessionOutcome.FAILED, True)


def test_first_outcome_of_session_is_not_replaced() -> None:
    state = SessionState(CHAIN)
    state.on_success(0)
    state.end(SessionOutcome.CONTEXT_LIMIT, dropped_count=1)
    state.end(SessionOutcome.FAILED)
    assert state.outcome == SessionOutcome.CONTEXT_LIMIT


def test_turn_of_request_follows_turns_of_its_parents() -> None:
    assert FAN.turns == (0, 1, 1, 1, 2)
    assert FAN.children == ((1, 2, 3), (4,), (4,), (4,), ())
    assert make_graph((), (0,), (1,), (0, 2)).turns == (0, 1, 2, 3)


@pytest.mark.parametrize("parents", [[(0,)], [(), ()], [(), (1,)], [(), (0, 0)], [(), (2,), (0,)], [(), (-1,)]])
def test_invalid_parents_of_session_requests_are_rejected(parents: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="parents"):
        make_graph(*parents)


# reading session files


def read_graphs(folder: Path, *rows: Any, limit_bytes: int = 2**20) -> list[SessionGraph]:
    file = folder / "sessions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = DatasetReader(Dataset(str(file), "jsonl"), limit_bytes)
    return list(read_session_graphs(reader, TextGenerator(np.random.default_rng(5), None), limit_bytes))


def test_session_rows_are_sequential_unless_parents_are_declared(tmp_path: Path) -> None:
    fan, chain = read_graphs(
        tmp_path,
        {"session": "fan", "request": "plan", "system": "be brief", "text": "what now?"},
        {"session": 7, "tokens": 4},
        {"session": "fan", "request": "a", "parents": ["plan"], "tokens": 3, "output_tokens": 50},
        {"session": "fan", "request": "b", "parents": ["plan"], "text": "b", "delay_s": 0.5, "tool_delay_s": 2},
        {"session": 7, "tool_tokens": 6, "text": "go on", "delay_s": 1.5},
        {"session": "fan", "parents": ["b", "a"], "text": "so?", "tool_text": "done"},
    )
    assert (fan.prefix, fan.prefix_tokens, fan.turns) == ("be brief", 2, (0, 1, 1, 2))
    assert [request.parents for request in fan.requests] == [(), (0,), (0,), (2, 1)]
    _, a, b, last = fan.requests
    assert (len(a.text.split()), a.tokens, a.output_tokens, a.delay_ns) == (3, 3, 50, 0)
    assert (b.delay_ns, b.tool_delay_ns) == (500_000_000, 2_000_000_000)
    assert (last.tool_text, last.tool_tokens) == ("done", 1)
    first, second = chain.requests
    assert (first.parents, second.parents) == ((), (0,))
    assert (len(second.tool_text.split()), second.delay_ns, second.tool_delay_ns) == (6, 1_500_000_000, 1_500_000_000)


ROOT = {"session": 1, "request": "r", "text": "t"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "t"}, "request 2 of the sessions is invalid"),
        ({"session": 1, "text": "t", "delay": 3}, "unknown field `delay`"),
        ({"session": 1, "tokens": 0}, ">= 1"),
        ({"session": 1, "text": "t", "delay_s": -1}, ">= 0"),
        ({"session": 1, "text": "t", "parents": ["later"]}, "no earlier request"),
        ({"session": 1, "text": "t", "parents": []}, "must have no parents"),
        ({"session": 1, "text": "t", "parents": ["r", "r"]}, "different requests"),
        ({"session": 1, "text": "t", "request": "r"}, "the same ID"),
        ({"session": 1, "text": "t", "tokens": 4}, "either `text` or `tokens`"),
        ({"session": 1}, "either `text` or `tokens`"),
        ({"session": 1, "text": "t", "system": "s"}, "is not the first"),
        ({"session": 1, "tokens": 300_000}, "too large"),
        ([1], "request 2 of the sessions is invalid"),
    ],
)
def test_invalid_session_row_is_rejected(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_graphs(tmp_path, ROOT, row)
