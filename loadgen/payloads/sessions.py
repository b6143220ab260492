"""Sessions whose requests contain the server's own responses: the graph of a session's requests,
and the state machine that determines which requests may start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec

from loadgen.decoding import json_decoder
from loadgen.payloads.datasets import DatasetError, DatasetReader
from loadgen.payloads.lengths import MAX_LENGTH
from loadgen.payloads.media import Media
from loadgen.payloads.texts import TextGenerator

MAX_DELAY_S = 30 * 86_400.0
MAX_SESSION_REQUESTS = 10_000
_MIN_TOKEN_BYTES = 4


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a session.

    The request is sent when all its `parents`, which are indices of earlier requests of the
    session, have been answered and `delay_ns` has passed. It continues the conversation of its
    first parent with a user message. The message contains the responses to the other parents, and
    then `text`.

    If the response to the first parent calls tools, `tool_text` is sent as the result of each call
    instead of `text`, and the delay is `tool_delay_ns`. `tokens` and `tool_tokens` are the lengths
    of the two texts.
    """

    text: str
    tokens: int
    parents: tuple[int, ...] = ()
    output_tokens: int | None = None
    delay_ns: int = 0
    tool_text: str = ""
    tool_tokens: int = 0
    tool_delay_ns: int = 0


class SessionGraph(msgspec.Struct, frozen=True):
    """Requests of a session and their dependencies. `build_session_graph` creates a graph.

    `children[n]` are the indices of the requests that have request n as a parent. `turns[n]` is the
    turn number of request n, from 0: one more than the highest turn number of its parents. The
    conversation begins with `prefix`, which has `prefix_tokens` tokens. The first request contains
    `media`.
    """

    requests: tuple[SessionRequest, ...]
    children: tuple[tuple[int, ...], ...]
    turns: tuple[int, ...]
    prefix: str = ""
    prefix_tokens: int = 0
    media: tuple[Media, ...] = ()


def build_session_graph(
    requests: Sequence[SessionRequest], prefix: str = "", prefix_tokens: int = 0, media: tuple[Media, ...] = ()
) -> SessionGraph:
    """Build the graph of a session. Raises ValueError unless the first request, and only this
    request, has no parents, and all parents of a request precede it."""
    children: list[list[int]] = [[] for _ in requests]
    turns: list[int] = []
    for index, request in enumerate(requests):
        if bool(request.parents) != bool(index):
            raise ValueError("the first request of a session, and no other request, must have no parents")
        if len(set(request.parents)) < len(request.parents) or not all(
            0 <= parent < index for parent in request.parents
        ):
            raise ValueError("the parents of a request must be different requests that precede it")
        for parent in request.parents:
            children[parent].append(index)
        turns.append(1 + max((turns[parent] for parent in request.parents), default=-1))
    return SessionGraph(tuple(requests), tuple(map(tuple, children)), tuple(turns), prefix, prefix_tokens, media)


class SessionOutcome(StrEnum):
    """Reason for the end of a session.

    `COMPLETED`: all requests succeeded. `FAILED`: a request failed. `CONTEXT_LIMIT`: the next
    request would have exceeded the maximum number of tokens. `UNUSABLE_RESPONSE`: a response cannot
    be part of a further request, because a tool call is malformed or the texts are too large.
    """

    COMPLETED = "completed"
    FAILED = "failed"
    CONTEXT_LIMIT = "context_limit"
    UNUSABLE_RESPONSE = "unusable_response"


class SessionState:
    """State of a session. The first request is pending from the beginning.

    `pending_count` is the number of requests that are in flight or waiting for their delay.
    `outcome` is the reason for the end of the session, or None while requests may follow. No
    request becomes ready after the outcome is known, but pending requests may still be in flight.
    """

    __slots__ = ("_children", "_missing_parents", "_remaining_count", "outcome", "pending_count")

    def __init__(self, graph: SessionGraph) -> None:
        self._children = graph.children
        self._missing_parents = [len(request.parents) for request in graph.requests]
        self._remaining_count = len(graph.requests)
        self.pending_count = 1
        self.outcome: SessionOutcome | None = None

    @property
    def is_over(self) -> bool:
        return self.outcome is not None and not self.pending_count

    def on_success(self, index: int) -> list[int]:
        """Record that request `index` succeeded. Return the requests that are now ready, because
        all their parents have succeeded; they are pending from now on."""
        self.pending_count -= 1
        self._remaining_count -= 1
        if self.outcome is not None:
            return []
        if not self._remaining_count:
            self.outcome = SessionOutcome.COMPLETED
        ready: list[int] = []
        for child in self._children[index]:
            self._missing_parents[child] -= 1
            if not self._missing_parents[child]:
                ready.append(child)
        self.pending_count += len(ready)
        return ready

    def end(self, outcome: SessionOutcome, dropped_count: int = 0) -> None:
        """End the session with `outcome`, unless it has already ended. `dropped_count` is the
        number of pending requests that have failed or will not be sent."""
        self.pending_count -= dropped_count
        self.outcome = self.outcome or outcome


