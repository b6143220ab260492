"""Rental offers with dated prices: price lists, rows added by the user, owned hardware, exchange
rates, grid carbon intensity, and data sheets of accelerators."""

from __future__ import annotations

import datetime
from typing import Literal

import msgspec


class OwnedHardware(msgspec.Struct, frozen=True, kw_only=True):
    """Cost data of one owned instance. `interest_per_year` is a fraction; `power_w` is the mean
    power draw before multiplication by the PUE.

    `availability` is the fraction of hours in which the instance can serve; `units` is the number
    of instances owned, or None if more can be bought.
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
    """Price in USD of network equipment that is bought with the instance and depreciated over the
    same lifetime."""
    availability: float = 1.0
    units: int | None = None


class Override(msgspec.Struct, frozen=True):
    """Change of one value of an offer by the user. `original_value` is the catalog's value; None if
    the catalog has no value."""

    column: str
    original_value: float | str | None
    as_of: datetime.date


class PriceCells(msgspec.Struct, frozen=True, kw_only=True):
    """Columns shared by the rows of a user's price list and the offers of the catalog. A
    missing price is None, never 0."""

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
    """CPU architecture: "x86_64", "arm64", or None if not stated."""
    owned: OwnedHardware | None = None
    """Cost data of owned hardware, from which the planner computes an hourly price; None for rented
    hardware. An offer of owned hardware has no on-demand price."""

    @property
    def key(self) -> str:
        """Key of the offer: `provider/instance@region`."""
        return f"{self.instance}@{self.region}"

    @property
    def instance(self) -> str:
        """Key of the offer without its region: `provider/instance`."""
        return f"{self.provider}/{self.instance_type}"


class PriceRow(PriceCells, frozen=True, kw_only=True):
    """One row of a user's price list: the key of an offer and the values to set. None leaves the
    catalog's value unchanged.

    `accelerator` is "none" for a CPU-only instance.
    """

    country: str | None = None
    """Country whose grid carbon intensity applies; a key of `Catalog.grid`."""
    source: str | None = None
    """Published catalog that the values come from; None for values of the user. Values of a
    published catalog replace those of the bundled catalog without being overrides."""


class PriceList(msgspec.Struct, frozen=True):
    """Rows of the price list that a user imported or updated. `version` is the format version."""

    rows: tuple[PriceRow, ...]
    imported_from: str
    imported_on: datetime.date
    version: int = 1


class ExchangeRate(msgspec.Struct, frozen=True):
    """Value of one unit of `currency` (an ISO 4217 code) in USD."""

    currency: str
    usd: float
    as_of: datetime.date
    source: str


class GridCarbonIntensity(msgspec.Struct, frozen=True):
    """Mean carbon intensity of a country's electricity, in g CO2e per kWh. `country` is a
    two-letter ISO 3166 code, or EU."""

    country: str
    g_co2e_per_kwh: float
    as_of: datetime.date
    source: str


RequestedPrice = Literal["on-demand", "reserved-1y", "spot"]
PriceKind = Literal[RequestedPrice, "owned"]
PRICE_FIELDS: dict[RequestedPrice, str] = {
    "on-demand": "on_demand_usd_per_hour",
    "reserved-1y": "reserved_1y_usd_per_hour",
    "spot": "spot_usd_per_hour",
}
"""Field of `PriceCells` with the price of each kind."""
Router = Literal["round-robin", "random", "power-of-two", "least-outstanding", "least-work", "session-hash"]
"""Load-balancing policy that distributes requests across replicas."""
Workload = Literal["saturated", "decode", "batched-decode", "unknown"]
"""Kind of the model's work, which determines the bottleneck.

saturated: encoders, CNNs, diffusion, and prefill, at full batches. decode: decoding of a few
sequences by a language model. batched-decode: decoding of many sequences. unknown: the bottleneck
is not known.
"""


class Accelerator(msgspec.Struct, frozen=True):
    """Data sheet of an accelerator. Peaks are for dense matrices; unpublished values are None.
    `nvml_name_pattern` is the pattern to search for in the driver's device name."""

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
    """Interconnect bandwidth in GB/s, the sum of both directions; None for plain PCIe."""


class Offer(PriceCells, frozen=True, kw_only=True):
    """One rental offer of the catalog. `accelerator` is None for CPU-only instances."""

    accelerator_count: float
    source: str
    overrides: tuple[Override, ...] = ()
    """Values set by the user that replace values of the catalog."""

    @property
    def sources(self) -> tuple[str, ...]:
        """IDs of the sources of the offer's prices; the first is that of the on-demand price."""
        return split_sources(self.source)

    @property
    def is_customized(self) -> bool:
        """True if any value of the offer was set by the user."""
        return bool(self.overrides) or self.owned is not None


