"""A plan's question with something of it otherwise, whatever it came from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.planning.service_models.service_times import faster_target
from app.profiles.loading import load_planning
from app.profiles.plan import plan_limits_of
from app.profiles.pricing.catalogue import YOURS, find_offer
from app.profiles.problems import BadValueError
from app.profiles.traffic import traffic_of
from app.profiles.units import parse_usd_per_hour
from app.records.offers import PlanLimits, PriceKind
from app.records.plan_question import PlanQuestion
from app.records.traffic import Traffic

PRICE = "price."


def changed(question: PlanQuestion, change: str) -> PlanQuestion:
    """The question with one thing otherwise: `key=value` of a plan, `price.OFFER=USD/h` or `speed=1.3`."""
    key, equals, value = change.partition("=")
    if not equals:
        raise UsageError(f"--what-if {change} is not key=value", hint="Like --what-if traffic.peak=2000/s.")
    if key == "speed":
        return _faster(question, value)
    if key.startswith(PRICE):
        return priced(question, (change,), of="--what-if")
    return overridden(question, (change,))


def overridden(question: PlanQuestion, overrides: Sequence[str]) -> PlanQuestion:
    """What the overrides name is otherwise; all else of the question's limits and traffic stays."""
    of_traffic: list[str] = []
    of_plan: list[str] = []
    slo = question.slo
    prices = [override for override in overrides if override.startswith(PRICE)]
    for override in (one for one in overrides if one not in prices):
        key, _, value = override.partition("=")
        if key == "slo":
            slo = load_planning((override,)).slo if value.lstrip().startswith("[") else (parse_objective(value),)
        elif key.startswith("traffic."):
            of_traffic.append(override)
        elif key.startswith("plan."):
            of_plan.append(override)
        else:
            raise UsageError(f"{key} is not of a plan", hint="Change traffic.…, plan.…, slo, price.OFFER or speed.")
    changed_so_far = msgspec.structs.replace(
        question, limits=_limited(question, of_plan), traffic=_other_traffic(question.traffic, of_traffic), slo=slo
    )
    return priced(changed_so_far, prices)


def _limited(question: PlanQuestion, overrides: Sequence[str]) -> PlanLimits:
    read = plan_limits_of(load_planning(overrides, question.catalogue).plan)
    fields = [_LIMIT_FIELDS.get(name, name) for name in map(_named, overrides)]
    return msgspec.structs.replace(question.limits, **{field: getattr(read, field) for field in fields})


def _other_traffic(traffic: Traffic, overrides: Sequence[str]) -> Traffic:
    """Read with the peak as it was where nothing says how much comes, since nothing can be read without."""
    if not overrides:
        return traffic
    fields = [field for name in map(_named, overrides) for field in _TRAFFIC_FIELDS.get(name, ())]
    own_peak = () if "peak_per_s" in fields else (f"traffic.peak={traffic.peak_per_s!r}/s",)
    settings = load_planning((*overrides, *own_peak)).traffic
    assert settings is not None
    read = traffic_of(settings)
    return msgspec.structs.replace(traffic, **{field: getattr(read, field) for field in fields})


def _named(override: str) -> str:
    """`growth` of `traffic.growth=20%/year`."""
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
    "tokens": ("tokens",),
    "classes": ("classes",),
    "users": ("peak_per_s",),
    "trace": ("peak_per_s", "shape", "hourly_share", "weekly_share", "dispersion", "tokens", "trace"),
}


_PRICE_FIELDS: dict[PriceKind, str] = {
    "on demand": "on_demand_usd_per_hour",
    "reserved 1y": "reserved_1y_usd_per_hour",
    "spot": "spot_usd_per_hour",
    "owned": "on_demand_usd_per_hour",
}


def _faster(question: PlanQuestion, value: str) -> PlanQuestion:
    try:
        speed = float(value.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0.01 <= speed <= 100:
        raise UsageError(f"--what-if speed={value} is not a factor from 0.01 to 100", hint="Like speed=1.3.")
    targets = tuple(faster_target(target, speed) for target in question.measured)
    return msgspec.structs.replace(question, measured=targets)


def priced(question: PlanQuestion, changes: Sequence[str], *, of: str = "--set") -> PlanQuestion:
    """With prices that are the user's, each as `price.OFFER=USD/h`, of the kind that is planned with."""
    prices = dict(_price_of(question, change, of) for change in changes)
    if not prices:
        return question
    field = _PRICE_FIELDS[question.limits.price]
    offers = tuple(
        msgspec.structs.replace(offer, owned=None, as_of=question.today, source=YOURS, **{field: prices[offer.key]})
        if offer.key in prices
        else offer
        for offer in question.catalogue.offers
    )
    return msgspec.structs.replace(question, catalogue=msgspec.structs.replace(question.catalogue, offers=offers))


def _price_of(question: PlanQuestion, change: str, of: str) -> tuple[str, float]:
    """The key of the offer, and the price."""
    name, _, value = change.removeprefix(PRICE).partition("=")
    try:
        usd = parse_usd_per_hour(value if "/" in value else f"{value} USD/h")
    except BadValueError as error:
        raise UsageError(f"{of} {PRICE}{name}: {error}", hint=error.hint) from None
    if usd == 0:
        raise UsageError(f"{of} {change}: 0 is not a price", hint="Give a price above 0, like 0.7 (USD an hour).")
    return find_offer(question.catalogue, name).key, usd
