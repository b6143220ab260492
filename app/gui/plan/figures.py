"""Number formatting of the Plan page. Pure functions."""

from __future__ import annotations

from app.gui.formatting import NOT_AVAILABLE, format_count, format_number, with_unit
from app.planning.formatting import format_share
from app.records.plan import Fleet, SloProbabilities, Spread

_METRICS = {
    "latency_ms": "latency",
    "service_ms": "service time",
    "first_byte_ms": "time to first byte",
    "ttft_ms": "time to first token",
    "ttft_service_ms": "time to first token, from the send",
    "tpot_ms": "time per output token",
    "itl_ms": "gap between tokens",
}
_RISKS = ("none known", "small", "some", "considerable", "high")


def format_latency_metric(metric: str) -> str:
    """Format a latency metric: `latency_ms.p95` becomes "p95 latency at the peak"."""
    name, _, part = metric.partition(".")
    display_name = _METRICS.get(name, name)
    return "{part} {name} at the peak".format(part=part.replace("_", "."), name=display_name).strip()


def format_quantity(value: float | None, unit: str) -> str:
    return NOT_AVAILABLE if value is None else with_unit(format_number(value), unit)


def format_usd(amount: float | None) -> str:
    """Format an amount in USD, without decimals from 100 on."""
    if amount is None:
        return NOT_AVAILABLE
    return format_count(round(amount)) if abs(amount) >= 100 else format_number(amount)


def format_hourly_price(amount: float | None) -> str:
    """Format a price per hour with all of its digits, at most four decimals."""
    return NOT_AVAILABLE if amount is None else f"{amount:.4f}".rstrip("0").rstrip(".")


def format_spread(spread: Spread | None) -> str:
    return NOT_AVAILABLE if spread is None else f"{format_usd(spread.p10)} – {format_usd(spread.p90)}"


def format_slo_probabilities(chances: SloProbabilities | None) -> str:
    if chances is None:
        return NOT_AVAILABLE
    planned, fewer, more = (
        format_share(chances.planned),
        format_share(chances.one_fewer),
        format_share(chances.one_more),
    )
    return f"{planned} as planned, {fewer} with one fewer, {more} with one more"


def format_percent(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{100 * value:.0f} %"


def format_risk(risk: int) -> str:
    return f"{risk} of 4 – {_RISKS[min(risk, 4)]}"


def format_price(fleet: Fleet) -> str:
    return f"{format_hourly_price(fleet.usd_per_hour_each)} USD an hour each, {fleet.price_kind}"


def format_price_age(fleet: Fleet) -> str:
    return f"{fleet.price_date}, {fleet.price_age_days} days old, from {fleet.price_source}"
