"""What changes of the model, of its server or of its traffic would save, each by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from app.planning.candidates import Candidate
from app.planning.goals import Goals
from app.planning.options import Option, candidate_of, options_of
from app.planning.savings import Size, WhatIfChange, caching, faster_variant, savings
from app.planning.service_speed import faster
from app.planning.sizing import HOURS_A_MONTH, Demand, instances_at
from app.planning.warm_pool import warm_pool_saving
from app.planning.wording import amount
from app.records.estimate import Basis
from app.records.plan import Saving
from app.records.plan_question import PlanQuestion
from app.records.service import BatchService

_ASSUMED = (
    WhatIfChange(
        "a variant 1.5 × as fast (precision, runtime, a smaller model)", "assumed", "1.5 ×", capacity_factor=1.5
    ),
    WhatIfChange("a variant 3 × as fast, as a distilled one may be", "assumed", "3 ×", capacity_factor=3.0),
    msgspec.structs.replace(caching(0.3), name="a cache that answers 30 % of the requests"),
)
_WINDOWS = (0.0, 0.5, 2.0, 4.0)
"""Times the present window; without one, times what a batch takes."""
_WORTH_TELLING = 1.01
_MOST_VARIANTS = 8


def savings_of(
    options: Sequence[Option], best: Option, demand: Demand, question: PlanQuestion, goals: Goals, *, preview: bool
) -> tuple[Saving, ...]:
    """What was measured is planned from its own run, but not for a preview; all else is assumed."""
    feasible = [option for option in options if option.is_feasible]
    changes = [*_ASSUMED, *_window(best, question, goals)]

    def size(change: WhatIfChange) -> Size:
        there = msgspec.structs.replace(demand, peak_per_s=demand.peak_per_s * change.traffic_factor)
        found = min((_sized(candidate_of(option), there, change) for option in feasible), default=None)
        return Size(None, None) if found is None else Size(found[1], found[0])

    assumed = tuple(
        Saving(one.change.name, one.change.basis, one.after.usd_per_month, one.usd_per_month)
        for one in savings(changes, size)
    )
    if preview:
        return assumed
    pool = warm_pool_saving(candidate_of(best), demand, question)
    return (*_measured(best, demand, question, goals), *assumed, *pool)


def _measured(best: Option, demand: Demand, question: PlanQuestion, goals: Goals) -> Iterator[Saving]:
    """The cheapest fleet of each other target beside the recommended one."""
    now = candidate_of(best).usd_per_month
    for target in question.measured[:_MOST_VARIANTS]:
        if target.name == best.target.name:
            continue
        alone = msgspec.structs.replace(question, measured=(target,))
        found = options_of(alone, demand, goals, preview=True)
        cheapest = min((candidate_of(one).usd_per_month for one in found if one.is_feasible), default=None)
        basis: Basis = "assumed" if target.is_assumed else "measured"
        yield Saving(f"{target.name} alone", basis, cheapest, None if cheapest is None else now - cheapest)


def _window(best: Option, question: PlanQuestion, goals: Goals) -> Iterator[WhatIfChange]:
    """The batching window under which one replica carries most, by formula, where it is another one."""
    from app.planning.formulae import rate_inside

    fit, router = best.target.fit, question.limits.router
    service = None if fit is None else faster(fit.laws[0].service, candidate_of(best).capacity.speed)
    if not isinstance(service, BatchService):
        return
    whole_s = service.window_s or service.fixed_s + service.per_item_s * service.max_batch
    tried = [msgspec.structs.replace(service, window_s=times * whole_s) for times in _WINDOWS]
    rates = [rate_inside(one, goals, 1, router) for one in (service, *tried)]
    place = max(range(len(tried)), key=lambda at: rates[at + 1])
    if rates[0] > 0 and rates[place + 1] > _WORTH_TELLING * rates[0]:
        name = f"a batching window of {amount(1000 * tried[place].window_s)} ms"
        yield faster_variant(name, rates[place + 1], rates[0], "assumed")


def _sized(candidate: Candidate, demand: Demand, change: WhatIfChange) -> tuple[float, int]:
    per_s = candidate.capacity.per_s * change.capacity_factor
    needed = instances_at(demand, per_s, candidate.capacity.sigma, demand.z)
    instances = needed + demand.spares_of(needed) + candidate.spot_spares
    return HOURS_A_MONTH * instances * candidate.usd_per_hour, instances
