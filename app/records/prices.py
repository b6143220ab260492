"""What prices are made of beside the price list itself: a user's own rows, owned hardware, currencies, the grid."""

from __future__ import annotations

import datetime

import msgspec


class OwnedHardware(msgspec.Struct, frozen=True, kw_only=True):
    """What one owned instance costs. Shares and rates are fractions; `power_w` is its mean draw, before the PUE.

    `availability` is the share of its hours in which it can serve; `units` is how many of it there are, None where
    more can be bought.
    """

    capex_usd: float
    life_years: float
    interest_per_year: float = 0.0
    residual_usd: float = 0.0
    power_w: float = 0.0
    pue: float = 1.0
    tariff_usd_per_kwh: float = 0.0
    colo_usd_per_month: float = 0.0
    support_usd_per_month: float = 0.0
    staff_usd_per_month: float = 0.0
    network_usd: float = 0.0
    """Bought with it, and paid off over the same life."""
    availability: float = 1.0
    units: int | None = None


class Override(msgspec.Struct, frozen=True):
    """One cell of an offer that is the user's. `was` is what the catalogue says; None where it says nothing."""

    cell: str
    was: float | str | None
    as_of: datetime.date


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a user's price list: the key, and what it says. None leaves the catalogue's cell as it is.

    `accelerator` is "none" for a CPU-only instance. A price the row does not give is not a price of 0.
    """

    provider: str
    instance_type: str
    region: str
    as_of: datetime.date
    accelerator: str | None = None
    accelerator_count: float | None = None
    vcpus: float | None = None
    memory_gib: float | None = None
    on_demand_usd_per_hour: float | None = None
    spot_usd_per_hour: float | None = None
    reserved_1y_usd_per_hour: float | None = None
    cpu_architecture: str | None = None
    country: str | None = None
    """Of its electricity, as in the grid's table."""
    owned: OwnedHardware | None = None

    @property
    def key(self) -> str:
        return f"{self.provider}/{self.instance_type}@{self.region}"


class PriceList(msgspec.Struct, frozen=True):
    """A user's rows as they were imported; `version` 1 is the first."""

    rows: tuple[PriceRow, ...]
    imported_from: str
    imported_on: datetime.date
    version: int = 1


class ExchangeRate(msgspec.Struct, frozen=True):
    """What one unit of `currency`, an ISO 4217 code, was worth in USD."""

    currency: str
    usd: float
    as_of: datetime.date
    source: str


class GridIntensity(msgspec.Struct, frozen=True):
    """The mean of a country's electricity; `country` is its ISO 3166 code of two letters, or EU."""

    country: str
    g_co2e_per_kwh: float
    as_of: datetime.date
    source: str
