"""Sessions whose requests contain the server's own responses: the graph of a session's requests,
and the state machine that determines which requests may start."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec


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
    conversation begins with `prefix`, which has `prefix_tokens` tokens.
    """

    requests: tuple[SessionRequest, ...]
    children: tuple[tuple[int, ...], ...]
    turns: tuple[int, ...]
    prefix: str = ""
    prefix_tokens: int = 0


def build_session_graph(requests: Sequence[SessionRequest], prefix: str = "", prefix_tokens: int = 0) -> SessionGraph:
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
    return SessionGraph(tuple(requests), tuple(map(tuple, children)), tuple(turns), prefix, prefix_tokens)


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
