"""Section of the breakdown of the latency in the headline stage."""

from __future__ import annotations

import msgspec

from reports.quantity import NamedQuantity, Quantity
from reports.sections.section import Cell, Output, Section, Table, TableColumn


class BreakdownRow(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of the latency of all requests (`mean`), or of the requests around a percentile.

    `unknown` is the latency minus all known parts."""

    aggregate: str
    requests: int
    latency: Quantity
    ttft: Quantity
    parts: tuple[NamedQuantity, ...]
    unknown: Quantity


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


BREAKDOWN = Section(
    name="breakdown",
    title="Latency",
    caption="Parts of the latency in ms: mean of all requests, and of the requests around each percentile",
    list_tables=_list_tables,
    has_units=False,
    omits_empty=frozenset(),
    tab=None,
    columns=(
        TableColumn("aggregate", "latency", unit_label="ms"),
        TableColumn("requests", "requests", unit_label="n"),
        TableColumn("parts", expand=_read_parts),
        TableColumn("unknown", "unknown"),
        TableColumn("ttft", "TTFT"),
        TableColumn("latency", "total", unit_label="latency"),
    ),
    layouts={
        "text": "aggregate | requests | parts | unknown | latency",
        "window": "aggregate | requests | parts | unknown | ttft | latency",
    },
)
