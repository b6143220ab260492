"""The ceiling of the load generator: the highest Poisson rate it keeps up with on a server that does nothing."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from app.records.calibration import CalibrationStep

LATE_MS = 10.0
LATE_SHARE_LIMIT = 0.01
_RETRIES = 3


class Ladder(msgspec.Struct, frozen=True):
    """Rates a second: the first to be tried, and the ends that are not passed."""

    start: float
    lowest: float
    highest: float

    def times(self, workers: int) -> Ladder:
        """For so many workers, which may together get no further than one."""
        return Ladder(self.start * workers, self.lowest, self.highest * workers)


REQUESTS = Ladder(8_000.0, 250.0, 64_000.0)
CHUNKS = Ladder(16_000.0, 500.0, 128_000.0)


def holds(achieved_share: float, late_share: float) -> bool:
    """A rung holds when 99 % of its arrivals were sent in its time and at most 1 % of them, or of their chunks, were
    late."""
    return achieved_share >= 0.99 and late_share <= LATE_SHARE_LIMIT


def climb(
    try_rate: Callable[[float], CalibrationStep | None], ladder: Ladder = REQUESTS
) -> tuple[CalibrationStep, ...]:
    """Double the rate until a rung fails or the highest holds, or halve it until one holds; then try between the two.

    A rung that fails is tried once more, since a busy moment of the machine is not a limit of the generator; but only
    three are, so that it ends in time on a machine that is always busy. `try_rate` returns None when the run is being
    stopped. Every rung is returned, in the order tried.
    """
    rungs: list[CalibrationStep] = []
    retries = _RETRIES

    def held(rate: float) -> bool | None:
        nonlocal retries
        is_retry = False
        while True:
            rung = try_rate(rate)
            if rung is None:
                return None
            rungs.append(rung)
            if rung.held or is_retry or not retries:
                return rung.held
            retries, is_retry = retries - 1, True

    rate, outcome = ladder.start, held(ladder.start)
    factor = 2.0 if outcome else 0.5
    wanted = outcome
    while outcome is not None and outcome is wanted and ladder.lowest < rate < ladder.highest:
        rate *= factor
        outcome = held(rate)
    if outcome is not None and outcome is not wanted:
        held(rate / 2**0.5 if wanted else rate * 2**0.5)
    return tuple(rungs)


def ceiling(rungs: tuple[CalibrationStep, ...]) -> float | None:
    """The highest achieved rate among the rungs that held."""
    return max((rung.achieved_per_s for rung in rungs if rung.held), default=None)


def is_at_least(rungs: tuple[CalibrationStep, ...]) -> bool:
    """Whether something held, and the next higher rate did not fail by the generator."""
    return ceiling(rungs) is not None and not any(rung.is_against_generator for rung in _decisive(rungs))


def disturbed_by_cores(rungs: tuple[CalibrationStep, ...]) -> float | None:
    """What other processes used while the next higher rate, or the lowest, failed by them and not by the generator;
    None where that is not why."""
    decisive = _decisive(rungs)
    if any(rung.is_against_generator for rung in decisive):
        return None
    return max((rung.other_cores or 0.0 for rung in decisive if rung.is_disturbed), default=None)


def _decisive(rungs: tuple[CalibrationStep, ...]) -> list[CalibrationStep]:
    """The tries of the lowest rate above all that held: those beyond it failed by more."""
    highest = max((rung.offered_per_s for rung in rungs if rung.held), default=0.0)
    above = [rung for rung in rungs if rung.offered_per_s > highest]
    lowest = min((rung.offered_per_s for rung in above), default=0.0)
    return [rung for rung in above if rung.offered_per_s == lowest]
