"""A streamed response of an OpenAI-compatible server or of the Messages API; the first byte chooses the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from loadgen.protocols.openai_stream import OpenAiReader
from loadgen.workloads import OpenAiApi
from tests.fuzz.scratch import pieces

_APIS: tuple[OpenAiApi, ...] = get_args(OpenAiApi)


def read(data: bytes) -> None:
    reader = OpenAiReader(_APIS[data[0] % len(_APIS) if data else 0], None)
    for at_ns, piece in enumerate(pieces(data[1:])):
        if reader.feed(piece, at_ns) is not None:
            return
    reader.end([])


def seeds() -> Iterable[bytes]:
    streams = (
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n\xff'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\ndata: [DONE]\n\n',
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a"}\n\n\xff'
        b'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed",'
        b'"usage":{"input_tokens":3,"output_tokens":1}}}\n\n',
        b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3,'
        b'"cache_read_input_tokens":2,"output_tokens":1}}}\n\n\xffevent: ping\ndata: {"type":"ping"}\n\n'
        b'data: {"type":"content_block_start","content_block":{"type":"tool_use","name":"f","input":{}}}\n\n'
        b'data: {"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"a"}}\n\n'
        b'data: {"type":"message_delta","usage":{"output_tokens":2}}\n\ndata: {"type":"message_stop"}\n\n',
        b'{"type":"message","content":[{"type":"text","text":"a"}],"usage":{"input_tokens":3,"output_tokens":1}}',
        b'{"choices":[{"index":0,"message":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}',
        b'data: {"error":{"message":"overloaded"}}\n\n: comment\n\nretry: 5\r\n\r\n',
    )
    return (bytes([api]) + stream for stream in streams for api in range(len(_APIS)))
