"""Settings of `plan` in a profile: what a fleet must satisfy besides the SLO.

The module also reads the file of a language model's architecture, to plan for a model that was not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator

from app.profiles.settings import (
    Count,
    Days,
    Listed,
    Name,
    ReadAs,
    Redundancy,
    Settings,
    Share,
    Unit,
    UsdPerMonth,
    build_settings,
    upper_bound,
)
from app.profiles.units import format_power, parse_bytes, parse_power_w, parse_usd_per_unit
from app.records.offers import ApiPrice, PlanLimits, PriceKind, Router, UnmeasuredGpus
from app.records.planning_inputs import AssumedModel, Engine, LanguageModel, Precision

_Dtype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "fp4"]
_Whole = Annotated[int, Field(ge=1, le=10_000_000)]
_Layers = Annotated[int, Field(ge=0)]
_Parameters = Annotated[float, Field(gt=0, le=1e14)]
_NUMBERS = {int: _Whole, int | None: _Whole | None, float: _Parameters, float | None: _Parameters | None}

ShapeSettings = build_settings(LanguageModel, _NUMBERS, window_layers=_Layers, linear_layers=_Layers)
PrecisionSettings = build_settings(Precision, {str: _Dtype})
EngineSettings = build_settings(
    Engine, _NUMBERS, utilization=Annotated[float, Field(gt=0, le=1)], without=("block_tokens",)
)


class LanguageModelFile(Settings):
    name: Name = "model"
    language_model: Annotated[LanguageModel, ReadAs(ShapeSettings)]
    precision: Annotated[Precision, ReadAs(PrecisionSettings)] = Precision()
    engine: Annotated[Engine, ReadAs(EngineSettings)] = Engine()


def is_language_model(path: Path) -> bool:
    """Return whether a YAML file describes a language model."""
    if path.suffix not in (".yaml", ".yml"):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(65_536)
    except OSError:
        return False
    return any(line.startswith(b"language_model:") for line in head.splitlines())


def build_assumed_model(file: LanguageModelFile) -> AssumedModel:
    return AssumedModel(file.name, file.language_model, file.precision, file.engine)


T = TypeVar("T")
_MAX_ZONES = 9
_GIB = 2.0**30
_PRICES: dict[str, PriceKind] = {"on-demand": "on demand", "reserved-1y": "reserved 1y", "spot": "spot"}
ROUTERS: dict[str, Router] = {
    "round-robin": "round_robin",
    "random": "random",
    "power-of-two": "power_of_two",
    "least-outstanding": "least_outstanding",
    "least-work": "least_work",
    "session-hash": "session_hash",
}


def _or_none(read: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else read(value)


def _power_or_none(watts: float | None) -> str | None:
    return None if watts is None else format_power(watts)


def _read_gib(value: object) -> float:
    return parse_bytes(value) / _GIB


def _write_gib(gib: float | None) -> str | None:
    return None if gib is None else f"{gib!r}GiB"


def _read_api_price(value: object) -> ApiPrice:
    """Parse the price of an API: 2 USD/1k is per 1,000 requests, 0.60 USD/1M is per million tokens."""
    usd = parse_usd_per_unit(value)
    return ApiPrice(usd, "1M tokens" if str(value).strip().endswith("M") else "1k requests")


def _write_api_price(price: ApiPrice | None) -> str | None:
    return None if price is None else f"{price.usd!r} USD/{'1M' if price.per == '1M tokens' else '1k'}"


class UnmeasuredGpuSettings(Settings):
    """Settings to estimate accelerators that were not measured.

    `dtype` is the arithmetic of the model on the measured card and on the others. `memory` is the memory that a replica
    needs on each card; without it, cards with less memory than the measured one are refused.
    """

    dtype: Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4"]
    """Data type of the model's arithmetic, on the measured card and on the others."""
    work: Literal["saturated", "decode", "batched-decode", "unknown"] = "unknown"
    """Limiting factor of the workload: saturated arithmetic, decoding, or unknown."""
    memory_gib: Annotated[
        float | None, BeforeValidator(_or_none(_read_gib)), PlainSerializer(_write_gib), Unit("MiB, GiB, MB, GB")
    ] = Field(default=None, alias="memory", examples=["8GiB"])
    """Memory that a replica needs on a card, like 8GiB. Without it, smaller cards are refused."""


_LIMITS = PlanLimits()
"""Limits whose values are the defaults of the settings."""


