"""Recorded agent sessions, checked with the server's log: order, delays and content of a thousand requests."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from loadgen.reference.llm_scheduler import EventKind, LlmConfig, LlmRequest, ScriptShare
from tests.fakes.llm_server import ObservedLlmServer, llm_server
from tests.fakes.program import SizewiseInProcess

pytestmark = pytest.mark.process

SESSIONS, REQUESTS_PER_SESSION, REQUESTS = 40, 9, 1000
FIRST_LIMIT = 10
PROFILE = """sizewise: 1
name: agents
target: {{protocol: openai-chat, url: "{url}", model: m}}
workload: {{sessions: {sessions}, cache_bust: session}}
load:
  workers: 1
  warmup: 0s
  stages: [{{name: agents, concurrency: 30, requests: {requests}}}]
"""
MODEL = LlmConfig(
    served_model_name="m", step_ms=1, prefill_token_ms=0, decode_seq_ms=0, min_output_tokens=3, max_output_tokens=5,
    scripts=(ScriptShare(share=0.3, is_tool_call=True), ScriptShare(share=0.1, reasoning_tokens=1)),
)  # fmt: skip


def build_recorded_sessions() -> list[dict[str, Any]]:
    """Sessions whose requests follow the last one, branch off an earlier one, or wait for several."""
    rng = random.Random(11)
    rows: list[dict[str, Any]] = []
    for session in range(SESSIONS):
        for index in range(REQUESTS_PER_SESSION):
            row: dict[str, Any] = {"session": session, "request": index, "text": f"ask {session} {index}"}
            row["output_tokens"] = FIRST_LIMIT + index  # more than any response has; it says which request it is
            if index:
                count = min(index, rng.choice([1, 1, 1, 2, 3]))
                row["parents"] = rng.sample(range(index), count) if rng.random() < 0.5 else [index - 1]
                row |= {"delay_s": rng.choice([0, 0.002, 0.03]), "tool_delay_s": rng.choice([0, 0.005, 0.05])}
                row["tool_text"] = f"found {session} {index}"
            else:
                row["system"] = f"session {session}"
            rows.append(row)
    rng.shuffle(rows)
    return sorted(rows, key=lambda row: int(row["request"]))  # the sessions' lines are mixed


class SentRequest(NamedTuple):
    """A request as the server received it, with its times in the server's log."""

    request: LlmRequest
    messages: list[dict[str, Any]]
    arrived_ns: int
    ended_ns: int | None

    @property
    def response(self) -> str:
        """The text, or the arguments of the tool call, without the reasoning, which is not sent back."""
        words = self.request.tokens[self.request.prompt_count + self.request.script.reasoning_tokens :]
        text = "".join(f"{word} " for word in words)
        return text.rstrip() if self.request.script.is_tool_call else text


def read_log(server: ObservedLlmServer) -> dict[tuple[str, int], SentRequest]:
    """Return the requests by the first message of their session, which no other session has, and their number in it."""
    times_ns = {(event.kind, event.request_id): event.sent_ns or event.at_ns for event in server.events}
    sent_by_key: dict[tuple[str, int], SentRequest] = {}
    for request, text in list(zip(server.requests, server.bodies, strict=True))[1:]:  # after the preflight
        body = json.loads(text)
        key = body["messages"][0]["content"], body["max_tokens"] - FIRST_LIMIT
        assert key not in sent_by_key, "sent twice"
        sent_by_key[key] = SentRequest(
            request,
            body["messages"],
            times_ns[EventKind.ARRIVED, request.request_id],
            times_ns.get((EventKind.FINISHED, request.request_id)),
        )
    return sent_by_key


def test_thousand_recorded_requests_have_recorded_order_delays_and_histories(
    sizewise_in_process: SizewiseInProcess, tmp_path: Path
) -> None:
    rows = build_recorded_sessions()
    sessions, profile, out = tmp_path / "agents.jsonl", tmp_path / "profile.yaml", tmp_path / "run"
    sessions.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with llm_server(MODEL) as server:
        profile.write_text(PROFILE.format(url=server.url, sessions=sessions, requests=REQUESTS))
        done = sizewise_in_process("run", str(profile), "--out", str(out))
        sent = read_log(server)
    assert done.returncode in (0, 4), done.stderr  # 4: the machine was busy
    assert len(sent) == REQUESTS
    row_by_key = {(row["session"], row["request"]): row for row in rows}
    kinds: Counter[str] = Counter()
    branches: Counter[tuple[str, int]] = Counter()
    for (system, number), child in sent.items():
        row = row_by_key[int(system.rpartition(" ")[2]), number]
        if not number:
            assert child.messages[1:] == [{"role": "user", "content": row["text"]}]
            continue
        main, *others = [sent[system, parent] for parent in row["parents"]]
        branches[system, row["parents"][0]] += 1
        calls_tool = main.request.script.is_tool_call
        delay_ns = 1e9 * (row["tool_delay_s"] if calls_tool else row["delay_s"])
        for parent in (main, *others):
            assert parent.ended_ns is not None
            assert child.arrived_ns - parent.ended_ns >= delay_ns
        assert child.messages[: len(main.messages)] == main.messages
        response, *added = child.messages[len(main.messages) :]
        joined = [
            f"lookup({other.response})" if other.request.script.is_tool_call else other.response for other in others
        ]
        if calls_tool:
            (call,) = response["tool_calls"]
            assert call["function"]["arguments"] == main.response
            assert added.pop(0) == {"role": "tool", "tool_call_id": call["id"], "content": row["tool_text"]}
        else:
            assert response == {"role": "assistant", "content": main.response}
            joined.append(row["text"])
        assert added == ([{"role": "user", "content": "\n\n".join(joined)}] if joined else [])
        kinds.update({"after a tool call": calls_tool, "join": bool(others), "delayed": delay_ns > 0})
    assert min(kinds[kind] for kind in ("after a tool call", "join", "delayed")) > 100, kinds
    with pa.OSFile(str(out / "requests.arrow")) as source, pa.ipc.open_stream(source) as stream:
        check_schedule(stream.read_all().to_pylist(), row_by_key)
    assert sum(count > 1 for count in branches.values()) > 100, "requests that branch off"


def check_schedule(requests: list[dict[str, Any]], row_by_key: dict[tuple[int, int], dict[str, Any]]) -> None:
    """Each request was scheduled exactly when its delay after the end of its last parent was over. The sessions are
    played in the order of their first lines."""
    order = [session for session, number in row_by_key if not number]
    by_key = {(row["session"], row["max_output_tokens"] - FIRST_LIMIT): row for row in requests}
    assert len(by_key) == REQUESTS
    for (session, number), request in by_key.items():
        if number:
            row = row_by_key[order[session % SESSIONS], number]
            end_ns = max(by_key[session, parent]["end_ns"] for parent in row["parents"])
            assert request["scheduled_ns"] - end_ns in (round(1e9 * row["delay_s"]), round(1e9 * row["tool_delay_s"]))
