"""Run sessions whose requests contain the server's own responses, on the sending thread.

After a response, the next request is built during the think time. At most `_BUILD_BUDGET_NS` is
spent on building before the event loop sends what has become due in the meantime.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from loadgen.pacing import Timer, TimerQueue
from loadgen.payloads.sessions import SessionGraph, SessionOutcome, SessionState
from loadgen.protocols.prepared import CollectedResponse, LiveSessions, SessionHttpRequest
from loadgen.records import LiveSessionCounts
from loadgen.transport.exchange import Exchange, SessionTurn

_BUILD_BUDGET_NS = 200_000
MAX_REQUEST_BYTES = 64 * 2**20
MAX_STORED_BYTES = 1 << 30
"""Maximum total size in bytes of the requests and responses that the sessions of a stage store,
because further requests are built from them. The session that would exceed it ends."""
_BYTES_PER_CHAR = 4


class SendTurn(Protocol):
    """Callback that sends a request of a session. `request_index` is the index of the prepared
    request, and `data` is the serialized request that is sent instead."""

    def __call__(self, request_index: int, scheduled_ns: int, session_turn: SessionTurn, data: bytes, /) -> None: ...


class _Session:
    """Session in progress.

    `requests` and `responses` are those from which further requests will be built, by index, and
    `unbuilt_counts` is the number of these further requests. `is_counted` is true if the history of
    the session is live.
    """

    __slots__ = ("first", "graph", "is_counted", "number", "requests", "responses", "state", "unbuilt_counts")

    def __init__(self, number: int, first: int, graph: SessionGraph) -> None:
        self.number, self.first, self.graph = number, first, graph
        self.is_counted = True
        self.state = SessionState(graph)
        self.requests: dict[int, SessionHttpRequest] = {}
        self.responses: dict[int, CollectedResponse] = {}
        self.unbuilt_counts = [len(children) for children in graph.children]


class _LiveTurn(SessionTurn, gc=False):
    """Request `index` of a session, which stores the request until it is sent."""

    live_session: _Session
    index: int
    request: SessionHttpRequest | None


class LiveSessionRunner:
    """Runner of the live sessions of a stage.

    `on_session_end` is called with the last exchange of a session when the session has ended.
    Requests that are due at `end_ns` or later are not sent.
    """

    def __init__(
        self,
        live_sessions: LiveSessions,
        stage_key: str,
        send: SendTurn,
        on_session_end: Callable[[Exchange], None],
        new_timer: Callable[[Callable[[], None]], Timer],
        call_soon: Callable[[Callable[[], None]], object],
        end_ns: int,
    ) -> None:
        self._live_sessions, self._stage_key, self._send = live_sessions, stage_key, send
        self._on_session_end, self._call_soon, self.end_ns = on_session_end, call_soon, end_ns
        self._timer_queue: TimerQueue[tuple[_LiveTurn, Exchange]] = TimerQueue(self._send_turn, new_timer)
        self._answered: deque[tuple[Exchange, bytes]] = deque()
        self._is_closed = False
        self._stored_bytes = 0
        self._started_count = self._built_count = self._build_cpu_ns = self._max_build_cpu_ns = 0
        self._outcome_counts: Counter[SessionOutcome] = Counter()

    @property
    def counts(self) -> LiveSessionCounts:
        return LiveSessionCounts(
            started=self._started_count,
            completed=self._outcome_counts[SessionOutcome.COMPLETED],
            failed=self._outcome_counts[SessionOutcome.FAILED],
            context_limit=self._outcome_counts[SessionOutcome.CONTEXT_LIMIT],
            unusable_response=self._outcome_counts[SessionOutcome.UNUSABLE_RESPONSE],
            built_requests=self._built_count,
            build_cpu_ns=self._build_cpu_ns,
            max_build_cpu_ns=self._max_build_cpu_ns,
        )

    def start(self, number: int, first: int, scheduled_ns: int) -> None:
        """Start session `number` with the prepared request `first`, and send this request."""
        session = _Session(number, first, self._live_sessions.get_graph(first))
        session.is_counted = self._live_sessions.has_live_history(first)
        self._started_count += session.is_counted
        request = self._live_sessions.build_first(first, f"{self._stage_key}/{number}")
        self._store(session, 0, request)
        self._send(first, scheduled_ns, _LiveTurn(number, 0, session, 0, None), request.data)

    def on_response(self, exchange: Exchange) -> None:
        """Handle a request of a session that has ended. This method must be called before the body
        of the response is released."""
        exchange.request = b""  # rows do not contain it, and no other request shares it
        if exchange.error is None and not self._is_closed:
            if not self._answered:
                self._call_soon(self._build_requests)
            self._answered.append((exchange, exchange.body))
        else:
            self._count_response(exchange)

    def close(self) -> None:
        """Build and send no further requests. Responses are still counted."""
        if not self._is_closed:
            self._is_closed = True
            self._timer_queue.close()
            while self._answered:
                self._count_response(self._answered.popleft()[0])

    def _count_response(self, exchange: Exchange) -> None:
        """Count a response after which no request is built, because the request failed or the stage
        is over."""
        turn = _get_turn(exchange)
        state = turn.live_session.state
        if exchange.error is None:
            state.on_success(turn.index)
        else:
            state.end(SessionOutcome.FAILED, dropped_count=1)
        self._finish_if_over(turn.live_session, exchange)

    def _build_requests(self) -> None:
        deadline_ns = time.perf_counter_ns() + _BUILD_BUDGET_NS
        while self._answered:
            self._advance(*self._answered.popleft())
            if time.perf_counter_ns() >= deadline_ns:
                break
        if self._answered:
            self._call_soon(self._build_requests)

    def _advance(self, exchange: Exchange, body: bytes) -> None:
        """Collect the content of a response, and build the requests that are now ready."""
        cpu_before_ns = time.thread_time_ns()
        turn = _get_turn(exchange)
        session, index, state = turn.live_session, turn.index, turn.live_session.state
        ready = state.on_success(index)
        built_count = 0
        if state.outcome is None:
            response = self._collect(session.first, exchange, body)
            if response is None or self._stored_bytes + _BYTES_PER_CHAR * response.char_count > MAX_STORED_BYTES:
                state.end(SessionOutcome.UNUSABLE_RESPONSE, len(ready))
            else:
                session.responses[index] = response
                self._stored_bytes += _BYTES_PER_CHAR * response.char_count
                for position, ready_index in enumerate(ready):
                    outcome = self._build(session, ready_index, exchange)
                    if outcome is not None:
                        state.end(outcome, len(ready) - position)
                        break
                    built_count += 1
        self._finish_if_over(session, exchange)
        if built_count and session.is_counted:
            cpu_ns = time.thread_time_ns() - cpu_before_ns
            self._built_count += built_count
            self._build_cpu_ns += cpu_ns
            self._max_build_cpu_ns = max(self._max_build_cpu_ns, cpu_ns // built_count)

    def _collect(self, first: int, exchange: Exchange, body: bytes) -> CollectedResponse | None:
        try:
            return self._live_sessions.collect(first, exchange, body)
        except Exception:  # an exception in the parser would lose the session
            return None

    def _build(self, session: _Session, index: int, exchange: Exchange) -> SessionOutcome | None:
        """Build request `index` of a session, and send it when it is due. Return the reason if the
        session ends instead."""
        node = session.graph.requests[index]
        parents = [(session.requests[parent], session.responses[parent]) for parent in node.parents]
        delay_ns = node.tool_delay_ns if parents[0][1].calls else node.delay_ns
        due_ns: int = exchange.end_ns + delay_ns  # type: ignore[operator]  # the exchange has ended
        request = self._live_sessions.build_next(session.first, index, parents)
        limit_tokens = self._live_sessions.get_context_limit(session.first)
        if limit_tokens is not None and request.context_tokens + (node.output_tokens or 0) > limit_tokens:
            return SessionOutcome.CONTEXT_LIMIT
        if len(request.data) > MAX_REQUEST_BYTES or self._stored_bytes + len(request.data) > MAX_STORED_BYTES:
            return SessionOutcome.UNUSABLE_RESPONSE
        self._store(session, index, request)
        for parent in node.parents:
            session.unbuilt_counts[parent] -= 1
            if not session.unbuilt_counts[parent]:
                self._release(session, parent)
        turn = _LiveTurn(session.number, session.graph.turns[index], session, index, request)
        self._timer_queue.add(due_ns, (turn, exchange))
        return None

    def _send_turn(self, due_ns: int, item: tuple[_LiveTurn, Exchange]) -> None:
        turn, previous_exchange = item
        session, request = turn.live_session, turn.request
        assert request is not None
        turn.request = None
        if session.state.outcome is not None:
            session.state.end(session.state.outcome, dropped_count=1)
            self._finish_if_over(session, previous_exchange)
        elif due_ns < self.end_ns:
            self._send(session.first + turn.index, due_ns, turn, self._live_sessions.renew(session.first, request))

    def _store(self, session: _Session, index: int, request: SessionHttpRequest) -> None:
        if session.unbuilt_counts[index]:
            session.requests[index] = request
            self._stored_bytes += len(request.data)

    def _release(self, session: _Session, index: int) -> None:
        self._stored_bytes -= len(session.requests.pop(index).data)
        if (response := session.responses.pop(index, None)) is not None:
            self._stored_bytes -= _BYTES_PER_CHAR * response.char_count

    def _finish_if_over(self, session: _Session, exchange: Exchange) -> None:
        state = session.state
        if state.outcome is not None and state.is_over:
            for index in list(session.requests):
                self._release(session, index)
            self._outcome_counts[state.outcome] += session.is_counted
            self._on_session_end(exchange)


def _get_turn(exchange: Exchange) -> _LiveTurn:
    turn = exchange.session_turn
    assert isinstance(turn, _LiveTurn)
    return turn
