"""What a fleet must satisfy besides the SLO, as a profile says it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.profiles.settings import Count, Days, Listed, Redundancy, Settings, Share, UsdPerMonth, at_most
from app.records.offers import OtherCards, PlanLimits, PriceKind, Router

_MOST_ZONES = 9
_PRICES: dict[str, PriceKind] = {"on-demand": "on demand", "reserved-1y": "reserved 1y", "spot": "spot"}
ROUTERS: dict[str, Router] = {
    "round-robin": "round_robin",
    "random": "random",
    "power-of-two": "power_of_two",
    "least-outstanding": "least_outstanding",
    "least-work": "least_work",
    "session-hash": "session_hash",
}


class OtherCardsSettings(Settings):
    """`dtype` is what the model's arithmetic is done in: the measured card's and the others' alike."""

    dtype: Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4"]
    work: Literal["saturated", "decode", "batched-decode", "unknown"] = "unknown"


class PlanSettings(Settings):
    """`assurance` is P(the fleet carries its peak); empty lists admit every region and provider.

    `router` is how requests are spread over replicas; `zones` above one keeps enough when any of them is lost; `surge`
    instances are out at once while a version rolls out. With `other_cards` accelerators that were not measured are
    planned by ratios, with wide intervals; without, they are refused.
    """

    assurance: Annotated[Share, Field(ge=0.5, le=0.9999)] = 0.90
    redundancy: Redundancy = 1
    zones: Annotated[Count, Field(ge=1), at_most(_MOST_ZONES)] = 1
    surge: Annotated[int, Field(ge=0, le=1000)] = 0
    router: Literal["round-robin", "random", "power-of-two", "least-outstanding", "least-work", "session-hash"] = (
        "round-robin"
    )
    regions: Listed[str] = ()
    providers: Listed[str] = ()
    budget_usd_per_month: UsdPerMonth | None = Field(default=None, alias="budget")
    max_accelerators: Annotated[float, Field(gt=0), at_most(10_000)] | None = None
    price: Literal["on-demand", "reserved-1y", "spot"] = "on-demand"
    max_price_age_days: Days | None = Field(default=None, alias="max_price_age")
    other_cards: OtherCardsSettings | None = None


def plan_limits_of(settings: PlanSettings) -> PlanLimits:
    others = settings.other_cards
    return PlanLimits(
        assurance=settings.assurance,
        redundancy=settings.redundancy,
        regions=settings.regions,
        providers=settings.providers,
        budget_usd_per_month=settings.budget_usd_per_month,
        max_price_age_days=settings.max_price_age_days,
        router=ROUTERS[settings.router],
        zones=settings.zones,
        surge=settings.surge,
        max_accelerators=settings.max_accelerators,
        price=_PRICES[settings.price],
        other_cards=None if others is None else OtherCards(others.dtype, others.work),
    )
