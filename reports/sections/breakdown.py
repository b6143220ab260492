"""Section of the breakdown of the latency in the headline stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reports import formatting
from reports.quantity import NamedQuantity, Quantity
from reports.sections.figure import BarFigure, FigureAxis, FigureBar
from reports.sections.section import Cell, Column, Output, Section, Table

if TYPE_CHECKING:
    from reports.model import Report

UNKNOWN = "unknown"


class BreakdownRow(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of the latency of all requests (`mean`), or of the requests around a percentile.

    `unknown` is the latency minus all known parts."""

    aggregate: str
    requests: int
    latency: Quantity
    ttft: Quantity
    parts: tuple[NamedQuantity, ...]
    unknown: Quantity

    @property
    def quantities(self) -> tuple[NamedQuantity, ...]:
        """All parts, followed by what is unknown."""
        return (*self.parts, NamedQuantity(name=UNKNOWN, quantity=self.unknown))


class BreakdownSection(msgspec.Struct, frozen=True, kw_only=True):
    """Breakdown of the latency of a stage into parts.

    `sentence` names the largest part and what would shorten it. `note` says where the server's
    parts come from."""

    stage: str
    rows: tuple[BreakdownRow, ...]
    sentence: str
    note: str


def _list_tables(section: BreakdownSection, _: Output) -> list[Table[BreakdownRow]]:
    return [Table(rows=section.rows, lines=(section.sentence, section.note))]


def _read_parts(row: BreakdownRow) -> dict[str, Cell]:
    return {part.name: part.quantity for part in row.parts}


def build_breakdown_figure(report: Report) -> BarFigure | None:
    """Build the stacked bars of the parts that have a time in any row; `None` without a breakdown, or if
    no part but the unknown rest is known."""
    section = report.breakdown
    if section is None:
        return None
    names = dict.fromkeys(part.name for row in section.rows for part in row.quantities if part.quantity.value)
    part_names = [part.name for part in section.rows[0].parts if part.name in names]
    if not part_names:
        return None
    return BarFigure(
        title=f"Latency breakdown in {section.stage}",
        value=FigureAxis("Latency", "ms"),
        group_label="Latency",
        series_label="Part",
        bars=tuple(
            FigureBar(
                row.aggregate, part.name, max(part.quantity.value, 0.0), formatting.format_value_unit(part.quantity)
            )
            for row in section.rows
            for part in row.quantities
            if part.name in names and part.quantity.value is not None
        ),
        is_stacked=True,
        group_texts={row.aggregate: formatting.format_value_unit(row.latency) for row in section.rows},
        rest=UNKNOWN,
        alternative=section.sentence,
        columns=("requests", *part_names, UNKNOWN, "latency"),
        rows=tuple(
            (
                row.aggregate,
                *(formatting.format_value_unit(part.quantity) for part in row.parts if part.name in part_names),
                formatting.format_value_unit(row.unknown),
                formatting.format_value_unit(row.latency),
            )
            for row in section.rows
        ),
        note=section.note,
    )


BREAKDOWN = Section(
    name="breakdown",
    title="Latency",
    caption="Parts of the latency in ms: mean of all requests, and of the requests around each percentile",
    list_tables=_list_tables,
    has_units=False,
    omits_empty=frozenset(),
    tab=None,
    figure_key="breakdown",
    build_figure=build_breakdown_figure,
    figure_part="charts",
    columns=(
        Column("aggregate", "latency", unit_label="ms"),
        Column("requests", "requests", unit_label="n"),
        Column("parts", expand=_read_parts),
        Column("unknown", UNKNOWN),
        Column("ttft", "TTFT"),
        Column("latency", "total", unit_label="latency"),
    ),
    layouts={
        "text": "aggregate | requests | parts | unknown | latency",
        "window": "aggregate | requests | parts | unknown | ttft | latency",
    },
)
