"""Traffic sources, which determine when the requests of a stage are sent.

Traffic sources run on the sending thread. The module also draws the schedule of open arrivals, and
selects the arrivals that one worker sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, cycle, islice, repeat
from typing import Protocol

import msgspec
import numpy as np

from loadgen.arrivals import Offsets, compute_offsets_ns
from loadgen.pacing import Pacer, TimerQueue, get_timer_factory
from loadgen.protocols.prepared import PreparedWorkload, Sessions
from loadgen.records import ClosedArrivals, LiveSessionCounts, OpenArrivals, StagePlan, WorkerShare
from loadgen.transport.exchange import Exchange, SessionTurn
from loadgen.worker.live_sessions import LiveSessionRunner

_MAX_DRAWN_ARRIVALS = 50_000_000
"""Maximum number of arrivals that are drawn after a rate change, so that a mistyped rate does not
exhaust the memory."""

_ROUNDING_NS = 1_000
"""Rounding tolerance in ns. An arrival of a constant-rate process that is due at the end of the
stage may be rounded to an earlier time by less than this tolerance."""


def compute_share_size(count: int, share: WorkerShare) -> int:
    """Return the number of items that one worker gets if `count` items are distributed to the
    workers by round robin."""
    return len(range(share.index, count, share.worker_count))


class Schedule:
    """Arrivals of a stage, as offsets in ns from the start of the measurement window, in ascending
    order.

    Every worker draws the arrivals of all workers, so that the same seed yields the same arrivals
    for any number of workers. The arrivals after a rate change or an extension are drawn from the
    seed and the sequence number of the change. All workers that receive the same changes in the
    same order therefore draw the same arrivals.
    """

    def __init__(self, plan: StagePlan, share: WorkerShare) -> None:
        load, arrivals = plan.load, plan.load.arrivals
        assert not isinstance(arrivals, ClosedArrivals)
        self._plan, self._share, self._arrivals = plan, share, arrivals
        self._duration_s = load.duration_s
        self._rate_per_s = arrivals.rates[-1][1] if isinstance(arrivals, OpenArrivals) else 0.0
        self._all_offsets = compute_offsets_ns(arrivals, load.duration_s, load.lead_in_s, plan.seed)[
            : load.max_requests
        ]

    @property
    def own_offsets(self) -> Offsets:
        return self._all_offsets[self._share.index :: self._share.worker_count]

    def change_rate(self, rate_per_s: float, at_ns: int, change_number: int) -> Offsets | None:
        """Change the rate to `rate_per_s` requests per second from `at_ns` on. Return this worker's
        arrivals after `at_ns`, in ns relative to `at_ns`.

        `at_ns` is relative to the start of the measurement window. `change_number` is the sequence
        number of the change. Earlier arrivals are unchanged. Return None if the arrivals are not
        drawn from a rate.
        """
        if not isinstance(self._arrivals, OpenArrivals):
            return None
        plan, share = self._plan, self._share
        self._rate_per_s = rate_per_s
        new_offsets = self._draw_offsets(self._arrivals, self._duration_s - at_ns / 1e9, change_number)
        earlier_offsets = self._all_offsets[self._all_offsets < at_ns]
        # Skip an arrival at the time of the change, so that a change is not itself an arrival: a
        # constant-rate process starts with an arrival at 0.
        later_offsets = new_offsets[new_offsets > 0]
        if plan.load.max_requests is not None:
            later_offsets = later_offsets[: plan.load.max_requests - len(earlier_offsets)]
        self._all_offsets = np.concatenate([earlier_offsets, later_offsets + at_ns])
        return later_offsets[(share.index - len(earlier_offsets)) % share.worker_count :: share.worker_count]

    def extend(self, duration_s: float, change_number: int) -> Offsets | None:
        """Extend the schedule to `duration_s` seconds. Return this worker's arrivals between the
        previous and the new end, in ns from the start of the measurement window.

        `change_number` is the sequence number of the change. The arrivals continue at the last rate
        after the last arrival. Return None if the schedule is not shorter than `duration_s`, or if
        its arrivals are not drawn from a positive rate.
        """
        if not isinstance(self._arrivals, OpenArrivals) or duration_s <= self._duration_s or self._rate_per_s <= 0:
            return None
        share, arrival_count, end_ns = self._share, len(self._all_offsets), round(self._duration_s * 1e9)
        last_arrival_ns = int(self._all_offsets[-1]) if arrival_count else end_ns
        new_offsets = self._draw_offsets(self._arrivals, duration_s - last_arrival_ns / 1e9, change_number)
        later_offsets = new_offsets[new_offsets > 0] + last_arrival_ns
        later_offsets = later_offsets[later_offsets > end_ns - _ROUNDING_NS]
        if self._plan.load.max_requests is not None:
            later_offsets = later_offsets[: max(0, self._plan.load.max_requests - arrival_count)]
        self._duration_s = duration_s
        self._all_offsets = np.concatenate([self._all_offsets, later_offsets])
        return later_offsets[(share.index - arrival_count) % share.worker_count :: share.worker_count]

    def _draw_offsets(self, arrivals: OpenArrivals, remaining_s: float, change_number: int) -> Offsets:
        remaining_s = max(0.0, min(remaining_s, _MAX_DRAWN_ARRIVALS / self._rate_per_s))
        seed = int(np.random.SeedSequence([self._plan.seed, change_number]).generate_state(1)[0])
        return compute_offsets_ns(
            msgspec.structs.replace(arrivals, rates=((0.0, self._rate_per_s),)), remaining_s, 0.0, seed
        )


class Send(Protocol):
    """Callback that sends a request that is due. `request_index` is the index of the prepared
    request, and `scheduled_ns` is the scheduled start. `data` is set if another serialized request
    is sent instead of the prepared one."""

    def __call__(
        self,
        request_index: int,
        scheduled_ns: int,
        session_turn: SessionTurn | None = None,
        data: bytes | None = None,
        /,
    ) -> None: ...


_SessionRequest = tuple[int, SessionTurn]
"""Index and turn of a further request of a prepared session."""

_BLOCK_SIZE = 4096
_BACKOFF_NS = 100_000_000
_CONNECTION_ERRORS = ("dns", "connect", "tls", "send", "local-limit")


class ArrivalSource(Protocol):
    """Source of the requests of a stage. A source calls `send` for each request when it is due, and
    `on_end()` after the last request."""

    @property
    def has_ended(self) -> bool: ...

    @property
    def live_sessions(self) -> LiveSessionCounts | None:
        """Sessions that this source has run; None unless their history is live."""
        ...

    def start(self) -> None: ...

    def stop(self) -> None:
        """Stop the source. No further requests are started."""
        ...

    def on_response(self, exchange: Exchange, /) -> None:
        """Handle an exchange that has ended and whose response has been checked."""
        ...


class OpenTraffic:
    """Open-loop traffic: requests are started on a schedule, independently of responses. `offsets` are the arrivals
    in ns from `start_ns`.

    If the workload has sessions, each arrival starts a session. Each further request of a session
    follows the previous response and a think time, if the request is due before `end_ns`. A failed
    request ends its session. `started_count` is the number of arrivals that have been started.
    """

    def __init__(
        self,
        send: Send,
        on_end: Callable[[], None],
        prepared_workload: PreparedWorkload,
        plan: StagePlan,
        share: WorkerShare,
        loop: asyncio.AbstractEventLoop,
        offsets: Offsets,
        start_ns: int,
        end_ns: int,
    ) -> None:
        self._send, self._on_end, self._start_ns, self._end_ns = send, on_end, start_ns, end_ns
        self._share = share
        self._request_indices = _iterate_request_indices(prepared_workload, share, plan.first_request)
        self.started_count = 0
        schedule_ns = _iterate_schedule_ns(offsets, start_ns)
        self._pacer = Pacer(schedule_ns, self._on_arrival, self._finish, get_timer_factory(loop), end_ns=end_ns)
        self._sessions = prepared_workload.sessions
        self._session_queue = (
            None
            if prepared_workload.sessions is None
            else TimerQueue(self._send_session_request, get_timer_factory(loop))
        )
        self._live_runner = _create_live_runner(prepared_workload, plan, send, lambda _: None, loop, end_ns)

    @property
    def has_ended(self) -> bool:
        return self._pacer.has_ended

    @property
    def live_sessions(self) -> LiveSessionCounts | None:
        return None if self._live_runner is None else self._live_runner.counts

    def start(self) -> None:
        self._pacer.start()

    def stop(self) -> None:
        self._pacer.cancel()

    def replace_schedule(self, offsets: Offsets) -> None:
        """Replace the remaining arrivals of the schedule."""
        self._pacer.replace_schedule(_iterate_schedule_ns(offsets, self._start_ns))

    def extend(self, offsets: Offsets, end_ns: int) -> None:
        """Extend the stage to `end_ns`, and replace the remaining arrivals. Sessions that were cut
        off at the previous end are not resumed."""
        self._end_ns = end_ns
        if self._live_runner is not None:
            self._live_runner.end_ns = end_ns
        self._pacer.replace_schedule(_iterate_schedule_ns(offsets, self._start_ns), end_ns)

    def on_response(self, exchange: Exchange) -> None:
        if self._live_runner is not None:
            self._live_runner.on_response(exchange)
            return
        if self._session_queue is None or self._sessions is None or exchange.error is not None:
            return
        next_request = _find_next_session_request(self._sessions, exchange)
        if next_request is not None and next_request[0] < self._end_ns:
            self._session_queue.add(*next_request)

    def _on_arrival(self, scheduled_ns: int) -> None:
        session_number = self._share.index + self.started_count * self._share.worker_count
        self.started_count += 1
        if self._live_runner is not None:
            self._live_runner.start(session_number, next(self._request_indices), scheduled_ns)
        elif self._sessions is not None:
            self._send(next(self._request_indices), scheduled_ns, SessionTurn(session_number, 0))
        else:
            self._send(next(self._request_indices), scheduled_ns)

    def _send_session_request(self, due_ns: int, request: _SessionRequest) -> None:
        self._send(request[0], due_ns, request[1])

    def _finish(self) -> None:
        if self._session_queue is not None:
            self._session_queue.close()
        if self._live_runner is not None:
            self._live_runner.close()
        self._on_end()


class ClosedTraffic:
    """Closed-loop traffic: each client sends its next request after the previous response and a
    think time.

    The clients of this worker's share (possibly none) all start at the same time. After a failed
    connection, a client waits 0.1 s, so that a target that refuses connections does not receive
    thousands of attempts per millisecond.
    """

    def __init__(
        self,
        send: Send,
        on_end: Callable[[], None],
        prepared_workload: PreparedWorkload,
        plan: StagePlan,
        share: WorkerShare,
        loop: asyncio.AbstractEventLoop,
        start_ns: int,
        end_ns: int,
    ) -> None:
        arrivals = plan.load.arrivals
        assert isinstance(arrivals, ClosedArrivals)
        self._send, self._on_end, self._start_ns, self._end_ns = send, on_end, start_ns, end_ns
        self._share, self._session_count = share, 0
        self._concurrency = compute_share_size(arrivals.concurrency, share)
        self._request_indices = _iterate_request_indices(prepared_workload, share, plan.first_request)
        self._sessions = prepared_workload.sessions
        self._think_times_ns = (
            _draw_think_times_ns(arrivals.think_s, [plan.seed, share.index]) if arrivals.think_s > 0 else None
        )
        self._timer_queue: TimerQueue[_SessionRequest | None] = TimerQueue(self._send_next, get_timer_factory(loop))
        self._live_runner = _create_live_runner(prepared_workload, plan, send, self._on_session_end, loop, end_ns)
        self._end_timer = get_timer_factory(loop)(self.stop)
        self.has_ended = False

    @property
    def live_sessions(self) -> LiveSessionCounts | None:
        return None if self._live_runner is None else self._live_runner.counts

    def start(self) -> None:
        if self.has_ended:  # stopped before the start
            return
        self._end_timer.set(self._end_ns)
        for _ in range(self._concurrency):
            self._timer_queue.add(self._start_ns, None)

    def extend(self, end_ns: int) -> None:
        """Extend the stage to `end_ns`. This method may be called before the stage has started."""
        if not self.has_ended:
            self._end_ns = end_ns
            self._end_timer.set(end_ns)
            if self._live_runner is not None:
                self._live_runner.end_ns = end_ns

    def stop(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._timer_queue.close()
            self._end_timer.close()
            if self._live_runner is not None:
                self._live_runner.close()
            self._on_end()

    def on_response(self, exchange: Exchange) -> None:
        if self._live_runner is not None:
            self._live_runner.on_response(exchange)
        else:
            self._on_session_end(exchange)

    def _on_session_end(self, exchange: Exchange) -> None:
        """Continue a client after the last response of its session, or after a response that may
        have a next request in its prepared session."""
        if self.has_ended:
            return
        due_ns: int = exchange.end_ns  # type: ignore[assignment]  # the exchange has ended
        error = exchange.error
        if error is None:
            if (
                self._sessions is not None
                and (next_request := _find_next_session_request(self._sessions, exchange)) is not None
            ):
                self._timer_queue.add(*next_request)
                return
        elif exchange.status is None:
            # Use the timer queue, so that a request that fails during sending does not send the
            # next request recursively.
            self._timer_queue.add(due_ns + (_BACKOFF_NS if error in _CONNECTION_ERRORS else 0), None)
            return
        if self._think_times_ns is not None:
            self._timer_queue.add(due_ns + next(self._think_times_ns), None)
        elif due_ns < self._end_ns:
            self._start_request(due_ns)

    def _send_next(self, due_ns: int, request: _SessionRequest | None) -> None:
        if due_ns < self._end_ns and not self.has_ended:
            if request is None:
                self._start_request(due_ns)
            else:
                self._send(request[0], due_ns, request[1])

    def _start_request(self, due_ns: int) -> None:
        """Send the next request of a client, which is the first of a session if the workload has
        sessions."""
        if self._live_runner is None and self._sessions is None:
            self._send(next(self._request_indices), due_ns)
            return
        session_number = self._share.index + self._session_count * self._share.worker_count
        self._session_count += 1
        if self._live_runner is not None:
            self._live_runner.start(session_number, next(self._request_indices), due_ns)
        else:
            self._send(next(self._request_indices), due_ns, SessionTurn(session_number, 0))


def _create_live_runner(
    prepared_workload: PreparedWorkload,
    plan: StagePlan,
    send: Send,
    on_session_end: Callable[[Exchange], None],
    loop: asyncio.AbstractEventLoop,
    end_ns: int,
) -> LiveSessionRunner | None:
    if prepared_workload.live_sessions is None:
        return None
    new_timer = get_timer_factory(loop)
    return LiveSessionRunner(
        prepared_workload.live_sessions, str(plan.index), send, on_session_end, new_timer, loop.call_soon, end_ns
    )


def _iterate_request_indices(
    prepared_workload: PreparedWorkload, share: WorkerShare, first_request: int
) -> Iterator[int]:
    """Return an iterator over the indices of the prepared requests for this worker's arrivals. The
    index for an arrival depends on the position of the arrival among the arrivals of all workers,
    and on the position of the stage's first request."""
    indices = (
        range(len(prepared_workload.requests))
        if prepared_workload.request_indices is None
        else list(map(int, prepared_workload.request_indices))
    )
    return islice(cycle(indices), first_request % len(indices) + share.index, None, share.worker_count)


def _find_next_session_request(sessions: Sessions, exchange: Exchange) -> tuple[int, _SessionRequest] | None:
    """Return the due time in ns and the session's next request; None at the end of the session."""
    request_index, turn = sessions.next_request_indices[exchange.request_index], exchange.session_turn
    if request_index is None or exchange.end_ns is None or turn is None:
        return None
    due_ns = exchange.end_ns + sessions.think_times_ns[exchange.request_index]
    return due_ns, (request_index, SessionTurn(turn.session, turn.turn + 1))


def _draw_think_times_ns(mean_s: float, seed: Sequence[int]) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    blocks = (np.rint(rng.exponential(mean_s * 1e9, _BLOCK_SIZE)).astype(np.int64).tolist() for _ in repeat(None))
    return chain.from_iterable(blocks)


def _iterate_schedule_ns(offsets: Offsets, start_ns: int) -> Iterator[int]:
    """Yield the scheduled starts in ns as Python integers.

    The array is converted in blocks, because a list of all scheduled starts would take five times
    as much memory as the array.
    """
    for start in range(0, len(offsets), _BLOCK_SIZE):
        yield from (offsets[start : start + _BLOCK_SIZE] + start_ns).tolist()
