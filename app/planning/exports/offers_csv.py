"""Every fleet that the plan considered, as a CSV table.

Text that a spreadsheet would read as a formula (beginning with = + - @, a tab, a line end, or their full-width twins)
gets an apostrophe before it, since names and reasons may come from a user; numbers stay numbers. Values that are not
available are empty.
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
_FORMULA_PREFIXES = tuple("=+-@\t\r\n＝＋－＠")
_ESTIMATES = {
    "capacity_per_instance_per_s": "capacity_per_instance_per_s",
    "utilization_at_peak": "utilization_at_peak_share",
    "latency_at_peak": "latency_at_peak_ms",
    "usd_per_month": "usd_per_month",
    "usd_per_1k_inferences": "usd_per_1k_inferences",
    "kwh_per_month": "kwh_per_month",
    "kg_co2e_per_month": "kg_co2e_per_month",
}
_SPREADS = {"instances_needed": "instances_needed", "usd_per_month_needed": "usd_per_month_needed"}
_PROBABILITIES = ("one_fewer", "planned", "one_more")
_UNIT_COSTS = {
    "per_1k_inferences": "usd_per_1k_inferences",
    "per_1m_tokens.input": "usd_per_1m_input_tokens",
    "per_1m_tokens.output": "usd_per_1m_output_tokens",
    "per_1m_tokens.all": "usd_per_1m_tokens",
}


def build_offers_csv(plan: Plan) -> str:
    """Return the table with one row per offer: those that fit first, each group in the plan's order."""
    best = None if plan.recommendation is None else plan.recommendation.fleet
    rows = [
        dict(_row(fleet, plan, best)) for fleet in sorted(plan.offers, key=lambda fleet: fleet.rejected is not None)
    ]
    return _table(list(rows[0]) if rows else [name for name, _ in _row(_NO_FLEET, plan, None)], rows)


def _row(fleet: Fleet, plan: Plan, best: Fleet | None) -> Iterator[tuple[str, Cell]]:
    yield from (("offer", fleet.offer), ("rejected", fleet.rejected))
    yield "is_recommended", _yes_no(fleet == best)
    yield "is_on_frontier", _yes_no(any(_is_same(fleet, front_fleet) for front_fleet in plan.pareto))
    for field in ("provider", "instance_type", "region", "accelerator"):
        yield field, getattr(fleet, field)
    for field in ("accelerator_count", "vcpus", "instances", "spare_instances", "replicas_per_instance"):
        yield field, getattr(fleet, field)
    yield "usd_per_hour_each", fleet.usd_per_hour_each
    yield "latency_metric", plan.latency_metric
    for field, column in _ESTIMATES.items():
        yield from _estimate(column, getattr(fleet, field))
    for field, column in _SPREADS.items():
        yield from _spread(column, getattr(fleet, field))
    for outcome in _PROBABILITIES:
        yield (
            f"probability_slo_met_{outcome}_share",
            None if fleet.slo_probabilities is None else getattr(fleet.slo_probabilities, outcome),
        )
    for field, column in _UNIT_COSTS.items():
        yield from _unit_costs(column, _unit_costs_at(fleet, field))
    yield "front_chance_share", fleet.frontier_probability
    for field in ("basis", "sizing_method", "measured_on", "price_kind", "price_date"):
        yield field, getattr(fleet, field)
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
    for rate in ("at_saturation", "at_slo", "at_mean"):
        yield f"{column}_{rate}", None if costs is None else getattr(costs, rate)


def _unit_costs_at(fleet: Fleet, field: str) -> UnitCosts | None:
    outer = field.partition(".")[0]
    costs: UnitCosts | None = None if getattr(fleet, outer) is None else attrgetter(field)(fleet)
    return costs


def _yes_no(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _table(header: list[str], rows: list[dict[str, Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_csv_cell(row[column]) for column in header] for row in rows)
    return text.getvalue()


def _csv_cell(cell: Cell) -> str | float | int:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(_FORMULA_PREFIXES) else cell
    return cell if math.isfinite(cell) else ""


_NOTHING = Estimate(None)
_NO_FLEET = Fleet(
    "", "", "", "", None, 0, None, "assumed", None, None, None, _NOTHING, _NOTHING, _NOTHING, None, _NOTHING, _NOTHING,
    "", 0, "", 0, (),
)  # fmt: skip
"""Fleet whose columns alone are used, for a plan without offers."""


def _is_same(fleet: Fleet, front_fleet: Fleet) -> bool:
    """Return whether both are the same fleet.

    One on the Pareto front has, in addition, its probability of being there.
    """
    return (fleet.offer, fleet.instances) == (front_fleet.offer, front_fleet.instances)
