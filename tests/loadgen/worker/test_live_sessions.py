import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import msgspec
import pytest
import uvloop

from loadgen.protocols.openai import build_openai
from loadgen.records import (
    Arrivals,
    ClosedArrivals,
    Endpoint,
    LiveSessionCounts,
    OpenArrivals,
    StageLoad,
    StagePlan,
    WorkerShare,
)
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange
from loadgen.worker import live_sessions
from loadgen.worker.rows import build_record_batch
from loadgen.worker.stage import SendingStage
from loadgen.worker.traffic import Schedule
from loadgen.workloads import (
    CacheBust,
    Dataset,
    FixedDelay,
    FixedLength,
    LiveHistory,
    OpenAiWorkload,
    SessionPrompts,
    SyntheticPrompts,
)
from tests.fakes.llm_responses import LlmResponse, ScriptedLlmServer
from tests.fakes.transport import FakeTransport

THINK_S, TOOL_S = 0.004, 0.009
SINGLE_WORKER = WorkerShare()
BURST = OpenArrivals("constant", ((0.0, 1000.0),))


class StageResult(NamedTuple):
    server: ScriptedLlmServer
    counts: LiveSessionCounts
    rows: list[dict[str, Any]]
    by_session: dict[int, list[int]]
    """Request numbers of each session, in the order in which the server received them."""


def prompts(turns: int = 4, think_s: float = THINK_S, **live: Any) -> SyntheticPrompts:
    return SyntheticPrompts(
        FixedLength(3),
        FixedLength(7),
        turns=FixedLength(turns),
        think_time=FixedDelay(think_s),
        live=LiveHistory(tool_tokens=FixedLength(2), tool_time=FixedDelay(TOOL_S), **live),
        unique=30,
    )


def run_stage(
    answer: Callable[[int, Any], LlmResponse],
    session_prompts: SyntheticPrompts | SessionPrompts,
    *,
    api: Any = "chat",
    sessions: int = 12,
    arrivals: Arrivals = BURST,
    share: WorkerShare = SINGLE_WORKER,
    duration_s: float = 5.0,
    break_at: Callable[[Exchange], str | None] = lambda _: None,
    max_requests: int | None = None,
    **more: Any,
) -> StageResult:
    """Run a stage that ends as soon as `sessions` sessions are over."""
    server = ScriptedLlmServer(answer, api)

    def respond(exchange: Exchange) -> None:
        exchange.error = break_at(exchange)
        if exchange.error is None:
            server(exchange)

    endpoint = Endpoint(("http://h:1/v1",), headers=(("Authorization", "Bearer k"),))
    workload = build_openai(OpenAiWorkload(api, "m", session_prompts, **more), endpoint, parse_url(endpoint.urls[0]))
    plan = StagePlan(2, "s", StageLoad(arrivals, duration_s, lead_in_s=0.0, max_requests=max_requests), 3, drain_s=2.0)

    async def run() -> SendingStage:
        loop = asyncio.get_running_loop()
        offsets = None if isinstance(arrivals, ClosedArrivals) else Schedule(plan, share).own_offsets[:sessions]
        stage = SendingStage(plan, share, offsets, perf_counter_ns(), transport, workload, loop)

        running = asyncio.create_task(stage.run())
        while not running.done() and _count_over(stage.live_sessions) < sessions:
            await asyncio.sleep(0.002)
        stage.stop(True, perf_counter_ns())
        await asyncio.wait_for(running, 20)
        return stage

    transport = FakeTransport(respond, 0.0005)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stage = runner.run(run())
    assert stage.live_sessions is not None
    rows = build_record_batch(2, list(stage.finished_exchanges), stage.max_output_tokens).to_pylist()
    by_session: dict[int, list[int]] = defaultdict(list)
    for number, exchange in enumerate(server.exchanges):
        assert exchange.session_turn is not None
        by_session[exchange.session_turn.session].append(number)
    return StageResult(server, stage.live_sessions, rows, by_session)


def _count_over(counts: LiveSessionCounts | None) -> int:
    assert counts is not None
    return counts.completed + counts.failed + counts.context_limit + counts.unusable_response


def unique(number: int, _body: Any) -> LlmResponse:
    return LlmResponse(f'answer {number}: "é☃\\ \n\t\x01')


def list_messages(body: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in body["messages"]]


