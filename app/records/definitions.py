"""The requests of one stage as other tools would report them."""

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
"""Metric names that tools print, with their units. The same name has different definitions: see `ToolMetrics.why`."""


class ToolMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers that one tool would compute from the requests, by metric of `TOOL_METRICS`, then by aggregate; a rate
    has only "value".

    A metric that the tool does not print is missing from `metrics`; an aggregate that it does not print is missing from
    the metric. A value that it prints but that cannot be computed from rows is None, with the reason.
    """

    tool: str
    source: str
    """Version of the tool that was read, and the location of its definitions."""
    requests: int
    """Number of requests from which the tool's times are computed."""
    metrics: dict[str, dict[str, Estimate]]
    explanations: dict[str, str]
    """One-line definition of each metric in this tool."""
    notes: tuple[str, ...] = ()
    """Notes that apply to all of its numbers, and parts of them that rows cannot reproduce."""
