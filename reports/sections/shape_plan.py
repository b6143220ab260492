"""Separate plan for a language model that the run did not measure: the cheapest fleets, from its shape."""

from __future__ import annotations

from reports.plan_section import ShapePlanRow
from reports.sections.section import Column, Section

SHAPE_PLAN = Section(
    name="shape_plan",
    title="Cheapest fleet of each accelerator type",
    omits_empty=frozenset(),
    columns=(
        Column[ShapePlanRow]("accelerator", "accelerator"),
        Column("instances", "instances", lambda row: row.fleet.instances),
        Column("offer", "offer", lambda row: row.fleet.offer, is_prose=True),
        Column("usd_per_month", "$/month", lambda row: row.fleet.usd_per_month.value),
        Column("basis", "based on", lambda row: row.fleet.basis, is_prose=True),
    ),
    layouts={"all": "accelerator | instances | offer | usd_per_month | basis"},
)
