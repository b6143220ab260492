"""Where the limit of an endpoint is thought to lie, after stages at several rates held or failed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from app.analysis.columns import Floats

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