def split_key(key: str) -> tuple[str, str | None]:
    """Split the key `provider/instance@region` into `provider/instance` and the region; the region
    is None if the key has no region."""
    instance, _, region = key.partition("@")
    return instance, region or None


def split_sources(source: str) -> tuple[str, ...]:
    """Return the IDs of the sources that `source` names, joined by `+`. Of a published catalog,
    such as `aws:https://…`, the ID is its layout."""
    return tuple(name.partition(":")[0] for name in source.split("+"))


class Catalog(msgspec.Struct, frozen=True):
    """Accelerators, offers and grid carbon intensities. `grid` is keyed by country, and also by
    `provider/region` for regions whose country is known."""

    accelerators: dict[str, Accelerator]
    offers: tuple[Offer, ...]
    grid: dict[str, GridCarbonIntensity] = {}

    def find_carbon_intensity(self, offer: Offer) -> GridCarbonIntensity | None:
        return self.grid.get(f"{offer.provider}/{offer.region}")


class CurvePoint(msgspec.Struct, frozen=True):
    """One load point of a capacity curve: the offered rate, and the value of the SLO's latency
    metric at this rate."""

    offered_per_s: float
    latency_ms: float | None
    achieved_per_s: float
    meets_slo: bool


class CapacityCurve(msgspec.Struct, frozen=True):
    """Capacity curve of the whole target with all its replicas. `cores_used` is the CPU usage of
    the endpoint at the max rate, in cores; None if not measured."""

    points: tuple[CurvePoint, ...]
    latency_metric: str
    max_rate_per_s: float
    max_rate_ci95: tuple[float, float] | None
    cores_used: float | None


class ApiPrice(msgspec.Struct, frozen=True):
    """Price of a third-party API that serves the same requests."""

    usd: float
    per: Literal["1k requests", "1M tokens"]


class ApiTokenPrices(msgspec.Struct, frozen=True):
    """Prices of an API that serves the same requests, in USD per 1M tokens, by kind of token.

    Cached input tokens have the price of other input tokens if `cached_input_usd` is None.
    `cached_share` is the share of the input tokens that the API serves from its cache; if None, it
    is taken from the measurement. `as_of` is the date of the prices; None if not stated.
    """

    input_usd: float
    output_usd: float
    cached_input_usd: float | None = None
    cached_share: float | None = None
    as_of: datetime.date | None = None


class UnmeasuredGpus(msgspec.Struct, frozen=True):
    """Settings for planning with unmeasured accelerators, whose max rate is derived from
    performance ratios. `dtype` is the data type and `work` the kind of the model's work.

    `memory_gib` is the memory that a replica needs on each accelerator; if None, a replica is
    assumed to need all the memory of the measured accelerator.
    """

    dtype: str
    work: Workload = "unknown"
    memory_gib: float | None = None


class PlanLimits(msgspec.Struct, frozen=True):
    """Constraints of a fleet in addition to the SLO. `confidence` is the required probability that
    the SLO is met; `redundancy` is the number of spare instances. Empty `regions`, `providers`,
    `vendors`, `accelerators` and `sources` allow all; None means no limit.

    `max_unavailable` is the number of instances that a rolling update may make unavailable at once.
    As many spare instances are added to those for failures. With more than one zone, the fleet must
    be large enough after the loss of any one zone. `max_accelerators` is per instance.
    """

    confidence: float = 0.90
    redundancy: int = 1
    regions: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    budget_usd_per_month: float | None = None
    max_price_age_days: int | None = None
    router: Router = "round-robin"
    zones: int = 1
    max_unavailable: int = 0
    max_accelerators: float | None = None
    price: RequestedPrice = "on-demand"
    unmeasured_gpus: UnmeasuredGpus | None = None
    vendors: tuple[str, ...] = ()
    max_power_w: float | None = None
    """Maximum total power of the fleet's accelerators at TDP, in W."""
    api: ApiPrice | None = None
    low_trust_prices: bool = False
    """True to allow recommending offers whose price has the trust "low" (marketplace asks, manually
    maintained lists)."""
    accelerators: tuple[str, ...] = ()
    """Names of accelerators. A name denotes all of its variants; "none" denotes instances
    without accelerators."""
    sources: tuple[str, ...] = ()
    """IDs of price sources."""
    api_prices: ApiTokenPrices | None = None
    """Prices of an API by kind of token, which the cost of the fleet is compared with."""
