"""What one can rent, as dated facts.

What prices are made of beside the price list itself: a user's own rows, owned hardware, currencies,
the grid.

What others measured and published, as dated facts.
"""

from __future__ import annotations

import datetime
from typing import Literal

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


PriceKind = Literal["on demand", "reserved 1y", "spot", "owned"]
Router = Literal["round_robin", "random", "power_of_two", "least_outstanding", "least_work", "weighted", "session_hash"]
"""How requests are spread over replicas."""
Work = Literal["saturated", "decode", "batched-decode", "unknown"]
"""saturated: encoders, CNNs, diffusion and prefill at full batches. decode: a language model's, a few sequences at
once. batched-decode: many. unknown: it is not known what binds."""


class Accelerator(msgspec.Struct, frozen=True):
    """Dense peaks; None where no figure is published. `nvml_name_pattern` is searched in the driver's device name."""

    key: str
    vendor: str
    name: str
    nvml_name_pattern: str | None
    architecture: str
    memory_gib: float | None
    memory_bandwidth_gb_s: float | None
    fp32_tflops: float | None
    fp16_tflops: float | None
    int8_tops: float | None
    tdp_w: float | None
    launch_year: int | None
    source: str
    tf32_tflops: float | None = None
    bf16_tflops: float | None = None
    fp8_tflops: float | None = None
    fp4_tflops: float | None = None
    interconnect: str | None = None
    interconnect_gb_s: float | None = None
    """Both directions together; None is plain PCIe."""


class Offer(msgspec.Struct, frozen=True):
    """One row of the price list. `accelerator` is None for CPU-only instances; `key` is provider/instance@region."""

    provider: str
    instance_type: str
    region: str
    accelerator: str | None
    accelerator_count: float
    vcpus: float | None
    memory_gib: float | None
    on_demand_usd_per_hour: float | None
    spot_usd_per_hour: float | None
    reserved_1y_usd_per_hour: float | None
    as_of: datetime.date
    source: str
    cpu_architecture: str | None = None
    """x86_64, arm64, or None when the row does not tell."""
    overrides: tuple[Override, ...] = ()
    """The cells that are the user's own, not the catalogue's."""
    owned: OwnedHardware | None = None
    """Facts that planning makes a price per hour of; such an offer has no on-demand price of its own."""

    @property
    def key(self) -> str:
        return f"{self.instance}@{self.region}"

    @property
    def instance(self) -> str:
        """`provider/instance`: the offer without its region."""
        return f"{self.provider}/{self.instance_type}"

    @property
    def is_yours(self) -> bool:
        """Whether any of it is the user's own."""
        return bool(self.overrides) or self.owned is not None


def split_key(key: str) -> tuple[str, str | None]:
    """The instance and the region of `provider/instance@region`; `None` where it names no region."""
    instance, _, region = key.partition("@")
    return instance, region or None


class Catalogue(msgspec.Struct, frozen=True):
    """`grid` is by country, and by provider/region where the country of a region is known."""

    accelerators: dict[str, Accelerator]
    offers: tuple[Offer, ...]
    grid: dict[str, GridIntensity] = {}

    def grid_of(self, offer: Offer) -> GridIntensity | None:
        return self.grid.get(f"{offer.provider}/{offer.region}")


class CurvePoint(msgspec.Struct, frozen=True):
    """One stage of a capacity curve: what was offered, and what the SLO's latency was there."""

    offered_per_s: float
    latency_ms: float | None
    achieved_per_s: float
    held: bool


class CapacityCurve(msgspec.Struct, frozen=True):
    """The target as a whole, all its replicas together. `cores_used` is what the endpoint kept busy at the max rate;
    None when not measured."""

    points: tuple[CurvePoint, ...]
    latency_metric: str
    max_rate_per_s: float
    max_rate_ci95: tuple[float, float] | None
    cores_used: float | None


class ApiPrice(msgspec.Struct, frozen=True):
    """What somebody else takes for the same answers."""

    usd: float
    per: Literal["1k requests", "1M tokens"]


class OtherCards(msgspec.Struct, frozen=True):
    """That accelerators nobody measured may be planned by ratios: of what precision and kind the model's work is.

    `memory_gib` is what a replica takes of each card; where it is not known, it is taken to need the measured card's.
    """

    dtype: str
    work: Work = "unknown"
    memory_gib: float | None = None


class PlanLimits(msgspec.Struct, frozen=True):
    """What a fleet must satisfy besides the SLO. `assurance` is P(the SLO is met); `redundancy` counts spare instances;
    empty `regions` and `providers` admit all; None is no limit.

    `surge` counts spare instances on top of those, for what a rolling update takes out at once; with `zones` above one,
    losing any zone leaves enough. `max_accelerators` is of one instance.
    """

    assurance: float = 0.90
    redundancy: int = 1
    regions: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    budget_usd_per_month: float | None = None
    max_price_age_days: int | None = None
    router: Router = "round_robin"
    zones: int = 1
    surge: int = 0
    max_accelerators: float | None = None
    price: PriceKind = "on demand"
    other_cards: OtherCards | None = None
    vendors: tuple[str, ...] = ()
    max_power_w: float | None = None
    """Of all accelerators of the fleet, at their TDP."""
    api: ApiPrice | None = None
    low_trust_prices: bool = False
    """Whether prices of trust "low" (marketplace asks, hand-kept lists) may be recommended."""
