"""Sessions of OpenAI-compatible APIs whose requests contain the server's own responses: collect the
content of a response, and build the next request from it.

A conversation is stored as encoded JSON inside the serialized request that was sent last. The next
request copies it and appends the response and the new message, so that the earlier messages are
never encoded again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from loadgen.decoding import decode_json, json_decoder
from loadgen.payloads.media import Media
from loadgen.payloads.prompts import Prompt, PromptError
from loadgen.payloads.sessions import SessionGraph
from loadgen.protocols.anthropic import CALL_TYPES, MessageBlock, MessagesEventHandler, decode_message
from loadgen.protocols.openai_bodies import (
    Body,
    build_body,
    build_cache_bust_text,
    build_user_content,
    decode_extra_body,
    encode_body,
    merge_patch,
)
from loadgen.protocols.openai_chunks import (
    ChunkChoice,
    ChunkEventHandler,
    ContentPart,
    CountTokens,
    Message,
    TokenCounter,
    parse_usage,
)
from loadgen.protocols.openai_stream import EventHandler, OpenAiReader, ResponsesEventHandler
from loadgen.protocols.prepared import CollectedResponse, SessionHttpRequest, ToolCallRecord
from loadgen.transport.exchange import Exchange
from loadgen.workloads import LiveHistory, OpenAiApi, OpenAiWorkload

MAX_RESPONSE_CHARS = 2**20
"""Maximum number of characters of a response that are stored for the next request. A longer
response ends its session."""
MAX_CALLS = 128
_CHARS_PER_TOKEN = 4
NO_SESSIONS_TEXT = "multi-turn sessions are supported for chat, completions and responses only"
_CONVERSATION_KEYS = ("messages", "input", "prompt")


# Collect responses


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _CollectedCall(msgspec.Struct, gc=False):
    call_id: str | None = None
    name: str | None = None
    arguments: str = ""


class _CallDelta(msgspec.Struct, gc=False):
    tool_calls: list[_Call] | None = None


class _CallChoice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _CallDelta | None = None


class _CallChunk(msgspec.Struct, gc=False):
    choices: list[_CallChoice] | None = None


class _TextDelta(msgspec.Struct, gc=False):
    type: str = ""
    delta: str = ""


class _DoneItem(msgspec.Struct, gc=False):
    type: str = ""
    item: msgspec.Raw = msgspec.Raw(b"")


class _ItemPart(msgspec.Struct, gc=False):
    text: str | None = None
    refusal: str | None = None


class _OutputItem(msgspec.Struct, gc=False):
    type: str = ""
    content: list[_ItemPart] | None = None


class _FunctionItem(msgspec.Struct, gc=False):
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _FullChoice(msgspec.Struct, gc=False):
    message: msgspec.Raw = msgspec.Raw(b"")
    text: str | None = None


class _FullResponse(msgspec.Struct, gc=False):
    choices: list[_FullChoice] = []
    output: list[msgspec.Raw] = []
    usage: object = None


_decode_call_chunk = json_decoder(_CallChunk)
_decode_text_delta = json_decoder(_TextDelta)
_decode_done_item = json_decoder(_DoneItem)
_decode_item = json_decoder(_OutputItem)
_decode_function_item = json_decoder(_FunctionItem)
_decode_message = json_decoder(Message)
_decode_calls = json_decoder(_CallDelta)
_decode_full_response = json_decoder(_FullResponse)
_decode_arguments = json_decoder(dict[str, msgspec.Raw])


class ResponseCollector:
    """Collector of the first choice of a response. The memory that it uses is bounded.

    `is_usable` becomes false if the response is too long, or if a tool call is malformed.
    """

    __slots__ = ("_calls", "_char_count", "_items", "_reasoning_name", "_reasoning_texts", "_texts", "is_usable",
                 "retains_reasoning")  # fmt: skip

    def __init__(self, *, retains_reasoning: bool) -> None:
        self.retains_reasoning = retains_reasoning
        self._texts: list[str] = []
        self._reasoning_name = ""
        self._reasoning_texts: list[str] = []
        self._calls: dict[int, _CollectedCall] = {}
        self._items: list[bytes] = []
        self._char_count = 0
        self.is_usable = True

    def add_message(
        self, content: str | list[ContentPart] | None, reasoning_content: object, reasoning: object
    ) -> None:
        """Add a message, or a delta of a message, without its tool calls."""
        if type(content) is str:
            self.add_text(content)
        elif content:
            for part in content:
                if isinstance(part, ContentPart) and part.text:
                    self.add_text(part.text)
        if self.retains_reasoning:
            if isinstance(reasoning_content, str) and reasoning_content:
                self._add_reasoning("reasoning_content", reasoning_content)
            elif isinstance(reasoning, str) and reasoning:
                self._add_reasoning("reasoning", reasoning)

    def add_text(self, text: str) -> None:
        self._char_count += len(text)
        if self._char_count > MAX_RESPONSE_CHARS:
            self._discard()
        elif self.is_usable:
            self._texts.append(text)

    def add_calls(self, calls: Sequence[_Call]) -> None:
        """Add tool calls, or deltas of tool calls that continue earlier ones of the same index."""
        for position, call in enumerate(calls):
            index = position if call.index is None else call.index
            collected_call = self._calls.setdefault(index, _CollectedCall())
            if len(self._calls) > MAX_CALLS:
                self._discard()
            collected_call.call_id = collected_call.call_id or call.id
            if (function := call.function) is not None:
                collected_call.name = collected_call.name or function.name
                if function.arguments and self._count(len(function.arguments)):
                    collected_call.arguments += function.arguments

    def add_item(self, item: bytes) -> None:
        """Add an encoded output item of the Responses API."""
        if self._count(len(item)):
            self._items.append(item)

    def finish(self, tokens_in: int | None, tokens_out: int | None) -> CollectedResponse | None:
        """Return the collected response; None if it is not usable."""
        if not self.is_usable:
            return None
        try:
            text = "".join(self._texts)
            items: tuple[bytes, ...] = ()
            calls = tuple(
                _parse_call(call.call_id, call.name, call.arguments) for _, call in sorted(self._calls.items())
            )
            if self._items:
                text, calls, items = self._convert_items(text)
        except (msgspec.MsgspecError, ValueError):
            return None
        reasoning = (self._reasoning_name, "".join(self._reasoning_texts)) if self._reasoning_texts else None
        if tokens_out is None:
            tokens_out = -(-self._char_count // _CHARS_PER_TOKEN)
        return CollectedResponse(tokens_in, tokens_out, self._char_count, text, reasoning, calls, items)

    def _convert_items(self, delta_text: str) -> tuple[str, tuple[ToolCallRecord, ...], tuple[bytes, ...]]:
        """Convert output items of the Responses API to input items. Without a message among the
        items, the text of the deltas is the message."""
        texts: list[str] = []
        calls: list[ToolCallRecord] = []
        items: list[bytes] = []
        for encoded_item in self._items:
            item = _decode_item(encoded_item)
            if item.type == "message":
                texts.append("".join(part.text or part.refusal or "" for part in item.content or ()))
                items.append(encode_body({"role": "assistant", "content": texts[-1]}))
            elif item.type == "function_call":
                function = _decode_function_item(encoded_item)
                calls.append(_parse_call(function.call_id, function.name, function.arguments or ""))
                items.append(_encode_function_call(calls[-1]))
            elif item.type == "reasoning" and self.retains_reasoning:
                fields = decode_json(encoded_item, dict[str, Any])
                items.append(encode_body({key: value for key, value in fields.items() if key != "status"}))
        if not texts and delta_text:
            items.insert(0, encode_body({"role": "assistant", "content": delta_text}))
        return "".join(texts) or delta_text, tuple(calls), tuple(items)

    def _add_reasoning(self, name: str, text: str) -> None:
        if self._count(len(text)):
            self._reasoning_name = name
            self._reasoning_texts.append(text)

    def _count(self, char_count: int) -> bool:
        self._char_count += char_count
        if self._char_count > MAX_RESPONSE_CHARS:
            self._discard()
        return self.is_usable

    def _discard(self) -> None:
        self.is_usable = False
        for collection in (self._texts, self._reasoning_texts, self._calls, self._items):
            collection.clear()


def _parse_call(call_id: str | None, name: str | None, arguments: str) -> ToolCallRecord:
    """Check a tool call. Raises ValueError or msgspec.DecodeError if it is malformed."""
    if not call_id or not name:
        raise ValueError("a tool call has no ID or no name")
    _decode_arguments(arguments or "{}")
    return ToolCallRecord(call_id, name, arguments or "{}")


class _CollectingChunkHandler(ChunkEventHandler):
    __slots__ = ("_collector", "_has_calls", "_retains_reasoning")

    def __init__(self, counter: TokenCounter, collector: ResponseCollector) -> None:
        super().__init__(counter)
        self._collector, self._retains_reasoning = collector, collector.retains_reasoning
        self._has_calls = False

    def handle(self, data: bytes, name: bytes, received_ns: int) -> str | None:
        error = ChunkEventHandler.handle(self, data, name, received_ns)
        if self._has_calls:
            self._has_calls = False
            self._add_call_deltas(data)
        return error

    def _add_call_deltas(self, data: bytes) -> None:
        try:
            chunk = _decode_call_chunk(data)
        except msgspec.DecodeError:
            self._collector.is_usable = False
            return
        for choice in chunk.choices or ():
            if not choice.index and choice.delta is not None and choice.delta.tool_calls:
                self._collector.add_calls(choice.delta.tool_calls)

    def _add_choice(self, choice: ChunkChoice) -> int:
        kind = ChunkEventHandler._add_choice(self, choice)
        if not choice.index:
            delta = choice.delta
            if delta is None:
                if choice.text:
                    self._collector.add_text(choice.text)
            elif type(delta.content) is str and delta.content and not self._retains_reasoning:
                self._collector.add_text(delta.content)
            elif kind:
                self._collector.add_message(delta.content, delta.reasoning_content, delta.reasoning)
            if delta is not None and delta.tool_calls:
                self._has_calls = True
        return kind


class _CollectingResponsesHandler(ResponsesEventHandler):
    __slots__ = ("_collector",)

    def __init__(self, counter: TokenCounter, collector: ResponseCollector) -> None:
        super().__init__(counter)
        self._collector = collector

    def handle(self, data: bytes, name: bytes, received_ns: int) -> str | None:
        error = super().handle(data, name, received_ns)
        if error is None:
            try:
                self._collect(data)
            except msgspec.DecodeError:
                self._collector.is_usable = False
        return error

    def _collect(self, data: bytes) -> None:
        if b'"response.output_text.delta"' in data:
            event = _decode_text_delta(data)
            if event.type == "response.output_text.delta":
                self._collector.add_text(event.delta)
        elif b'"response.output_item.done"' in data:
            done_event = _decode_done_item(data)
            if done_event.type == "response.output_item.done":
                self._collector.add_item(bytes(done_event.item))


class _CollectingMessagesHandler(MessagesEventHandler):
    __slots__ = ("_call_count", "_collector", "_is_in_call")

    def __init__(self, counter: TokenCounter, collector: ResponseCollector) -> None:
        super().__init__(counter)
        self._collector, self._call_count, self._is_in_call = collector, 0, False

    def _add_block(self, block: MessageBlock, received_ns: int) -> str | None:
        if block.text:
            self._collector.add_text(block.text)
        elif block.type in CALL_TYPES:  # the server executes the tools of the other types itself
            self._is_in_call = block.type == "tool_use"
            if self._is_in_call:
                self._call_count += 1
                self._collector.add_calls([self._build_call(block.name, None)])
        elif block.partial_json and self._is_in_call:
            self._collector.add_calls([self._build_call(None, block.partial_json)])
        return MessagesEventHandler._add_block(self, block, received_ns)

    def _build_call(self, name: str | None, arguments: str | None) -> _Call:
        # The blocks of a message arrive one after another.
        return _Call(self._call_count, f"call-{self._call_count}", _Function(name, arguments))


class CollectingReader(OpenAiReader):
    """Reader that also collects the content of the response."""

    __slots__ = ("_collector",)

    def __init__(self, api: OpenAiApi, count_tokens: CountTokens | None, *, retains_reasoning: bool) -> None:
        self._collector = collector = ResponseCollector(retains_reasoning=retains_reasoning)

        def create_handler(counter: TokenCounter) -> EventHandler:
            if api == "responses":
                return _CollectingResponsesHandler(counter, collector)
            if api == "messages":
                return _CollectingMessagesHandler(counter, collector)
            return _CollectingChunkHandler(counter, collector)

        super().__init__(api, count_tokens, create_handler)

    def collect(self) -> CollectedResponse | None:
        if not self.is_streamed:
            collector = ResponseCollector(retains_reasoning=self._collector.retains_reasoning)
            return collect_response(self._api, bytes(self._body), collector)
        return self._collector.finish(self._counter.reported_input_tokens, self._counter.reported_output_tokens)


def collect_response(api: OpenAiApi, body: bytes, collector: ResponseCollector) -> CollectedResponse | None:
    """Return the content of a complete (non-streamed) response of any API; None if it is not
    usable."""
    return _collect_message(body, collector) if api == "messages" else collect_body(body, collector)


def collect_body(body: bytes, collector: ResponseCollector) -> CollectedResponse | None:
    """Return the content of a complete (non-streamed) response of an OpenAI-compatible API; None if
    it is not usable."""
    try:
        response = _decode_full_response(body)
        for item in response.output:
            collector.add_item(bytes(item))
        for choice in response.choices[:1]:
            if bytes(choice.message) not in (b"", b"null"):
                message = _decode_message(choice.message)
                collector.add_message(message.content, message.reasoning_content, message.reasoning)
                collector.add_calls(_decode_calls(choice.message).tool_calls or ())
            elif choice.text:
                collector.add_text(choice.text)
    except msgspec.DecodeError:
        return None
    return collector.finish(*parse_usage(response.usage))


def _collect_message(body: bytes, collector: ResponseCollector) -> CollectedResponse | None:
    try:
        message = decode_message(body)
    except msgspec.DecodeError:
        return None
    for number, block in enumerate(message.content):
        if block.text:
            collector.add_text(block.text)
        elif block.type == "tool_use":
            arguments = bytes(block.input).decode("utf-8", "replace")
            collector.add_calls([_Call(number, f"call-{number}", _Function(block.name, arguments))])
    return collector.finish(None, None)


# Build requests


def _escape(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]


def _encode_function_call(call: ToolCallRecord) -> bytes:
    return encode_body(
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
    )


class _Notation(msgspec.Struct, frozen=True):
    """Notation of conversations in the requests of an API: the key of the conversation in the body,
    and the text before, between and after its messages."""

    key: str
    opening: bytes
    separator: bytes
    closing: bytes = b"}"


_NOTATIONS: dict[OpenAiApi, _Notation] = {
    "chat": _Notation("messages", b',"messages":[', b",", b"]}"),
    "responses": _Notation("input", b',"input":[', b",", b"]}"),
    "completions": _Notation("prompt", b',"prompt":"', b"", b'"}'),
}


class OpenAiSessions:
    """Live sessions of an OpenAI workload.

    `requests` are the prepared requests, in which the API keys are renewed in place: the first
    request of each session, followed by an empty body for each further request.
    """

    def __init__(self, workload: OpenAiWorkload, live: LiveHistory, requests: Sequence[bytes]) -> None:
        self._api, self._requests = workload.api, requests
        self.retains_reasoning = live.reasoning == "keep"
        self._context_tokens = live.context_tokens
        cache_bust = workload.cache_bust
        self._token_key = cache_bust.key if cache_bust is not None and cache_bust.scope == "session" else None
        if workload.api not in _NOTATIONS:
            raise PromptError(NO_SESSIONS_TEXT)
        self._notation = _NOTATIONS[workload.api]
        self._graphs: dict[int, SessionGraph] = {}
        self._first_sizes: dict[int, tuple[int, int]] = {}
        self._workload, self._extra_body = workload, decode_extra_body(workload.extra_body)
        for key in _CONVERSATION_KEYS:
            if key in self._extra_body:
                raise PromptError(f"`extra_body` must not contain `{key}`, because the session determines it")
        self._settings_by_output_tokens: dict[int | None, bytes] = {}
        self._head_source = self._head = b""

    def add(self, graph: SessionGraph, first: int) -> bytes:
        """Add a session whose first request will have the index `first`. Return the body of this
        request."""
        request = graph.requests[0]
        cache_bust = self._workload.cache_bust
        lead = b"" if cache_bust is None else build_cache_bust_text(cache_bust.key).encode() + b" "
        if graph.media and self._api == "completions":
            raise PromptError("completions accept no images and no audio")
        if self._api == "completions":
            prefix = _escape(f"{graph.prefix} ") if graph.prefix else b""
            conversation = lead + prefix + _escape(request.text)
        elif graph.prefix:
            system_message = self._encode_message("system", lead + _escape(graph.prefix))
            conversation = system_message + b"," + self._encode_user_message(request.text, graph.media)
        else:
            conversation = self._encode_user_message(lead.decode() + request.text, graph.media)
        self._graphs[first] = graph
        self._first_sizes[first] = (len(conversation), conversation.find(lead) if lead else 0)
        return b"".join(
            (self._encode_settings(request.output_tokens), self._notation.opening, conversation, self._notation.closing)
        )

    def get_settings(self, output_tokens: int | None) -> Body:
        """Return the body of a request without the conversation."""
        body = merge_patch(build_body(self._workload, Prompt(("",), output_tokens=output_tokens)), self._extra_body)
        del body[self._notation.key]
        return body

    def get_graph(self, first: int) -> SessionGraph:
        return self._graphs[first]

    def has_live_history(self, first: int) -> bool:
        del first
        return True

    def get_context_limit(self, first: int) -> int | None:
        del first
        return self._context_tokens

    def use_requests(self, requests: Sequence[bytes]) -> None:
        self._requests = requests

    def build_first(self, first: int, session: str) -> SessionHttpRequest:
        """Return the first request of a session, in which the cache-bust text is that of `session` if each session
        has its own. `first` is the index of the prepared request."""
        graph, data = self._graphs[first], self._requests[first]
        size, token_offset = self._first_sizes[first]
        end = len(data) - len(self._notation.closing)
        if self._token_key is not None:
            token = build_cache_bust_text(self._token_key, session).encode()
            token_start = end - size + token_offset
            data = b"".join((data[:token_start], token, data[token_start + len(token) :]))
        context_tokens = graph.prefix_tokens + graph.requests[0].tokens
        return SessionHttpRequest(data, data.find(b"\r\n\r\n") + 4, end - size, end, context_tokens)

    def collect(self, first: int, exchange: Exchange, body: bytes) -> CollectedResponse | None:
        del first
        if isinstance(exchange.reader, CollectingReader):
            return exchange.reader.collect()
        return collect_body(body, ResponseCollector(retains_reasoning=self.retains_reasoning))

    def build_next(
        self, first: int, index: int, parents: Sequence[tuple[SessionHttpRequest, CollectedResponse]]
    ) -> SessionHttpRequest:
        """Return the request of turn `index`: the conversation of the first parent, its response, the results of its
        tool calls, and the text of the turn. The responses of other parents become part of that text."""
        request = self._graphs[first].requests[index]
        (previous_request, response), *others = parents
        messages = list(self._encode_response(response))
        own_text = request.text
        if response.calls:
            messages += [self._encode_tool_result(call.call_id, request.tool_text) for call in response.calls]
            own_text = ""
        texts = [*(_get_text(other_response) for _, other_response in others), own_text]
        text = _escape("\n\n".join(filter(None, texts)))
        if self._api == "completions":
            messages.append(_escape("\n") + text)
        elif text:
            messages.append(self._encode_message("user", text))
        separator, head = self._notation.separator, self._get_head()
        settings, opening = self._encode_settings(request.output_tokens), self._notation.opening
        conversation = memoryview(previous_request.data)[previous_request.start : previous_request.end]
        appended = b"".join((separator, separator.join(messages)))
        closing = self._notation.closing
        body_bytes = len(settings) + len(opening) + len(conversation) + len(appended) + len(closing)
        full_head = _complete_head(head, body_bytes)
        data = b"".join((full_head, settings, opening, conversation, appended, closing))
        own_tokens = len(response.calls) * request.tool_tokens if response.calls else request.tokens
        return SessionHttpRequest(
            data,
            len(full_head),
            len(full_head) + len(settings) + len(opening),
            len(data) - len(closing),
            _count_context(previous_request, response)
            + own_tokens
            + sum(other_response.tokens_out for _, other_response in others),
            head,
        )

    def renew(self, first: int, request: SessionHttpRequest) -> bytes:
        del first
        if request.head is None or request.head is (head := self._get_head()):
            return request.data
        body = request.data[request.body_start :]
        return _complete_head(head, len(body)) + body

    def _get_head(self) -> bytes:
        """Return the current head of the requests, up to the value of Content-Length, which is the
        last header."""
        source = self._requests[0]
        if source is not self._head_source:
            head_end = source.find(b"\r\n\r\n")
            self._head_source = source
            self._head = source[: source.rfind(b" ", 0, head_end) + 1]
        return self._head

    def _encode_settings(self, output_tokens: int | None) -> bytes:
        """Encode the body without the conversation and without the closing brace."""
        settings = self._settings_by_output_tokens.get(output_tokens)
        if settings is None:
            settings = encode_body(self.get_settings(output_tokens))[:-1]
            self._settings_by_output_tokens[output_tokens] = settings
        return settings

    def _encode_user_message(self, text: str, media: Sequence[Media]) -> bytes:
        return encode_body({"role": "user", "content": build_user_content(self._api, text, media)})

    def _encode_message(self, role: str, escaped_text: bytes) -> bytes:
        return b'{"role":"%b","content":"%b"}' % (role.encode(), escaped_text)

    def _encode_tool_result(self, call_id: str, text: str) -> bytes:
        if self._api == "responses":
            return encode_body({"type": "function_call_output", "call_id": call_id, "output": text})
        return encode_body({"role": "tool", "tool_call_id": call_id, "content": text})

    def _encode_response(self, response: CollectedResponse) -> Iterator[bytes]:
        """Yield the encoded messages of a response."""
        if self._api == "completions":
            yield _escape(response.text)
        elif self._api == "responses":
            yield from response.items or [self._encode_message("assistant", _escape(response.text))]
        elif not response.calls and response.reasoning is None:
            yield self._encode_message("assistant", _escape(response.text))
        else:
            message: Body = {"role": "assistant", "content": response.text or ("" if not response.calls else None)}
            if response.reasoning is not None:
                message[response.reasoning[0]] = response.reasoning[1]
            if response.calls:
                message["tool_calls"] = [_build_chat_call(call) for call in response.calls]
            yield encode_body(message)


def _build_chat_call(call: ToolCallRecord) -> Body:
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _get_text(response: CollectedResponse) -> str:
    """Return a response as text for the message of another branch of the session."""
    return response.text or "\n".join(f"{call.name}({call.arguments})" for call in response.calls)


def _count_context(request: SessionHttpRequest, response: CollectedResponse) -> int:
    """Return the number of tokens of a conversation including the response: as reported by the
    server, otherwise as estimated."""
    tokens_in = request.context_tokens if response.tokens_in is None else response.tokens_in
    return tokens_in + response.tokens_out


def _complete_head(head: bytes, body_bytes: int) -> bytes:
    return b"%b%d\r\n\r\n" % (head, body_bytes)
