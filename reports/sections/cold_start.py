"""Section of the cold start of the target, by phase."""

from __future__ import annotations

from collections.abc import Sequence

from reports.quantity import NamedQuantity, Quantity
from reports.sections.section import Section, TableColumn, describe_rows, format_dimmed


def _describe(phases: Sequence[NamedQuantity]) -> list[str]:
    texts = [f"{phase.name} after {_format_with_reason(phase.quantity)}" for phase in phases]
    return [", ".join(texts)] if texts else []


def _format_with_reason(quantity: Quantity) -> str:
    text = format_dimmed(quantity)
    return f"{text} ({quantity.reason})" if quantity.value is None and quantity.reason else text


COLD_START = Section(
    name="cold_start",
    title="Cold start",
    caption="Cold start: from the start command, or from the first request after scale to zero",
    list_tables=describe_rows(_describe),
    intervals={"html": "inline"},
    part="start",
    columns=(TableColumn("name", "phase"), TableColumn("quantity", "time")),
    layouts={"html": "name | quantity"},
)
