"""Run a stage on the sending thread: send its requests, and collect the finished exchanges.

The first failure of each error class is described on another thread, so that the description does
not delay the sending thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from loadgen.arrivals import Offsets, Rates, clip_rates
from loadgen.protocols.expectation import NO_BODY_DETAIL, check_http_response, check_http_status, is_empty
from loadgen.protocols.prepared import PreparedWorkload, check_response, classify_status, describe_failure
from loadgen.records import (
    MAX_SAMPLE_CHARS,
    NOT_STARTED,
    FirstError,
    LiveSessionCounts,
    OpenArrivals,
    StagePlan,
    WorkerShare,
)
from loadgen.sanitizing import sanitize_line
from loadgen.trace_context import build_traced_submit
from loadgen.transport.exchange import Exchange, Headers, SessionTurn, Transport
from loadgen.worker.traffic import ArrivalSource, ClosedTraffic, OpenTraffic, compute_share_size

_NO_FREE_CONNECTION = "no connection was free until the end of the stage"


def get_error_class(exchange: Exchange) -> str:
    """Return the error class of a failed exchange, or NOT_STARTED if its request was never sent."""
    return NOT_STARTED if exchange.sent_ns is None else exchange.error or NOT_STARTED


def describe_first_errors(exchanges: Iterable[Exchange]) -> tuple[FirstError, ...]:
    return tuple(
        FirstError(get_error_class(exchange), exchange.end_ns or exchange.scheduled_ns, _describe_error(exchange))
        for exchange in exchanges
    )


def _describe_error(exchange: Exchange) -> str:
    if exchange.sent_ns is None:
        return sanitize_line(exchange.detail or _NO_FREE_CONNECTION, MAX_SAMPLE_CHARS)
    text = describe_failure(exchange, get_error_class(exchange))
    if exchange.error == "timeout" and exchange.end_ns is not None:
        text = f"{text} after {(exchange.end_ns - exchange.sent_ns) / 1e9:.3g} s"
    if exchange.error == "truncated":
        text = f"{text} after {exchange.bytes_received:,} bytes"
    return sanitize_line(text, MAX_SAMPLE_CHARS)


_NO_HEADERS: Headers = []


class SendingStage:
    """A stage on the sending thread. Other threads may read the counts and
    `first_failed_exchanges`, and pop exchanges from the left of `finished_exchanges`.

    `due_count` is the number of requests that have become due so far. `scheduled_count` is the
    number of all requests that this worker sends in the stage, or None if responses determine it.
    `offsets` are this worker's arrivals in ns from the start of the measurement window, or None if
    responses determine the arrivals.
    """

    def __init__(
        self,
        plan: StagePlan,
        share: WorkerShare,
        offsets: Offsets | None,
        start_ns: int,
        transport: Transport,
        prepared_workload: PreparedWorkload,
        loop: asyncio.AbstractEventLoop,
        on_rejected_key: Callable[[], None] | None = None,
        trace_key: str | None = None,
    ) -> None:
        self._plan, self._transport = plan, transport
        self._submit: Callable[[Exchange], None] = transport.submit
        if trace_key is not None:
            self._submit = build_traced_submit(transport.submit, trace_key, plan.index)
        self._initial_sent_count = transport.sent_count
        self._requests, self._is_head, self._new_reader = (
            prepared_workload.requests,
            prepared_workload.is_head,
            prepared_workload.new_reader,
        )
        self.max_output_tokens = prepared_workload.max_output_tokens
        self.class_indices = None if prepared_workload.classes is None else prepared_workload.classes.indices
        self._stores_bodies = prepared_workload.check_output is not None
        # Checks of plain HTTP take place without a call of a function per response.
        self._requires_body = prepared_workload.check is check_http_response
        self._response_check = (
            None if self._requires_body or prepared_workload.check is check_http_status else prepared_workload.check
        )
        self._on_rejected_key = on_rejected_key
        load = plan.load
        self._max_requests = None if load.max_requests is None else compute_share_size(load.max_requests, share)
        self._arrivals_ended, self._requests_ended = asyncio.Event(), asyncio.Event()
        self.start_ns = start_ns
        self.lead_in_start_ns = start_ns - round(load.lead_in_s * 1e9)
        self.duration_s = load.duration_s
        self._end_ns = start_ns + round(load.duration_s * 1e9)
        self._rates: Rates = load.arrivals.rates if isinstance(load.arrivals, OpenArrivals) else ()
        self._offsets = offsets
        self._first_index, self._index_step = share.index, share.worker_count
        has_sessions = prepared_workload.sessions is not None or prepared_workload.live_sessions is not None
        is_scheduled = offsets is not None and not has_sessions
        self.scheduled_count = len(offsets) if offsets is not None and is_scheduled else None
        traffic_arguments = (self._send, self._on_arrivals_end, prepared_workload, plan, share, loop)
        self._traffic: ArrivalSource = (
            ClosedTraffic(*traffic_arguments, self.lead_in_start_ns, self._end_ns)
            if offsets is None
            else OpenTraffic(*traffic_arguments, offsets, start_ns, self._end_ns)
        )
        # In a scheduled stage, no request depends on a response.
        self._on_response = None if is_scheduled else self._traffic.on_response
        self.finished_exchanges: deque[Exchange] = deque()
        self.first_failed_exchanges: list[Exchange] = []
        """First failed exchange of each error class. Exchanges whose request was never sent are a
        separate class."""
        self._observed_error_classes: set[str] = set()
        self.due_count = self.completed_count = self.failed_count = self.never_started_count = 0
        self.max_lag_ns = 0
        self.was_stopped = False

    @property
    def sent_count(self) -> int:
        return self._transport.sent_count - self._initial_sent_count

    async def run(self) -> None:
        """Run the stage until its last request has ended. Requests that are in flight at the end of
        the drain time are interrupted."""
        self._traffic.start()
        if self._max_requests == 0:
            self._traffic.stop()
        await self._arrivals_ended.wait()
        try:
            async with asyncio.timeout(self._plan.drain_s):
                await self._requests_ended.wait()
        except TimeoutError:
            self._transport.abort()

    def stop(self, drain: bool, now_ns: int) -> None:
        """Stop the arrivals of the stage; if `drain` is false, also interrupt the requests in
        flight."""
        if not self._traffic.has_ended:
            self.was_stopped = True
            self._end_ns = min(self._end_ns, now_ns)
        self._traffic.stop()
        if not drain:
            self._transport.abort()

    def change_rate(self, rate_per_s: float, offsets: Offsets, at_ns: int, now_ns: int) -> None:
        """Change the rate to `rate_per_s` requests per second from the time `at_ns` on.

        `offsets` are the new arrivals in ns relative to `at_ns`, up to the end of the stage or
        later. If `at_ns` has already passed, the change applies from `now_ns`, because earlier
        arrivals have already been sent.
        """
        at_ns = max(at_ns, now_ns, self.lead_in_start_ns)
        if not isinstance(self._traffic, OpenTraffic) or self._offsets is None or not self._rates:
            return
        if at_ns >= self._end_ns or self._traffic.has_ended:
            return
        change_offset_ns, started_count = at_ns - self.start_ns, self._traffic.started_count
        remaining_offsets = self._offsets[started_count:]
        later_offsets = offsets[offsets < self._end_ns - at_ns] + change_offset_ns
        self._offsets = np.concatenate(
            [self._offsets[:started_count], remaining_offsets[remaining_offsets < change_offset_ns], later_offsets]
        )[: self._max_requests]
        earlier_rates = clip_rates(self._rates, -self._plan.load.lead_in_s, change_offset_ns / 1e9)
        self._rates = (*earlier_rates, (change_offset_ns / 1e9, rate_per_s), (self.duration_s, rate_per_s))
        if self.scheduled_count is not None:
            self.scheduled_count = len(self._offsets)
        self._traffic.replace_schedule(self._offsets[started_count:])

    def extend(self, duration_s: float, later_offsets: Offsets | None) -> None:
        """Extend the measurement window of the stage to `duration_s` seconds. A stage whose
        arrivals have ended is unaffected.

        `later_offsets` are the additional arrivals of an open loop. For a closed loop, whose
        clients simply continue, `later_offsets` is None.
        """
        traffic = self._traffic
        if traffic.has_ended or duration_s <= self.duration_s:
            return
        end_ns = self.start_ns + round(duration_s * 1e9)
        if isinstance(traffic, ClosedTraffic):
            traffic.extend(end_ns)
        elif isinstance(traffic, OpenTraffic) and self._offsets is not None and later_offsets is not None:
            self._offsets = np.concatenate([self._offsets, later_offsets])[: self._max_requests]
            if self.scheduled_count is not None:
                self.scheduled_count = len(self._offsets)
            traffic.extend(self._offsets[traffic.started_count :], end_ns)
        else:
            return
        self.duration_s, self._end_ns = duration_s, end_ns

    def get_executed_rates(self) -> Rates:
        """Return the rate curve of open arrivals as executed, from the start of the measurement
        window to the end or stop of the stage. Return an empty curve for other arrivals."""
        end_s = (self._end_ns - self.start_ns) / 1e9
        return clip_rates(self._rates, 0.0, end_s) if self._rates and end_s > 0 else ()

    @property
    def live_sessions(self) -> LiveSessionCounts | None:
        return self._traffic.live_sessions

    def _send(
        self,
        request_index: int,
        scheduled_ns: int,
        session_turn: SessionTurn | None = None,
        data: bytes | None = None,
        /,
    ) -> None:
        due_count = self.due_count
        if due_count == self._max_requests:
            return
        self.due_count = due_count + 1
        index = self._first_index + due_count * self._index_step
        reader = None if self._new_reader is None else self._new_reader()
        request = self._requests[request_index] if data is None else data
        exchange = Exchange(index, request_index, scheduled_ns, request, self._on_done, self._is_head, reader)
        if session_turn is not None:
            exchange.session_turn = session_turn
        self._submit(exchange)
        if self.due_count == self._max_requests:
            self._traffic.stop()

    def _on_done(self, exchange: Exchange) -> None:
        if exchange.error is None:
            self._check_response(exchange)
        if exchange.error is None:
            self.completed_count += 1
        else:
            self.failed_count += 1
            if (error_class := get_error_class(exchange)) not in self._observed_error_classes:
                self._observed_error_classes.add(error_class)
                self.first_failed_exchanges.append(exchange)
        if (sent_ns := exchange.sent_ns) is None:
            self.never_started_count += 1
        elif (lag_ns := sent_ns - exchange.scheduled_ns) > self.max_lag_ns:
            self.max_lag_ns = lag_ns
        if self._on_response is not None:
            self._on_response(exchange)
        # Release body and headers: rows do not contain them, and many rows may be queued.
        if not self._stores_bodies:
            exchange.body = b""
        exchange.headers = _NO_HEADERS
        self.finished_exchanges.append(exchange)
        if self._traffic.has_ended:
            self._finish_if_all_ended()

    def _check_response(self, exchange: Exchange) -> None:
        status = exchange.status
        if self._response_check is not None:
            check = check_response(self._response_check, exchange)
            exchange.error, exchange.correct_rows = check.error, check.correct_rows
        elif status is not None and not 200 <= status < 300:
            exchange.error = classify_status(status)
        elif not exchange.body and self._requires_body and is_empty(exchange):
            exchange.error, exchange.detail = "bad-output", NO_BODY_DETAIL
        if status == 401 and self._on_rejected_key is not None:
            self._on_rejected_key()

    def _on_arrivals_end(self) -> None:
        self._arrivals_ended.set()
        self._finish_if_all_ended()

    def _finish_if_all_ended(self) -> None:
        if self.completed_count + self.failed_count == self.due_count:
            self._requests_ended.set()
