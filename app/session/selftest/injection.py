"""A delay that was put in is found again, and so is every answer."""

from __future__ import annotations

from collections.abc import Iterator

from app.records.selftest import Finding, finding
from app.session.selftest.bench import Bench, seen
from loadgen.reference.script import Script

RATE_PER_S, DURATION_S = 100.0, 2.0
DELAY_S, INJECTED_S = 0.02, 0.04
_TOLERANCE = 0.05
_OWN_MS = 5.0


def check_injection(bench: Bench) -> Iterator[Finding]:
    before = bench.measure("injection, without", Script(delay_s=DELAY_S), RATE_PER_S, DURATION_S)
    after = bench.measure("injection, with", Script(delay_s=DELAY_S + INJECTED_S), RATE_PER_S, DURATION_S)
    before_ms, after_ms = (seen(stage, "latency_ms", "p50") for stage in (before, after))
    yield finding(
        "injection",
        f"p50 of the latency that {1e3 * INJECTED_S:g} ms more of the server add",
        None if before_ms is None or after_ms is None else after_ms - before_ms,
        low=(1 - _TOLERANCE) * 1e3 * INJECTED_S,
        high=(1 + _TOLERANCE) * 1e3 * INJECTED_S,
        unit="ms",
    )
    yield finding(
        "injection",
        f"p50 of the latency beyond the server's {1e3 * DELAY_S:g} ms",
        None if before_ms is None else before_ms - 1e3 * DELAY_S,
        low=0.0,
        high=_OWN_MS,
        unit="ms",
    )
    due = 2 * RATE_PER_S * DURATION_S
    yield finding("injection", "answers", float(before.completed + after.completed), low=due, high=due, unit=None)
