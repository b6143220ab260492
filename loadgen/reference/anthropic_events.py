"""Build the responses of a server with the Anthropic Messages API, as JSON fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loadgen.reference.openai_events import Generation, TokenKind

Fields = dict[str, Any]

_TOOL_BLOCK: Fields = {"type": "tool_use", "id": "toolu_1", "name": "lookup"}
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}
_DELTAS: dict[TokenKind, tuple[str, str]] = {
    "content": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "tool": ("input_json_delta", "partial_json"),
    "first-tool": ("input_json_delta", "partial_json"),
}
"""Type of the delta for each kind of token, and the name of the field with the text."""
_EMPTY_BLOCKS: dict[TokenKind, Fields] = {
    "content": {"type": "text", "text": ""},
    "reasoning": {"type": "thinking", "thinking": "", "signature": ""},
    "tool": {**_TOOL_BLOCK, "input": {}},
    "first-tool": {**_TOOL_BLOCK, "input": {}},
}


def build_message_events(generation: Generation) -> tuple[list[Fields], list[Fields]]:
    """Return the events before and after the content blocks of a streamed message."""
    message = {**_build_message_fields(generation), "content": [], "stop_reason": None}
    if generation.has_usage:
        message["usage"] = {**_build_input_usage(generation), "output_tokens": 1}
    leading_events: list[Fields] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    if generation.finish_reason is None:
        return leading_events, []
    trailing_events: list[Fields] = []
    if generation.tokens or generation.reasoning_tokens:
        trailing_events.append({"type": "content_block_stop", "index": _get_block_index(generation, "content")})
    usage = {"usage": _build_usage(generation)} if generation.has_usage else {}
    delta = {"stop_reason": _get_stop_reason(generation), "stop_sequence": None}
    return leading_events, [
        *trailing_events,
        {"type": "message_delta", "delta": delta, **usage},
        {"type": "message_stop"},
    ]


def build_block_start(generation: Generation, kind: TokenKind) -> list[Fields]:
    """Return the events before the first token of a kind: the end of the reasoning, if there was
    any, and the start of a content block."""
    index = _get_block_index(generation, kind)
    start_event = {"type": "content_block_start", "index": index, "content_block": _EMPTY_BLOCKS[kind]}
    if index == 0:
        return [start_event]
    signature = {"type": "signature_delta", "signature": "scripted"}
    return [
        {"type": "content_block_delta", "index": 0, "delta": signature},
        {"type": "content_block_stop", "index": 0},
        start_event,
    ]


def build_delta(generation: Generation, kind: TokenKind, text: str) -> Fields:
    """Return the event with the text of one or more tokens."""
    delta_type, key = _DELTAS[kind]
    index = _get_block_index(generation, kind)
    return {"type": "content_block_delta", "index": index, "delta": {"type": delta_type, key: text}}


def build_message(generation: Generation, text: str) -> Fields:
    """Return a complete (non-streamed) message."""
    thinking = {"type": "thinking", "thinking": generation.reasoning_text, "signature": "scripted"}
    output = {**_TOOL_BLOCK, "input": {"text": text}} if generation.is_tool_call else {"type": "text", "text": text}
    return {
        **_build_message_fields(generation),
        "content": [*([thinking] if generation.reasoning_text else []), output],
        "stop_reason": _get_stop_reason(generation),
        "usage": _build_usage(generation),
    }


def _build_message_fields(generation: Generation) -> Fields:
    return {"id": generation.response_id, "type": "message", "role": "assistant", "model": generation.model}


def _build_input_usage(generation: Generation) -> Fields:
    """Return the counts of input tokens. Cached tokens are counted apart from the others."""
    tokens_in, _ = generation.reported_usage
    cached_tokens = generation.cached_tokens
    if cached_tokens is None:
        return {"input_tokens": tokens_in}
    return {
        "input_tokens": tokens_in - cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached_tokens,
    }


def _build_usage(generation: Generation) -> Fields:
    return {**_build_input_usage(generation), "output_tokens": generation.reported_usage[1]}


def _get_block_index(generation: Generation, kind: TokenKind) -> int:
    return 0 if kind == "reasoning" or not generation.reasoning_tokens else 1


def _get_stop_reason(generation: Generation) -> str | None:
    if generation.is_tool_call:
        return "tool_use"
    return _STOP_REASONS.get(generation.finish_reason or "")
