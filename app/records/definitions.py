"""Metrics of one stage as other tools would report them."""

from __future__ import annotations

import msgspec

from app.records.result import Estimate

AGGREGATES = ("mean", "p50", "p90", "p95", "p99")

TOOL_METRICS = {
    "ttft_ms": "ms",
    "itl_ms": "ms",
    "icl_ms": "ms",
    "tpot_ms": "ms",
    "ntpot_ms": "ms",
    "e2e_ms": "ms",
    "requests_per_s": "1/s",
    "output_tokens_per_s": "tokens/s",
}
"""Units of the metrics that other tools report, by metric name. Tools define metrics of the same
name differently: see `ToolMetrics.explanations`."""


class ToolMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Metric values that another tool would report for the requests of a stage.

    `metrics` is keyed by metric of `TOOL_METRICS`, then by aggregate; a rate has only the aggregate
    "value". Metrics and aggregates that the tool does not report are absent. The estimate of an
    aggregate that cannot be computed from rows has the value None, with a reason.
    """

    tool: str
    source: str
    """Version of the tool whose metric definitions are used, and the location of these definitions
    in the tool's source code."""
    requests: int
    """Number of requests from which the latencies in `metrics` are computed."""
    metrics: dict[str, dict[str, Estimate]]
    explanations: dict[str, str]
    """One-line definition of each metric, as the tool defines it."""
    notes: tuple[str, ...] = ()
    """Notes on all metrics of the tool, and on parts of its metrics that cannot be reproduced from
    rows."""
