"""What the servers of a target counted during a stage, beside what the client measured."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Count

ServerLatencyKind = Literal["ttft", "queue", "prefill", "decode", "itl", "e2e"]
"""Latencies that inference servers report as histograms, from the arrival of the request at the server.

`ttft`: until the first token. `queue`: until the scheduler admits the request. `prefill`: from the
admission to the first token. `decode`: from the first to the last token. `itl`: between two
consecutive tokens. `e2e`: until the last token."""

LATENCY_NAMES: dict[ServerLatencyKind, str] = {
    "ttft": "TTFT",
    "queue": "queue",
    "prefill": "prefill",
    "decode": "decode",
    "itl": "ITL",
    "e2e": "E2E latency",
}


class LatencyHistogram(msgspec.Struct, frozen=True):
    """Increase of one latency histogram during a stage: `count` values with the mean `mean_ms`.

    `bucket_counts[k]` is the number of values above `upper_bounds_ms[k - 1]` and up to
    `upper_bounds_ms[k]`; values above the last bound are in no bucket. Both are empty if the server
    reports no buckets."""

    count: Count
    mean_ms: float
    upper_bounds_ms: tuple[float, ...] = ()
    bucket_counts: tuple[Count, ...] = ()


CountersRefusal = Literal["other_process", "counter_decreased", "more_than_sent", "fewer_than_answered"]
"""Reason for which counters of a server are left out of a result.

`other_process`: the two readings are from different processes. `counter_decreased`: a counter is
lower in the second reading. `more_than_sent`: the server counted more requests than the stage sent.
`fewer_than_answered`: the server counted fewer requests than the client received responses to."""

REFUSAL_TEXTS: dict[CountersRefusal, str] = {
    "other_process": "the two readings are from different processes",
    "counter_decreased": "a counter decreased between the two readings",
    "more_than_sent": "the server counted more requests than were sent",
    "fewer_than_answered": "the server counted fewer requests than were answered",
}


class ServerCounters(msgspec.Struct, frozen=True, kw_only=True):
    """Increase of the counters of the target's servers during a stage, summed over the servers,
    from before the first request to after the last response. A counter is None if a server does not
    report it."""

    requests: Count | None = None
    """Completed requests, including the requests of other clients."""
    refusal: CountersRefusal | None = None
    """Reason for which the other counters are left out; None if they are of this stage alone."""
    input_tokens: Count | None = None
    cached_input_tokens: Count | None = None
    """Input tokens that a prefix cache served."""
    looked_up_input_tokens: Count | None = None
    """Input tokens for which the prefix cache was asked; `cached_input_tokens` of them were hits."""
    output_tokens: Count | None = None
    preemptions: Count | None = None
    latencies: dict[ServerLatencyKind, LatencyHistogram] = {}


class LatencyComparison(msgspec.Struct, frozen=True):
    """Mean of one latency as the server and as the client measured it, over all requests of a
    stage, lead-in and drain included.

    `client_ms` starts at the send; it is None if only the server can measure this latency. Where
    both are known, `client_ms` − `server_ms` is the time spent in the network, in a router, and in
    the HTTP code of both sides."""

    kind: ServerLatencyKind
    server_ms: float
    server_count: Count
    client_ms: float | None = None
    client_count: Count | None = None
    server_p95_ms: tuple[float, float | None] | None = None
    """Bounds of the bucket that contains the server's 95th percentile; the upper one is None above
    the last bucket. None if the server reports no buckets."""