class PlanSettings(Settings):
    """Requirements and limits of a planned fleet.

    `confidence` is the probability that the fleet meets the SLO at its peak. Empty lists admit every region and
    provider. `router` is the load-balancing strategy. With several `zones`, the fleet survives the loss of any one of
    them. The spare instances are `redundancy` plus `surge`, or the capacity of one zone if that is more. With
    `unmeasured_gpus`, accelerators that were not measured are estimated by ratios, with wide intervals; otherwise they
    are rejected. `vendors` are those of accelerators, `max_power` is the sum of all accelerators' TDP, and `api_price`
    is the price of the same work from an API, per 1k requests or per 1M tokens.
    """

    confidence: Annotated[Share, Field(ge=0.5, le=0.9999)] = Field(default=_LIMITS.confidence, examples=["90%"])
    """Probability that the fleet meets the SLO at its peak, given all uncertainties, like 90%."""
    redundancy: Redundancy = _LIMITS.redundancy
    """Spare instances for failures: n, n+1, n+2. `surge` adds to them; several zones may need more."""
    zones: Annotated[Count, Field(ge=1), upper_bound(_MAX_ZONES)] = Field(default=_LIMITS.zones, examples=[1])
    """Number of availability zones, like 1. With more than one, enough capacity is left if a zone is lost."""
    surge: Annotated[int, Field(ge=0, le=1000)] = Field(default=_LIMITS.surge, examples=[0])
    """Additional instances to replace those that a rolling update takes out, like 0. They are paid for all month."""
    router: Literal["round-robin", "random", "power-of-two", "least-outstanding", "least-work", "session-hash"] = (
        "round-robin"
    )
    """Load-balancing strategy across replicas."""
    regions: Listed[str] = Field(default=(), examples=[["us-east-1"]])
    """Regions to consider, like us-east-1. Leave it empty for all."""
    providers: Listed[str] = Field(default=(), examples=[["aws"]])
    """Cloud providers to consider, like aws. Leave it empty for all."""
    budget_usd_per_month: UsdPerMonth | None = Field(default=None, alias="budget", examples=["4000 USD/month"])
    """Maximum cost of the fleet, like 4000 USD/month."""
    vendors: Listed[str] = Field(default=(), examples=[["nvidia"]])
    """GPU vendors to consider, like nvidia. Leave it empty for all."""
    max_power_w: Annotated[
        float | None, BeforeValidator(_or_none(parse_power_w)), PlainSerializer(_power_or_none), Unit("W, kW, MW")
    ] = Field(default=None, alias="max_power", examples=["20 kW"])
    """Maximum power of all accelerators together, like 20 kW."""
    api_price: Annotated[
        ApiPrice | None,
        PlainValidator(_or_none(_read_api_price)),
        PlainSerializer(_write_api_price),
        Unit("USD/1k, USD/1M"),
    ] = Field(default=None, examples=["0.60 USD/1M"])
    """Price of the same work from an API, like 0.60 USD/1M or 2 USD/1k."""
    max_accelerators: Annotated[float, Field(gt=0), upper_bound(10_000, "{:,.10g}".format)] | None = Field(
        default=None, examples=[8]
    )
    """Maximum number of accelerators per instance, like 8."""
    price: Literal["on-demand", "reserved-1y", "spot"] = "on-demand"
    """Pricing model. Spot instances can be interrupted; reserved instances are paid for a year."""
    max_price_age_days: Days | None = Field(default=None, alias="max_price_age", examples=["180d"])
    """Leaves out prices older than this, like 180d. Without it, prices older than 90 days carry a warning."""
    low_trust_prices: bool = Field(default=_LIMITS.low_trust_prices, examples=[True])
    """Allows recommendations based on marketplace asks and manually maintained prices (trust "low"), like true."""
    unmeasured_gpus: UnmeasuredGpuSettings | None = None
    """Settings to plan accelerators that were not measured, by ratios and with wide intervals."""


def build_plan_limits(settings: PlanSettings) -> PlanLimits:
    unmeasured_gpus = settings.unmeasured_gpus
    return PlanLimits(
        confidence=settings.confidence,
        redundancy=settings.redundancy,
        regions=settings.regions,
        providers=settings.providers,
        budget_usd_per_month=settings.budget_usd_per_month,
        max_price_age_days=settings.max_price_age_days,
        router=ROUTERS[settings.router],
        zones=settings.zones,
        surge=settings.surge,
        max_accelerators=settings.max_accelerators,
        vendors=settings.vendors,
        max_power_w=settings.max_power_w,
        api=settings.api_price,
        price=_PRICES[settings.price],
        low_trust_prices=settings.low_trust_prices,
        unmeasured_gpus=None
        if unmeasured_gpus is None
        else UnmeasuredGpus(unmeasured_gpus.dtype, unmeasured_gpus.work, unmeasured_gpus.memory_gib),
    )
