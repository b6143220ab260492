"""Every fleet that the plan looked at, as a table for a spreadsheet.

What begins a formula there (= + - @, a tab, a line end, and their full-width twins) gets an apostrophe before it where
it is text, since names and reasons may be a user's own; numbers stay numbers. What is not available is blank.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from operator import attrgetter

from app.records.estimate import Estimate
from app.records.plan import Fleet, Plan, Spread, UnitCosts

Cell = str | float | int | None
_BEGINS_A_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
_ESTIMATES = {
    "capacity_per_instance_per_s": "capacity_per_instance_per_s",
    "utilisation_at_peak": "utilisation_at_peak_share",
    "latency_at_peak": "latency_at_peak_ms",
    "usd_per_month": "usd_per_month",
    "usd_per_1k_inferences": "usd_per_1k_inferences",
    "kwh_per_month": "kwh_per_month",
    "kg_co2e_per_month": "kg_co2e_per_month",
}
_SPREADS = {"instances_needed": "instances_needed", "usd_per_month_needed": "usd_per_month_needed"}
_CHANCES = ("one_fewer", "planned", "one_more")
_UNIT_COSTS = {
    "per_1k_inferences": "usd_per_1k_inferences",
    "per_1m_tokens.input": "usd_per_1m_input_tokens",
    "per_1m_tokens.output": "usd_per_1m_output_tokens",
    "per_1m_tokens.all": "usd_per_1m_tokens",
}


def offers_csv(plan: Plan) -> str:
    """One row an offer, those that fit first, each of both kinds in the plan's order."""
    best = None if plan.recommendation is None else plan.recommendation.fleet
    rows = [dict(_row(fleet, plan, best)) for fleet in sorted(plan.offers, key=lambda one: one.rejected is not None)]
    return _table(list(rows[0]) if rows else [name for name, _ in _row(_NO_FLEET, plan, None)], rows)


def _row(fleet: Fleet, plan: Plan, best: Fleet | None) -> Iterator[tuple[str, Cell]]:
    yield from (("offer", fleet.offer), ("rejected", fleet.rejected))
    yield "is_recommended", _yes(fleet == best)
    yield "is_on_front", _yes(any(_is_same(fleet, one) for one in plan.pareto))
    for text in ("provider", "instance_type", "region", "accelerator"):
        yield text, getattr(fleet, text)
    for number in ("accelerator_count", "vcpus", "instances", "spare_instances", "replicas_per_instance"):
        yield number, getattr(fleet, number)
    yield "usd_per_hour_each", fleet.usd_per_hour_each
    yield "latency_metric", plan.latency_metric
    for field, column in _ESTIMATES.items():
        yield from _estimate(column, getattr(fleet, field))
    for field, column in _SPREADS.items():
        yield from _spread(column, getattr(fleet, field))
    for chance in _CHANCES:
        yield f"chance_slo_met_{chance}_share", None if fleet.chances is None else getattr(fleet.chances, chance)
    for field, column in _UNIT_COSTS.items():
        yield from _unit_costs(column, _found(fleet, field))
    yield "front_chance_share", fleet.front_chance
    for text in ("basis", "settled", "measured_on", "price_kind", "price_date"):
        yield text, getattr(fleet, text)
    yield from (("price_age_days", fleet.price_age_days), ("price_source", fleet.price_source))
    yield from (("risk_0_to_4", fleet.risk), ("risk_reasons", "; ".join(fleet.risk_reasons)))


def _estimate(column: str, estimate: Estimate | None) -> Iterator[tuple[str, Cell]]:
    low, high = (None, None) if estimate is None or estimate.ci95 is None else estimate.ci95
    yield column, None if estimate is None else estimate.value
    yield from ((f"{column}_ci95_low", low), (f"{column}_ci95_high", high))


def _spread(column: str, spread: Spread | None) -> Iterator[tuple[str, Cell]]:
    for percentile in ("p10", "p50", "p90"):
        yield f"{column}_{percentile}", None if spread is None else getattr(spread, percentile)


def _unit_costs(column: str, costs: UnitCosts | None) -> Iterator[tuple[str, Cell]]:
    for place in ("at_saturation", "at_slo", "at_mean"):
        yield f"{column}_{place}", None if costs is None else getattr(costs, place)


def _found(fleet: Fleet, field: str) -> UnitCosts | None:
    outer = field.partition(".")[0]
    costs: UnitCosts | None = None if getattr(fleet, outer) is None else attrgetter(field)(fleet)
    return costs


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _table(header: list[str], rows: list[dict[str, Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_written(row[column]) for column in header] for row in rows)
    return text.getvalue()


def _written(cell: Cell) -> str | float | int:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(_BEGINS_A_FORMULA) else cell
    return cell if math.isfinite(cell) else ""


_NOTHING = Estimate(None)
_NO_FLEET = Fleet(
    "", "", "", "", None, 0, None, "assumed", None, None, None, _NOTHING, _NOTHING, _NOTHING, None, _NOTHING, _NOTHING,
    "", 0, "", 0, (),
)  # fmt: skip
"""Only its columns are used, for a plan that looked at no offer."""


def _is_same(fleet: Fleet, other: Fleet) -> bool:
    """On the front a fleet has its chance of being there besides."""
    return (fleet.offer, fleet.instances) == (other.offer, other.instances)
