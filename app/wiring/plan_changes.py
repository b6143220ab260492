"""Apply changes to the inputs of a plan, whether the inputs come from runs, from other tools or
from a plan file."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.planning.service_models.service_times import speed_up_target
from app.profiles.loading import load_planning_settings
from app.profiles.pricing.catalog import USER_SOURCE, find_offer
from app.profiles.problems import BadValueError
from app.profiles.traffic import PREFIX_OF_MEASUREMENT, PREFIX_OF_MEASUREMENT_HINT, build_traffic
from app.profiles.units import parse_usd_per_hour
from app.records.offers import PRICE_FIELDS, PlanLimits
from app.records.planning_inputs import AssumedModel, PlanningInputs
from app.records.result import Objective
from app.records.traffic import Traffic

PRICE_PREFIX = "price."


def apply_change(plan_inputs: PlanningInputs, change: str) -> PlanningInputs:
    """Return the plan inputs with one change applied. A change is a plan setting `key=value`, a
    price `price.OFFER=USD/h`, or a speed factor such as `speed=1.3`."""
    key, separator, value = change.partition("=")
    if not separator:
        raise UsageError(
            f"--what-if {change} does not have the form key=value", hint="Use a value such as traffic.peak=2000/s."
        )
    if key == "speed":
        return _apply_speed(plan_inputs, value)
    if key.startswith(PRICE_PREFIX):
        return apply_prices(plan_inputs, (change,), option="--what-if")
    return apply_overrides(plan_inputs, (change,))


def check_model_inputs(model: AssumedModel | None, slo: Sequence[Objective], traffic: Traffic) -> None:
    """Raise UsageError if the SLO or the token lengths of a plan for a language model are missing, if the lengths
    exceed the context of the model, if its trace repeats less of the prompts than is said to be cached, or if a plan
    without a language model has a share of cached tokens."""
    if model is None:
        if traffic.prefix_cached_share:
            raise UsageError(PREFIX_OF_MEASUREMENT, hint=PREFIX_OF_MEASUREMENT_HINT)
        return
    if not slo:
        raise UsageError(
            f"the plan for {model.name} has no SLO", hint='Use --slo "ttft p95 < 1s" --slo "tpot p95 < 40ms".'
        )
    if not traffic.tokens:
        raise UsageError(
            f"the plan for {model.name} has no token lengths",
            hint="Use --input-tokens 900 --output-tokens 120, or traffic.tokens.",
        )
    context_tokens = model.model.context_tokens
    longest = max(lengths.input + lengths.output for lengths in traffic.tokens)
    if context_tokens is not None and longest > context_tokens:
        raise UsageError(
            f"requests of {longest:,.0f} input and output tokens do not fit in the context of {model.name}, "
            f"{context_tokens:,} tokens",
            hint="Use shorter lengths in --input-tokens and --output-tokens, or in traffic.tokens. If the server "
            "extends the context, set language_model.context_tokens.",
        )
    repeated_share = None if traffic.trace is None else traffic.trace.prefix_hit_share
    if repeated_share is not None and traffic.prefix_cached_share > repeated_share:
        raise UsageError(
            f"a prefix cache of any size could serve at most {100 * repeated_share:.3g} % of the trace's input tokens, "
            f"but traffic.prefix_cached is {100 * traffic.prefix_cached_share:.3g} %",
            hint="Use a smaller share.",
        )


def apply_overrides(plan_inputs: PlanningInputs, overrides: Sequence[str]) -> PlanningInputs:
    """Return the plan inputs with the overrides applied to limits, traffic, SLO and prices."""
    traffic_overrides: list[str] = []
    plan_overrides: list[str] = []
    slo = plan_inputs.slo
    price_overrides = [override for override in overrides if override.startswith(PRICE_PREFIX)]
    for override in (override for override in overrides if override not in price_overrides):
        key, _, value = override.partition("=")
        if key == "slo":
            slo = (
                load_planning_settings((override,)).slo if value.lstrip().startswith("[") else (parse_objective(value),)
            )
        elif key.startswith("traffic."):
            traffic_overrides.append(override)
        elif key.startswith("plan."):
            plan_overrides.append(override)
        else:
            raise UsageError(
                f"{key} is not an input of a plan", hint="Use traffic.…, plan.…, slo, price.OFFER or speed."
            )
    updated_inputs = msgspec.structs.replace(
        plan_inputs,
        limits=_apply_limits(plan_inputs, plan_overrides),
        traffic=_apply_traffic(plan_inputs.traffic, traffic_overrides),
        slo=slo,
    )
    check_model_inputs(updated_inputs.assumed_model, updated_inputs.slo, updated_inputs.traffic)
    return apply_prices(updated_inputs, price_overrides)


def _apply_limits(plan_inputs: PlanningInputs, overrides: Sequence[str]) -> PlanLimits:
    parsed_limits = load_planning_settings(overrides, plan_inputs.catalog).plan
    fields = [_LIMIT_FIELDS.get(name, name) for name in map(_get_section_key, overrides)]
    return msgspec.structs.replace(plan_inputs.limits, **{field: getattr(parsed_limits, field) for field in fields})


def _apply_traffic(traffic: Traffic, overrides: Sequence[str]) -> Traffic:
    """Return the traffic with the overrides applied.

    If no override sets the amount of traffic, the current peak rate is set, because traffic
    settings are invalid without an amount.
    """
    if not overrides:
        return traffic
    fields = [field for name in map(_get_section_key, overrides) for field in _TRAFFIC_FIELDS.get(name, ())]
    peak_overrides = () if "peak_per_s" in fields else (f"traffic.peak={traffic.peak_per_s!r}/s",)
    settings = load_planning_settings((*overrides, *peak_overrides)).traffic
    assert settings is not None
    parsed_traffic = build_traffic(settings)
    return msgspec.structs.replace(traffic, **{field: getattr(parsed_traffic, field) for field in fields})


def _get_section_key(override: str) -> str:
    """Return the key of an override without the section, such as `growth` for
    `traffic.growth=20%/year`."""
    return override.partition("=")[0].split(".")[1]


_LIMIT_FIELDS = {
    "budget": "budget_usd_per_month",
    "max_price_age": "max_price_age_days",
    "max_power": "max_power_w",
    "api_price": "api",
}
_TRAFFIC_FIELDS = {
    "peak": ("peak_per_s",),
    "shape": ("shape", "hourly_share"),
    "week": ("weekly_share",),
    "growth": ("growth_per_year",),
    "spikes": ("spikes",),
    "campaigns": ("campaigns",),
    "uncertainty": ("uncertainty",),
    "dispersion": ("dispersion",),
    "cache": ("cache_share",),
    "prefix_cached": ("prefix_cached_share",),
    "tokens": ("tokens",),
    "classes": ("classes",),
    "users": ("peak_per_s",),
    "trace": ("peak_per_s", "shape", "hourly_share", "weekly_share", "dispersion", "tokens", "trace"),
}


def _apply_speed(plan_inputs: PlanningInputs, value: str) -> PlanningInputs:
    try:
        speed = float(value.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0.01 <= speed <= 100:
        raise UsageError(
            f"--what-if speed must be a factor from 0.01 to 100 (got {value})", hint="Use a value such as speed=1.3."
        )
    if not plan_inputs.measured:
        raise UsageError(
            "--what-if speed changes the speed that was measured, but nothing was measured for this plan",
            hint="Use another change, such as --what-if traffic.peak=2000/s.",
        )
    targets = tuple(speed_up_target(target, speed) for target in plan_inputs.measured)
    return msgspec.structs.replace(plan_inputs, measured=targets)


def apply_prices(plan_inputs: PlanningInputs, changes: Sequence[str], *, option: str = "--set") -> PlanningInputs:
    """Return the plan inputs with the user's prices, each in the format `price.OFFER=USD/h`. A
    price replaces the offer's price of the kind that the plan uses, such as spot."""
    prices = dict(_parse_price(plan_inputs, change, option) for change in changes)
    if not prices:
        return plan_inputs
    field = PRICE_FIELDS[plan_inputs.limits.price]
    offers = tuple(
        msgspec.structs.replace(
            offer, owned=None, as_of=plan_inputs.today, source=USER_SOURCE, **{field: prices[offer.key]}
        )
        if offer.key in prices
        else offer
        for offer in plan_inputs.catalog.offers
    )
    return msgspec.structs.replace(plan_inputs, catalog=msgspec.structs.replace(plan_inputs.catalog, offers=offers))


def _parse_price(plan_inputs: PlanningInputs, change: str, option: str) -> tuple[str, float]:
    """Parse a change such as `price.OFFER=USD/h`, and return the key of the offer and the price in
    USD/h."""
    name, _, value = change.removeprefix(PRICE_PREFIX).partition("=")
    try:
        usd_per_hour = parse_usd_per_hour(value if "/" in value else f"{value} USD/h")
    except BadValueError as error:
        raise UsageError(f"{option} {PRICE_PREFIX}{name}: {error}", hint=error.hint) from None
    if usd_per_hour == 0:
        raise UsageError(
            f"{option} {change}: the price must be greater than 0", hint="Use a price above 0, such as 0.7 ($/h)."
        )
    return find_offer(plan_inputs.catalog, name).key, usd_per_hour
