"""Run a reference LLM server: OpenAI-compatible, with the scheduler, prefix cache and metrics of
vLLM, but computed instead of executed.

`python -m loadgen.reference.llm --port 8000 --log events.jsonl` prints its port, and serves until it
is interrupted. Each word is a token, and an image or audio clip is 64 tokens. The chat template
adds a token per message, for its role, and a token for the assistant's turn. The text of a response
is a function of the prompt and the seed. Requests can contain `vllm_xargs` with the fields of `RequestScript`.

The usage of a response has the times that the server measured, in seconds: `queue_time` from the
arrival to the admission, `prompt_time` to the first token, `completion_time` to the last token, and
`total_time`. The header Server-Timing of a complete response has them, too. The log has one event
per line.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from time import perf_counter_ns
from typing import Annotated, Any, cast

import httptools
import msgspec

from loadgen.decoding import decode_json, json_decoder
from loadgen.pacing import Timer, get_timer_factory
from loadgen.reference.child import serve
from loadgen.reference.llm_metrics import LlmMetrics
from loadgen.reference.llm_scheduler import (
    EventKind,
    LlmConfig,
    LlmRequest,
    LlmScheduler,
    NotNegative,
    Positive,
    RequestScript,
    SchedulerEvent,
)
from loadgen.reference.openai_events import (
    SSE,
    Generation,
    TokenKind,
    build_response,
    build_surrounding_events,
    build_token_event,
)
from loadgen.reference.playback import LAST_CHUNK, SocketWriter, encode_chunk, encode_head
from loadgen.workloads import API_PATHS, TextApi

MAX_HEAD_BYTES = 65_536
_MAX_ID_CHARACTERS = 256
_MAX_CONNECTIONS = 10_000
_MAX_STEPS_PER_WAKE = 64
_MAX_BYTES_PER_TOKEN = 64
MAX_BUFFERED_BYTES = 2**28
"""Maximum size in bytes of all bodies that are being received."""
_MAX_HEADERS = 1000
_FAR_FUTURE_NS = 2**62
MEDIA_TOKENS = 64
"""Number of prompt tokens of an image or audio clip of any size."""
_DEFAULT_TEXT_TOKENS = 16
"""Maximum number of tokens of a text completion whose request sets no maximum, as in the API."""
_RESPONSE_ID_PREFIXES: dict[TextApi, str] = {"chat": "chatcmpl", "completions": "cmpl", "responses": "resp"}
_APIS = {f"/v1{API_PATHS[api]}": api for api in _RESPONSE_ID_PREFIXES}


class _ImageUrl(msgspec.Struct, frozen=True):
    url: str


class _Audio(msgspec.Struct, frozen=True):
    data: str


class _Part(msgspec.Struct, frozen=True):
    """Part of a message: a text, an image (of the Responses API: only its URL) or an audio clip."""

    text: str | None = None
    image_url: str | _ImageUrl | None = None
    input_audio: _Audio | None = None


class _Function(msgspec.Struct, frozen=True):
    arguments: str = ""


class _ToolCall(msgspec.Struct, frozen=True):
    function: _Function


class _Message(msgspec.Struct, frozen=True):
    role: Annotated[str, msgspec.Meta(pattern=r"^\S{1,64}$")]
    content: str | list[_Part] | None = None
    tool_calls: list[_ToolCall] | None = None


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class LlmBody(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a request. Other parameters have no effect."""

    model: str = ""
    messages: list[_Message] | None = None
    prompt: str | list[str | NotNegative] | None = None
    input: str | list[_Message] | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    max_output_tokens: Positive | None = None
    min_tokens: NotNegative = 0
    ignore_eos: bool = False
    n: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    priority: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31)] = 0
    stream: bool = False
    stream_options: _StreamOptions | None = None
    vllm_xargs: RequestScript | None = None


decode_body = json_decoder(LlmBody)


