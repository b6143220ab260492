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
"""Names of the metrics reported by other tools, with their units. Tools define the same name
differently: see `ToolMetrics.explanations`."""


class ToolMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Values that one tool would report for the requests of a stage, by metric of `TOOL_METRICS`,
    then by aggregate; a rate has only the aggregate "value".

    Metrics and aggregates that the tool does not report are missing from `metrics`. A value that
    the tool reports but that cannot be computed from rows is None, with a reason.
    """

    tool: str
    source: str
    """Version of the tool that the definitions are based on, and their location in the tool's
    source."""
    requests: int
    """Number of requests from which the latencies of the tool are computed."""
    metrics: dict[str, dict[str, Estimate]]
    explanations: dict[str, str]
    """One-line definition of each metric, as this tool defines it."""
    notes: tuple[str, ...] = ()
    """Notes that apply to all metrics of the tool, and parts of the metrics that cannot be
    reproduced from rows."""
