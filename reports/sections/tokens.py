"""Section of the token metrics of each stage whose responses have tokens."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reports.quantity import NOT_STORED, Quantity
from reports.sections.section import LATENCY, Output, Section, Table, TableColumn, list_aggregates


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Token metrics of the responses of one stage: time to first token (`ttft_…`), time per output
    token (`tpot_…`), inter-token latency (`itl_…`) and inter-chunk latency (`icl_…`).

    `latency_…` are aggregates of the metric `Report.times`: the time of the whole response.
    """

    stage: str
    ttft_p50: Quantity
    ttft_p95: Quantity
    ttft_p99: Quantity
    tpot_p50: Quantity
    tpot_p95: Quantity
    itl_p50: Quantity
    itl_p99: Quantity
    icl_p99: Quantity
    coalesced: Quantity
    output_tokens: Quantity
    tokens_per_s: Quantity
    ttft_mean: Quantity = NOT_STORED
    tpot_mean: Quantity = NOT_STORED
    tpot_p99: Quantity = NOT_STORED
    itl_mean: Quantity = NOT_STORED
    itl_p95: Quantity = NOT_STORED
    latency_mean: Quantity = NOT_STORED
    latency_p50: Quantity = NOT_STORED
    latency_p95: Quantity = NOT_STORED
    latency_p99: Quantity = NOT_STORED
    throughput: Quantity = NOT_STORED
    """Successful responses per second."""
    good_tokens_per_s: Quantity = NOT_STORED
    user_tokens_p50: Quantity = NOT_STORED
    """Output throughput per user: 1 / TPOT."""
    cached: Quantity = NOT_STORED
    """Share of the input tokens that the server's prefix cache served."""
    reasoning_tokens: Quantity = NOT_STORED


_AGGREGATES = ("mean", "p50", "p95", "p99")


def _list_tables(rows: Sequence[TokenRow], _: Output) -> list[Table[TokenRow]]:
    """Return the table with the distinct reasons for missing values."""
    reasons = {
        f"{name} n/a: {quantity.reason}": None
        for row in rows
        for name, quantity in (
            ("ITL", row.itl_p50),
            ("TPOT", row.tpot_p50),
            ("ICL", row.icl_p99),
            ("TTFT", row.ttft_p50),
        )
        if quantity.value is None and not quantity.is_undersampled and quantity.reason
    }
    return [Table(rows=rows, lines=[*reasons])]


TOKENS = Section(
    name="tokens",
    record=TokenRow,
    rows_name="stages with tokens",
    needs_metrics=frozenset(("ttft_ms", "output_tokens")),
    title="Tokens",
    caption="Token metrics: time to first token (TTFT), time per output token (TPOT), inter-token latency (ITL), "
    "inter-chunk latency (ICL)",
    list_tables=_list_tables,
    legend="times in ms; coalesced: chunks read together (no ITL gap)",
    has_units=False,
    intervals={"window": "inline"},
    tab=None,
    columns=(
        TableColumn("stage", "stage"),
        TableColumn("n", "n", read=lambda row: row.latency_p50.n),
        TableColumn("throughput", "throughput", unit_label="req/s", metric="completed_per_s"),
        TableColumn(
            "tokens_per_s",
            "output throughput",
            unit_label="tok/s",
            metric="output_tokens_per_s",
            gauge=("output_tokens_per_second", "Rate of output tokens"),
        ),
        *list_aggregates("ttft", "TTFT", "ttft_ms", _AGGREGATES, help_text="Time to first token"),
        *list_aggregates("tpot", "TPOT", "tpot_ms", _AGGREGATES, help_text="Time per output token"),
        *list_aggregates("itl", "ITL", "itl_ms", _AGGREGATES, help_text="Inter-token latency"),
        *list_aggregates("latency", LATENCY, LATENCY, _AGGREGATES),
        *list_aggregates("icl", "ICL", "icl_ms", ("p99",)),
        TableColumn("coalesced", "coalesced chunks", unit_label="coalesced", metric="coalesced_share"),
        TableColumn("output_tokens", "tokens per response", metric="output_tokens.mean"),
        TableColumn("good_tokens_per_s", "token goodput", metric="good_tokens_per_s"),
        TableColumn("user_tokens_p50", "p50 output throughput per user", metric="user_tokens_per_s.p50"),
        TableColumn("cached", "cached input", metric="cached_input_share"),
        TableColumn("reasoning_tokens", "reasoning tokens", metric="reasoning_tokens.mean"),
    ),
    layouts={
        "text": "stage | n | throughput tokens_per_s | ttft_mean ttft_p50 ttft_p95 ttft_p99 | tpot_mean tpot_p50 "
        "tpot_p95 tpot_p99 | itl_mean itl_p50 itl_p95 itl_p99 | latency_mean latency_p50 latency_p95 latency_p99 | "
        "icl_p99 coalesced | cached | reasoning_tokens",
        "markdown": "stage | ttft_p50 | ttft_p95 | ttft_p99 | tpot_p50 | tpot_p95 | itl_p50 | itl_p99 | tokens_per_s",
        "html": "stage | ttft_p50 | ttft_p95 | ttft_p99 | tpot_p50 | tpot_p95 | itl_p50 | itl_p99 | icl_p99 | "
        "coalesced | output_tokens | tokens_per_s | good_tokens_per_s | user_tokens_p50 | cached",
        "window": "stage | ttft_p50 | ttft_p95 | ttft_p99 | tpot_p50 | tpot_p95 | itl_p50 | itl_p99 | icl_p99 | "
        "coalesced | output_tokens | tokens_per_s",
        "openmetrics": "stage | ttft_p50 ttft_p95 ttft_p99 | tpot_p50 tpot_p95 | itl_p50 itl_p99 | tokens_per_s",
    },
)
