"""Export of all fleets that the plan considered, as a CSV table.

Names and reasons may come from a user, so strings that a spreadsheet would interpret as a formula
are prefixed with an apostrophe: those that begin with = + - @ or a full-width variant, a tab, or a
line break. Numbers stay numbers. Unavailable values are empty cells.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from operator import attrgetter

from app.analysis.spreadsheets import escape_formula
from app.records.estimate import Estimate
from app.records.plan import Fleet, Plan, Spread, UnitCosts

Cell = str | float | int | None
_COLUMN_BY_ESTIMATE = {
    "capacity_per_instance_per_s": "capacity_per_instance_per_s",
    "utilization_at_peak": "utilization_at_peak_share",
    "latency_at_peak": "latency_at_peak_ms",
    "usd_per_month": "usd_per_month",
    "usd_per_1k_inferences": "usd_per_1k_inferences",
    "kwh_per_month": "kwh_per_month",
    "kg_co2e_per_month": "kg_co2e_per_month",
}
_COLUMN_BY_SPREAD = {"instances_needed": "instances_needed", "usd_per_month_needed": "usd_per_month_needed"}
REPLICA_COLUMNS = {
    "replica_accelerators": "accelerators",
    "replica_engine": "engine",
    "replica_weights": "weights",
    "tokens_per_s_per_user": "tokens_per_s_per_user",
    "tokens_per_s_per_accelerator": "tokens_per_s_per_accelerator",
}
"""Attribute of `ServedReplica` by column."""
_PROBABILITY_FIELDS = ("one_fewer", "planned", "one_more")
_COLUMN_BY_UNIT_COST = {
    "per_1k_inferences": "usd_per_1k_inferences",
    "per_1m_tokens.input": "usd_per_1m_input_tokens",
    "per_1m_tokens.uncached_input": "usd_per_1m_uncached_input_tokens",
    "per_1m_tokens.cached_input": "usd_per_1m_cached_input_tokens",
    "per_1m_tokens.output": "usd_per_1m_output_tokens",
    "per_1m_tokens.all": "usd_per_1m_tokens",
}


def build_offers_csv(plan: Plan) -> str:
    """Build the CSV table of all fleets: feasible fleets first, then excluded fleets, in the order
    of the plan."""
    recommended_fleet = None if plan.recommendation is None else plan.recommendation.fleet
    rows = [
        dict(_iterate_row_cells(fleet, plan, recommended_fleet))
        for fleet in sorted(plan.offers, key=lambda fleet: fleet.rejected is not None)
    ]
    return _format_table(
        list(rows[0]) if rows else [name for name, _ in _iterate_row_cells(_NO_FLEET, plan, None)], rows
    )


def get_replica_value(fleet: Fleet, column: str) -> str | float | None:
    """Return the value of a column of `REPLICA_COLUMNS`; None unless the fleet is of a language model that was not
    measured."""
    value: str | float | None = getattr(fleet.served_replica, REPLICA_COLUMNS[column], None)
    return value


def _iterate_row_cells(fleet: Fleet, plan: Plan, recommended_fleet: Fleet | None) -> Iterator[tuple[str, Cell]]:
    yield from (("offer", fleet.offer), ("rejected", fleet.rejected))
    yield "is_recommended", _format_boolean(fleet == recommended_fleet)
    yield "is_on_frontier", _format_boolean(any(_is_same_fleet(fleet, front_fleet) for front_fleet in plan.pareto))
    for field in ("provider", "instance_type", "region", "accelerator"):
        yield field, getattr(fleet, field)
    for field in ("accelerator_count", "vcpus", "instances", "spare_instances", "replicas_per_instance"):
        yield field, getattr(fleet, field)
    yield "usd_per_hour_each", fleet.usd_per_hour_each
    yield "latency_metric", plan.latency_metric
    for field, column in _COLUMN_BY_ESTIMATE.items():
        yield from _iterate_estimate_cells(column, getattr(fleet, field))
    yield "is_latency_limit", _format_boolean(fleet.is_latency_limit)
    for field, column in _COLUMN_BY_SPREAD.items():
        yield from _iterate_spread_cells(column, getattr(fleet, field))
    for field in _PROBABILITY_FIELDS:
        yield (
            f"probability_slo_met_{field}_share",
            None if fleet.slo_probabilities is None else getattr(fleet.slo_probabilities, field),
        )
    for field, column in _COLUMN_BY_UNIT_COST.items():
        yield from _iterate_unit_cost_cells(column, _get_unit_costs(fleet, field))
    yield "front_chance_share", fleet.frontier_probability
    for field in ("basis", "sizing_method", "measured_on", "price_kind", "price_date"):
        yield field, getattr(fleet, field)
    for column in REPLICA_COLUMNS:
        yield column, get_replica_value(fleet, column)
    yield from (("price_age_days", fleet.price_age_days), ("price_source", fleet.price_source))
    yield from (("risk_0_to_4", fleet.risk), ("risk_reasons", "; ".join(fleet.risk_reasons)))


def _iterate_estimate_cells(column: str, estimate: Estimate | None) -> Iterator[tuple[str, Cell]]:
    low, high = (None, None) if estimate is None or estimate.ci95 is None else estimate.ci95
    yield column, None if estimate is None else estimate.value
    yield from ((f"{column}_ci95_low", low), (f"{column}_ci95_high", high))


def _iterate_spread_cells(column: str, spread: Spread | None) -> Iterator[tuple[str, Cell]]:
    for percentile in ("p10", "p50", "p90"):
        yield f"{column}_{percentile}", None if spread is None else getattr(spread, percentile)


def _iterate_unit_cost_cells(column: str, costs: UnitCosts | None) -> Iterator[tuple[str, Cell]]:
    for field in ("at_saturation", "at_slo", "at_mean"):
        yield f"{column}_{field}", None if costs is None else getattr(costs, field)


def _get_unit_costs(fleet: Fleet, field: str) -> UnitCosts | None:
    attribute = field.partition(".")[0]
    costs: UnitCosts | None = None if getattr(fleet, attribute) is None else attrgetter(field)(fleet)
    return costs


def _format_boolean(value: bool) -> str:
    return "yes" if value else "no"


def _format_table(header: list[str], rows: list[dict[str, Cell]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_escape_cell(row[column]) for column in header] for row in rows)
    return buffer.getvalue()


def _escape_cell(cell: Cell) -> str | float | int:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return escape_formula(cell)
    return cell if math.isfinite(cell) else ""


_NO_ESTIMATE = Estimate(None)
_NO_FLEET = Fleet(
    "", "", "", "", None, 0, None, "assumed", None, None, None, _NO_ESTIMATE, _NO_ESTIMATE, _NO_ESTIMATE, None,
    _NO_ESTIMATE, _NO_ESTIMATE, "", 0, "", 0, (),
)  # fmt: skip
"""Placeholder fleet that provides the column names if the plan has no offers."""


def _is_same_fleet(fleet: Fleet, front_fleet: Fleet) -> bool:
    """Return whether both fleets have the same offer and number of instances.

    A comparison of all fields would fail, since only fleets of the Pareto front have a front
    probability.
    """
    return (fleet.offer, fleet.instances) == (front_fleet.offer, front_fleet.instances)
