"""A rate that changes in time: points joined by straight lines, the first and the last rate holding beyond them.

How a stage's requests came, in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from app.analysis.columns import Floats
from app.analysis.digits import digits
from app.records.result import ArrivalKind, Stage
from app.records.stage import StageFacts

_NAMES: dict[ArrivalKind, str] = {"poisson": "Poisson", "constant": "constant", "gamma": "gamma"}


def process_in_words(kind: ArrivalKind, cv: float | None) -> str:
    """The name of an open arrival process, as in "Poisson" or "gamma (cv 2)"."""
    return _NAMES[kind] + (f" (cv {cv:.4g})" if kind == "gamma" else "")


def search_in_words(stage: Stage) -> str | None:
    """How the requests of a searched rate came, whatever the rate was."""
    kind = stage.arrival_kind
    return stage.arrivals if kind is None or kind not in _NAMES else process_in_words(kind, stage.arrival_cv)


def arrivals_in_words(facts: StageFacts) -> str:
    """As in "Poisson at 200/s" or "Poisson along a ramp 10 → 200/s"."""
    if facts.arrival_kind == "trace":
        return "a recorded trace"
    if facts.arrival_kind in ("closed", "locust"):
        return _clients(facts)
    name = process_in_words(facts.arrival_kind, facts.cv)
    unit = " sessions/s" if facts.sessions else "/s"
    if facts.rate_per_s is not None:
        return f"{name} at {digits(facts.rate_per_s)}{unit}"
    return f"{name} {_along(facts, unit)}"


def _clients(facts: StageFacts) -> str:
    one = "" if facts.concurrency == 1 else "s"
    who = f"user{one} of the Locust test" if facts.arrival_kind == "locust" else f"client{one}"
    number = "" if facts.concurrency is None else f"{facts.concurrency:,} "
    think = f", thinking {facts.think_s:.4g} s" if facts.think_s else ""
    return f"closed loop, {number}{who}{think}"


def _along(facts: StageFacts, unit: str) -> str:
    rates = [rate for _, rate in facts.rates]
    if not rates:
        return "at a varying rate"
    if facts.kind == "spike":
        return f"spike {digits(rates[0])} → {digits(max(rates))} → {digits(rates[-1])}{unit}"
    if _is_stepped(facts):
        steps = [rate for at, rate in enumerate(rates) if at == 0 or rate != rates[at - 1]]
        if len(steps) <= 6:
            return f"in steps {' → '.join(digits(rate) for rate in steps)}{unit}"
    elif len(rates) == 2:
        return f"along a ramp {digits(rates[0])} → {digits(rates[1])}{unit}"
    return f"varying {digits(min(rates))} to {digits(max(rates))}{unit}"


def _is_stepped(facts: StageFacts) -> bool:
    """Whether the rate only ever jumps."""
    points = facts.rates
    return all(one[1] == two[1] or one[0] == two[0] for one, two in pairwise(points))


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
