"""Section of the cold start of the target, by phase."""

from __future__ import annotations

from collections.abc import Sequence

from reports.quantity import NamedQuantity, Quantity
from reports.sections.section import Column, Output, Section, Table, format_dimmed


def _list_tables(phases: Sequence[NamedQuantity], output: Output) -> list[Table[NamedQuantity]]:
    if output != "text":
        return [Table(rows=phases)]
    texts = [f"{phase.name} after {_format_with_reason(phase.quantity)}" for phase in phases]
    return [Table(rows=(), lines=[", ".join(texts)])]


def _format_with_reason(quantity: Quantity) -> str:
    text = format_dimmed(quantity)
    return f"{text} ({quantity.reason})" if quantity.value is None and quantity.reason else text


COLD_START = Section(
    name="cold_start",
    title="Cold start",
    caption="Cold start: from the start command, or from the first request after scale to zero",
    list_tables=_list_tables,
    intervals={"html": "inline"},
    part="start",
    columns=(Column("name", "phase"), Column("quantity", "time")),
    layouts={"html": "name | quantity"},
)
