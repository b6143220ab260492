"""A rate that changes in time: points joined by straight lines, the first and the last rate holding beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.analysis.columns import Floats
from app.records.stage import StageFacts


@dataclass(frozen=True)
class RateCurve:
    """Seconds from the stage's start, and requests a second; two points at one time are a jump."""

    at_s: Floats
    per_s: Floats

    def area_until(self, until_s: Floats) -> Floats:
        """Arrivals expected from the stage's start to each of these times, which are not before it."""
        last_s = float(max(until_s.max(initial=0.0), self.at_s[-1])) + 1.0
        at_s = np.concatenate(([min(0.0, self.at_s[0])], self.at_s, [last_s]))
        per_s = np.concatenate((self.per_s[:1], self.per_s, self.per_s[-1:]))
        lengths = np.diff(at_s)
        areas = np.concatenate(([0.0], np.cumsum(lengths * (per_s[1:] + per_s[:-1]) / 2)))
        slopes = np.divide(np.diff(per_s), lengths, out=np.zeros_like(lengths), where=lengths > 0)

        def area(times_s: Floats) -> Floats:
            part = np.clip(np.searchsorted(at_s, times_s, side="right") - 1, 0, lengths.size - 1)
            into_s = times_s - at_s[part]
            return np.asarray(areas[part] + into_s * (per_s[part] + slopes[part] * into_s / 2))

        return np.asarray(area(until_s) - area(np.zeros(1)))


def curve_of(facts: StageFacts) -> RateCurve | None:
    """None where no curve made the arrivals."""
    points: Sequence[tuple[float, float]] = facts.rates
    if not points and facts.rate_per_s is not None:
        points = ((0.0, facts.rate_per_s),)
    if not points or facts.arrival_kind in ("trace", "closed", "locust"):
        return None
    times, rates = zip(*points, strict=True)
    return RateCurve(np.array(times, dtype=np.float64), np.array(rates, dtype=np.float64))
