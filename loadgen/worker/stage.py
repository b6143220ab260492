"""One stage on the sending thread: requests out, finished exchanges in.

The first failure of each class in a stage, in words: made where that holds up no send.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from loadgen.arrivals import Offsets, Rates, played_rates
from loadgen.plain import plain_line
from loadgen.protocols.built import Built, judged, status_error, what_failed
from loadgen.protocols.expectation import judge_status
from loadgen.records import MOST_OF_A_SAMPLE, NOT_STARTED, ClosedArrivals, FirstError, OpenArrivals, Share, StagePlan
from loadgen.transport.exchange import Exchange, Headers, Transport
from loadgen.worker.traffic import ArrivalSource, ClosedTraffic, OpenTraffic, part_of, schedule_ns

_UNFREED = "no connection was free for it to the end of the stage"


def error_of(exchange: Exchange) -> str:
    """The class that an exchange which failed counts to."""
    return NOT_STARTED if exchange.sent_ns is None else exchange.error or NOT_STARTED


def first_errors(exchanges: Iterable[Exchange]) -> tuple[FirstError, ...]:
    return tuple(FirstError(error_of(one), one.end_ns or one.intended_ns, _text(one)) for one in exchanges)


def _text(exchange: Exchange) -> str:
    if exchange.sent_ns is None:
        return plain_line(exchange.detail or _UNFREED, MOST_OF_A_SAMPLE)
    text = what_failed(exchange, error_of(exchange))
    if exchange.error == "timeout" and exchange.end_ns is not None:
        text = f"{text}, after {(exchange.end_ns - exchange.sent_ns) / 1e9:.3g} s"
    if exchange.error == "truncated":
        text = f"{text}, after {exchange.bytes_received:,} bytes"
    return plain_line(text, MOST_OF_A_SAMPLE)


_NO_HEADERS: Headers = []


class SendingStage:
    """Counts may be read, `first_errors` too, and `finished` taken from the left, by other threads.

    `due` counts requests, `scheduled` is None where the answers decide how many there will be. `offsets` are the
    share's arrivals of a stage whose answers do not.
    """

    def __init__(
        self,
        plan: StagePlan,
        share: Share,
        offsets: Offsets | None,
        start_ns: int,
        transport: Transport,
        built: Built,
        loop: asyncio.AbstractEventLoop,
        on_refused_key: Callable[[], None] | None = None,
    ) -> None:
        self._plan, self._share, self._transport = plan, share, transport
        self._submit, self._sent_before = transport.submit, transport.sent
        self._requests, self._is_head, self._new_reader = built.requests, built.is_head, built.new_reader
        self.tokens_asked = built.tokens_asked
        self._judge = None if built.judge is judge_status else built.judge
        self._on_refused_key = on_refused_key
        self._limit = None if plan.max_requests is None else part_of(plan.max_requests, share)
        self._all_started, self._all_done = asyncio.Event(), asyncio.Event()
        self.start_ns = start_ns
        self.first_ns = start_ns - round(plan.lead_in_s * 1e9)
        self.duration_s = plan.duration_s
        self._end_ns = start_ns + round(plan.duration_s * 1e9)
        self._rates: Rates = plan.arrivals.rates if isinstance(plan.arrivals, OpenArrivals) else ()
        self._offsets = offsets
        self._first_index, self._each = share.index, share.of
        is_decided = offsets is not None and built.sessions is None
        self.scheduled = len(offsets) if offsets is not None and is_decided else None
        self._traffic = self._traffic_of(plan, offsets, built, loop)
        # what a scheduled stage does after an answer is nothing
        self._answered = None if is_decided else self._traffic.answered
        self.finished: deque[Exchange] = deque()
        self.first_errors: list[Exchange] = []
        """Of each class the first that failed so, those never started as a class of their own."""
        self._failed_as: set[str] = set()
        self.due = self.completed = self.failed = self.never_started = 0
        self.max_lag_ns = 0
        self.was_stopped = False

    @property
    def sent(self) -> int:
        return self._transport.sent - self._sent_before

    async def run(self) -> None:
        """Until the last request is answered, or its time to drain is over and what is left is cut."""
        self._traffic.start()
        if self._limit == 0:
            self._traffic.stop()
        await self._all_started.wait()
        try:
            async with asyncio.timeout(self._plan.drain_s):
                await self._all_done.wait()
        except TimeoutError:
            self._transport.cut()

    def stop(self, drain: bool, now_ns: int) -> None:
        """Start no more requests; without `drain`, cut what is in flight as well."""
        if not self._traffic.has_ended:
            self.was_stopped = True
            self._end_ns = min(self._end_ns, now_ns)
        self._traffic.stop()
        if not drain:
            self._transport.cut()

    def change_rate(self, rate_per_s: float, offsets: Offsets, at_ns: int, now_ns: int) -> None:
        """From `at_ns` on arrivals come at that rate: `offsets` from then, to the end of the stage or beyond it. When
        that has passed, from `now_ns` on: what has come since was sent."""
        at_ns = max(at_ns, now_ns, self.first_ns)
        if not isinstance(self._traffic, OpenTraffic) or self._offsets is None or not self._rates:
            return
        if at_ns >= self._end_ns or self._traffic.has_ended:
            return
        since_ns, arrived = at_ns - self.start_ns, self._traffic.arrived
        left = self._offsets[arrived:]
        later = offsets[offsets < self._end_ns - at_ns] + since_ns
        self._offsets = np.concatenate([self._offsets[:arrived], left[left < since_ns], later])[: self._limit]
        before = played_rates(self._rates, -self._plan.lead_in_s, since_ns / 1e9)
        self._rates = (*before, (since_ns / 1e9, rate_per_s), (self.duration_s, rate_per_s))
        if self.scheduled is not None:
            self.scheduled = len(self._offsets)
        self._traffic.replace(schedule_ns(self._offsets[arrived:], self.start_ns))

    def extend(self, duration_s: float, later: Offsets | None) -> None:
        """To last so long from its start. `later` are what it sends after the arrivals there are; None of a closed
        loop, whose clients go on. Of no effect once its arrivals have ended."""
        traffic = self._traffic
        if traffic.has_ended or duration_s <= self.duration_s:
            return
        end_ns = self.start_ns + round(duration_s * 1e9)
        if isinstance(traffic, ClosedTraffic):
            traffic.extend(end_ns)
        elif isinstance(traffic, OpenTraffic) and self._offsets is not None and later is not None:
            self._offsets = np.concatenate([self._offsets, later])[: self._limit]
            if self.scheduled is not None:
                self.scheduled = len(self._offsets)
            traffic.extend(schedule_ns(self._offsets[traffic.arrived :], self.start_ns), end_ns)
        else:
            return
        self.duration_s, self._end_ns = duration_s, end_ns

    def rates(self) -> Rates:
        """The curve of open arrivals as it was played, up to where it was stopped."""
        until_s = (self._end_ns - self.start_ns) / 1e9
        return played_rates(self._rates, 0.0, until_s) if self._rates and until_s > 0 else ()

    def _traffic_of(
        self, plan: StagePlan, offsets: Offsets | None, built: Built, loop: asyncio.AbstractEventLoop
    ) -> ArrivalSource:
        if offsets is not None:
            schedule = schedule_ns(offsets, self.start_ns)
            return OpenTraffic(self._send, self._drain, built, self._share, loop, schedule, self._end_ns)
        assert isinstance(plan.arrivals, ClosedArrivals)
        span_ns = (self.first_ns, self._end_ns)
        return ClosedTraffic(self._send, self._drain, built, self._share, loop, plan.arrivals, span_ns, plan.seed)

    def _send(self, number: int, intended_ns: int) -> None:
        count = self.due
        if count == self._limit:
            return
        self.due = count + 1
        index = self._first_index + count * self._each
        reader = None if self._new_reader is None else self._new_reader()
        self._submit(Exchange(index, number, intended_ns, self._requests[number], self._done, self._is_head, reader))
        if self.due == self._limit:
            self._traffic.stop()

    def _done(self, exchange: Exchange) -> None:
        if exchange.error is None:
            self._judge_answer(exchange)
        # a row needs neither, and many rows may wait to be shipped
        exchange.body, exchange.headers = b"", _NO_HEADERS
        if exchange.error is None:
            self.completed += 1
        else:
            self.failed += 1
            if (error := error_of(exchange)) not in self._failed_as:
                self._failed_as.add(error)
                self.first_errors.append(exchange)
        if (sent_ns := exchange.sent_ns) is None:
            self.never_started += 1
        elif (lag_ns := sent_ns - exchange.intended_ns) > self.max_lag_ns:
            self.max_lag_ns = lag_ns
        self.finished.append(exchange)
        if self._answered is not None:
            self._answered(exchange)
        if self._traffic.has_ended:
            self._check_done()

    def _judge_answer(self, exchange: Exchange) -> None:
        status = exchange.status
        if self._judge is not None:
            judgement = judged(self._judge, exchange)
            exchange.error, exchange.right = judgement.error, judgement.right
        elif status is not None and not 200 <= status < 300:
            exchange.error = status_error(status)
        if status == 401 and self._on_refused_key is not None:
            self._on_refused_key()

    def _drain(self) -> None:
        self._all_started.set()
        self._check_done()

    def _check_done(self) -> None:
        if self.completed + self.failed == self.due:
            self._all_done.set()
