"""The arrivals of a stage whose answers do not decide them, and the share of them that one worker sends."""

from __future__ import annotations

import msgspec
import numpy as np

from loadgen.arrivals import Offsets, offsets_ns
from loadgen.records import ClosedArrivals, OpenArrivals, Share, StagePlan

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
