"""Finding the highest rate that holds: which rate to try next, given what held so far.

Where the limit of an endpoint is thought to lie, after stages at several rates held or failed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.digits import digits

STEP = 0.0025
"""Neighbouring rates of the grid differ by this share."""
SPREAD = 0.02
_LAPSE = 0.02
_MARGIN = 2.0
_HALVINGS = 14


class LimitBelief:
    """The posterior of the limit: the rate at which one stage holds as often as it fails.

    A stage at a rate holds with a chance that is logistic in ln(limit / rate), and once in a hundred times it does the
    unlikely whatever the rate. Before any stage all limits are alike likely on a log scale. This is Bayesian estimation
    of a psychometric function (Watson and Pelli, QUEST, Perception & Psychophysics 33, 1983; the lapses: Wichmann and
    Hill, ibid. 63, 2001). The spread of 2 % is a little over what 30 s holds of queues near saturation show (1 to 2 %
    as logistic spread): too small a one would believe a chance failure, too large a one only asks for more stages.
    """

    def __init__(self, tried: Sequence[tuple[float, bool]], spread: float = SPREAD) -> None:
        """`tried`: rate, and whether it held; at least one of each kind. `spread` is the scale of the logistic."""
        self._spread = spread
        held = [rate for rate, has_held in tried if has_held]
        failed = [rate for rate, has_held in tried if not has_held]
        lowest, highest = min([*failed, max(held)]) / _MARGIN, max([*held, min(failed)]) * _MARGIN
        self._logs: Floats = np.arange(math.log(lowest), math.log(highest) + STEP, STEP)
        log_odds = log_likelihood(self._logs, tried, spread)
        weights = np.exp(log_odds - log_odds.max())
        self._weights: Floats = weights / weights.sum()

    def quantile(self, q: float) -> float:
        place = int(np.searchsorted(np.cumsum(self._weights), q))
        return math.exp(self._logs[min(place, self._logs.size - 1)])

    def chance(self, rate_per_s: float, times: int) -> float:
        """That so many stages at this rate all hold."""
        return float(self._weights @ self._chance_each(rate_per_s) ** times)

    def highest_likely(self, times: int, chance: float) -> float:
        """The highest rate at which so many stages all hold with this chance."""
        low, high = float(self._logs[0]), float(self._logs[-1])
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self.chance(math.exp(middle), times) >= chance:
                low = middle
            else:
                high = middle
        return math.exp(low)

    def _chance_each(self, rate_per_s: float) -> Floats:
        """For each limit thought of, that one stage at this rate holds."""
        return _chance_of_holding(self._logs, rate_per_s, self._spread)


def log_likelihood(log_limits: Floats, tried: Sequence[tuple[float, bool]], spread: float = SPREAD) -> Floats:
    """For each limit, given as a logarithm, how likely it makes what was tried. `spread` is the scale of the logistic
    in ln rate with which one stage holds."""
    total = np.zeros_like(log_limits)
    for rate, has_held in tried:
        chance = _chance_of_holding(log_limits, rate, spread)
        total += np.log(chance if has_held else 1 - chance)
    return total


def _chance_of_holding(log_limits: Floats, rate_per_s: float, spread: float = SPREAD) -> Floats:
    distance = np.clip((log_limits - math.log(rate_per_s)) / spread, -50, 50)
    return np.asarray(_LAPSE / 2 + (1 - _LAPSE) / (1 + np.exp(-distance)))


_MOST_HALVINGS = 6
_WIDE = 0.16
_BELOW_MEDIAN = 0.99
_NEAR_MEDIAN = 0.98
_CHANCES = (0.45, 0.65, 0.8)
_NEAR_GENERATOR = 1.05


class Probe(msgspec.Struct, frozen=True):
    """One stage to run. `repeat` counts the holds of one rate from 1."""

    kind: Literal["probe", "hold"]
    rate_per_s: float
    repeat: int = 1


class SearchOutcome(msgspec.Struct, frozen=True):
    """`max_rate_per_s` held in all its repeats, else None with a `reason`. `bracket`: the highest rate that was seen to
    hold and the lowest above it that failed; None for one that was not found.

    `beyond_per_s`: the lowest rate that the generator could not send; None where it sent all that was tried.
    """

    max_rate_per_s: float | None
    reason: str | None
    bracket: tuple[float | None, float | None]
    probes: int
    beyond_per_s: float | None = None

    @property
    def is_generators(self) -> bool:
        """Whether the generator, and not the endpoint, ended the search: nothing that it could send failed close above
        the answer."""
        (carried, failed), beyond = self.bracket, self.beyond_per_s
        if beyond is None or failed is None:
            return beyond is not None
        return failed >= beyond and (carried is None or failed > carried * _NEAR_GENERATOR)


class RateSearch:
    """Doubles from the start (or halves, when the start fails) until one rate held and one failed. Then every stage
    counts as evidence of where the limit lies (`LimitBelief`): the middle of what is thought is tried until it is known
    to some percent, and rates a little below it are held.

    All repeats of a rate must hold: a rate that failed once is never held again. Where the rate that held turns out to
    lie well below the limit, a higher one is held as well while the budget lasts.

    A rate that the generator cannot send tells nothing of the endpoint: the search goes on below it.
    """

    def __init__(self, start_per_s: float, repeats: int, max_probes: int = 25) -> None:
        self._start_per_s, self._repeats, self._max_probes = start_per_s, repeats, max_probes
        self._tried: list[tuple[float, bool]] = []
        self._beyond: list[float] = []
        self._holding: float | None = None
        self._holds = 0
        self._found: float | None = None
        self._next: Probe | None = None
        self.was_shortened = False
        """By `leave`."""
        self._choose()

    @property
    def probes_left(self) -> int:
        """The most that there may still be."""
        return self._max_probes - self._probes

    def next(self) -> Probe | None:
        """What to run now; the same again until it was recorded, None when the search is over."""
        return self._next

    def leave(self, probes: int) -> None:
        """No more than so many from now on: what `next` gives may change."""
        if probes < self.probes_left:
            self._max_probes, self.was_shortened = self._probes + probes, True
            self._choose()

    def record(self, probe: Probe, held: bool) -> None:
        """`probe` is what `next` gave."""
        self._tried.append((probe.rate_per_s, held))
        if probe.kind == "hold":
            self._holds += 1
            if held and self._holds == self._repeats:
                self._found = probe.rate_per_s
            if not held or self._holds == self._repeats:
                self._holding = None
        self._choose()

    def record_beyond(self, probe: Probe) -> None:
        """The generator could not send the rate of the `probe` that `next` gave."""
        self._beyond.append(probe.rate_per_s)
        self._holding = None
        self._choose()

    def outcome(self) -> SearchOutcome:
        """What is known now, whether or not the search is over."""
        carried = self._found or self._carried
        above = (rate for rate in self._failed if carried is None or rate > carried)
        beyond = min(self._beyond, default=None)
        reason = None if self._found else self._reason()
        return SearchOutcome(self._found, reason, (carried, min(above, default=None)), self._probes, beyond)

    @property
    def _failed(self) -> list[float]:
        return [rate for rate, held in self._tried if not held]

    @property
    def _held(self) -> list[float]:
        return [rate for rate, held in self._tried if held]

    @property
    def _has_limits(self) -> bool:
        """Whether some rate held and a higher one failed: a failure at a rate that also held is chance."""
        return bool(self._held) and max(self._failed, default=0.0) > max(self._held)

    @property
    def _carried(self) -> float | None:
        """The highest rate that held and could be sent."""
        end = min(self._beyond, default=math.inf)
        return max((rate for rate in self._held if rate < end), default=None)

    @property
    def _probes(self) -> int:
        return len(self._tried) + len(self._beyond)

    def _choose(self) -> None:
        if self._holding is None:
            self._next = self._choose_rate()
            if self._next is not None and self._next.kind == "hold":
                self._holding, self._holds = self._next.rate_per_s, 0
        else:
            self._next = Probe("hold", self._holding, self._holds + 1)
        needed = self._repeats - self._holds if self._holding is not None else 1
        if self.probes_left < needed:
            self._next = self._holding = None

    def _choose_rate(self) -> Probe | None:
        if self._has_limits:
            return self._near_the_limit(LimitBelief(self._tried))
        beyond, carried = min(self._beyond, default=math.inf), self._carried
        if self._found is not None:
            return None
        if carried is None:
            return self._downwards()
        if self.probes_left <= self._repeats or beyond / carried <= _NEAR_GENERATOR:
            return Probe("hold", self._allowed(carried))
        return Probe("probe", min(carried * 2, math.sqrt(carried * beyond)))

    def _downwards(self) -> Probe | None:
        lowest = min([*self._failed, *self._beyond], default=None)
        if lowest is None:
            return Probe("probe", self._start_per_s)
        is_at_the_bottom = lowest <= self._start_per_s / 2**_MOST_HALVINGS
        return None if is_at_the_bottom else Probe("probe", lowest / 2)

    def _near_the_limit(self, belief: LimitBelief) -> Probe | None:
        median = belief.quantile(0.5)
        if self._found is not None:
            higher = self._allowed(median * _BELOW_MEDIAN)
            is_near = self._found >= median * _NEAR_MEDIAN or higher <= self._found * (1 + STEP)
            return None if is_near else Probe("hold", higher)
        is_wide = math.log(belief.quantile(0.9) / belief.quantile(0.1)) > _WIDE
        if is_wide and self.probes_left > 2 * self._repeats:
            return self._unless_beyond(median)
        if (doubtful := self._doubtful) is not None:
            return Probe("probe", doubtful)
        likely = belief.highest_likely(self._repeats, self._chance_wanted)
        return Probe("hold", self._allowed(min(likely, median * _BELOW_MEDIAN)))

    @property
    def _doubtful(self) -> float | None:
        """The one rate that failed, where all that is thought rests on a single failure and it can be tried again."""
        failed = self._failed
        is_alone = len(failed) == 1 and (failed[0], True) not in self._tried
        return failed[0] if is_alone and self.probes_left > 2 * self._repeats else None

    @property
    def _chance_wanted(self) -> float:
        """Of all repeats holding: the fewer sets of them are left, the surer a rate is chosen."""
        sets_left = 2 if self.probes_left >= 2 * self._repeats else 1 if self.probes_left > self._repeats else 0
        return _CHANCES[2 - sets_left]

    def _allowed(self, rate_per_s: float) -> float:
        """This or the next lower rate that never failed and that the generator can send."""
        rate_per_s = min([rate_per_s, *(rate / (1 + STEP) for rate in self._beyond)])
        while rate_per_s in self._failed:
            rate_per_s /= 1 + STEP
        return rate_per_s

    def _unless_beyond(self, rate_per_s: float) -> Probe:
        """Halfway to what the generator cannot send, where the rate lies beyond it."""
        beyond = min(self._beyond, default=math.inf)
        if rate_per_s < beyond:
            return Probe("probe", rate_per_s)
        return Probe("probe", math.sqrt(beyond * (self._carried or beyond / 2)))

    def _reason(self) -> str:
        if self._next is not None:
            return "the search was cut short"
        if self._beyond and not self._failed:
            even = "" if self._held else "even "
            return f"the generator could not send {even}{digits(min(self._beyond))}/s"
        if self._failed and not self._held:
            return f"even {digits(min(self._failed))}/s, the lowest rate tried, failed"
        return f"no rate held {self._repeats} times within {self._max_probes} probes"