def test_each_turn_contains_all_previous_responses_of_server() -> None:
    result = run_stage(unique, prompts(turns=6), sessions=30)
    assert result.counts.completed == result.counts.started == 30
    for numbers in result.by_session.values():
        assert len(numbers) == 6
        for before, after in pairwise(numbers):
            messages = list_messages(result.server.bodies[after])
            assert messages[:-2] == list_messages(result.server.bodies[before])
            assert messages[-2] == ("assistant", result.server.responses[before].text)
            assert messages[-1][0] == "user"
        own_texts = [text for role, text in list_messages(result.server.bodies[numbers[-1]]) if role == "user"]
        assert len(set(own_texts)) == 6
        assert {len(text.split()) for text in own_texts} == {3}
    body = result.server.bodies[-1]
    assert {key: body[key] for key in body if key != "messages"} == {
        "model": "m", "max_tokens": 7, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert {row["max_output_tokens"] for row in result.rows} == {7}


def test_rows_have_order_and_gaps_of_turns() -> None:
    result = run_stage(unique, prompts(turns=5), sessions=40)
    by_session = defaultdict(list)
    for row in sorted(result.rows, key=lambda row: row["scheduled_ns"]):
        by_session[row["session"]].append(row)
    assert sorted(by_session) == list(range(40))
    for rows in by_session.values():
        assert [row["turn"] for row in rows] == list(range(5))
        assert {after["scheduled_ns"] - before["end_ns"] for before, after in pairwise(rows)} == {4_000_000}
        assert all(row["sent_ns"] >= row["scheduled_ns"] for row in rows)
    assert result.counts.built_requests == 40 * 4
    assert 0 < result.counts.build_cpu_ns <= result.counts.max_build_cpu_ns * 160


@pytest.mark.parametrize("is_streamed", [True, False])
def test_tool_calls_are_answered_with_result_after_tool_time(is_streamed: bool) -> None:
    def answer(number: int, body: Any) -> LlmResponse:
        calls = (("a", "look", '{"at": 1}'), ("b", "go", "")) if len(body["messages"]) < 3 else ()
        return LlmResponse("" if calls else "done", calls)

    result = run_stage(answer, prompts(turns=3), sessions=5, stream=is_streamed)
    assert result.counts.completed == 5
    for numbers in result.by_session.values():
        _, second, third = (result.server.bodies[number]["messages"] for number in numbers)
        _, called, *results = second
        assert called == {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}},
                {"id": "b", "type": "function", "function": {"name": "go", "arguments": "{}"}},
            ],
        }
        assert [(tool_result["role"], tool_result["tool_call_id"]) for tool_result in results] == [
            ("tool", "a"),
            ("tool", "b"),
        ]
        assert {len(tool_result["content"].split()) for tool_result in results} == {2}
        assert (third[: len(second)], third[-2]["content"], third[-1]["role"]) == (second, "done", "user")
        rows = {row["turn"]: row for row in result.rows if row["session"] == _session_of(result, numbers)}
        assert rows[1]["scheduled_ns"] - rows[0]["end_ns"] == 9_000_000
        assert rows[2]["scheduled_ns"] - rows[1]["end_ns"] == 4_000_000


def _session_of(result: StageResult, numbers: list[int]) -> int:
    return next(session for session, own in result.by_session.items() if own == numbers)


@pytest.mark.parametrize("choice", ["keep", "drop"])
def test_reasoning_is_retained_or_dropped_in_later_turns(choice: str) -> None:
    result = run_stage(
        lambda number, _: LlmResponse("so", reasoning="be|cause"), prompts(turns=2, reasoning=choice), sessions=1
    )
    assistant_message = result.server.bodies[1]["messages"][1]
    assert assistant_message == {"role": "assistant", "content": "so"} | (
        {"reasoning_content": "because"} if choice == "keep" else {}
    )


@pytest.mark.parametrize("is_streamed", [True, False])
def test_completions_session_continues_its_text(is_streamed: bool) -> None:
    result = run_stage(unique, prompts(turns=3), api="completions", sessions=4, stream=is_streamed)
    assert result.counts.completed == 4
    for numbers in result.by_session.values():
        for before, after in pairwise(numbers):
            previous_text = result.server.bodies[before]["prompt"] + result.server.responses[before].text + "\n"
            assert result.server.bodies[after]["prompt"].startswith(previous_text)


