"""Was everything sent that was to be, and did clients that wait for answers send independently of each other?"""

from __future__ import annotations

import numpy as np

from app.analysis.columns import Nanoseconds
from app.analysis.grading import grade_high
from app.analysis.rows import StageRows
from app.records.result import Check, Window
from app.records.stage import StageFacts

_NEVER_STARTED = 0.01
_PARTS = 20
_FEWEST_CYCLES = 10
_TOGETHER = 0.3
_SHORTEST_PART_NS = 500_000
"""Below that an event loop that reads several answers at once, here or in the server, makes clients send together."""


def never_started_check(rows: StageRows) -> Check:
    """An arrival that was never started is the latest of late ones, and as many of them make a stage INVALID."""
    return grade_high(
        "arrivals_never_started",
        float(np.mean(~rows.was_started)) if rows.was_started.size else None,
        unit="share",
        warn=0.0,
        invalid=_NEVER_STARTED,
        hint="No connection was free for them before the stage was over: lower the rate, or raise "
        "target.max_connections where that is what they waited for."
        if rows.was_started.size
        else "Nothing was to be sent.",
    )


def in_step_check(sent_ns: Nanoseconds, facts: StageFacts, window: Window) -> tuple[Check, ...]:
    """Of clients in a closed loop: how many of the others send in the same twentieth of a cycle as one of them does.

    A cycle is what a client needs from one send to its next, on average (Little's law: clients over rate). Clients that
    know nothing of each other share a twentieth with one in twenty; those in step send all at once and wait all at
    once. Only what happens in the same cycle is compared, so it does not matter how even the cycles are.
    """
    clients = facts.concurrency or 0
    inside = np.sort(sent_ns[(sent_ns >= window.start_ns) & (sent_ns < window.end_ns)])
    if facts.arrival_kind not in ("closed", "locust") or clients < 2 or inside.size < _FEWEST_CYCLES * clients:
        return ()
    cycle_ns = (window.end_ns - window.start_ns) * clients / inside.size
    if cycle_ns < _PARTS * _SHORTEST_PART_NS:
        return ()
    counts = _counts(((inside - window.start_ns) * (_PARTS / cycle_ns)).astype(np.int64))
    together = float(np.sum(counts * (counts - 1)) / np.sum(counts)) / (clients - 1)
    check = grade_high(
        "clients_in_step",
        min(1.0, together),
        unit="share",
        warn=_TOGETHER,
        hint="Clients send at the same moment and wait at the same moment, as independent users do not: give them a "
        "pause (think, or Locust's wait_time), or send open loop (arrivals: poisson).",
    )
    return (check,)


def _counts(places: Nanoseconds) -> Nanoseconds:
    """How often each of them is there; they are in order."""
    edges = np.flatnonzero(np.diff(places)) + 1
    return np.diff(np.concatenate(([0], edges, [places.size])))
