"""Interleaved measurement of A/B pairs of two profiles (A B, B A, …), so that machine drift affects
both sides equally."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from app.analysis.comparisons.comparison import compare_runs, has_suspected_change
from app.errors import MeasurementError
from app.records.comparison import Side
from app.records.result import Result

DEFAULT_PAIR_COUNT = 7
_MAX_ATTEMPTS = 3
"""Maximum number of attempts per run. An INVALID run is not used and is repeated."""


class PairPlan(msgspec.Struct, frozen=True):
    """Number of A/B pairs to measure, and the time limit.

    If the first `pairs` A/B pairs suggest a change, the same number of pairs is measured again. A
    pair is not started if it would probably end later than `max_duration_s` seconds after the
    start."""

    pairs: int
    max_duration_s: float
    tolerance: float
    is_forced: bool = False


class PairRun(msgspec.Struct, frozen=True):
    """One run of an A/B pair to measure: its side, its pair number (1 to `pairs`), and the time
    left for the run in s."""

    pair: int
    pairs: int
    side: Side
    timeout_s: float


class PairResults(msgspec.Struct, frozen=True):
    """Results of the measured A/B pairs, by side."""

    baseline: tuple[Result, ...]
    candidate: tuple[Result, ...]
    notes: tuple[str, ...] = ()


def measure_interleaved(
    plan: PairPlan,
    measure: Callable[[PairRun], Result | None],
    now_s: Callable[[], float],
    report: Callable[[str], None],
) -> PairResults:
    """Measure two profiles in interleaved A/B pairs.

    `measure` executes one run, and returns `None` if the time was not sufficient. `report` receives
    a message whenever more runs are needed than planned.

    The measurement ends early if the first pair is not comparable or the time limit is reached.
    Raises MeasurementError if three runs in a row are INVALID."""
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
        self._deadline_s = now_s() + plan.max_duration_s
        self._max_pair_duration_s = 0.0
        self._runs: dict[Side, list[Result]] = {"baseline": [], "candidate": []}

    def execute(self) -> PairResults:
        pair_count = self._plan.pairs
        if not self._measure_pairs(pair_count):
            return self._build_results(
                f"The time limit was reached after {len(self._runs['baseline'])} of {pair_count} pairs."
            )
        if not self._has_suspected_change():
            return self._build_results()
        self._report(f"a change is suspected, so {pair_count} more pairs are being measured to confirm it")
        if not self._measure_pairs(2 * pair_count):
            completed_pair_count = len(self._runs["baseline"])
            return self._build_results(
                f"A change was suspected, but the time limit was reached after {completed_pair_count} of "
                f"{2 * pair_count} pairs."
            )
        return self._build_results(
            f"A change was suspected after {pair_count} pairs, so {pair_count} more were measured."
        )

    def _measure_pairs(self, target_pair_count: int) -> bool:
        """Measure A/B pairs until there are `target_pair_count` pairs.

        Return False if the time limit was reached before. Return True early if the first pair is
        not comparable."""
        while len(self._runs["baseline"]) < target_pair_count:
            start_s = self._now_s()
            if start_s + self._max_pair_duration_s > self._deadline_s or not self._measure_pair(target_pair_count):
                return False
            self._max_pair_duration_s = max(self._max_pair_duration_s, self._now_s() - start_s)
            if len(self._runs["baseline"]) == 1 and self._is_incomparable():
                return True
        return True

    def _measure_pair(self, target_pair_count: int) -> bool:
        index = len(self._runs["baseline"])
        sides: tuple[Side, Side] = ("candidate", "baseline") if index % 2 else ("baseline", "candidate")
        results: dict[Side, Result] = {}
        for side in sides:
            result = self._measure_valid_run(PairRun(index + 1, target_pair_count, side, 0.0))
            if result is None:
                return False
            results[side] = result
        for side, result in results.items():
            self._runs[side].append(result)
        return True

    def _measure_valid_run(self, pair_run: PairRun) -> Result | None:
        reasons = ""
        for _ in range(_MAX_ATTEMPTS):
            remaining_s = self._deadline_s - self._now_s()
            result = (
                self._measure(msgspec.structs.replace(pair_run, timeout_s=remaining_s)) if remaining_s > 0 else None
            )
            if result is None or result.verdict.status != "INVALID":
                return result
            reasons = "; ".join(result.verdict.reasons)
            self._report(f"this {pair_run.side} run is INVALID and is repeated: {reasons}")
        raise MeasurementError(
            f"{_MAX_ATTEMPTS} {pair_run.side} runs in a row are INVALID: {reasons}",
            hint="Fix these causes, then run again.",
        )

    def _is_incomparable(self) -> bool:
        comparison = compare_runs(self._runs["baseline"], self._runs["candidate"], is_forced=self._plan.is_forced)
        return any(difference.forbids for difference in comparison.differences) and not self._plan.is_forced

    def _has_suspected_change(self) -> bool:
        plan = self._plan
        comparison = compare_runs(
            self._runs["baseline"], self._runs["candidate"], tolerance=plan.tolerance, is_forced=plan.is_forced
        )
        return has_suspected_change(comparison.changes, plan.tolerance)

    def _build_results(self, *notes: str) -> PairResults:
        return PairResults(tuple(self._runs["baseline"]), tuple(self._runs["candidate"]), notes)
