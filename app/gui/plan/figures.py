"""Number formats of the Plan page. All functions are pure."""

from __future__ import annotations

from app.gui.formatting import NOT_AVAILABLE, format_count, format_number, with_unit
from app.planning.formatting import format_probability
from app.records.metrics import metric_label
from app.records.plan import Fleet, SloProbabilities, Spread

_RISK_LEVELS = ("none known", "low", "moderate", "elevated", "high")


def format_latency_metric(metric: str) -> str:
    """Format a latency metric: `latency_ms.p95` becomes "p95 latency at peak"."""
    return f"{metric_label(metric)} at peak"


def format_quantity(value: float | None, unit: str) -> str:
    return NOT_AVAILABLE if value is None else with_unit(format_number(value), unit)


def format_latency(fleet: Fleet) -> str:
    """Format the latency at the peak. A limit that it does not exceed with a probability of 90 % is
    marked with ≤."""
    text = format_quantity(fleet.latency_at_peak.value, "ms")
    return f"≤ {text}" if fleet.is_latency_limit and fleet.latency_at_peak.value is not None else text


def format_amount(amount: float | None) -> str:
    """Format an amount of money without its currency. Amounts of 100 or more have no decimals."""
    if amount is None:
        return NOT_AVAILABLE
    return format_count(round(amount)) if abs(amount) >= 100 else format_number(amount)


def format_usd(amount: float | None) -> str:
    """Format an amount in USD, such as `$1,234`. Amounts of 100 or more have no decimals."""
    return NOT_AVAILABLE if amount is None else f"${format_amount(amount)}"


def format_hourly_price(usd_per_hour: float | None) -> str:
    """Format a price per hour with up to four decimals and no trailing zeros."""
    return NOT_AVAILABLE if usd_per_hour is None else f"{usd_per_hour:.4f}".rstrip("0").rstrip(".")


def format_usd_per_hour(usd_per_hour: float | None) -> str:
    """Format a price per hour, such as `$0.403/h`."""
    return NOT_AVAILABLE if usd_per_hour is None else f"${format_hourly_price(usd_per_hour)}/h"


def format_cost_range(cost: Spread | None) -> str:
    """Format the P10 and P90 of the monthly cost in USD, as the reports and `sizewise plan` do."""
    return NOT_AVAILABLE if cost is None else f"{format_usd(cost.p10)} – {format_usd(cost.p90)}"


def format_accelerators(fleet: Fleet) -> str:
    """Format the accelerators of one instance, such as `8 × h100-sxm5-80gb`."""
    return "CPU only" if fleet.accelerator is None else f"{fleet.accelerator_count:g} × {fleet.accelerator}"


def format_slo_probabilities(probabilities: SloProbabilities | None) -> str:
    if probabilities is None:
        return NOT_AVAILABLE
    planned, one_fewer, one_more = (
        format_probability(probabilities.planned),
        format_probability(probabilities.one_fewer),
        format_probability(probabilities.one_more),
    )
    return f"{planned} as planned, {one_fewer} with one instance fewer, {one_more} with one instance more"


def format_percent(share: float | None) -> str:
    return NOT_AVAILABLE if share is None else f"{100 * share:.0f} %"


def format_risk(risk: int) -> str:
    return f"{risk} of 4 ({_RISK_LEVELS[min(risk, 4)]})"


def format_price(fleet: Fleet) -> str:
    return f"{format_usd_per_hour(fleet.usd_per_hour_each)} per instance, {fleet.price_kind}"


def format_price_age(fleet: Fleet) -> str:
    return f"{fleet.price_date} ({fleet.price_age_days} days old), source: {fleet.price_source}"
