"""The requests of one stage in the numbers of other tools."""

from __future__ import annotations

import msgspec

from app.records.result import Estimate

AGGREGATES = ("mean", "p50", "p90", "p95", "p99")

METRICS = {
    "ttft_ms": "ms",
    "itl_ms": "ms",
    "icl_ms": "ms",
    "tpot_ms": "ms",
    "ntpot_ms": "ms",
    "e2e_ms": "ms",
    "requests_per_s": "1/s",
    "output_tokens_per_s": "tokens/s",
}
"""The names under which tools print numbers, with their units. One name is several definitions: `ToolNumbers.why`."""


class ToolNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """What one tool makes of the requests: by metric of `METRICS`, then by aggregate, of which a rate has only "value".

    A metric that the tool does not print is not in `metrics`; an aggregate it does not print is not in its metric. One
    that it prints and that rows cannot tell is None, with the reason.
    """

    tool: str
    read_from: str
    """What version of the tool was read, and where its definitions stand."""
    answers: int
    """Requests its times are of."""
    metrics: dict[str, dict[str, Estimate]]
    why: dict[str, str]
    """By metric: what it is in this tool, in a line."""
    notes: tuple[str, ...] = ()
    """What holds for all of its numbers, and what of it rows cannot tell."""
