"""Settings of `plan` in a profile: requirements that a fleet must meet in addition to the SLO.

The module also defines the settings that describe a language model's architecture, to plan for a
model that was not measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator

from app.profiles.problems import BadValueError
from app.profiles.settings import (
    Count,
    DayCount,
    Key,
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
from app.profiles.traffic import Date
from app.profiles.units import (
    format_power,
    format_usd_per_1m_tokens,
    parse_bytes,
    parse_power_w,
    parse_usd_per_1m_tokens,
    parse_usd_per_unit,
)
from app.records.dtypes import ComputeDtype, Dtype
from app.records.engine_presets import ENGINE_PRESETS
from app.records.evidence import EngineName
from app.records.offers import ApiPrice, ApiTokenPrices, PlanLimits, RequestedPrice, Router, UnmeasuredGpus, Workload
from app.records.planning_inputs import MAX_LAYERS, Alternatives, AssumedModel, Engine, LanguageModel, Precision
from loadgen.regular_files import open_regular

_VERSION = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}[a-z0-9.+-]{0,32}")
_WholeNumber = Annotated[int, Field(ge=1, le=10_000_000)]
_LayerCount = Annotated[int, Field(ge=0, le=MAX_LAYERS)]
_ParameterCount = Annotated[float, Field(gt=0, le=1e14)]
_PROFILE_TYPES = {
    int: _WholeNumber,
    int | None: _WholeNumber | None,
    float: _ParameterCount,
    float | None: _ParameterCount | None,
}


def _check_version(value: object) -> object:
    if isinstance(value, str) and _VERSION.fullmatch(value):
        return value
    raise BadValueError(f"a version must have three numbers, such as 0.19.0, not {value!r}")


ShapeSettings = build_settings(
    LanguageModel,
    _PROFILE_TYPES,
    layers=Annotated[int, Field(ge=1, le=MAX_LAYERS)],
    window_layers=_LayerCount,
    linear_layers=_LayerCount,
    context_tokens=Annotated[int, Field(ge=1, le=1_000_000_000)] | None,
    tied_embeddings=bool,
)
PrecisionSettings = build_settings(Precision, {str: Dtype})
EngineSettings = build_settings(
    Engine,
    _PROFILE_TYPES,
    name=EngineName | None,
    version=Annotated[str, BeforeValidator(_check_version)] | None,
    utilization=Annotated[float, Field(gt=0, le=1)] | None,
)


def check_shape(model: LanguageModel) -> None:
    """Raise BadValueError for numbers of a shape that contradict each other."""
    if model.heads % model.kv_heads:
        raise BadValueError(
            f"the number of heads ({model.heads:,}) must be a multiple of kv_heads ({model.kv_heads:,})",
            hint="Copy num_attention_heads and num_key_value_heads from the model's config.json.",
        )
    for smaller, larger in (("experts_per_token", "experts"), ("active_parameters", "parameters")):
        part, whole = getattr(model, smaller), getattr(model, larger)
        if part is not None and whole is not None and part > whole:
            raise BadValueError(f"{smaller} ({part:,.0f}) must not exceed {larger} ({whole:,.0f})")
    if model.window_layers + model.linear_layers > model.layers:
        raise BadValueError(
            f"window_layers ({model.window_layers:,}) and linear_layers ({model.linear_layers:,}) must not exceed the "
            f"{model.layers:,} layers together"
        )
    if model.window_layers and model.window_tokens is None:
        raise BadValueError("window_layers needs window_tokens", hint="Copy sliding_window from the config.json.")


def check_engine(engine: Engine) -> None:
    """Raise BadValueError for a version of no engine, or for one whose default flags are unknown."""
    if engine.version is None:
        return
    if engine.name is None:
        raise BadValueError("engine.version needs engine.name", hint="Add a name such as engine.name: vllm.")
    preset = ENGINE_PRESETS[engine.name]
    if preset.find_version(engine.version) is None:
        raise BadValueError(
            f"the default flags of {preset.title} {engine.version} are unknown",
            hint=f"Use {preset.versions[0]} or a newer version, and set what differs, such as engine.max_sequences.",
        )


def _split_names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


AlternativesSettings = build_settings(
    Alternatives,
    weights=Annotated[Listed[Dtype], BeforeValidator(_split_names)],
    engines=Annotated[Listed[EngineName], BeforeValidator(_split_names)],
)
AssumedModelSettings = build_settings(
    AssumedModel,
    name=Key(Name, "", default="model"),
    model=Key(Annotated[LanguageModel, ReadAs(ShapeSettings, check_shape)], "", alias="language_model"),
    precision=Annotated[Precision, ReadAs(PrecisionSettings)],
    engine=Annotated[Engine, ReadAs(EngineSettings, check_engine)],
    alternatives=Annotated[Alternatives, ReadAs(AlternativesSettings)],
)


def is_model_shape_file(path: Path) -> bool:
    """Return whether a file is a YAML file with the top-level key `language_model`."""
    if path.suffix not in (".yaml", ".yml"):
        return False
    try:
        with open_regular(path) as file:
            head = file.read(65_536)
    except OSError:
        return False
    return any(line.startswith(b"language_model:") for line in head.splitlines())


T = TypeVar("T")
_MAX_ZONES = 9
_GIB = 2.0**30

Names = Annotated[Listed[str], BeforeValidator(_split_names)]
"""List of names, which may also be written as text with commas, as in `--set plan.regions=a,b`."""


def _build_optional_parser(parse: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else parse(value)


def _format_optional_power(watts: float | None) -> str | None:
    return None if watts is None else format_power(watts)


def _parse_gib(value: object) -> float:
    return parse_bytes(value) / _GIB


def _format_gib(gib: float | None) -> str | None:
    return None if gib is None else f"{gib!r}GiB"


def _parse_api_price(value: object) -> ApiPrice:
    """Parse the price of an API per 1,000 requests, such as 2 USD/1k, or per million tokens, such
    as 0.60 USD/1M."""
    usd = parse_usd_per_unit(value)
    return ApiPrice(usd, "1M tokens" if str(value).strip().endswith("M") else "1k requests")


def _format_api_price(price: ApiPrice | None) -> str | None:
    return None if price is None else f"{price.usd!r} USD/{'1M' if price.per == '1M tokens' else '1k'}"


UnmeasuredGpuSettings = build_settings(
    UnmeasuredGpus,
    class_name="UnmeasuredGpuSettings",
    dtype=Key(
        ComputeDtype,
        "Data type of the model's arithmetic, on the measured GPU and on the other GPUs.",
    ),
    work=Key(Workload, "Bottleneck of the workload: saturated arithmetic, decoding, or unknown."),
    memory_gib=Key(
        Annotated[
            float | None,
            BeforeValidator(_build_optional_parser(_parse_gib)),
            PlainSerializer(_format_gib),
            Unit("MiB, GiB, MB, GB"),
        ],
        "Memory that a replica needs on a GPU, such as 8GiB. Without it, GPUs with less memory are rejected.",
        "8GiB",
        alias="memory",
    ),
)


_UsdPer1MTokens = Annotated[
    float, BeforeValidator(parse_usd_per_1m_tokens), PlainSerializer(format_usd_per_1m_tokens), Unit("USD/1M")
]

ApiPricesSettings = build_settings(
    ApiTokenPrices,
    class_name="ApiPricesSettings",
    input_usd=Key(_UsdPer1MTokens, "Price of input tokens, such as 3 USD/1M.", "3 USD/1M", alias="input"),
    output_usd=Key(_UsdPer1MTokens, "Price of output tokens, such as 15 USD/1M.", "15 USD/1M", alias="output"),
    cached_input_usd=Key(
        _UsdPer1MTokens | None,
        "Price of input tokens that the API serves from its cache, such as 0.3 USD/1M. Without it, cached input has "
        "the price of other input.",
        "0.3 USD/1M",
        alias="cached_input",
    ),
    cached_share=Key(
        Share | None,
        "Share of the input tokens that the API serves from its cache, such as 60%. Without it, the share is that of "
        "the measurement.",
        "60%",
    ),
    as_of=Key(Date | None, "Date of the prices, such as 2026-11-01.", "2026-11-01"),
)


class _RenamedPlanKeys(Settings):
    misplaced_key_hints: ClassVar[dict[str, str]] = {"surge": "Write max_unavailable, which is its new name."}


PlanSettings = build_settings(
    PlanLimits,
    class_name="PlanSettings",
    base=_RenamedPlanKeys,
    confidence=Key(
        Annotated[Share, Field(ge=0.5, le=0.9999)],
        "Probability that the fleet meets the SLO at its peak, given all uncertainties, such as 90%.",
        "90%",
    ),
    redundancy=Key(
        Redundancy,
        "Spare instances for failures: n, n+1, n+2. `max_unavailable` adds to them; several zones may need more.",
    ),
    zones=Key(
        Annotated[Count, Field(ge=1), upper_bound(_MAX_ZONES)],
        "Number of availability zones, such as 1. With more than one, enough capacity is left if a zone is lost.",
        1,
    ),
    max_unavailable=Key(
        Annotated[int, Field(ge=0, le=1000)],
        "Instances that a rolling update may make unavailable at once, such as 1. As many spare instances are added, "
        "which are paid for all month.",
        1,
    ),
    router=Key(
        Router,
        "Load-balancing policy across replicas.",
    ),
    regions=Key(Names, "Regions to consider, such as us-east-1. Leave it empty for all.", ["us-east-1"]),
    providers=Key(Names, "Cloud providers to consider, such as aws. Leave it empty for all.", ["aws"]),
    accelerators=Key(
        Names,
        "Accelerators to consider, such as h100, which stands for all of its variants; none is for CPU-only instances. "
        "Leave it empty for all.",
        ["h100"],
    ),
    sources=Key(
        Names,
        "Price sources to consider, such as karp-aws, or yours for your own prices. Leave it empty for all.",
        ["karp-aws"],
    ),
    budget_usd_per_month=Key(
        UsdPerMonth | None, "Maximum cost of the fleet, such as 4000 USD/month.", "4000 USD/month", alias="budget"
    ),
    vendors=Key(Names, "GPU vendors to consider, such as nvidia. Leave it empty for all.", ["nvidia"]),
    max_power_w=Key(
        Annotated[
            float | None,
            BeforeValidator(_build_optional_parser(parse_power_w)),
            PlainSerializer(_format_optional_power),
            Unit("W, kW, MW"),
        ],
        "Maximum power of all accelerators together, such as 20 kW.",
        "20 kW",
        alias="max_power",
    ),
    api=Key(
        Annotated[
            ApiPrice | None,
            PlainValidator(_build_optional_parser(_parse_api_price)),
            PlainSerializer(_format_api_price),
            Unit("USD/1k, USD/1M"),
        ],
        "Price of the same work from an API, such as 0.60 USD/1M or 2 USD/1k.",
        "0.60 USD/1M",
        alias="api_price",
    ),
    max_accelerators=Key(
        Annotated[float, Field(gt=0), upper_bound(10_000, "{:,.10g}".format)] | None,
        "Maximum number of accelerators per instance, such as 8.",
        8,
    ),
    price=Key(
        RequestedPrice,
        "Pricing model. Spot instances can be interrupted; reserved instances are paid for a year.",
    ),
    max_price_age_days=Key(
        DayCount | None,
        "Maximum age of a price, such as 180d. Older prices are excluded. Without this limit, prices older than 90 "
        "days only cause a warning.",
        "180d",
        alias="max_price_age",
    ),
    low_trust_prices=Key(
        bool,
        "Whether recommendations may be based on marketplace prices and on manually maintained prices "
        '(trust "low"), such as true.',
        True,
    ),
    unmeasured_gpus=Key(
        Annotated[UnmeasuredGpus, ReadAs(UnmeasuredGpuSettings)] | None,
        "Settings for accelerators that were not measured: hardware ratios scale their capacity, with wide intervals.",
    ),
    api_prices=Key(
        Annotated[ApiTokenPrices, ReadAs(ApiPricesSettings)] | None,
        "Prices of an API by kind of token, which the cost of the fleet is compared with.",
    ),
)
PlanKeys = Annotated[PlanLimits, ReadAs(PlanSettings)]
"""Limits of a plan that a profile sets with the keys of `plan`."""
