"""A server that freezes: everybody who was due meanwhile has waited, whoever could be sent or not."""

from __future__ import annotations

from collections.abc import Iterator

from app.records.selftest import Finding, finding
from app.session.selftest.bench import LEAD_IN_S, Bench, seen
from loadgen.reference.script import Script

RATE_PER_S, DURATION_S = 200.0, 6.0
DELAY_S, FREEZE_AFTER_S, FREEZE_S = 0.05, 1.5, 1.0
CONNECTIONS = 20
_TOLERANCE = 0.05


def check_stall(bench: Bench) -> Iterator[Finding]:
    """By so few connections, most of those due in the freeze are sent after it, and their times from the send know
    nothing of it. With the connections half used, the backlog takes as long again to go.
    """
    script = Script(delay_s=DELAY_S, freeze_after_s=LEAD_IN_S + FREEZE_AFTER_S, freeze_s=FREEZE_S)
    stage = bench.measure("stall", script, RATE_PER_S, DURATION_S, connections=CONNECTIONS)
    for name, q in (("p95", 0.95), ("p99", 0.99)):
        expected_ms = 1e3 * expected_s(q)
        yield finding(
            "stall",
            f"latency {name} of a server frozen for {FREEZE_S:g} s",
            seen(stage, "latency_ms", name),
            low=(1 - _TOLERANCE) * expected_ms,
            high=(1 + _TOLERANCE) * expected_ms,
            unit="ms",
        )
    yield finding(
        "stall",
        "p95 from the send, which must not know of it",
        seen(stage, "service_ms", "p95"),
        low=1e3 * DELAY_S,
        high=2e3 * DELAY_S,
        unit="ms",
    )


def expected_s(q: float) -> float:
    """The q-th percentile of the latency, q above the share of those who did not wait.

    All connections are answered at once at the thaw and then once in each `DELAY_S`, so who was due t after the freeze
    began has its answer at the thaw + utilisation · t; who was in flight then, up to `DELAY_S` before, at the thaw.
    """
    utilisation = RATE_PER_S * DELAY_S / CONNECTIONS
    return FREEZE_S + (1 - utilisation) * (DELAY_S - (1 - q) * DURATION_S)
