"""Owned hardware as a price per hour, and where owning or hosting oneself breaks even."""

from __future__ import annotations

import math

import msgspec

from app.planning.pricing.costs import HOURS_A_YEAR
from app.records.offers import Catalogue, Offer, OwnedHardware

MONTHS_A_YEAR = 12


class OwnedCost(msgspec.Struct, frozen=True):
    """Of one owned instance. Parts are USD a year, by name; they sum to `usd_per_year`.

    `usd_per_hour` is over every hour of the year, as it is paid; an accelerator's hour counts only where it can serve
    (available) or does (useful); None where there is no such hour.
    """

    parts_usd_per_year: dict[str, float]
    usd_per_year: float
    usd_per_hour: float
    usd_per_accelerator_hour_available: float | None
    usd_per_accelerator_hour_useful: float | None


def capital_recovery_factor(interest_per_year: float, years: float) -> float:
    """The share of a sum that pays it off, with interest, in so many equal yearly payments."""
    if interest_per_year == 0:
        return 1 / years
    return interest_per_year + sinking_fund_factor(interest_per_year, years)


def sinking_fund_factor(interest_per_year: float, years: float) -> float:
    """The share of a sum that, put by every year, makes up the sum at the end."""
    if interest_per_year == 0:
        return 1 / years
    return interest_per_year / math.expm1(years * math.log1p(interest_per_year))


def owned_cost(owned: OwnedHardware, accelerators: float, utilisation: float | None = None) -> OwnedCost:
    """`utilisation` is the share of the available hours in which it does useful work; None is not known."""
    recovery = capital_recovery_factor(owned.interest_per_year, owned.life_years)
    residual = owned.residual_usd * sinking_fund_factor(owned.interest_per_year, owned.life_years)
    running = running_usd_per_month(owned)
    parts = {
        "hardware": owned.capex_usd * recovery - residual,
        "network": owned.network_usd * recovery,
        **{name: usd * MONTHS_A_YEAR for name, usd in running.items()},
    }
    year = sum(parts.values())
    hours = HOURS_A_YEAR * owned.availability * accelerators
    useful = hours * (utilisation or 0)
    return OwnedCost(
        parts_usd_per_year=parts,
        usd_per_year=year,
        usd_per_hour=year / HOURS_A_YEAR,
        usd_per_accelerator_hour_available=year / hours if hours > 0 else None,
        usd_per_accelerator_hour_useful=year / useful if useful > 0 else None,
    )


def running_usd_per_month(owned: OwnedHardware) -> dict[str, float]:
    """What it costs after it is bought, by name."""
    kwh_a_year = owned.power_w * owned.pue / 1000 * HOURS_A_YEAR
    return {
        "electricity": kwh_a_year * owned.tariff_usd_per_kwh / MONTHS_A_YEAR,
        "colo": owned.colo_usd_per_month,
        "support": owned.support_usd_per_month,
        "staff": owned.staff_usd_per_month,
    }


def priced(catalogue: Catalogue) -> Catalogue:
    """The catalogue with a price per hour, on demand, for what is owned; everything else as it is."""
    return msgspec.structs.replace(catalogue, offers=tuple(price_owned(offer) for offer in catalogue.offers))


def price_owned(offer: Offer) -> Offer:
    """An owned instance costs the same in every hour, used or not, which is what its price on demand then says."""
    if offer.owned is None:
        return offer
    hour = owned_cost(offer.owned, offer.accelerator_count).usd_per_hour
    return msgspec.structs.replace(offer, on_demand_usd_per_hour=hour)


def break_even_months(
    capex_usd: float, running_usd_per_month_owned: float, rented_usd_per_month: float
) -> float | None:
    """After how many months what was bought has cost as much as renting; None where it never does."""
    saved = rented_usd_per_month - running_usd_per_month_owned
    return capex_usd / saved if saved > 0 else None


def break_even_owned(owned: OwnedHardware, rented_usd_per_month: float) -> float | None:
    """In months, without interest; None where it is not before the end of its life."""
    bought = owned.capex_usd + owned.network_usd
    months = break_even_months(bought, sum(running_usd_per_month(owned).values()), rented_usd_per_month)
    return None if months is None or months > owned.life_years * MONTHS_A_YEAR else months


def break_even_volume(
    fixed_usd_per_month: float, api_usd_per_unit: float, own_usd_per_unit: float = 0.0
) -> float | None:
    """Units a month (calls, or 1M tokens, as the prices are) from which one's own fleet is cheaper than the API.

    None where no volume is: each unit costs as much as the API's.
    """
    saved = api_usd_per_unit - own_usd_per_unit
    return fixed_usd_per_month / saved if saved > 0 else None
