"""Interleaved A/B measurement of two profiles (A B, B A, …), so that machine drift affects both
sides equally."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from app.analysis.comparisons.comparison import compare_runs, has_suspected_change
from app.errors import MeasurementError
from app.records.comparison import Side
from app.records.result import Result

DEFAULT_PAIRS = 7
_MAX_ATTEMPTS = 3
"""Maximum number of attempts per run. An INVALID run does not count as a repeat and is repeated."""


class PairPlan(msgspec.Struct, frozen=True):
    """Number of A/B pairs and the time limit.

    If the first `pairs` suggest a change, the same number of pairs is measured again. A pair is not
    started if it would probably end after `max_s` seconds."""

    pairs: int
    max_s: float
    tolerance: float
    is_forced: bool = False


class PairRun(msgspec.Struct, frozen=True):
    """A run to measure: its side, its pair number (from 1) out of `pairs`, and the time left for it
    in s."""

    pair: int
    pairs: int
    side: Side
    timeout_s: float


class PairResults(msgspec.Struct, frozen=True):
    """Results of the measured pairs, by side."""

    base: tuple[Result, ...]
    candidate: tuple[Result, ...]
    notes: tuple[str, ...] = ()


def measure_interleaved(
    plan: PairPlan,
    measure: Callable[[PairRun], Result | None],
    now_s: Callable[[], float],
    report: Callable[[str], None],
) -> PairResults:
    """Measure two profiles in interleaved A/B pairs.

    `measure` executes one run and returns `None` if there was not enough time. `report` receives a
    message whenever more runs are needed than planned.

    Ends early if the first pair is not comparable or the time limit is reached. Raises
    MeasurementError if several runs in a row are INVALID."""
    return _PairMeasurement(plan, measure, now_s, report).execute()


class _PairMeasurement:
    def __init__(
        self,
        plan: PairPlan,
        measure: Callable[[PairRun], Result | None],
        now_s: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._plan, self._measure, self._now_s, self._report = plan, measure, now_s, report
        self._ends_s = now_s() + plan.max_s
        self._longest_s = 0.0
        self._runs: dict[Side, list[Result]] = {"base": [], "candidate": []}

    def execute(self) -> PairResults:
        pairs = self._plan.pairs
        if not self._measure_pairs(pairs):
            return self._results(f"The time limit was reached after {len(self._runs['base'])} of {pairs} pairs.")
        if not self._is_suspected():
            return self._results()
        self._report(f"possible change detected; measuring {pairs} more pairs to confirm it")
        if not self._measure_pairs(2 * pairs):
            completed_pairs = len(self._runs["base"])
            return self._results(
                f"A change was suspected, but the time limit was reached after {completed_pairs} of {2 * pairs} pairs."
            )
        return self._results(f"A change was suspected after {pairs} pairs, so {pairs} more were measured.")

    def _measure_pairs(self, until: int) -> bool:
        """Measure until there are `until` pairs.

        Returns False if the time ran out first. Returns True early if the first pair is not
        comparable."""
        while len(self._runs["base"]) < until:
            started_s = self._now_s()
            if started_s + self._longest_s > self._ends_s or not self._measure_pair(until):
                return False
            self._longest_s = max(self._longest_s, self._now_s() - started_s)
            if len(self._runs["base"]) == 1 and self._is_forbidden():
                return True
        return True

    def _measure_pair(self, until: int) -> bool:
        index = len(self._runs["base"])
        sides: tuple[Side, Side] = ("candidate", "base") if index % 2 else ("base", "candidate")
        results: dict[Side, Result] = {}
        for side in sides:
            result = self._measure_valid_run(PairRun(index + 1, until, side, 0.0))
            if result is None:
                return False
            results[side] = result
        for side, result in results.items():
            self._runs[side].append(result)
        return True

    def _measure_valid_run(self, pair_run: PairRun) -> Result | None:
        reasons = ""
        for _ in range(_MAX_ATTEMPTS):
            remaining_s = self._ends_s - self._now_s()
            result = (
                self._measure(msgspec.structs.replace(pair_run, timeout_s=remaining_s)) if remaining_s > 0 else None
            )
            if result is None or result.verdict.status != "INVALID":
                return result
            reasons = "; ".join(result.verdict.reasons)
            self._report(f"this {pair_run.side} run is INVALID and is repeated: {reasons}")
        raise MeasurementError(f"{_MAX_ATTEMPTS} {pair_run.side} runs in a row are INVALID: {reasons}")

    def _is_forbidden(self) -> bool:
        compared = compare_runs(self._runs["base"], self._runs["candidate"], is_forced=self._plan.is_forced)
        return any(difference.forbids for difference in compared.differences) and not self._plan.is_forced

    def _is_suspected(self) -> bool:
        plan = self._plan
        compared = compare_runs(
            self._runs["base"], self._runs["candidate"], tolerance=plan.tolerance, is_forced=plan.is_forced
        )
        return has_suspected_change(compared.changes, plan.tolerance)

    def _results(self, *notes: str) -> PairResults:
        return PairResults(tuple(self._runs["base"]), tuple(self._runs["candidate"]), notes)