def list_prompt_tokens(api: TextApi, body: LlmBody) -> list[str]:
    """Return the prompt of a request as the server tokenizes it. Raises ValueError if the request
    has no valid prompt."""
    messages = body.messages if api == "chat" else body.input
    if api == "completions":
        if isinstance(body.prompt, list):
            is_single_text = len(body.prompt) == 1 and isinstance(body.prompt[0], str)
            if not is_single_text and any(isinstance(token, str) for token in body.prompt):
                raise ValueError("only one prompt per request is supported")
        texts = body.prompt if isinstance(body.prompt, list) else [body.prompt or ""]
        tokens = [word for text in texts for word in str(text).split()]
    else:
        if isinstance(messages, str):
            messages = [_Message("user", messages)]
        tokens = [token for message in messages or () for token in _tokenize_message(message)]
        tokens += ["<|assistant|>"] if tokens else []
    if not tokens:
        raise ValueError("the prompt is empty")
    return tokens


def _tokenize_message(message: _Message) -> list[str]:
    content = message.content or ""
    texts = [content] if isinstance(content, str) else [_read_part(part) for part in content]
    texts += [call.function.arguments for call in message.tool_calls or ()]
    return [f"<|{message.role}|>", *(word for text in texts for word in text.split())]


def _read_part(part: _Part) -> str:
    """Return the text of a part; for an image or clip, a word for each of its tokens."""
    if part.text is not None:
        return part.text
    image = part.image_url.url if isinstance(part.image_url, _ImageUrl) else part.image_url
    media = image or (part.input_audio and part.input_audio.data)
    if not media:
        raise ValueError("a part of a message has no text, image or audio clip")
    word = f"<|{blake2b(media.encode(), digest_size=8).hexdigest()}|>"
    return " ".join([word] * MEDIA_TOKENS)


class _Call(msgspec.Struct):
    """Request that is being processed, on its connection."""

    connection: _Connection
    request: LlmRequest
    api: TextApi
    is_streamed: bool
    sends_usage: bool
    first_sent_ns: int = 0
    last_sent_ns: int = 0


