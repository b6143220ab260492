"""Section of the knees of a load sweep, one per method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reports.quantity import Quantity
from reports.sections.section import Column, Noted, Output, Section, Table, format_dimmed

if TYPE_CHECKING:
    from reports.model import Report


class KneeRow(msgspec.Struct, frozen=True, kw_only=True):
    """Knee of a sweep by one method: the load `at` (a rate or a number of clients) above which
    latency grows faster than throughput. `latency` is the mean latency at that load."""

    name: str
    method: str
    at: Quantity
    latency: Quantity


class KneeSection(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[KneeRow, ...]
    note: str | None = None


def list_knee_markers(report: Report, unit: str) -> tuple[tuple[float, str], ...]:
    """Return the load and the label of each knee that a method found, in this unit of load."""
    rows = () if report.knees is None else report.knees.rows
    return tuple(
        (row.at.value, f"knee: {row.name}") for row in rows if row.at.value is not None and row.at.unit == unit
    )


def _describe(section: KneeSection) -> list[str]:
    lines = [
        f"{row.method}: {format_dimmed(row.at)}"
        + (
            f", mean latency {format_dimmed(row.latency)}"
            if row.at.value is not None
            else f" ({row.at.reason})"
            if row.at.reason
            else ""
        )
        for row in section.rows
    ]
    return [*lines, *([section.note] if section.note else [])]


def _list_tables(section: KneeSection, output: Output) -> list[Table[KneeRow]]:
    return [
        Table(rows=(), lines=_describe(section))
        if output == "text"
        else Table(rows=section.rows, note=section.note or "")
    ]


def _note_reason(row: KneeRow) -> Noted:
    return Noted(row.at, note=(row.at.reason or "") if row.at.value is None else "")


KNEES = Section(
    name="knees",
    title="Knee",
    caption="Knee: load beyond which latency grows faster than throughput",
    list_tables=_list_tables,
    intervals={"html": "inline", "window": "inline"},
    columns=(
        Column("method", "method"),
        Column("at", "load", read=_note_reason),
        Column("latency", "mean latency"),
    ),
    layouts={"text": "", "markdown": "", "all": "method | at latency"},
)
