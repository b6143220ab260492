"""Which fleets are worth looking at: no other is both as cheap and as fast."""

from __future__ import annotations

from collections.abc import Iterable

from app.records.result import Fleet


def pareto_front(fleets: Iterable[Fleet]) -> tuple[Fleet, ...]:
    """The fleets that none beats, cheapest first; of two alike one stands. Fleets without a latency take no part."""
    known = [
        (fleet.usd_per_month.value, fleet.latency_at_peak.value, fleet)
        for fleet in fleets
        if fleet.usd_per_month.value is not None and fleet.latency_at_peak.value is not None
    ]
    front: list[Fleet] = []
    fastest_ms = float("inf")
    for _, latency_ms, fleet in sorted(known, key=lambda one: one[:2]):
        if latency_ms < fastest_ms:
            front.append(fleet)
            fastest_ms = latency_ms
    return tuple(front)
