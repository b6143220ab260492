"""The traffic a plan is for: a peak, and how a day goes up to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.profiles.settings import Days, Growth, Listed, Rate, Redundancy, Settings, Share, UsdPerMonth
from app.records.offers import PlanLimits
from app.records.result import Traffic

Shape = Literal["workday", "evening", "flat"]
SHAPES: dict[Shape, tuple[float, ...]] = {
    "workday": (
        0.14, 0.11, 0.09, 0.09, 0.10, 0.14, 0.25, 0.46, 0.72, 0.92, 1.00, 0.98,
        0.88, 0.92, 0.99, 0.97, 0.90, 0.76, 0.60, 0.48, 0.40, 0.33, 0.26, 0.19,
    ),
    "evening": (
        0.42, 0.27, 0.18, 0.13, 0.11, 0.12, 0.16, 0.24, 0.32, 0.37, 0.41, 0.46,
        0.52, 0.52, 0.50, 0.52, 0.58, 0.67, 0.79, 0.91, 0.99, 1.00, 0.87, 0.64,
    ),
    "flat": (1.0,) * 24,
}  # fmt: skip
"""Our own typical days: the share of the peak in each hour from midnight."""


class TrafficSettings(Settings):
    peak_per_s: Rate = Field(alias="peak")
    shape: Shape = "workday"
    growth_per_year: Growth = Field(default=0.0, alias="growth")


class PlanSettings(Settings):
    """`assurance` is P(the fleet carries its peak); empty lists admit every region and provider."""

    assurance: Annotated[Share, Field(ge=0.5, le=0.9999)] = 0.90
    redundancy: Redundancy = 1
    regions: Listed[str] = ()
    providers: Listed[str] = ()
    budget_usd_per_month: UsdPerMonth | None = Field(default=None, alias="budget")
    max_price_age_days: Days | None = Field(default=None, alias="max_price_age")


def traffic_of(settings: TrafficSettings) -> Traffic:
    return Traffic(
        peak_per_s=settings.peak_per_s,
        shape=settings.shape,
        hourly_share=SHAPES[settings.shape],
        growth_per_year=settings.growth_per_year,
    )


def plan_limits_of(settings: PlanSettings) -> PlanLimits:
    return PlanLimits(
        assurance=settings.assurance,
        redundancy=settings.redundancy,
        regions=settings.regions,
        providers=settings.providers,
        budget_usd_per_month=settings.budget_usd_per_month,
        max_price_age_days=settings.max_price_age_days,
    )