class LlmServer:
    """Reference LLM server on the event loop of its connections. `on_event` is called for each
    event: of tokens, only for the first of a request."""

    def __init__(self, config: LlmConfig, on_event: Callable[[SchedulerEvent], None] = lambda _: None) -> None:
        self.config = config
        self._on_event = on_event
        self._scheduler = LlmScheduler(config)
        self._metrics = LlmMetrics(config, self._scheduler)
        self._random = random.Random(config.seed)
        self._calls: dict[LlmRequest, _Call] = {}
        self._timer: Timer | None = None
        self._request_count = 0
        self.max_body_bytes = MAX_HEAD_BYTES + _MAX_BYTES_PER_TOKEN * config.context_tokens
        self.connections: set[asyncio.Transport] = set()
        self.buffered_bytes = 0

    def create_protocol(self) -> asyncio.Protocol:
        if self._timer is None:
            self._timer = get_timer_factory(asyncio.get_running_loop())(self._advance)
        return _Connection(self)

    def close(self) -> None:
        for transport in list(self.connections):
            transport.abort()
        if self._timer is not None:
            self._timer.close()

    def handle(
        self, connection: _Connection, method: str, path: str, headers: Mapping[bytes, bytes], body: bytes
    ) -> _Call | None:
        """Respond to a request, or start to process it and return the call."""
        api = _APIS.get(path)
        if api is not None and method == "POST":
            request_id = headers.get(b"x-request-id", b"").decode("latin-1")
            is_valid = request_id.isprintable() and len(request_id) <= _MAX_ID_CHARACTERS
            return self._start_call(connection, api, request_id if is_valid else "", body)
        if method != "GET" or path not in ("/health", "/v1/models", "/metrics"):
            status = 405 if api is not None or path in ("/health", "/v1/models", "/metrics") else 404
            connection.send_error(status, f"{method} {path} is not supported")
        elif path == "/metrics":
            text = self._metrics.format_metrics().encode()
            connection.send(text, fields=("Content-Type: text/plain; version=0.0.4",))
        else:
            model = {
                "id": self.config.served_model_name,
                "object": "model",
                "max_model_len": self.config.context_tokens,
            }
            connection.send(msgspec.json.encode({"object": "list", "data": [model]}) if path == "/v1/models" else b"{}")
        return None

    def _start_call(self, connection: _Connection, api: TextApi, request_id: str, content: bytes) -> _Call | None:
        arrival_ns = perf_counter_ns()
        try:
            body = decode_body(content)
            if body.model not in ("", self.config.served_model_name):
                connection.send_error(404, f"the model is {self.config.served_model_name}")
                return None
            prompt = list_prompt_tokens(api, body)
            max_count = self._limit_output(api, body, len(prompt))
        except (msgspec.DecodeError, ValueError) as error:
            connection.send_error(400, str(error))
            return None
        self._request_count += 1
        request_id = request_id or f"request-{self._request_count}"
        script = body.vllm_xargs or self._choose_script()
        if script.error_status is not None:
            self._metrics.finished["error"] += 1
            self._on_event(SchedulerEvent(kind=EventKind.REJECTED, at_ns=arrival_ns, request_id=request_id))
            connection.send_error(script.error_status, "the script of the request is this error")
            return None
        seed = self.config.seed if body.seed is None else body.seed
        request = LlmRequest(request_id, prompt, arrival_ns, seed=seed, priority=body.priority, script=script)
        value_count = self.config.max_output_tokens - self.config.min_output_tokens + 1
        natural_count = max(self.config.min_output_tokens + request.word_base % value_count, body.min_tokens)
        if not body.ignore_eos and natural_count <= max_count:
            request.output_count, request.finish_reason = natural_count, "stop"
        else:
            request.output_count = max_count
        sends_usage = api == "responses" or (body.stream_options is not None and body.stream_options.include_usage)
        call = self._calls[request] = _Call(connection, request, api, body.stream, sends_usage)
        if body.stream:
            connection.start_stream(request_id)
        self._scheduler.add(request)
        self._advance()
        return call if request in self._calls else None

    def _limit_output(self, api: TextApi, body: LlmBody, prompt_count: int) -> int:
        free_count = self.config.context_tokens - prompt_count
        limits = (body.max_completion_tokens, body.max_output_tokens, body.max_tokens)
        default_count = min(_DEFAULT_TEXT_TOKENS, free_count) if api == "completions" else free_count
        max_count = next((count for count in limits if count is not None), default_count)
        if not 1 <= max_count <= free_count:
            raise ValueError(
                f"the prompt of {prompt_count} tokens and {max(1, max_count)} tokens of output exceed the maximum of "
                f"{self.config.context_tokens} tokens"
            )
        if body.min_tokens > max_count:
            raise ValueError(f"min_tokens is {body.min_tokens}, but the maximum number of tokens is {max_count}")
        return max_count

    def _choose_script(self) -> RequestScript:
        position = self._random.random() if self.config.scripts else 1.0
        for script in self.config.scripts:
            if position < script.share:
                return script
            position -= script.share
        return RequestScript()

    def cancel(self, call: _Call) -> None:
        """Cancel a call whose connection was closed."""
        if self._calls.pop(call.request, None) is not None:
            self._scheduler.cancel(call.request, perf_counter_ns())
            self._advance()

    def _advance(self) -> None:
        """Execute all steps that are due, and send their tokens."""
        step_tokens: Counter[int] = Counter()
        for event, request in self._scheduler.advance(perf_counter_ns(), _MAX_STEPS_PER_WAKE):
            if request is None:
                self._on_event(event)
                continue
            call = self._calls.get(request)
            sent_ns = perf_counter_ns()
            if event.kind == EventKind.TOKEN:
                if event.token == 1:
                    self._on_event(msgspec.structs.replace(event, sent_ns=None if call is None else sent_ns))
                step_tokens[event.at_ns] += 1 + (request.prompt_count if event.token == 1 else 0)
                self._metrics.generation_tokens += 1
                if call is not None:
                    self._send_token(call, event.token or 0, sent_ns)
            elif event.kind == EventKind.FINISHED:
                self._on_event(msgspec.structs.replace(event, sent_ns=None if call is None else call.last_sent_ns))
                self._metrics.finished[event.finish_reason or ""] += 1
                if call is not None:
                    del self._calls[request]
                    self._observe_finished(call)
            else:
                self._on_event(event)
        for token_count in step_tokens.values():
            self._metrics.step_tokens.observe(token_count)
        if self._timer is not None:
            next_ns = self._scheduler.next_ns
            self._timer.set(_FAR_FUTURE_NS if next_ns is None else next_ns)

    def _observe_finished(self, call: _Call) -> None:
        metrics, times_s = self._metrics, _measure_times_s(call)
        metrics.queue_time.observe(times_s["queue_time"])
        metrics.prefill_time.observe(times_s["prompt_time"])
        metrics.decode_time.observe(times_s["completion_time"])
        metrics.request_latency.observe(times_s["total_time"])

    def _send_token(self, call: _Call, token: int, sent_ns: int) -> None:
        request = call.request
        if token == 1:
            call.first_sent_ns = sent_ns
            self._metrics.prompt_tokens += request.prompt_count
            self._metrics.first_token_time.observe((sent_ns - request.arrival_ns) / 1e9)
        else:
            self._metrics.inter_token_latency.observe((sent_ns - call.last_sent_ns) / 1e9)
        call.last_sent_ns = sent_ns
        is_last = token == request.output_count
        if call.is_streamed:
            call.connection.send_stream(_encode_stream_part(self.config, call, token), is_last=is_last)
        elif is_last:
            times_s = _measure_times_s(call)
            timing = ", ".join(
                f"{name.removesuffix('_time')};dur={time_s * 1e3:.3f}" for name, time_s in times_s.items()
            )
            fields = (f"X-Request-Id: {request.request_id}", f"Server-Timing: {timing}")
            call.connection.send(
                msgspec.json.encode(build_response(_build_generation(self.config, call))), fields=fields
            )
        if token == request.script.cut_after_token:
            call.connection.close()


