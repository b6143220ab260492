"""Responses of a scripted language model server: no two are equal, and the requests are recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from loadgen.transport.exchange import Exchange

USAGE = {"prompt_tokens": 20, "completion_tokens": 5}


class LlmResponse(NamedTuple):
    """The content of a response: a text, tool calls (ID, name, arguments) and reasoning."""

    text: str = ""
    calls: tuple[tuple[str | None, str | None, str], ...] = ()
    reasoning: str = ""
    usage: dict[str, int] | None = USAGE


class ScriptedLlmServer:
    """Completes exchanges. `bodies` are the bodies of the requests, and `responses` the contents of the responses, in
    the order of the requests."""

    def __init__(self, answer: Callable[[int, Any], LlmResponse], api: str = "chat") -> None:
        self._answer, self._api = answer, api
        self.bodies: list[Any] = []
        self.responses: list[LlmResponse] = []
        self.exchanges: list[Exchange] = []

    def __call__(self, exchange: Exchange) -> None:
        head, _, body = exchange.request.partition(b"\r\n\r\n")
        assert f"\r\nContent-Length: {len(body)}".encode() in head
        self.bodies.append(msgspec.json.decode(body))
        self.exchanges.append(exchange)
        answer = self._answer(len(self.responses), self.bodies[-1])
        self.responses.append(answer)
        exchange.headers = [(b"content-type", b"text/event-stream")]
        if exchange.reader is None:
            exchange.body = msgspec.json.encode(build_body(answer, self._api))
            return
        for event in build_events(answer, self._api):
            exchange.error = exchange.error or exchange.reader.feed(b"data: " + event + b"\n\n", exchange.end_ns or 0)


def build_body(answer: LlmResponse, api: str) -> dict[str, Any]:
    calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in answer.calls
    ]
    if api == "responses":
        return {"status": "completed", "output": [*map(msgspec.json.decode, _items(answer))], "usage": answer.usage}
    if api == "completions":
        return {"choices": [{"text": answer.text}], "usage": answer.usage}
    message = {"content": answer.text, "reasoning_content": answer.reasoning, "tool_calls": calls}
    return {"choices": [{"message": message}], "usage": answer.usage}


def build_events(answer: LlmResponse, api: str) -> list[bytes]:
    """The data of the events of a stream, whose deltas are of a few characters each."""
    pieces = [answer.text[start : start + 3] for start in range(0, len(answer.text), 3)]
    if api == "responses":
        deltas = [{"type": "response.output_text.delta", "delta": piece} for piece in pieces]
        items = [{"type": "response.output_item.done", "item": msgspec.json.decode(item)} for item in _items(answer)]
        end = {"type": "response.completed", "response": {"usage": answer.usage}}
        return [*map(msgspec.json.encode, [*deltas, *items, end])]
    if api == "completions":
        choices: list[dict[str, Any]] = [{"index": 0, "text": piece} for piece in pieces]
    else:
        choices = [
            {"index": 0, "delta": {"reasoning_content": piece}} for piece in answer.reasoning.split("|") if piece
        ]
        choices += [{"index": 0, "delta": {"content": piece}} for piece in pieces]
        for index, (call_id, name, arguments) in enumerate(answer.calls):
            begin = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
            choices.append({"index": 0, "delta": {"tool_calls": [begin]}})
            for character in arguments:
                more = {"index": index, "function": {"arguments": character}}
                choices.append({"index": 0, "delta": {"tool_calls": [more]}})
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks = [{"choices": [choice]} for choice in choices]
    return [*map(msgspec.json.encode, [*chunks, {"choices": [], "usage": answer.usage}]), b"[DONE]"]


def _items(answer: LlmResponse) -> list[bytes]:
    items: list[dict[str, Any]] = []
    if answer.reasoning:
        items.append(
            {"type": "reasoning", "id": "rs_1", "summary": [], "status": "completed", "text": answer.reasoning}
        )
    if answer.text:
        items.append(
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": answer.text}]}
        )
    for call_id, name, arguments in answer.calls:
        items.append({"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments})
    return [msgspec.json.encode(item) for item in items]
