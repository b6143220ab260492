"""Events of streamed chat and text completions."""

from __future__ import annotations

import msgspec

from loadgen.decoding import json_decoder
from loadgen.protocols.openai_tokens import TokenCounter

_MAX_CHOICES = 1024
DONE = b"[DONE]"
MALFORMED = msgspec.DecodeError


class ContentPart(msgspec.Struct, gc=False):
    """Of a content that is a list."""

    type: str | None = None
    text: str | None = None
    thinking: object = None


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: object = None
    input: object = None


class ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None
    custom: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[ContentPart] | None = None
    reasoning_content: object = None
    reasoning: object = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: object = None
    error: object = None
    kind: str | None = msgspec.field(default=None, name="object")


_decode = json_decoder(_Chunk)

_NOTHING, _REASONING, _OUTPUT = 0, 1, 2


class ChunkEvents:
    """An answer is whole when a choice finished and none that began did not. What comes after [DONE] is not read.

    A delta after its choice's finish_reason is still a token: it was generated, and it came.
    """

    __slots__ = ("_finished", "_is_done", "_open", "_tally")

    def __init__(self, tally: TokenCounter) -> None:
        self._tally = tally
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._is_done = False

    @property
    def is_whole(self) -> bool:
        return bool(self._finished) and not self._open

    def take(self, data: bytes, name: bytes, at_ns: int) -> str | None:
        if self._is_done or not data:
            return None
        tally = self._tally
        tally.has_begun = True
        try:
            chunk = _decode(data)
        except MALFORMED:
            self._is_done = data.strip() == DONE
            return None if self._is_done else "bad-output" if name == b"error" else "bad-payload"
        if chunk.error or chunk.kind == "error" or name == b"error":
            return "bad-output"
        if tally.first_event_ns is None and chunk.choices:
            tally.first_event_ns = at_ns
        total = None if chunk.usage is None else tally.take_usage(chunk.usage)
        kind = _NOTHING
        for choice in chunk.choices or ():
            kind |= self._take_choice(choice)
        if len(self._open) + len(self._finished) > _MAX_CHOICES:
            return "bad-payload"
        return tally.take_chunk(at_ns, is_output=kind >= _OUTPUT, total=total) if kind else None

    def _take_choice(self, choice: _Choice) -> int:
        index = choice.index or 0
        if choice.finish_reason:
            self._finished.add(index)
            self._open.discard(index)
        elif index not in self._finished:
            self._open.add(index)
        delta = choice.delta
        if delta is None:
            text = choice.text
            kind = _OUTPUT if text else _NOTHING
        else:
            text = delta.content if type(delta.content) is str else None
            kind = _OUTPUT if text else _kind_of(delta)
        if kind and self._tally.keeps_text:
            self._tally.take_text(text or _text_of(delta))
        return kind


def _kind_of(delta: _Delta) -> int:
    """Of a delta without plain text."""
    kind = _NOTHING
    for part in delta.content or ():
        if isinstance(part, ContentPart):
            kind |= (_REASONING if part.thinking else _NOTHING) | (_OUTPUT if part.text else _NOTHING)
    if delta.reasoning_content or delta.reasoning:
        kind |= _REASONING
    if delta.refusal or (delta.function_call and _is_call(delta.function_call)):
        kind |= _OUTPUT
    for call in delta.tool_calls or ():
        if (call.function and _is_call(call.function)) or (call.custom and _is_call(call.custom)):
            kind |= _OUTPUT
    return kind


def _is_call(function: _Function) -> bool:
    return bool(function.name or function.arguments or function.input)


def _text_of(delta: _Delta | None) -> str:
    """What a tokenizer can count of a delta without plain text."""
    if delta is None:
        return ""
    texts = [delta.reasoning_content or delta.reasoning, delta.refusal]
    texts += [part.text or part.thinking for part in delta.content or () if isinstance(part, ContentPart)]
    calls = [function for call in delta.tool_calls or () for function in (call.function, call.custom)]
    for function in (*calls, delta.function_call):
        if function is not None:
            texts += [function.name, function.arguments, function.input]
    return "".join(text for text in texts if isinstance(text, str))
