"""Section of the jobs of the Batch API."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reports.formatting import format_count, format_duration, format_value_unit
from reports.quantity import Quantity
from reports.sections.section import Column, Noted, Output, Section, Table


class BatchJobRow(msgspec.Struct, frozen=True, kw_only=True):
    """Job of the Batch API. `outcomes` has the number of requests, and by outcome."""

    stage: str
    status: str
    upload: Quantity
    job: Quantity
    outcomes: dict[str, int]
    tokens_in: Quantity
    tokens_out: Quantity
    tokens_per_s: Quantity
    """Output tokens per second over the whole job."""
    detail: str | None


_STATUSES = {
    "completed": "The job was completed",
    "failed": "The job failed",
    "expired": "The job expired",
    "cancelled": "The job was canceled",
}


def _list_tables(rows: Sequence[BatchJobRow], output: Output) -> list[Table[BatchJobRow]]:
    if output in ("text", "markdown"):
        return [Table(rows=(), lines=[line for row in rows for line in _describe_job(row)])]
    return [Table(rows=rows)]


def _describe_job(row: BatchJobRow) -> list[str]:
    """Return lines about the end of a job, with its requests and tokens."""
    count_texts = [f"{count:,} {name}" for name, count in row.outcomes.items() if count or name == "completed"]
    tokens = (("input", row.tokens_in), ("output", row.tokens_out))
    token_text = ", ".join(
        f"{format_count(round(count.value))} {name} tokens" for name, count in tokens if count.value is not None
    )
    rate_text = f", {format_value_unit(row.tokens_per_s)} over the whole job" if row.tokens_per_s.value else ""
    return [
        f"{_STATUSES[row.status]} after {_format_time(row.job)} (upload before it: {_format_time(row.upload)})",
        f"{count_texts[0]}: {', '.join(count_texts[1:])}",
        *([f"{token_text}{rate_text}"] if token_text else []),
        *([f"reason given by the server: {row.detail}"] if row.detail else []),
    ]


def _format_time(quantity: Quantity) -> str:
    return format_duration(quantity.value or 0)


BATCHES = Section(
    name="batches",
    title="Batch",
    caption="Job of the Batch API: the time from its creation to its end, and its requests",
    list_tables=_list_tables,
    columns=(
        Column("stage", "stage"),
        Column("status", "end", read=lambda row: Noted(_STATUSES[row.status], note=row.detail or "")),
        Column("job", "duration", read=lambda row: _format_time(row.job)),
        Column("upload", "upload", read=lambda row: _format_time(row.upload)),
        Column("outcomes", expand=lambda row: row.outcomes),
        Column("tokens_in", "input"),
        Column("tokens_out", "output"),
        Column("tokens_per_s", "output throughput"),
    ),
    layouts={"html": "stage | status job upload | outcomes | tokens_in tokens_out tokens_per_s"},
)
