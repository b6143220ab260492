"""Two profiles measured in turns (A B, B A, …), so that what drifts on the machine meets both alike."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from app.analysis.comparisons.comparison import compare_runs, is_suspected
from app.errors import InstrumentError
from app.records.comparison import Side
from app.records.result import Result

PAIRS = 7
_TRIES = 3
"""An INVALID run is no repeat, and is made again."""


class PairPlan(msgspec.Struct, frozen=True):
    """`pairs` of runs, and as many again where the first ones raise a suspicion; none begun that would end after
    `max_s`."""

    pairs: int
    max_s: float
    tolerance: float
    is_forced: bool = False


class Turn(msgspec.Struct, frozen=True):
    """One run to make, of the `pair`-th of `pairs`, within a time."""

    pair: int
    pairs: int
    side: Side
    within_s: float


class Turns(msgspec.Struct, frozen=True):
    base: tuple[Result, ...]
    candidate: tuple[Result, ...]
    notes: tuple[str, ...] = ()


def measure_in_turns(
    order: PairPlan,
    measure: Callable[[Turn], Result | None],
    now_s: Callable[[], float],
    tell: Callable[[str], None],
) -> Turns:
    """`measure` makes one run, and gives None where the time did not suffice. `tell` hears why there are more of them.

    Ends early where the first pair may not be compared, and where the time is over. Raises InstrumentError where runs
    are INVALID time and again.
    """
    return _Measuring(order, measure, now_s, tell).execute()


class _Measuring:
    def __init__(
        self,
        order: PairPlan,
        measure: Callable[[Turn], Result | None],
        now_s: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        self._order, self._measure, self._now_s, self._tell = order, measure, now_s, tell
        self._ends_s = now_s() + order.max_s
        self._longest_s = 0.0
        self._runs: dict[Side, list[Result]] = {"base": [], "candidate": []}

    def execute(self) -> Turns:
        pairs = self._order.pairs
        if not self._measure_pairs(pairs):
            return self._turns(f"The time was over after {len(self._runs['base'])} of {pairs} pairs.")
        if not self._is_suspected():
            return self._turns()
        self._tell(f"a change is suspected: {pairs} more pairs are to tell")
        if not self._measure_pairs(2 * pairs):
            done = len(self._runs["base"])
            return self._turns(f"A change was suspected, and the time was over after {done} of {2 * pairs} pairs.")
        return self._turns(f"A change was suspected after {pairs} pairs: {pairs} more were measured to tell.")

    def _measure_pairs(self, until: int) -> bool:
        """False where the time was over before; True too where there is nothing to compare."""
        while len(self._runs["base"]) < until:
            started_s = self._now_s()
            if started_s + self._longest_s > self._ends_s or not self._measure_pair(until):
                return False
            self._longest_s = max(self._longest_s, self._now_s() - started_s)
            if len(self._runs["base"]) == 1 and self._is_forbidden():
                return True
        return True

    def _measure_pair(self, until: int) -> bool:
        place = len(self._runs["base"])
        sides: tuple[Side, Side] = ("candidate", "base") if place % 2 else ("base", "candidate")
        found: dict[Side, Result] = {}
        for side in sides:
            result = self._valid(Turn(place + 1, until, side, 0.0))
            if result is None:
                return False
            found[side] = result
        for side, result in found.items():
            self._runs[side].append(result)
        return True

    def _valid(self, turn: Turn) -> Result | None:
        reasons = ""
        for _ in range(_TRIES):
            left_s = self._ends_s - self._now_s()
            result = self._measure(msgspec.structs.replace(turn, within_s=left_s)) if left_s > 0 else None
            if result is None or result.verdict.status != "INVALID":
                return result
            reasons = "; ".join(result.verdict.reasons)
            self._tell(f"this run of the {turn.side} is INVALID, and is made again: {reasons}")
        raise InstrumentError(f"{_TRIES} runs of the {turn.side} in a row are INVALID: {reasons}")

    def _is_forbidden(self) -> bool:
        compared = compare_runs(self._runs["base"], self._runs["candidate"], is_forced=self._order.is_forced)
        return any(one.forbids for one in compared.differences) and not self._order.is_forced

    def _is_suspected(self) -> bool:
        order = self._order
        compared = compare_runs(
            self._runs["base"], self._runs["candidate"], tolerance=order.tolerance, is_forced=order.is_forced
        )
        return is_suspected(compared.changes, order.tolerance)

    def _turns(self, *notes: str) -> Turns:
        return Turns(tuple(self._runs["base"]), tuple(self._runs["candidate"]), notes)