_TokenCount = Annotated[int, msgspec.Meta(ge=1, le=MAX_LENGTH)]
_DelaySeconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY_S)]


class _SessionRow(msgspec.Struct, forbid_unknown_fields=True):
    session: str | int
    request: str | int | None = None
    parents: list[str | int] | None = None
    system: str | None = None
    text: str | None = None
    tokens: _TokenCount | None = None
    output_tokens: _TokenCount | None = None
    delay_s: _DelaySeconds = 0.0
    tool_text: str | None = None
    tool_tokens: _TokenCount | None = None
    tool_delay_s: _DelaySeconds | None = None


_decode_row = json_decoder(_SessionRow)


def read_session_graphs(
    reader: DatasetReader, text_generator: TextGenerator, limit_bytes: int
) -> Iterator[SessionGraph]:
    """Yield the sessions of a file of JSON lines, in the order of their first lines.

    Each line is a request. `session` is the ID of its session, and `request` its own ID, by default
    its number within the session, from 0. `parents` are IDs of earlier requests of the session, by
    default the previous one. The new message is `text`, or a generated text of `tokens` tokens. The
    result of a tool call is `tool_text`, or generated from `tool_tokens`. `delay_s` and
    `tool_delay_s` are the delays in s after the last parent; by default, there is no delay, and the
    delays are the same. The first request may have a `system` message.

    Raises DatasetError for an invalid line, and if the texts are larger than `limit_bytes`.
    """
    rows_by_session: dict[str | int, list[tuple[int, _SessionRow]]] = {}
    for number, dataset_row in enumerate(reader, 1):
        try:
            row = _decode_row(dataset_row.content or b"")
        except msgspec.DecodeError as error:
            raise DatasetError(f"request {number} of the sessions is invalid: {error}") from error
        limit_bytes -= _MIN_TOKEN_BYTES * ((row.tokens or 0) + (row.tool_tokens or 0))
        if limit_bytes < 0:
            raise DatasetError(f"the texts of the first {number:,} requests of the sessions are too large")
        rows = rows_by_session.setdefault(row.session, [])
        rows.append((number, row))
        if len(rows) > MAX_SESSION_REQUESTS:
            raise DatasetError(f"session {row.session!r} has more than {MAX_SESSION_REQUESTS:,} requests")
    for session, rows in rows_by_session.items():
        requests = list(_build_requests(rows, text_generator))
        system_text = rows[0][1].system or ""
        try:
            yield build_session_graph(requests, system_text, text_generator.count(system_text))
        except ValueError as error:
            raise DatasetError(f"session {session!r} is invalid: {error}") from error


def _build_requests(rows: list[tuple[int, _SessionRow]], text_generator: TextGenerator) -> Iterator[SessionRequest]:
    index_by_id: dict[str | int, int] = {}
    for index, (number, row) in enumerate(rows):
        parents = row.parents
        if parents is None:
            parent_indices: tuple[int, ...] = (index - 1,) if index else ()
        else:
            unknown_id = next((parent for parent in parents if parent not in index_by_id), None)
            if unknown_id is not None:
                raise DatasetError(
                    f"request {number} of the sessions has the parent {unknown_id!r:.100}, which is no earlier request "
                    "of its session"
                )
            parent_indices = tuple(index_by_id[parent] for parent in parents)
        request_id = index if row.request is None else row.request
        if request_id in index_by_id:
            raise DatasetError(f"request {number} of the sessions has the same ID as an earlier one of its session")
        if (row.text is None) == (row.tokens is None):
            raise DatasetError(f"request {number} of the sessions must have either `text` or `tokens`")
        if row.system is not None and index:
            raise DatasetError(f"request {number} of the sessions has a `system` message, but is not the first")
        index_by_id[request_id] = index
        text, tokens = _build_text(row.text, row.tokens, text_generator)
        tool_text, tool_tokens = _build_text(row.tool_text, row.tool_tokens, text_generator)
        tool_delay_s = row.delay_s if row.tool_delay_s is None else row.tool_delay_s
        yield SessionRequest(
            text=text,
            tokens=tokens,
            parents=parent_indices,
            output_tokens=row.output_tokens,
            delay_ns=round(1e9 * row.delay_s),
            tool_text=tool_text,
            tool_tokens=tool_tokens,
            tool_delay_ns=round(1e9 * tool_delay_s),
        )


def _build_text(text: str | None, tokens: int | None, text_generator: TextGenerator) -> tuple[str, int]:
    """Return a text and its length in tokens. Generate the text if only its length is given."""
    if text is None:
        return ("", 0) if tokens is None else (text_generator.generate(tokens), tokens)
    return text, text_generator.count(text)
