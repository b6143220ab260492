"""Breakdown of the latency of a stage's requests into the parts in which the time was spent."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Count

LatencyPart = Literal[
    "send_delay", "connection", "network", "queue", "prefill", "processing", "decode", "stalls", "tail"
]  # fmt: skip
"""Parts of a latency, in the order in which they occur.

`send_delay`: from the scheduled start until the request is sent or needs a connection, in the load
generator. `connection`: until a connection was open or free. `network`: one round trip to the first
hop that ends a TCP connection. `queue`: in the server's queue. `prefill`: from the admission to the
first token. `processing`: in the server after its queue, for a response without tokens. `decode`:
from the first to the last received token, without stalls. `stalls`: the excess of unusually long
gaps between chunks over the usual gap of the same response. `tail`: from the last token to the end
of the response."""

PART_NAMES: dict[LatencyPart, str] = {
    "send_delay": "send delay",
    "connection": "connection",
    "network": "network",
    "queue": "server queue",
    "prefill": "prefill",
    "processing": "processing",
    "decode": "decode",
    "stalls": "stalls",
    "tail": "tail",
}
SERVER_PARTS: tuple[LatencyPart, ...] = ("queue", "prefill", "processing")
"""Parts that only the server can measure."""

Evidence = Literal["requests", "stage"]
"""Source of the server's parts: `requests` if the server reports them with each response, `stage` if
they are means from the server's counters."""


class LatencyBreakdown(msgspec.Struct, frozen=True):
    """Mean parts of the latency of some requests of a stage: all of them, or those around a
    percentile.

    Each part is derived independently of the others. A part without evidence is None or absent, and
    its time is in `unknown_ms`: the latency minus all known parts, which is also the time in routers
    and in the HTTP code of both sides. It is negative if parts overlap or the evidence is
    wrong.
    """

    aggregate: Literal["mean", "p50", "p95", "p99", "request"]
    requests: Count
    latency_ms: float
    ttft_ms: float | None
    parts_ms: dict[LatencyPart, float | None]
    unknown_ms: float
    evidence: Evidence | None = None

    @property
    def largest_part(self) -> LatencyPart | None:
        """Part with the longest time; None if the unknown rest is longer than every part."""
        known = {part: part_ms for part, part_ms in self.parts_ms.items() if part_ms is not None}
        largest = max(known, key=known.__getitem__, default=None)
        return largest if largest is not None and known[largest] > self.unknown_ms else None
