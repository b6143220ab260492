"""Section of the spikes of a run."""

from __future__ import annotations

import msgspec

from reports.formatting import format_duration, format_plain, with_unit
from reports.quantity import Quantity
from reports.sections.section import Column, Noted, Section, describe_rows, format_dimmed


class SpikeSummary(msgspec.Struct, frozen=True, kw_only=True):
    stage: str
    baseline_per_s: float
    peak_per_s: float
    spike_s: float
    slo_violated: Quantity
    backlog_peak: Quantity
    drained: Quantity


def _describe(row: SpikeSummary) -> str:
    reasons = [f"{quantity.reason}" for quantity in (row.slo_violated, row.drained) if quantity.reason]
    reason_note = f" ({'; '.join(reasons)})" if reasons else ""
    return (
        f"{row.stage}: {format_plain(row.baseline_per_s)} to {with_unit(format_plain(row.peak_per_s), 'req/s')} for "
        f"{format_duration(row.spike_s)}; SLO violated for {format_dimmed(row.slo_violated)}, peak backlog "
        f"{format_dimmed(row.backlog_peak)}, drained {format_dimmed(row.drained)} after the spike{reason_note}"
    )


def _note_reason(row: SpikeSummary) -> Noted:
    quantity = row.slo_violated
    return Noted(quantity, note=(quantity.reason or "") if quantity.value is not None else "")


SPIKES = Section(
    name="spikes",
    title="Spikes",
    list_tables=describe_rows(_describe),
    intervals={"html": "inline", "window": "inline"},
    columns=(
        Column("stage", "stage"),
        Column(
            "rate",
            "rate, before → peak",
            read=lambda row: f"{format_plain(row.baseline_per_s)} → {format_plain(row.peak_per_s)} req/s",
        ),
        Column("spike", "duration", read=lambda row: format_duration(row.spike_s)),
        Column("slo_violated", "SLO violated for", read=_note_reason),
        Column("backlog_peak", "peak backlog"),
        Column("drained", "drain time after the spike"),
    ),
    layouts={"text": "", "markdown": "", "all": "stage | rate spike slo_violated backlog_peak drained"},
)
