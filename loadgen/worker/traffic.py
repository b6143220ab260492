"""What decides when the requests of a stage start. All of it belongs to the sending thread.

The arrivals of a stage whose answers do not decide them, and the share of them that one worker
sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, cycle, islice, repeat
from typing import Protocol

import msgspec
import numpy as np

from loadgen.arrivals import Offsets, offsets_ns
from loadgen.pacing import Agenda, Pacer, alarm_on
from loadgen.protocols.built import Built, Sessions
from loadgen.records import ClosedArrivals, OpenArrivals, Share, StagePlan
from loadgen.transport.exchange import Exchange

_MOST_DRAWN = 50_000_000
"""Arrivals after a change of rate, so that a mistyped one does not fill the memory."""

_ROUNDED_NS = 1_000
"""By less than this a regular arrival at the end may come before it."""


def part_of(count: int, share: Share) -> int:
    """How many fall to the share of so many things that are dealt out in turn."""
    return len(range(share.index, count, share.of))


class Schedule:
    """All of it is drawn by every worker, so that the same seed makes the same arrivals however many send them.

    Changes and extensions are drawn from the seed and their number, so that all who hear them in one order agree.
    Offsets are nanoseconds from the start of the measured part, ascending.
    """

    def __init__(self, plan: StagePlan, share: Share) -> None:
        assert not isinstance(plan.arrivals, ClosedArrivals)
        self._plan, self._share, self._arrivals = plan, share, plan.arrivals
        self._duration_s = plan.duration_s
        self._rate_per_s = plan.arrivals.rates[-1][1] if isinstance(plan.arrivals, OpenArrivals) else 0.0
        self._all = offsets_ns(plan.arrivals, plan.duration_s, plan.lead_in_s, plan.seed)[: plan.max_requests]

    @property
    def own(self) -> Offsets:
        return self._all[self._share.index :: self._share.of]

    def change(self, rate_per_s: float, at_ns: int, number: int) -> Offsets | None:
        """The share's arrivals from `at_ns` on, counted from there, after the change of that number; None where there
        is no rate to change. Those before are as they were."""
        if not isinstance(self._arrivals, OpenArrivals):
            return None
        plan, share = self._plan, self._share
        self._rate_per_s = rate_per_s
        drawn = self._drawn(self._arrivals, self._duration_s - at_ns / 1e9, number)
        before = self._all[self._all < at_ns]
        # one gap after the change, as by any other process; else every change would be an arrival
        later = drawn[drawn > 0]
        if plan.max_requests is not None:
            later = later[: plan.max_requests - len(before)]
        self._all = np.concatenate([before, later + at_ns])
        return later[(share.index - len(before)) % share.of :: share.of]

    def extend(self, duration_s: float, number: int) -> Offsets | None:
        """The share's arrivals from the end so far to that one, after the change of that number; None where there is
        nothing to go on with. They go on at the last rate, with the last arrival's gap."""
        if not isinstance(self._arrivals, OpenArrivals) or duration_s <= self._duration_s or self._rate_per_s <= 0:
            return None
        share, count, end_ns = self._share, len(self._all), round(self._duration_s * 1e9)
        from_ns = int(self._all[-1]) if count else end_ns
        drawn = self._drawn(self._arrivals, duration_s - from_ns / 1e9, number)
        later = drawn[drawn > 0] + from_ns
        later = later[later > end_ns - _ROUNDED_NS]
        if self._plan.max_requests is not None:
            later = later[: max(0, self._plan.max_requests - count)]
        self._duration_s = duration_s
        self._all = np.concatenate([self._all, later])
        return later[(share.index - count) % share.of :: share.of]

    def _drawn(self, arrivals: OpenArrivals, left_s: float, number: int) -> Offsets:
        left_s = max(0.0, min(left_s, _MOST_DRAWN / self._rate_per_s))
        seed = int(np.random.SeedSequence([self._plan.seed, number]).generate_state(1)[0])
        return offsets_ns(msgspec.structs.replace(arrivals, rates=((0.0, self._rate_per_s),)), left_s, 0.0, seed)


Send = Callable[[int, int], None]
"""`send(number, intended_ns)`: one request is due."""

_BLOCK = 4096
_BACK_OFF_NS = 100_000_000
_NO_CONNECTION = ("dns", "connect", "tls", "send", "local-limit")


