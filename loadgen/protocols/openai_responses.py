"""Events of streamed answers of the responses API."""

from __future__ import annotations

import msgspec

from loadgen.decoding import json_decoder
from loadgen.protocols.openai_chunks import DONE, MALFORMED
from loadgen.protocols.openai_tokens import TokenCounter


class _Response(msgspec.Struct, gc=False):
    usage: object = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    name: str | None = None


class _Happening(msgspec.Struct, gc=False):
    type: str | None = None
    delta: object = None
    response: _Response | None = None
    item: _Item | None = None
    error: object = None


_decode = json_decoder(_Happening)

_CALLS = ("function_call", "custom_tool_call", "mcp_call")
_FAILURES = ("error", "response.failed", "response.cancelled", "response.error")


class ResponseEvents:
    """Whole with `response.completed` or `response.incomplete`, which is how an answer ends at its limit of tokens."""

    __slots__ = ("_tally", "is_whole")

    def __init__(self, tally: TokenCounter) -> None:
        self._tally = tally
        self.is_whole = False

    def take(self, data: bytes, name: bytes, at_ns: int) -> str | None:
        if not data or data.strip() == DONE:
            return None
        tally = self._tally
        tally.has_begun = True
        try:
            event = _decode(data)
        except MALFORMED:
            return "bad-output" if name == b"error" else "bad-payload"
        tally.first_event_ns = tally.first_event_ns or at_ns
        kind = event.type or name.decode("utf-8", "replace")
        if kind.endswith(".delta"):
            if not event.delta:
                return None
            if tally.keeps_text and isinstance(event.delta, str):
                tally.take_text(event.delta)
            return tally.take_chunk(at_ns, is_output=not kind.startswith("response.reasoning"), total=None)
        if kind in _FAILURES or event.error or name == b"error":
            return "bad-output"
        if kind in ("response.completed", "response.incomplete"):
            self.is_whole = True
            if event.response is not None:
                tally.take_usage(event.response.usage)
        elif kind == "response.output_item.added" and event.item is not None:
            return self._take_item(event.item, at_ns)
        return None

    def _take_item(self, item: _Item, at_ns: int) -> str | None:
        """The name of a tool that is called is generated like its arguments."""
        if item.type not in _CALLS or not item.name:
            return None
        if self._tally.keeps_text:
            self._tally.take_text(item.name)
        return self._tally.take_chunk(at_ns, is_output=True, total=None)
