"""Section of the requests by group, such as by target."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reports.formatting import format_count, format_percent
from reports.quantity import Quantity
from reports.sections.section import (
    LATENCY,
    MAX_TEXT_ROWS,
    Column,
    Output,
    Section,
    Table,
    build_lines,
    format_dimmed,
)


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a group of requests, such as the requests to one target. `share` is their fraction
    of all requests."""

    label: str
    requests: int
    share: float
    failed: int
    p50: Quantity
    p95: Quantity


class GroupTable(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    column: str
    rows: tuple[GroupRow, ...]


def _list_tables(tables: Sequence[GroupTable], output: Output) -> list[Table[GroupRow]]:
    if output == "text":
        return [
            Table(rows=(), block_title=f"By {table.column}", lines=build_lines(table.rows, _describe, MAX_TEXT_ROWS))
            for table in tables
        ]
    return [
        Table(
            rows=table.rows,
            first_label=table.column,
            title=table.title,
            caption=f"{table.title}: {LATENCY} of successful requests",
        )
        for table in tables
    ]


def _describe(row: GroupRow) -> str:
    return (
        f"{row.label}: {format_count(row.requests)} requests ({format_percent(row.share)}), "
        f"{format_count(row.failed)} failed, p50 {format_dimmed(row.p50)}, p95 {format_dimmed(row.p95)}"
    )


GROUPS = Section(
    name="groups",
    title="By group",
    list_tables=_list_tables,
    intervals={"html": "inline", "window": "inline"},
    columns=(
        Column("label", "group"),
        Column("requests", "requests"),
        Column("share", "share of requests", read=lambda row: format_percent(row.share)),
        Column("failed", "failed"),
        Column("p50", "p50"),
        Column("p95", "p95"),
    ),
    layouts={"text": "", "markdown": "", "all": "label | requests share failed p50 p95"},
)
