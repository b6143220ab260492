"""Owned hardware as a price per hour, and the break-even points of owning and of self-hosting."""

from __future__ import annotations

import math

import msgspec

from app.planning.pricing.costs import HOURS_PER_YEAR
from app.records.offers import Catalog, Offer, OwnedHardware

MONTHS_PER_YEAR = 12


class OwnedCost(msgspec.Struct, frozen=True):
    """Cost of one owned instance. The parts are USD per year by name, and sum to `usd_per_year`.

    `usd_per_hour` is over every hour of the year, as it is paid. An accelerator's hour counts only where it can serve
    (available) or does (useful); `None` where there is no such hour.
    """

    parts_usd_per_year: dict[str, float]
    usd_per_year: float
    usd_per_hour: float
    usd_per_accelerator_hour_available: float | None
    usd_per_accelerator_hour_useful: float | None


def capital_recovery_factor(interest_per_year: float, years: float) -> float:
    """Return the share of a sum that pays it off, with interest, in `years` equal yearly payments."""
    if interest_per_year == 0:
        return 1 / years
    return interest_per_year + sinking_fund_factor(interest_per_year, years)


def sinking_fund_factor(interest_per_year: float, years: float) -> float:
    """Return the share of a sum that has to be saved every year to reach the sum at the end."""
    if interest_per_year == 0:
        return 1 / years
    return interest_per_year / math.expm1(years * math.log1p(interest_per_year))


def compute_owned_cost(owned: OwnedHardware, accelerators: float, utilization: float | None = None) -> OwnedCost:
    """Compute the cost of owned hardware.

    `utilization` is the share of the available hours in which it does useful work; `None` if unknown.
    """
    recovery = capital_recovery_factor(owned.interest_per_year, owned.life_years)
    residual = owned.residual_usd * sinking_fund_factor(owned.interest_per_year, owned.life_years)
    running = running_usd_per_month(owned)
    parts = {
        "hardware": owned.capex_usd * recovery - residual,
        "network": owned.network_usd * recovery,
        **{name: usd * MONTHS_PER_YEAR for name, usd in running.items()},
    }
    usd_per_year = sum(parts.values())
    hours = HOURS_PER_YEAR * owned.availability * accelerators
    useful = hours * (utilization or 0)
    return OwnedCost(
        parts_usd_per_year=parts,
        usd_per_year=usd_per_year,
        usd_per_hour=usd_per_year / HOURS_PER_YEAR,
        usd_per_accelerator_hour_available=usd_per_year / hours if hours > 0 else None,
        usd_per_accelerator_hour_useful=usd_per_year / useful if useful > 0 else None,
    )


def running_usd_per_month(owned: OwnedHardware) -> dict[str, float]:
    """Return the running costs in USD per month, by name."""
    kwh_a_year = owned.power_w * owned.pue / 1000 * HOURS_PER_YEAR
    return {
        "electricity": kwh_a_year * owned.tariff_usd_per_kwh / MONTHS_PER_YEAR,
        "colo": owned.colo_usd_per_month,
        "support": owned.support_usd_per_month,
        "staff": owned.staff_usd_per_month,
    }


def price_catalog(catalog: Catalog) -> Catalog:
    """Return the catalog with an on-demand price per hour for owned hardware; other offers are unchanged."""
    return msgspec.structs.replace(catalog, offers=tuple(price_owned(offer) for offer in catalog.offers))


def price_owned(offer: Offer) -> Offer:
    """Return the offer with its cost per hour as the on-demand price.

    An owned instance costs the same whether it is used or not.
    """
    if offer.owned is None:
        return offer
    usd_per_hour = compute_owned_cost(offer.owned, offer.accelerator_count).usd_per_hour
    return msgspec.structs.replace(offer, on_demand_usd_per_hour=usd_per_hour)


def break_even_months(
    capex_usd: float, running_usd_per_month_owned: float, rented_usd_per_month: float
) -> float | None:
    """Return after how many months the purchase has cost as much as renting; `None` where it never has."""
    saved = rented_usd_per_month - running_usd_per_month_owned
    return capex_usd / saved if saved > 0 else None


def break_even_owned(owned: OwnedHardware, rented_usd_per_month: float) -> float | None:
    """Return the break-even in months, without interest; `None` where it is after the end of the hardware's life."""
    purchase_usd = owned.capex_usd + owned.network_usd
    months = break_even_months(purchase_usd, sum(running_usd_per_month(owned).values()), rented_usd_per_month)
    return None if months is None or months > owned.life_years * MONTHS_PER_YEAR else months


def break_even_volume(
    fixed_usd_per_month: float, api_usd_per_unit: float, own_usd_per_unit: float = 0.0
) -> float | None:
    """Return the units per month above which an own fleet is cheaper than the API.

    Units are calls or 1M tokens, depending on the prices. `None` where there is no such volume, because a unit costs at
    least as much as the API's.
    """
    saved = api_usd_per_unit - own_usd_per_unit
    return fixed_usd_per_month / saved if saved > 0 else None