def _measure_times_s(call: _Call) -> dict[str, float]:
    request = call.request
    admitted_ns = request.admitted_ns or 0
    return {
        "queue_time": (admitted_ns - request.arrival_ns) / 1e9,
        "prompt_time": (call.first_sent_ns - admitted_ns) / 1e9,
        "completion_time": (call.last_sent_ns - call.first_sent_ns) / 1e9,
        "total_time": (call.last_sent_ns - request.arrival_ns) / 1e9,
    }


def _get_token_kind(call: _Call, token: int) -> TokenKind:
    script = call.request.script
    if call.api == "completions":
        return "content"
    if token <= script.reasoning_tokens:
        return "reasoning"
    if script.is_tool_call:
        return "first-tool" if token == script.reasoning_tokens + 1 else "tool"
    return "content"


def _build_generation(config: LlmConfig, call: _Call) -> Generation:
    """Return the response to a call so far."""
    request = call.request
    words = request.tokens[request.prompt_count :]
    reasoning_count = 0 if call.api == "completions" else min(request.script.reasoning_tokens, len(words))
    is_tool_call = request.script.is_tool_call and reasoning_count < len(words) and call.api != "completions"
    text = _format_words(words[reasoning_count:])
    return Generation(
        tokens=1,
        api=call.api,
        model=config.served_model_name,
        text=text.rstrip() if is_tool_call else text,
        reasoning_text=_format_words(words[:reasoning_count]),
        reasoning_tokens=reasoning_count,
        is_tool_call=is_tool_call,
        has_usage=call.sends_usage,
        reported_tokens=(request.prompt_count, len(words)),
        finish_reason="tool_calls" if is_tool_call and request.finish_reason == "stop" else request.finish_reason,
        response_id=f"{_RESPONSE_ID_PREFIXES[call.api]}-{request.request_id}",
        cached_tokens=request.cached_count or 0,
        usage_times_s=_measure_times_s(call),
    )


