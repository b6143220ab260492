"""What changes of the model, of its server or of its traffic would save, each by itself.

What an optimisation would save: the same sizing, before and after a change of the capacity or of
the traffic.

What a warm pool costs or saves, were instances to follow the need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.candidates import Candidate
from app.planning.demand import year_rates_per_s
from app.planning.goals import Goals
from app.planning.options import Option, candidate_of, options_of
from app.planning.service_models.service_times import faster
from app.planning.sizing import HOURS_A_MONTH, Demand, instances_at, peak_carried_per_s
from app.planning.wording import amount
from app.records.estimate import Basis
from app.records.plan import Saving
from app.records.plan_question import PlanQuestion
from app.records.service import BatchService

_SURENESS: tuple[Basis, ...] = ("measured", "interpolated", "extrapolated", "assumed")


class WhatIfChange(msgspec.Struct, frozen=True):
    """`capacity_factor` is on what one replica carries, `traffic_factor` on the requests that reach the fleet;
    `headroom_factor` is on the replicas kept for what comes while another starts. `because` tells what it rests on."""

    name: str
    basis: Basis
    because: str
    capacity_factor: float = 1.0
    traffic_factor: float = 1.0
    headroom_factor: float = 1.0
    extra_usd_per_month: float = 0.0
    """What the change itself costs: a cache, a warm pool."""


class Size(msgspec.Struct, frozen=True):
    """A fleet as the sizing gives it; None where nothing fits."""

    replicas: int | None
    usd_per_month: float | None


class WhatIfSaving(msgspec.Struct, frozen=True):
    """USD a month, negative where the change costs more than it saves; None where either side has no fleet."""

    change: WhatIfChange
    before: Size
    after: Size
    usd_per_month: float | None
    share: float | None


Sizing = Callable[[WhatIfChange], Size]
"""Sizes the fleet as it would be with the change; the extra cost is added here, not there."""
NO_CHANGE = WhatIfChange("as it is", "measured", "nothing is changed")


def savings(changes: Iterable[WhatIfChange], size: Sizing) -> tuple[WhatIfSaving, ...]:
    """Each change by itself, the one that saves most first; unknown ones last."""
    before = size(NO_CHANGE)
    found = [_saving(change, before, size(change)) for change in changes]
    return tuple(sorted(found, key=lambda one: (one.usd_per_month is None, -(one.usd_per_month or 0), one.change.name)))


def together(changes: Iterable[WhatIfChange]) -> WhatIfChange:
    """All of them at once: factors multiply, as if each left the others' effect alone; as sure as the least sure."""
    listed = tuple(changes)
    whole = NO_CHANGE
    for change in listed:
        whole = msgspec.structs.replace(
            whole,
            basis=max(whole.basis, change.basis, key=_SURENESS.index),
            capacity_factor=whole.capacity_factor * change.capacity_factor,
            traffic_factor=whole.traffic_factor * change.traffic_factor,
            headroom_factor=whole.headroom_factor * change.headroom_factor,
            extra_usd_per_month=whole.extra_usd_per_month + change.extra_usd_per_month,
        )
    names = " + ".join(change.name for change in listed)
    if len(listed) > 1 and whole.basis == "measured":
        whole = msgspec.structs.replace(whole, basis="extrapolated")  # each was measured, but not beside the others
    return msgspec.structs.replace(whole, name=names or whole.name, because="; ".join(one.because for one in listed))


def faster_variant(name: str, per_s: float, than_per_s: float, basis: Basis = "measured") -> WhatIfChange:
    """A precision, a batching window or a smaller model that carries `per_s` where the present carries `than_per_s`."""
    factor = per_s / than_per_s
    return WhatIfChange(name, basis, f"{factor:.2f} × the present rate inside the SLO, {basis}", capacity_factor=factor)


def caching(hit_share: float, basis: Basis = "assumed", usd_per_month: float = 0.0) -> WhatIfChange:
    """Answers of a cache do not reach the fleet."""
    because = f"{hit_share:.0%} of the requests answered by a cache, {basis}"
    return WhatIfChange("caching", basis, because, traffic_factor=1 - hit_share, extra_usd_per_month=usd_per_month)


def warm_pool(
    warm_start_s: float, cold_start_s: float, basis: Basis = "assumed", usd_per_month: float = 0.0
) -> WhatIfChange:
    """The replicas kept for a rise of the traffic are as many as the rise fills while the next one starts."""
    factor = warm_start_s / cold_start_s
    because = f"a replica starts in {warm_start_s:g} s, not {cold_start_s:g} s, {basis}"
    return WhatIfChange("warm pool", basis, because, headroom_factor=factor, extra_usd_per_month=usd_per_month)


def _saving(change: WhatIfChange, before: Size, after: Size) -> WhatIfSaving:
    if after.usd_per_month is not None:
        after = msgspec.structs.replace(after, usd_per_month=after.usd_per_month + change.extra_usd_per_month)
    if before.usd_per_month is None or after.usd_per_month is None:
        return WhatIfSaving(change, before, after, None, None)
    saved = before.usd_per_month - after.usd_per_month
    return WhatIfSaving(change, before, after, saved, saved / before.usd_per_month if before.usd_per_month else None)


COLD_MINUTES, WARM_MINUTES = 5, 1
"""Assumed, from wanting an instance to its first request: with a node to provision and a model to load, and without."""


def warm_pool_saving(best: Candidate, demand: Demand, question: PlanQuestion) -> Iterator[Saving]:
    """Beside following the need from cold starts, which takes instances early enough for what comes meanwhile."""
    each_usd = best.offer.on_demand_usd_per_hour
    if each_usd is None or best.price_kind == "owned":
        return
    rates = year_rates_per_s(question.traffic, question.today)
    needed = np.maximum(np.ceil(rates / peak_carried_per_s(1, best.capacity, demand) - 1e-9), 1.0)
    cold, warm = (_ahead(needed, minutes) for minutes in (COLD_MINUTES, WARM_MINUTES))
    pool = max(1.0, float((cold - needed).max()))
    usd = HOURS_A_MONTH * each_usd
    from_cold, with_pool = float(cold.mean()) * usd, (float(warm.mean()) + pool) * usd
    instances = "1 instance" if pool == 1 else f"{pool:.0f} instances"
    name = (
        f"a warm pool of {instances}, were the fleet to follow each minute's need: ready in {WARM_MINUTES} min, not "
        f"{COLD_MINUTES}"
    )
    yield Saving(name, "assumed", with_pool, from_cold - with_pool)


def _ahead(needed: Floats, minutes: int) -> Floats:
    """The most of each minute and of so many after it."""
    from scipy import ndimage  # imported late: the start of a run would wait for it

    return np.asarray(ndimage.maximum_filter1d(needed, minutes + 1, origin=-((minutes + 1) // 2), mode="nearest"))


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
