"""The arrivals of a stage whose answers do not decide them, and the share of them that one worker sends."""

from __future__ import annotations

import msgspec
import numpy as np

from loadgen.arrivals import Offsets, offsets_ns
from loadgen.records import ClosedArrivals, OpenArrivals, Share, StagePlan

_MOST_DRAWN = 50_000_000
"""Arrivals after a change of rate, so that a mistyped one does not fill the memory."""


def part_of(count: int, share: Share) -> int:
    """How many fall to the share of so many things that are dealt out in turn."""
    return len(range(share.index, count, share.of))


class Schedule:
    """All of it is drawn by every worker, so that the same seed makes the same arrivals however many send them.

    Offsets are nanoseconds from the start of the measured part, ascending.
    """

    def __init__(self, plan: StagePlan, share: Share) -> None:
        assert not isinstance(plan.arrivals, ClosedArrivals)
        self._plan, self._share, self._arrivals = plan, share, plan.arrivals
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
        left_s = max(0.0, min(plan.duration_s - at_ns / 1e9, _MOST_DRAWN / rate_per_s))
        seed = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
        drawn = offsets_ns(msgspec.structs.replace(self._arrivals, rates=((0.0, rate_per_s),)), left_s, 0.0, seed)
        before = self._all[self._all < at_ns]
        # one gap after the change, as by any other process; else every change would be an arrival
        later = drawn[drawn > 0]
        if plan.max_requests is not None:
            later = later[: plan.max_requests - len(before)]
        self._all = np.concatenate([before, later + at_ns])
        return later[(share.index - len(before)) % share.of :: share.of]
