"""What a warm pool costs or saves, were instances to follow the need."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from app.analysis.columns import Floats
from app.planning.candidates import Candidate
from app.planning.demand import year_rates_per_s
from app.planning.sizing import HOURS_A_MONTH, Demand, peak_carried_per_s
from app.records.plan import Saving
from app.records.plan_question import PlanQuestion

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
