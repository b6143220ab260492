"""Cost per hour of owned hardware, and the break-even points of buying hardware and of
self-hosting."""

from __future__ import annotations

import math

import msgspec

from app.planning.pricing.costs import HOURS_PER_YEAR
from app.records.offers import Catalog, Offer, OwnedHardware

MONTHS_PER_YEAR = 12


class OwnedCost(msgspec.Struct, frozen=True):
    """Cost of one owned instance.

    `usd_per_hour` is the cost per calendar hour.
    """

    usd_per_year: float
    usd_per_hour: float


def compute_capital_recovery_factor(interest_per_year: float, years: float) -> float:
    """Return the capital recovery factor: the yearly payment, as a share of a loan, that repays the
    loan with interest in `years` years."""
    if interest_per_year == 0:
        return 1 / years
    return interest_per_year + compute_sinking_fund_factor(interest_per_year, years)


def compute_sinking_fund_factor(interest_per_year: float, years: float) -> float:
    """Return the sinking fund factor: the yearly saving, as a share of a sum, that accumulates to
    the sum, with interest, in `years` years.
    """
    if interest_per_year == 0:
        return 1 / years
    return interest_per_year / math.expm1(years * math.log1p(interest_per_year))


def compute_owned_cost(owned: OwnedHardware) -> OwnedCost:
    recovery_factor = compute_capital_recovery_factor(owned.interest_per_year, owned.life_years)
    residual_usd = owned.residual_usd * compute_sinking_fund_factor(owned.interest_per_year, owned.life_years)
    hardware_usd_per_year = owned.capex_usd * recovery_factor - residual_usd
    network_usd_per_year = owned.network_usd * recovery_factor
    running_usd_per_year = [usd * MONTHS_PER_YEAR for usd in compute_running_usd_per_month(owned).values()]
    usd_per_year = sum([hardware_usd_per_year, network_usd_per_year, *running_usd_per_year])
    return OwnedCost(usd_per_year=usd_per_year, usd_per_hour=usd_per_year / HOURS_PER_YEAR)


def compute_running_usd_per_month(owned: OwnedHardware) -> dict[str, float]:
    """Return the running costs of owned hardware in $/month, by name of the cost."""
    kwh_per_year = owned.power_w * owned.pue / 1000 * HOURS_PER_YEAR
    return {
        "electricity": kwh_per_year * owned.tariff_usd_per_kwh / MONTHS_PER_YEAR,
        "colo": owned.colo_usd_per_month,
        "support": owned.support_usd_per_month,
        "staff": owned.staff_usd_per_month,
    }


def price_catalog(catalog: Catalog) -> Catalog:
    """Return the catalog with the on-demand price of owned hardware set to its hourly cost. Other
    offers are unchanged."""
    return msgspec.structs.replace(catalog, offers=tuple(price_owned_offer(offer) for offer in catalog.offers))


def price_owned_offer(offer: Offer) -> Offer:
    """Return an offer of owned hardware with its hourly cost as the on-demand price. Other offers
    are returned unchanged.

    An owned instance costs the same whether or not it is used.
    """
    if offer.owned is None:
        return offer
    usd_per_hour = compute_owned_cost(offer.owned).usd_per_hour
    return msgspec.structs.replace(offer, on_demand_usd_per_hour=usd_per_hour)


def compute_break_even_months(
    capex_usd: float, running_usd_per_month_owned: float, rented_usd_per_month: float
) -> float | None:
    """Return the number of months after which buying has cost as much as renting; `None` if there
    is no break-even point."""
    saving_usd_per_month = rented_usd_per_month - running_usd_per_month_owned
    return capex_usd / saving_usd_per_month if saving_usd_per_month > 0 else None


def compute_owned_break_even_months(owned: OwnedHardware, rented_usd_per_month: float) -> float | None:
    """Return the number of months until owned hardware breaks even with renting, without interest.
    Return `None` if there is no break-even point within the lifetime of the hardware."""
    purchase_usd = owned.capex_usd + owned.network_usd
    months = compute_break_even_months(
        purchase_usd, sum(compute_running_usd_per_month(owned).values()), rented_usd_per_month
    )
    return None if months is None or months > owned.life_years * MONTHS_PER_YEAR else months


def compute_break_even_volume(
    fixed_usd_per_month: float, api_usd_per_unit: float, own_usd_per_unit: float = 0.0
) -> float | None:
    """Return the number of units per month above which self-hosting is cheaper than the API.

    Units are requests or 1M tokens, depending on the prices. Return `None` if a self-hosted unit
    costs at least as much as a unit of the API.
    """
    saving_usd_per_unit = api_usd_per_unit - own_usd_per_unit
    return fixed_usd_per_month / saving_usd_per_unit if saving_usd_per_unit > 0 else None