def _format_words(words: Sequence[str]) -> str:
    return "".join(f"{word} " for word in words)


def _encode_stream_part(config: LlmConfig, call: _Call, token: int) -> bytes:
    """Return the chunks of a stream for one token, with the events before the first and after the
    last token."""
    request = call.request
    is_edge = token in (1, request.output_count)
    generation = _build_generation(config, call) if is_edge else _build_chunk_template(config, call)
    leading_events, trailing_events = build_surrounding_events(generation) if is_edge else ([], [])
    kind = _get_token_kind(call, token)
    word = request.tokens[request.prompt_count + token - 1]
    is_last = token == request.output_count
    text = word if is_last and kind in ("tool", "first-tool") else f"{word} "
    events = [*(leading_events if token == 1 else ()), build_token_event(generation, kind, text)]
    events += trailing_events if is_last else ()
    return b"".join(map(encode_chunk, events)) + (LAST_CHUNK if is_last else b"")


def _build_chunk_template(config: LlmConfig, call: _Call) -> Generation:
    response_id = f"{_RESPONSE_ID_PREFIXES[call.api]}-{call.request.request_id}"
    return Generation(tokens=1, api=call.api, model=config.served_model_name, response_id=response_id)


class _Connection(asyncio.Protocol):
    """HTTP/1.1 connection, which has one request at a time. It is closed if the client sends
    another request before the response, or does not read the response."""

    def __init__(self, server: LlmServer) -> None:
        self._server = server
        self._call: _Call | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._error: tuple[int, str] | None = None
        self._body_bytes = 0
        self._on_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._writer = SocketWriter(self._transport)
        self._server.connections.add(self._transport)
        if len(self._server.connections) > _MAX_CONNECTIONS:
            self._reject(503, "too many connections are open")

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.connections.discard(self._transport)
        self._on_begin()
        del self._parser  # breaks the reference cycle
        if self._call is not None:
            self._server.cancel(self._call)

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._call is not None:
            self._transport.close()
            return
        self._head_bytes += 0 if self._has_head else len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._error = self._error or (400, "the request is not valid HTTP")
        if self._error is None and not self._has_head and self._head_bytes > MAX_HEAD_BYTES:
            self._error = (431, f"the head of the request exceeds {MAX_HEAD_BYTES} bytes")
        if self._error is not None:
            self._reject(*self._error)
        elif self._is_complete:
            self._dispatch()

    def _on_begin(self) -> None:
        self._url, self._headers, self._body_chunks = b"", dict[bytes, bytes](), list[bytes]()
        self._has_head = self._is_complete = False
        self._server.buffered_bytes -= self._body_bytes
        self._head_bytes = self._body_bytes = 0

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._error = (400, "the client sent a request before the response to the last one")

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value
        if len(self._headers) > _MAX_HEADERS:  # they include trailers
            self._error = (431, f"the request has more than {_MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        self._has_head = True
        if self._parser.get_http_version() != "1.1":
            self._error = (505, "the server supports only HTTP/1.1")
        elif self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._server.buffered_bytes += len(body)
        if self._server.buffered_bytes > MAX_BUFFERED_BYTES:
            self._error = (503, f"the bodies that are being received exceed {MAX_BUFFERED_BYTES} bytes")
        elif self._body_bytes > self._server.max_body_bytes:
            self._error = (413, f"the body of the request exceeds {self._server.max_body_bytes} bytes")
        elif self._error is None:
            self._body_chunks.append(body)

    def on_message_complete(self) -> None:
        self._is_complete, self._is_keep_alive = True, self._parser.should_keep_alive()

    # Responses

    def _dispatch(self) -> None:
        method = self._parser.get_method().decode()
        path = self._url.partition(b"?")[0].decode("latin-1")
        headers, body = self._headers, b"".join(self._body_chunks)
        self._on_begin()
        self._call = self._server.handle(self, method, path, headers, body)

    def send(self, body: bytes, status: int = 200, fields: Sequence[str] = ()) -> None:
        """Send a complete response."""
        content_type = (
            () if any(field.startswith("Content-Type") for field in fields) else ("Content-Type: application/json",)
        )
        lines = [*content_type, f"Content-Length: {len(body)}", *fields, *self._list_connection_fields()]
        self._write(encode_head(status, lines) + body)
        self._end()

    def send_error(self, status: int, message: str) -> None:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        error = {"message": message, "type": kind, "param": None, "code": status}
        self.send(msgspec.json.encode({"error": error}), status)

    def start_stream(self, request_id: str) -> None:
        fields = [*SSE, "Transfer-Encoding: chunked", f"X-Request-Id: {request_id}", *self._list_connection_fields()]
        self._write(encode_head(200, fields))

    def send_stream(self, data: bytes, *, is_last: bool) -> None:
        self._write(data)
        if is_last:
            self._end()
        elif self._writer.is_full():
            self._transport.abort()

    def close(self) -> None:
        self._transport.close()

    def _list_connection_fields(self) -> tuple[str, ...]:
        return () if self._is_keep_alive else ("Connection: close",)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            try:
                self._writer.write(data)
            except OSError:  # the client has closed the connection
                self._transport.abort()

    def _end(self) -> None:
        self._call = None
        if not self._is_keep_alive:
            self._transport.close()

    def _reject(self, status: int, message: str) -> None:
        """Send an error and close the connection."""
        self._is_keep_alive = False
        self.send_error(status, message)


def _parse_config(options: Mapping[str, Any]) -> LlmConfig:
    fields: dict[str, Any] = {}
    if options["config"] is not None:
        is_json = options["config"].lstrip().startswith("{")
        fields = decode_json(options["config"] if is_json else Path(options["config"]).read_bytes(), dict[str, Any])
    names = {field.name for field in msgspec.structs.fields(LlmConfig)}
    fields |= {name: value for name, value in options.items() if name in names and value is not None}
    return msgspec.convert(fields, LlmConfig, strict=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m loadgen.reference.llm", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 for any free port (default: %(default)s)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="output file for events, as JSON lines")
    parser.add_argument("--config", metavar="JSON", help="settings as JSON, or the path of a JSON file")
    parser.add_argument("--exit-with-stdin", action="store_true", help="exit when standard input closes")
    for field in msgspec.structs.fields(LlmConfig):
        if field.name != "scripts":
            flag = f"--{field.name.replace('_', '-')}"
            parser.add_argument(flag, metavar="VALUE", help=f"(default: {msgspec.json.encode(field.default).decode()})")
    options = parser.parse_args()
    try:
        config = _parse_config(vars(options))
        log = None if options.log is None else options.log.open("wb", buffering=0)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        parser.error(f"the settings cannot be used: {error}")
    server = LlmServer(config) if log is None else LlmServer(config, partial(_write_event, log.write))
    try:
        serve(server.create_protocol, options.host, options.port, exits_with_stdin=options.exit_with_stdin)
    except OSError as error:
        sys.stderr.write(f"the server cannot listen on {options.host}:{options.port}: {error.strerror}\n")
        sys.exit(3)
    except KeyboardInterrupt:
        pass


def _write_event(write: Callable[[bytes], object], event: SchedulerEvent) -> None:
    write(msgspec.json.encode(event) + b"\n")


if __name__ == "__main__":
    main()