@pytest.mark.parametrize("is_streamed", [True, False])
def test_responses_session_returns_output_items_to_server(is_streamed: bool) -> None:
    def answer(number: int, _body: Any) -> LlmResponse:
        return LlmResponse(f"é {number}", (("c1", "look", "{}"),), "why")

    session_prompts = prompts(turns=2, reasoning="keep")
    result = run_stage(answer, session_prompts, api="responses", sessions=1, stream=is_streamed)
    first, second = (body["input"] for body in result.server.bodies)
    assert second[:1] == first
    assert second[1:4] == [
        {"type": "reasoning", "id": "rs_1", "summary": [], "text": "why"},
        {"role": "assistant", "content": "é 0"},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
    ]
    (tool_result,) = second[4:]
    assert (tool_result["type"], tool_result["call_id"]) == ("function_call_output", "c1")


def test_parallel_requests_share_their_history_and_are_joined() -> None:
    result = run_stage(unique, prompts(turns=4, parallel=FixedLength(3)), sessions=6)
    assert result.counts.completed == 6
    for session, numbers in result.by_session.items():
        assert len(numbers) == 1 + 3 * 3
        rows = [row for row in result.rows if row["session"] == session]
        assert Counter(row["turn"] for row in rows) == {0: 1, 1: 3, 2: 3, 3: 3}
        for turn in range(1, 4):
            earlier_end_ns = max(row["end_ns"] for row in rows if row["turn"] == turn - 1)
            assert {row["scheduled_ns"] for row in rows if row["turn"] == turn} == {earlier_end_ns + 4_000_000}
        first, *fan = numbers[:4]
        bodies = [list_messages(result.server.bodies[number]) for number in (first, *fan, *numbers[4:7])]
        shared = [*bodies[0], ("assistant", result.server.responses[first].text)]
        assert all(body[:-1] == shared for body in bodies[1:4])
        branches = {result.server.bodies[number]["messages"][-1]["content"]: number for number in fan}
        for body in bodies[4:]:
            main = branches[body[2][1]]
            assert body[3] == ("assistant", result.server.responses[main].text)
            others = [number for number in branches.values() if number != main]
            texts = [result.server.responses[number].text for number in others]
            assert sorted(texts) == sorted(text for text in texts if text in body[4][1])
            assert body[4][1].rpartition("\n\n")[2].count(" ") == 2


def test_recorded_sessions_are_replayed(tmp_path: Path) -> None:
    rows = [
        {"session": "a", "system": "be brief", "text": "hello"},
        {"session": "b", "text": "plan"},
        {"session": "a", "text": "more", "delay_s": 0.003},
        {"session": "b", "parents": [0], "text": "left", "delay_s": 0.001},
        {"session": "b", "parents": [0], "text": "right", "delay_s": 0.002},
        {"session": "b", "parents": [2, 1], "text": "join"},
    ]
    file = tmp_path / "sessions.jsonl"
    file.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    result = run_stage(
        lambda number, _: LlmResponse(f"said {number}"), SessionPrompts(Dataset(str(file), "jsonl")), sessions=2
    )
    assert result.counts.completed == 2
    a, b = result.by_session[0], result.by_session[1]
    assert list_messages(result.server.bodies[a[1]]) == [
        ("system", "be brief"), ("user", "hello"), ("assistant", f"said {a[0]}"), ("user", "more"),
    ]  # fmt: skip
    root, left, right, join = b
    assert list_messages(result.server.bodies[join]) == [
        ("user", "plan"), ("assistant", f"said {root}"), ("user", "right"), ("assistant", f"said {right}"),
        ("user", f"said {left}\n\njoin"),
    ]  # fmt: skip


def test_failed_request_ends_its_session() -> None:
    def is_third(exchange: Exchange) -> str | None:
        assert exchange.session_turn is not None
        return "truncated" if exchange.session_turn.turn == 2 and exchange.session_turn.session % 2 else None

    result = run_stage(unique, prompts(turns=4), sessions=10, break_at=is_third)
    assert (result.counts.completed, result.counts.failed) == (5, 5)
    assert Counter(row["error"] for row in result.rows) == {None: 5 * 4 + 5 * 2, "truncated": 5}


