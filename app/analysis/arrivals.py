"""Text descriptions of how a stage's requests arrive, and its rate curve.

A rate curve consists of points joined by straight lines; the first and the last rate apply beyond them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from app.analysis.columns import Floats
from app.analysis.number_format import format_number
from app.records.result import ArrivalKind, Stage
from app.records.stage import StageData

_NAMES: dict[ArrivalKind, str] = {"poisson": "Poisson", "constant": "constant", "gamma": "gamma"}


def format_process(kind: ArrivalKind, cv: float | None) -> str:
    """Return the name of an open arrival process, such as "Poisson" or "gamma (cv 2)"."""
    return _NAMES[kind] + (f" (cv {cv:.4g})" if kind == "gamma" else "")


def format_search_arrivals(stage: Stage) -> str | None:
    """Describe the arrivals of a searched stage without its rate."""
    kind = stage.arrival_kind
    return stage.arrivals if kind is None or kind not in _NAMES else format_process(kind, stage.arrival_cv)


def format_arrivals(facts: StageData) -> str:
    """Describe the arrivals of a stage, such as "Poisson at 200/s" or "Poisson along a ramp 10 → 200/s"."""
    if facts.arrival_kind == "trace":
        return "a recorded trace"
    if facts.arrival_kind in ("closed", "locust"):
        return _describe_clients(facts)
    name = format_process(facts.arrival_kind, facts.cv)
    unit = " sessions/s" if facts.sessions else "/s"
    if facts.rate_per_s is not None:
        return f"{name} at {format_number(facts.rate_per_s)}{unit}"
    return f"{name} {_describe_curve(facts, unit)}"


def _describe_clients(facts: StageData) -> str:
    plural_s = "" if facts.concurrency == 1 else "s"
    who = f"user{plural_s} of the Locust test" if facts.arrival_kind == "locust" else f"client{plural_s}"
    number = "" if facts.concurrency is None else f"{facts.concurrency:,} "
    think = f", thinking {facts.think_s:.4g} s" if facts.think_s else ""
    return f"closed loop, {number}{who}{think}"


def _describe_curve(facts: StageData, unit: str) -> str:
    rates = [rate for _, rate in facts.rates]
    if not rates:
        return "at a varying rate"
    if facts.kind == "spike":
        return f"spike {format_number(rates[0])} → {format_number(max(rates))} → {format_number(rates[-1])}{unit}"
    if _is_stepped(facts):
        steps = [rate for index, rate in enumerate(rates) if index == 0 or rate != rates[index - 1]]
        if len(steps) <= 6:
            return f"in steps {' → '.join(format_number(rate) for rate in steps)}{unit}"
    elif len(rates) == 2:
        return f"along a ramp {format_number(rates[0])} → {format_number(rates[1])}{unit}"
    return f"varying {format_number(min(rates))} to {format_number(max(rates))}{unit}"


def _is_stepped(facts: StageData) -> bool:
    """Return True if the rate changes only by jumps."""
    points = facts.rates
    return all(point[1] == following[1] or point[0] == following[0] for point, following in pairwise(points))


@dataclass(frozen=True)
class RateCurve:
    """A rate over time: `at_s` in seconds from the stage's start, `per_s` in requests per second. Two points at one
    time are a jump."""

    at_s: Floats
    per_s: Floats

    def expected_arrivals(self, until_s: Floats) -> Floats:
        """Compute the expected number of arrivals from the stage's start to each of these times, which must not be
        before it."""
        last_s = float(max(until_s.max(initial=0.0), self.at_s[-1])) + 1.0
        at_s = np.concatenate(([min(0.0, self.at_s[0])], self.at_s, [last_s]))
        per_s = np.concatenate((self.per_s[:1], self.per_s, self.per_s[-1:]))
        lengths = np.diff(at_s)
        areas = np.concatenate(([0.0], np.cumsum(lengths * (per_s[1:] + per_s[:-1]) / 2)))
        slopes = np.divide(np.diff(per_s), lengths, out=np.zeros_like(lengths), where=lengths > 0)

        def area(times_s: Floats) -> Floats:
            segment = np.clip(np.searchsorted(at_s, times_s, side="right") - 1, 0, lengths.size - 1)
            offset_s = times_s - at_s[segment]
            return np.asarray(areas[segment] + offset_s * (per_s[segment] + slopes[segment] * offset_s / 2))

        return np.asarray(area(until_s) - area(np.zeros(1)))


def build_rate_curve(facts: StageData) -> RateCurve | None:
    """Build the rate curve of a stage; None if its arrivals do not follow a curve."""
    points: Sequence[tuple[float, float]] = facts.rates
    if not points and facts.rate_per_s is not None:
        points = ((0.0, facts.rate_per_s),)
    if not points or facts.arrival_kind in ("trace", "closed", "locust"):
        return None
    times, rates = zip(*points, strict=True)
    return RateCurve(np.array(times, dtype=np.float64), np.array(rates, dtype=np.float64))
