"""How a stage's requests came, in words."""

from __future__ import annotations

from itertools import pairwise

from app.analysis.digits import digits
from app.records.stage import StageFacts

_NAMES = {"poisson": "Poisson", "constant": "constant", "gamma": "gamma"}


def arrivals_in_words(facts: StageFacts) -> str:
    """As in "Poisson at 200/s" or "Poisson along a ramp 10 → 200/s"."""
    if facts.arrivals == "trace":
        return "a recorded trace"
    if facts.arrivals in ("closed", "locust"):
        return _clients(facts)
    name = _NAMES[facts.arrivals] + (f" (cv {facts.cv:.4g})" if facts.arrivals == "gamma" else "")
    unit = " sessions/s" if facts.sessions else "/s"
    if facts.rate_per_s is not None:
        return f"{name} at {digits(facts.rate_per_s)}{unit}"
    return f"{name} {_along(facts, unit)}"


def _clients(facts: StageFacts) -> str:
    one = "" if facts.concurrency == 1 else "s"
    who = f"user{one} of the Locust test" if facts.arrivals == "locust" else f"client{one}"
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