def test_context_limit_ends_session() -> None:
    def grows(number: int, body: Any) -> LlmResponse:
        tokens = 10 * len(body["messages"])
        return LlmResponse("x", usage={"prompt_tokens": tokens, "completion_tokens": 5})

    # After turns of 10, 30 and 50 input tokens, a request has 5 + 3 more, and 7 to generate.
    for limit, turns in ((24, 1), (25, 2), (45, 3)):
        result = run_stage(grows, prompts(turns=9, context_tokens=limit), sessions=2)
        assert result.counts.context_limit == 2
        assert {len(numbers) for numbers in result.by_session.values()} == {turns}


@pytest.mark.parametrize(
    "calls",
    [((None, "look", "{}"),), (("a", None, "{}"),), (("a", "look", '{"at": '),), (("a", "look", "[1]"),)],
)
def test_malformed_tool_call_ends_session(calls: Any) -> None:
    result = run_stage(lambda number, _: LlmResponse("", calls), prompts(turns=3), sessions=3)
    assert (result.counts.unusable_response, result.counts.failed) == (3, 0)
    assert [row["error"] for row in result.rows] == [None] * 3


def test_oversized_response_ends_session() -> None:
    result = run_stage(lambda number, _: LlmResponse("x" * (2**20 + 1)), prompts(turns=3), sessions=1, stream=False)
    assert result.counts.unusable_response == 1


def test_client_starts_next_session_after_previous_session_ended() -> None:
    result = run_stage(unique, prompts(turns=3, parallel=FixedLength(2)), arrivals=ClosedArrivals(3), sessions=12)
    assert result.counts.completed >= 12
    spans = sorted(
        (min(row["scheduled_ns"] for row in rows), max(row["end_ns"] for row in rows))
        for session in result.by_session
        if len(rows := [row for row in result.rows if row["session"] == session]) == 5
    )
    at_once = [sum(start <= begin < end for start, end in spans) for begin, _ in spans]
    assert max(at_once) == 3


def test_max_requests_cuts_session_off() -> None:
    result = run_stage(unique, prompts(turns=9), sessions=1, max_requests=4)
    assert len(result.rows) == 4
    assert (result.counts.started, result.counts.completed) == (1, 0)


def test_sessions_are_divided_among_workers() -> None:
    shares = [run_stage(unique, prompts(turns=2), sessions=6, share=WorkerShare(index, 2)) for index in range(2)]
    numbers = [sorted(result.by_session) for result in shares]
    assert numbers == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    first_texts = [
        list_messages(result.server.bodies[own[0]])[0] for result in shares for own in result.by_session.values()
    ]
    assert len(set(first_texts)) == 12


@pytest.mark.parametrize("api", ["chat", "completions", "responses"])
def test_each_session_or_run_with_cache_bust_has_unique_start(api: str) -> None:
    def starts(key: str, scope: Any, prefix: int = 1) -> list[str]:
        session_prompts = msgspec.structs.replace(
            prompts(turns=2), prefix_groups=prefix, prefix_tokens=4 * prefix, unique=2
        )
        result = run_stage(unique, session_prompts, api=api, sessions=6, cache_bust=CacheBust(scope, key))
        assert result.counts.completed == 6
        return [_start_of(result.server.bodies[number]) for own in result.by_session.values() for number in own]

    for prefix in (0, 1):
        by_session, repeated = starts("k", "session", prefix), starts("k", "session", prefix)
        assert sorted(by_session) == sorted(repeated)
        assert set(Counter(by_session).values()) == {2}  # both turns of a session begin alike
        assert not set(by_session) & set(starts("other", "session", prefix))
        assert set(Counter(starts("k", "run", prefix)).values()) == {12}


def _start_of(body: Any) -> str:
    text: str = body.get("prompt") or (body.get("messages") or body.get("input"))[0]["content"]
    return text.split()[0]


def test_stored_bytes_of_sessions_are_limited_and_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve sessions of four turns store more than the limit together, and one session stores less."""
    monkeypatch.setattr(live_sessions, "MAX_STORED_BYTES", 15_000)
    result = run_stage(
        lambda number, _: LlmResponse("x" * 600), prompts(turns=4), arrivals=ClosedArrivals(1), sessions=12
    )
    assert result.counts.unusable_response == 0
    concurrent = run_stage(lambda number, _: LlmResponse("x" * 600), prompts(turns=4), sessions=12)
    assert concurrent.counts.unusable_response > 0
    assert concurrent.counts.unusable_response + concurrent.counts.completed == 12
