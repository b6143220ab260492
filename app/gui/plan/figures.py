"""Number formatting of the Plan page. Pure functions."""

from __future__ import annotations

from app.gui.formatting import NOT_AVAILABLE, count, number, with_unit
from app.planning.wording import share
from app.records.plan import Chances, Fleet, Spread

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


def latency_words(metric: str) -> str:
    """Format a latency metric: `latency_ms.p95` becomes "p95 latency at the peak"."""
    name, _, part = metric.partition(".")
    display_name = _METRICS.get(name, name)
    return "{part} {name} at the peak".format(part=part.replace("_", "."), name=display_name).strip()


def measured(value: float | None, unit: str) -> str:
    return NOT_AVAILABLE if value is None else with_unit(number(value), unit)


def usd(amount: float | None) -> str:
    """Format an amount in USD, without decimals from 100 on."""
    if amount is None:
        return NOT_AVAILABLE
    return count(round(amount)) if abs(amount) >= 100 else number(amount)


def usd_each(amount: float | None) -> str:
    """Format a price per hour with all of its digits, at most four decimals."""
    return NOT_AVAILABLE if amount is None else f"{amount:.4f}".rstrip("0").rstrip(".")


def spread_words(spread: Spread | None) -> str:
    return NOT_AVAILABLE if spread is None else f"{usd(spread.p10)} – {usd(spread.p90)}"


def chances_words(chances: Chances | None) -> str:
    if chances is None:
        return NOT_AVAILABLE
    planned, fewer, more = share(chances.planned), share(chances.one_fewer), share(chances.one_more)
    return f"{planned} as planned, {fewer} with one fewer, {more} with one more"


def percent_words(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{100 * value:.0f} %"


def risk_words(risk: int) -> str:
    return f"{risk} of 4 – {_RISKS[min(risk, 4)]}"


def price_words(fleet: Fleet) -> str:
    return f"{usd_each(fleet.usd_per_hour_each)} USD an hour each, {fleet.price_kind}"


def age_words(fleet: Fleet) -> str:
    return f"{fleet.price_date}, {fleet.price_age_days} days old, from {fleet.price_source}"
