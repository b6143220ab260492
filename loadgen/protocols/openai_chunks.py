"""Events of streamed chat and text completions.

What is counted of an answer's tokens, and when they came.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

import msgspec

from loadgen.decoding import json_decoder
from loadgen.transport.exchange import Tokens

CountTokens = Callable[[str], int]
"""How many tokens a text has."""

MAX_TOKENS = 10_000_000
"""A server that claims more is not believed."""
MAX_CHUNKS = 2**18
"""An answer of more is given up: it would never end."""
MAX_TEXT_BYTES = 8 * 2**20
"""Text is kept for a tokenizer only so far; a longer answer's tokens are counted as chunks."""
_PIECE_BYTES = 64
_USAGE_NAMES = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))


def believable(count: object) -> int | None:
    """The count a server tells, None when it cannot be one."""
    return count if type(count) is int and 0 <= count <= MAX_TOKENS else None


def usage_of(usage: object) -> tuple[int | None, int | None]:
    """Tokens in and out as the server counts them. What makes no sense is as if it had not been said."""
    if not isinstance(usage, dict):
        return None, None
    for name_in, name_out in _USAGE_NAMES:
        if name_in in usage or name_out in usage:
            return believable(usage.get(name_in)), believable(usage.get(name_out))
    return None, None


class TokenCounter:
    """The tokens of one streamed answer. A chunk is an event with a delta that is not empty.

    Several choices are counted together: their chunks as they come, their tokens as one sum.
    """

    __slots__ = ("_chunk_ns", "_chunk_tokens", "_count_tokens", "_counted", "_text", "_text_bytes", "_texts", "_tokens",
                 "first_event_ns", "has_begun", "told_in", "told_out")  # fmt: skip

    def __init__(self, count_tokens: CountTokens | None) -> None:
        self._tokens = Tokens()
        self._chunk_ns = array("q")  # a fifth of a list's memory: many long streams come at once
        self._chunk_tokens: list[int | None] | None = None
        self._counted: int | None = 0
        self._count_tokens = count_tokens
        self._text = ""
        self._texts: list[str] = []
        self._text_bytes = 0
        self.has_begun = False
        self.first_event_ns: int | None = None
        self.told_in: int | None = None
        self.told_out: int | None = None

    @property
    def keeps_text(self) -> bool:
        return self._count_tokens is not None

    def take_usage(self, usage: object) -> int | None:
        """The tokens that came out by now, as the server counts them."""
        told_in, told_out = usage_of(usage)
        self.told_in = self.told_in if told_in is None else told_in
        self.told_out = self.told_out if told_out is None else told_out
        return told_out

    def take_chunk(self, at_ns: int, *, is_output: bool, total: int | None) -> str | None:
        """`total` is how many tokens there were up to this chunk, where the server says so in it."""
        tokens, chunk_ns = self._tokens, self._chunk_ns
        if tokens.first_token_ns is None:
            tokens.first_token_ns = at_ns
        if is_output and tokens.first_output_ns is None:
            tokens.first_output_ns = at_ns
        tokens.last_token_ns = at_ns
        if total is not None or self._chunk_tokens is not None:
            self._take_total(total)
        else:
            self._counted = None
        chunk_ns.append(at_ns)
        return None if len(chunk_ns) <= MAX_CHUNKS else "bad-payload"

    def take_text(self, text: str) -> None:
        if self._text_bytes <= MAX_TEXT_BYTES:
            self._text_bytes += 4 * len(text) + _PIECE_BYTES
            self._texts.append(text)

    def tokens(self) -> Tokens:
        """All that is known by now."""
        tokens = self._tokens
        if not self.has_begun:
            return tokens
        tokens.first_event_ns = self.first_event_ns
        if self._chunk_ns:
            tokens.chunk_ns, tokens.chunk_tokens = self._chunk_ns, self._chunk_tokens
        tokens.tokens_in = self.told_in
        # text came, so a server that counts no token is wrong
        if self.told_out is not None and (self.told_out > 0 or not self._chunk_ns):
            tokens.tokens_out, tokens.tokens_from = self.told_out, "server"
        elif self._count_tokens is not None and self._text_bytes <= MAX_TEXT_BYTES:
            if self._texts or tokens.tokens_out is None:
                self._text = "".join((self._text, *self._texts))
                self._texts.clear()
                tokens.tokens_out, tokens.tokens_from = self._count_tokens(self._text), "tokenizer"
        else:
            tokens.tokens_out, tokens.tokens_from = len(self._chunk_ns), "chunks"
        return tokens

    def _take_total(self, total: int | None) -> None:
        """A chunk's tokens are those since the chunk before, so both must tell their total."""
        if self._chunk_tokens is None:
            self._chunk_tokens = [None] * len(self._chunk_ns)
        made = None if total is None or self._counted is None else total - self._counted
        self._chunk_tokens.append(made if made is not None and made > 0 else None)
        self._counted = total


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
