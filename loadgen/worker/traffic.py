"""Traffic sources, which decide when the requests of a stage start. They belong to the sending thread.

Also the schedule of open arrivals and the share of it that one worker sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, cycle, islice, repeat
from typing import Protocol

import msgspec
import numpy as np

from loadgen.arrivals import Offsets, compute_offsets_ns
from loadgen.pacing import Pacer, TimerQueue, alarm_factory
from loadgen.protocols.prepared import PreparedWorkload, Sessions
from loadgen.records import ClosedArrivals, OpenArrivals, Share, StagePlan
from loadgen.transport.exchange import Exchange

_MAX_DRAWN = 50_000_000
"""Maximum number of arrivals drawn after a change of rate, so that a mistyped rate does not fill the memory."""

_ROUNDING_NS = 1_000
"""Rounding tolerance in ns: a regular arrival at the end may come before the end by less than this."""


def share_size(count: int, share: Share) -> int:
    """Return how many of `count` items belong to the share when they are dealt out in turn."""
    return len(range(share.index, count, share.of))


class Schedule:
    """The arrivals of a stage.

    Every worker draws all of them, so that the same seed gives the same arrivals for any number of workers. Changes and
    extensions are drawn from the seed and their number, so that all workers that receive them in the same order agree.
    Offsets are nanoseconds from the start of the measured part, in ascending order.
    """

    def __init__(self, plan: StagePlan, share: Share) -> None:
        assert not isinstance(plan.arrivals, ClosedArrivals)
        self._plan, self._share, self._arrivals = plan, share, plan.arrivals
        self._duration_s = plan.duration_s
        self._rate_per_s = plan.arrivals.rates[-1][1] if isinstance(plan.arrivals, OpenArrivals) else 0.0
        self._all = compute_offsets_ns(plan.arrivals, plan.duration_s, plan.lead_in_s, plan.seed)[: plan.max_requests]

    @property
    def own_offsets(self) -> Offsets:
        return self._all[self._share.index :: self._share.of]

    def change_rate(self, rate_per_s: float, at_ns: int, number: int) -> Offsets | None:
        """Return the share's arrivals from `at_ns` on, relative to `at_ns`, after the change with the given number.

        Return None if there is no rate to change. Earlier arrivals are unchanged.
        """
        if not isinstance(self._arrivals, OpenArrivals):
            return None
        plan, share = self._plan, self._share
        self._rate_per_s = rate_per_s
        new_offsets = self._draw(self._arrivals, self._duration_s - at_ns / 1e9, number)
        before = self._all[self._all < at_ns]
        # One gap follows the change, as in any other process; otherwise every change would be an arrival.
        later = new_offsets[new_offsets > 0]
        if plan.max_requests is not None:
            later = later[: plan.max_requests - len(before)]
        self._all = np.concatenate([before, later + at_ns])
        return later[(share.index - len(before)) % share.of :: share.of]

    def extend(self, duration_s: float, number: int) -> Offsets | None:
        """Return the share's arrivals from the current end to the new one, after the change with the given number.

        They continue at the last rate, and with the gap of the last arrival. Return None if there is nothing to
        continue.
        """
        if not isinstance(self._arrivals, OpenArrivals) or duration_s <= self._duration_s or self._rate_per_s <= 0:
            return None
        share, count, end_ns = self._share, len(self._all), round(self._duration_s * 1e9)
        from_ns = int(self._all[-1]) if count else end_ns
        new_offsets = self._draw(self._arrivals, duration_s - from_ns / 1e9, number)
        later = new_offsets[new_offsets > 0] + from_ns
        later = later[later > end_ns - _ROUNDING_NS]
        if self._plan.max_requests is not None:
            later = later[: max(0, self._plan.max_requests - count)]
        self._duration_s = duration_s
        self._all = np.concatenate([self._all, later])
        return later[(share.index - count) % share.of :: share.of]

    def _draw(self, arrivals: OpenArrivals, left_s: float, number: int) -> Offsets:
        left_s = max(0.0, min(left_s, _MAX_DRAWN / self._rate_per_s))
        seed = int(np.random.SeedSequence([self._plan.seed, number]).generate_state(1)[0])
        return compute_offsets_ns(
            msgspec.structs.replace(arrivals, rates=((0.0, self._rate_per_s),)), left_s, 0.0, seed
        )


Send = Callable[[int, int], None]
"""Function `send(number, intended_ns)` that is called when a request is due."""

_BLOCK = 4096
_BACKOFF_NS = 100_000_000
_CONNECTION_ERRORS = ("dns", "connect", "tls", "send", "local-limit")


class ArrivalSource(Protocol):
    """Calls `send` for each request that is due, and `on_end()` once there will be no more."""

    @property
    def has_ended(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None:
        """Start no more requests."""
        ...

    def on_response(self, exchange: Exchange, /) -> None:
        """Handle an exchange that has ended and been checked."""
        ...


class OpenTraffic:
    """Starts requests on a schedule, independent of responses.

    With sessions, an arrival starts a session, whose further requests follow the responses, until `end_ns`.
    `started_count` counts the arrivals that were started.
    """

    def __init__(
        self,
        send: Send,
        on_end: Callable[[], None],
        built: PreparedWorkload,
        share: Share,
        loop: asyncio.AbstractEventLoop,
        schedule_ns: Iterator[int],
        end_ns: int,
    ) -> None:
        self._send, self._on_end, self._end_ns = send, on_end, end_ns
        self._request_numbers = _request_numbers(built, share)
        self.started_count = 0
        self._pacer = Pacer(schedule_ns, self._on_arrival, self._finish, alarm_factory(loop), end_ns=end_ns)
        self._sessions = built.sessions
        self._session_queue = (
            None if built.sessions is None else TimerQueue(self._send_session_request, alarm_factory(loop))
        )

    @property
    def has_ended(self) -> bool:
        return self._pacer.has_ended

    def start(self) -> None:
        self._pacer.start()

    def stop(self) -> None:
        self._pacer.cancel()

    def replace(self, schedule_ns: Iterator[int]) -> None:
        """Replace the remaining arrivals."""
        self._pacer.replace(schedule_ns)

    def extend(self, schedule_ns: Iterator[int], end_ns: int) -> None:
        """Extend to the given end and replace the remaining arrivals. A session that was over by the old end is not
        resumed."""
        self._end_ns = end_ns
        self._pacer.replace(schedule_ns, end_ns)

    def on_response(self, exchange: Exchange) -> None:
        if self._session_queue is None or self._sessions is None or exchange.error is not None:
            return
        next_request = _next_in_session(self._sessions, exchange)
        if next_request is not None and next_request[0] < self._end_ns:
            self._session_queue.add(*next_request)

    def _on_arrival(self, intended_ns: int) -> None:
        self.started_count += 1
        self._send(next(self._request_numbers), intended_ns)

    def _send_session_request(self, due_ns: int, number: int) -> None:
        self._send(number, due_ns)

    def _finish(self) -> None:
        if self._session_queue is not None:
            self._session_queue.close()
        self._on_end()


class ClosedTraffic:
    """Clients that each send the next request after the response to the last one and a think time.

    All clients start at once. A client that got no connection waits 0.1 s, so that a target that refuses connections
    does not get thousands of attempts per millisecond. The clients are those of the share, possibly none.
    """

    def __init__(
        self,
        send: Send,
        on_end: Callable[[], None],
        built: PreparedWorkload,
        share: Share,
        loop: asyncio.AbstractEventLoop,
        clients: ClosedArrivals,
        span_ns: tuple[int, int],
        seed: int,
    ) -> None:
        self._send, self._on_end = send, on_end
        self._concurrency = share_size(clients.concurrency, share)
        self._start_ns, self._end_ns = span_ns
        self._request_numbers = _request_numbers(built, share)
        self._sessions = built.sessions
        self._think_ns = _think_ns(clients.think_s, [seed, share.index]) if clients.think_s > 0 else None
        self._timer_queue: TimerQueue[int | None] = TimerQueue(self._send_next, alarm_factory(loop))
        self._end = alarm_factory(loop)(self.stop)
        self.has_ended = False

    def start(self) -> None:
        if self.has_ended:  # stopped before it began
            return
        self._end.set(self._end_ns)
        for _ in range(self._concurrency):
            self._timer_queue.add(self._start_ns, None)

    def extend(self, end_ns: int) -> None:
        """Extend to the given end; allowed before the start too."""
        if not self.has_ended:
            self._end_ns = end_ns
            self._end.set(end_ns)

    def stop(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._timer_queue.close()
            self._end.close()
            self._on_end()

    def on_response(self, exchange: Exchange) -> None:
        if self.has_ended:
            return
        due_ns: int = exchange.end_ns  # type: ignore[assignment]  # the exchange has ended
        error = exchange.error
        if error is None:
            if self._sessions is not None and (next_request := _next_in_session(self._sessions, exchange)) is not None:
                self._timer_queue.add(*next_request)
                return
        elif exchange.status is None:
            # Always through the timer queue: a request that fails while it is sent must not send the next one directly.
            self._timer_queue.add(due_ns + (_BACKOFF_NS if error in _CONNECTION_ERRORS else 0), None)
            return
        if self._think_ns is not None:
            self._timer_queue.add(due_ns + next(self._think_ns), None)
        elif due_ns < self._end_ns:
            self._send(next(self._request_numbers), due_ns)

    def _send_next(self, due_ns: int, number: int | None) -> None:
        if due_ns < self._end_ns and not self.has_ended:
            self._send(next(self._request_numbers) if number is None else number, due_ns)


def _request_numbers(built: PreparedWorkload, share: Share) -> Iterator[int]:
    """Return the index of the request for each arrival of the share, according to its position among all arrivals."""
    picks = range(len(built.requests)) if built.picks is None else list(map(int, built.picks))
    return islice(cycle(picks), share.index, None, share.of)


def _next_in_session(sessions: Sessions, exchange: Exchange) -> tuple[int, int] | None:
    """Return when the next request of the session is due, and its index; None at the session's end."""
    number = sessions.next_number[exchange.request_index]
    if number is None or exchange.end_ns is None:
        return None
    return exchange.end_ns + sessions.think_ns[exchange.request_index], number


def _think_ns(mean_s: float, seed: Sequence[int]) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    blocks = (np.rint(rng.exponential(mean_s * 1e9, _BLOCK)).astype(np.int64).tolist() for _ in repeat(None))
    return chain.from_iterable(blocks)


def iterate_schedule_ns(offsets: Offsets, start_ns: int) -> Iterator[int]:
    """Yield Python integers in blocks: a long stage's schedule as one list would take five times the array's memory."""
    for block in range(0, len(offsets), _BLOCK):
        yield from (offsets[block : block + _BLOCK] + start_ns).tolist()
