"""What the answer hangs on: each input at its low and its high end, all others as planned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import msgspec

from app.planning.candidates import Candidate
from app.planning.capacity import Capacity
from app.planning.goals import Goals
from app.planning.options import Option, candidate_of
from app.planning.sizing import HOURS_A_MONTH, Z80, Demand, instances_at
from app.planning.wording import amount
from app.records.offers import Router
from app.records.plan import Swing
from app.records.plan_question import PlanQuestion

_SHARE = 0.2


def sensitivity_of(
    options: Sequence[Option], demand: Demand, question: PlanQuestion, goals: Goals
) -> tuple[Swing, ...]:
    """The widest swing first. Fleets are sized anew by formula, with rates that the simulation settled."""
    feasible = [option for option in options if option.is_feasible]
    best = min(feasible, key=lambda option: candidate_of(option).usd_per_month)
    swings = [
        _swing(name, words, [_cheapest(feasible, *case) for case in cases])
        for name, words, cases in _inputs(demand, question, goals, best)
    ]
    return tuple(sorted(swings, key=_width, reverse=True))


_Case = tuple[Demand, Callable[[Capacity], float], Callable[[Candidate], float]]


def _inputs(
    demand: Demand, question: PlanQuestion, goals: Goals, best: Option
) -> Iterator[tuple[str, tuple[str, str], tuple[_Case, _Case]]]:
    peak = demand.peak_per_s
    sigma = demand.peak_sigma * Z80
    low, high = (math.exp(-sigma), math.exp(sigma)) if sigma else (1 - _SHARE, 1 + _SHARE)
    yield (
        "peak",
        (f"{amount(peak * low)}/s", f"{amount(peak * high)}/s"),
        (
            (_with(demand, peak_per_s=peak * low), _same, _one),
            (_with(demand, peak_per_s=peak * high), _same, _one),
        ),
    )
    yield (
        "rate of a replica",
        ("its 90th percentile", "its 10th percentile"),
        (
            (demand, lambda capacity: math.exp(Z80 * capacity.sigma), _one),
            (demand, lambda capacity: math.exp(-Z80 * capacity.sigma), _one),
        ),
    )
    chosen = candidate_of(best).offer.key
    yield (
        "price of the recommended offer",
        ("−20 %", "+20 %"),
        (
            (demand, _same, lambda one: 1 - _SHARE if one.offer.key == chosen else 1.0),
            (demand, _same, lambda one: 1 + _SHARE if one.offer.key == chosen else 1.0),
        ),
    )
    yield (
        "assurance",
        ("80 %", "99 %"),
        ((_with(demand, z=0.841621), _same, _one), (_with(demand, z=2.326348), _same, _one)),
    )
    yield (
        "spare instances",
        (str(max(0, demand.spares - 1)), str(demand.spares + 1)),
        (
            (_with(demand, spares=max(0, demand.spares - 1)), _same, _one),
            (_with(demand, spares=demand.spares + 1), _same, _one),
        ),
    )
    if best.target.fit is not None:
        yield from _of_the_model(demand, question, goals, best)


def _of_the_model(
    demand: Demand, question: PlanQuestion, goals: Goals, best: Option
) -> Iterator[tuple[str, tuple[str, str], tuple[_Case, _Case]]]:
    """The SLO's limits and the router, by what the formulae say of their ratio."""

    def ratio(changed: Goals, router: Router) -> Callable[[Capacity], float]:
        factor = _formula(best, changed, router) / max(_formula(best, goals, question.limits.router), 1e-9)
        return lambda _: factor

    router = question.limits.router
    loose, tight = (_scaled(goals, 1 + _SHARE), _scaled(goals, 1 - _SHARE))
    if goals.times:
        yield (
            "limits of the SLO",
            ("+20 %", "−20 %"),
            (
                (demand, ratio(loose, router), _one),
                (demand, ratio(tight, router), _one),
            ),
        )
    yield (
        "router",
        ("least outstanding", "random"),
        (
            (demand, ratio(goals, "least_outstanding"), _one),
            (demand, ratio(goals, "random"), _one),
        ),
    )


def _formula(option: Option, goals: Goals, router: Router) -> float:
    from app.planning.formulae import rate_inside
    from app.planning.service_models.service_times import faster

    fit, candidate = option.target.fit, candidate_of(option)
    assert fit is not None
    replicas = candidate.needed * candidate.capacity.replicas
    service = faster(fit.laws[0].service, candidate.capacity.speed)
    return min(rate_inside(service, goals, replicas, router), fit.highest_per_s * candidate.capacity.speed)


def _scaled(goals: Goals, factor: float) -> Goals:
    times = tuple(msgspec.structs.replace(goal, limit_s=goal.limit_s * factor) for goal in goals.times)
    return msgspec.structs.replace(goals, times=times)


def _with(demand: Demand, **changes: float) -> Demand:
    return msgspec.structs.replace(demand, **changes)


def _same(_: Capacity) -> float:
    return 1.0


def _one(_: Candidate) -> float:
    return 1.0


def _cheapest(
    options: Sequence[Option], demand: Demand, rate: Callable[[Capacity], float], price: Callable[[Candidate], float]
) -> tuple[float, str] | None:
    """The month's cost and the offer; a budget does not bind here."""
    found = []
    for option in options:
        candidate = candidate_of(option)
        capacity = candidate.capacity
        per_s = capacity.per_s * rate(capacity)
        if per_s <= 0:
            continue
        needed = instances_at(demand, per_s, capacity.sigma, demand.z)
        instances = needed + demand.spares_of(needed) + candidate.spot_spares
        found.append((HOURS_A_MONTH * instances * candidate.usd_per_hour * price(candidate), candidate.offer.key))
    return min(found, default=None)


def _swing(name: str, words: tuple[str, str], ends: Sequence[tuple[float, str] | None]) -> Swing:
    low, high = ends
    return Swing(
        input=name,
        low=words[0],
        high=words[1],
        usd_per_month_low=low[0] if low else None,
        usd_per_month_high=high[0] if high else None,
        winner_low=low[1] if low else None,
        winner_high=high[1] if high else None,
    )


def _width(swing: Swing) -> float:
    if swing.usd_per_month_low is None or swing.usd_per_month_high is None:
        return math.inf
    return abs(swing.usd_per_month_high - swing.usd_per_month_low)
