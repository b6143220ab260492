"""Whether the calls of a local model were timed in a steady state, and begun when they were due."""

from __future__ import annotations

import numpy as np

from app.analysis.call_rows import CallRows, lateness_ms
from app.analysis.drift import CHANGE_LIMIT, latency_drift
from app.analysis.grading import grade_high
from app.records.calls import CallStage
from app.records.result import Check

_LATE_MS = 1.0
_FAR_TOO_LATE_MS = 10.0
_FEWEST = 20


def call_checks(calls: CallRows, facts: CallStage) -> tuple[Check, ...]:
    if not len(calls):
        return (Check("calls", 0, _FEWEST, "calls", "INVALID", "Not one call ended: give load.at_most more time."),)
    checks = [_warm_up(facts), _few(calls), _steady(calls)]
    if facts.scenario == "server":
        checks.append(_lateness(calls))
    else:
        checks.append(_precision(facts))
    return tuple(checks)


def _warm_up(facts: CallStage) -> Check:
    if facts.has_settled:
        return Check("warm-up", facts.warmup_windows, None, "windows", "VALID")
    hint = "No three windows in a row agreed within 10 % before the warm-up's time was up: lengthen load.warmup."
    return Check("warm-up", facts.warmup_windows, None, "windows", "WARN", hint)


def _few(calls: CallRows) -> Check:
    is_enough = len(calls) >= _FEWEST
    hint = None if is_enough else "Too few calls for any interval: lengthen load.at_most."
    return Check("calls", len(calls), _FEWEST, "calls", "VALID" if is_enough else "WARN", hint)


def _steady(calls: CallRows) -> Check:
    drift = latency_drift(calls.service_ms)
    if drift is None:
        return Check("steady times", None, CHANGE_LIMIT, "share", "VALID")
    return grade_high(
        "steady times",
        abs(drift),
        unit="share",
        warn=CHANGE_LIMIT,
        hint="Calls became slower or faster all along: look for throttling and other load, and lengthen load.warmup.",
    )


def _precision(facts: CallStage) -> Check:
    return grade_high(
        "half-width of the mean time",
        facts.half_width,
        unit="share",
        warn=max(facts.wanted_half_width, 0.0),
        hint="The time was up before the interval was as narrow as asked: lengthen load.at_most, or quiet the machine."
        if facts.half_width is not None
        else "Too few calls for an interval.",
    )


def _lateness(calls: CallRows) -> Check:
    return grade_high(
        "late calls, p99",
        float(np.quantile(lateness_ms(calls), 0.99)),
        unit="ms",
        warn=_LATE_MS,
        invalid=_FAR_TOO_LATE_MS,
        hint="Calls began late though a stream was free: the machine has too few cores for the model's threads.",
    )
