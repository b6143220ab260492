"""Section of the streams of messages of each stage."""

from __future__ import annotations

import msgspec

from reports.quantity import Quantity
from reports.sections.section import Column, Section, list_aggregates


class MessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of the streams of one stage: time to the first message (`first_…`) and gaps between
    messages (`gap_…`)."""

    stage: str
    first_p50: Quantity
    first_p95: Quantity
    first_p99: Quantity
    gap_p50: Quantity
    gap_p95: Quantity
    gap_p99: Quantity
    per_response: Quantity
    per_s: Quantity


_PERCENTILES = ("p50", "p95", "p99")
MESSAGES = Section(
    name="messages",
    record=MessageRow,
    rows_name="stages with streams of messages",
    needs_metrics=frozenset(("response_messages",)),
    title="Messages",
    caption="Streams of messages: throughput, messages per response, time to first message, and gap between messages",
    legend="times in ms; gap: between messages of a stream",
    has_units=False,
    omits_empty=frozenset(("text", "window")),
    tab="breakdown",
    columns=(
        Column("stage", "stage"),
        Column("per_s", "throughput", unit_label="messages/s", metric="messages_per_s"),
        Column("per_response", "per response", metric="response_messages.mean"),
        *list_aggregates("first", "first message", "first_message_ms", _PERCENTILES),
        *list_aggregates("gap", "gap", "message_gap_ms", _PERCENTILES),
    ),
    layouts={
        "all": "stage | per_s per_response | first_p50 first_p95 first_p99 | gap_p50 gap_p95 gap_p99",
        "markdown": "",
    },
)