class ArrivalSource(Protocol):
    """Calls `send` for each request that is due and, once no more will be, `on_end()`."""

    @property
    def has_ended(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None:
        """Start no more requests."""
        ...

    def answered(self, exchange: Exchange, /) -> None:
        """An exchange is over and judged."""
        ...


class OpenTraffic:
    """Starts on a schedule, whatever is answered. With sessions an arrival starts one, and its further requests
    follow the answers, to `end_ns`. `arrived` counts the arrivals that were started."""

    def __init__(
        self,
        send: Send,
        on_end: Callable[[], None],
        built: Built,
        share: Share,
        loop: asyncio.AbstractEventLoop,
        schedule_ns: Iterator[int],
        end_ns: int,
    ) -> None:
        self._send, self._on_end, self._end_ns = send, on_end, end_ns
        self._numbers = _numbers(built, share)
        self.arrived = 0
        self._pacer = Pacer(schedule_ns, self._arrive, self._finish, alarm_on(loop), end_ns=end_ns)
        self._sessions = built.sessions
        self._turns = None if built.sessions is None else Agenda(self._turn, alarm_on(loop))

    @property
    def has_ended(self) -> bool:
        return self._pacer.has_ended

    def start(self) -> None:
        self._pacer.start()

    def stop(self) -> None:
        self._pacer.cancel()

    def replace(self, schedule_ns: Iterator[int]) -> None:
        """What comes instead of the arrivals that are left."""
        self._pacer.replace(schedule_ns)

    def extend(self, schedule_ns: Iterator[int], end_ns: int) -> None:
        """To that end, with these instead of the arrivals that are left. A session that was over by the old end stays
        over."""
        self._end_ns = end_ns
        self._pacer.replace(schedule_ns, end_ns)

    def answered(self, exchange: Exchange) -> None:
        if self._turns is None or self._sessions is None or exchange.error is not None:
            return
        following = _following(self._sessions, exchange)
        if following is not None and following[0] < self._end_ns:
            self._turns.add(*following)

    def _arrive(self, intended_ns: int) -> None:
        self.arrived += 1
        self._send(next(self._numbers), intended_ns)

    def _turn(self, due_ns: int, number: int) -> None:
        self._send(number, due_ns)

    def _finish(self) -> None:
        if self._turns is not None:
            self._turns.close()
        self._on_end()


class ClosedTraffic:
    """Clients that each send their next request when the last one is answered, and they have thought about it.

    All start at once. A client that got no connection waits 0.1 s, so that a target that refuses connections is not
    asked thousands of times a millisecond. Of the clients, these are the share's, which may be none.
    """

    def __init__(
        self,
        send: Send,
        on_end: Callable[[], None],
        built: Built,
        share: Share,
        loop: asyncio.AbstractEventLoop,
        clients: ClosedArrivals,
        span_ns: tuple[int, int],
        seed: int,
    ) -> None:
        self._send, self._on_end = send, on_end
        self._concurrency = part_of(clients.concurrency, share)
        self._start_ns, self._end_ns = span_ns
        self._numbers = _numbers(built, share)
        self._sessions = built.sessions
        self._think_ns = _think_ns(clients.think_s, [seed, share.index]) if clients.think_s > 0 else None
        self._agenda: Agenda[int | None] = Agenda(self._go_on, alarm_on(loop))
        self._end = alarm_on(loop)(self.stop)
        self.has_ended = False

    def start(self) -> None:
        if self.has_ended:  # stopped before it began
            return
        self._end.set(self._end_ns)
        for _ in range(self._concurrency):
            self._agenda.add(self._start_ns, None)

    def extend(self, end_ns: int) -> None:
        """Before it was started, too."""
        if not self.has_ended:
            self._end_ns = end_ns
            self._end.set(end_ns)

    def stop(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._agenda.close()
            self._end.close()
            self._on_end()

    def answered(self, exchange: Exchange) -> None:
        if self.has_ended:
            return
        due_ns: int = exchange.end_ns  # type: ignore[assignment]  # it is over
        error = exchange.error
        if error is None:
            if self._sessions is not None and (turn := _following(self._sessions, exchange)) is not None:
                self._agenda.add(*turn)
                return
        elif exchange.status is None:
            # by way of the agenda in any case: a request that fails while it is sent must not send the next
            self._agenda.add(due_ns + (_BACK_OFF_NS if error in _NO_CONNECTION else 0), None)
            return
        if self._think_ns is not None:
            self._agenda.add(due_ns + next(self._think_ns), None)
        elif due_ns < self._end_ns:
            self._send(next(self._numbers), due_ns)

    def _go_on(self, due_ns: int, number: int | None) -> None:
        if due_ns < self._end_ns and not self.has_ended:
            self._send(next(self._numbers) if number is None else number, due_ns)


def _numbers(built: Built, share: Share) -> Iterator[int]:
    """Which request each arrival of the share sends: that of its place among the arrivals of all."""
    picks = range(len(built.requests)) if built.picks is None else list(map(int, built.picks))
    return islice(cycle(picks), share.index, None, share.of)


def _following(sessions: Sessions, exchange: Exchange) -> tuple[int, int] | None:
    """When the next request of the session is due, and which it is."""
    number = sessions.next_number[exchange.number]
    if number is None or exchange.end_ns is None:
        return None
    return exchange.end_ns + sessions.think_ns[exchange.number], number


def _think_ns(mean_s: float, seed: Sequence[int]) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    blocks = (np.rint(rng.exponential(mean_s * 1e9, _BLOCK)).astype(np.int64).tolist() for _ in repeat(None))
    return chain.from_iterable(blocks)


def schedule_ns(offsets: Offsets, start_ns: int) -> Iterator[int]:
    """Python integers in blocks: as one list a long stage's schedule would take five times the array's memory."""
    for block in range(0, len(offsets), _BLOCK):
        yield from (offsets[block : block + _BLOCK] + start_ns).tolist()
