"""Whether the calls of a local model were timed in a steady state, and begun when they were due."""

from __future__ import annotations

import math

import numpy as np

from app.analysis.call_rows import CallRows, lateness_ms
from app.analysis.drift import CHANGE_LIMIT, latency_drift
from app.analysis.grading import grade_high
from app.records.calls import CallStage
from app.records.result import Check

_LATE_MS = 1.0
_FAR_TOO_LATE_MS = 10.0
_FEWEST = 20
_ENOUGH_FOR_P99 = 100
_LOOP_SHARE = 0.05


def call_checks(calls: CallRows, facts: CallStage) -> tuple[Check, ...]:
    if not len(calls):
        return (Check("calls", 0, _FEWEST, "calls", "INVALID", "Not one call ended: give load.at_most more time."),)
    checks = [_warm_up(facts), _few(calls), _steady(calls, facts)]
    if facts.stopped_early:
        checks.append(_cut_short(facts))
    elif facts.scenario == "server":
        checks += [_begun(calls), _lateness(calls)]
    else:
        checks.append(_precision(facts))
    if facts.scenario == "single-stream":
        checks.append(_between(calls))
    return tuple(checks)


def _between(calls: CallRows) -> Check:
    """What the loop around the calls takes of the time, windows apart."""
    gaps_ns = calls.begin_ns[1:] - calls.end_ns[:-1]
    took_ns = float(np.median(calls.end_ns - calls.begin_ns)) if len(calls) else 0.0
    gap_ns = float(np.median(gaps_ns)) if gaps_ns.size else 0.0
    return grade_high(
        "time_between_calls",
        gap_ns / (gap_ns + took_ns) if took_ns else 0.0,
        unit="share",
        warn=_LOOP_SHARE,
        hint="The calls are so short that the loop around them takes its part of the throughput: read execute_ms, or "
        "measure larger batches.",
    )


def _cut_short(facts: CallStage) -> Check:
    seconds = (facts.end_ns - facts.start_ns) / 1e9
    return Check("cut_short", seconds, None, "s", "WARN", "The stage was ended before it had enough.")


def _begun(calls: CallRows) -> Check:
    """Of the arrivals, those that nobody got to."""
    never = len(calls.never_begun_ns)
    hint = "The model could not keep up, and these would have waited longest: lower the rate."
    return grade_high("arrivals_never_begun", never / (never + len(calls)), unit="share", warn=0.0, hint=hint)


def _warm_up(facts: CallStage) -> Check:
    if facts.has_settled:
        return Check("warm_up", facts.warmup_windows, None, "windows", "VALID")
    hint = "No three windows in a row agreed within 10 % before the warm-up's time was up: lengthen load.warmup."
    return Check("warm_up", facts.warmup_windows, None, "windows", "WARN", hint)


def _few(calls: CallRows) -> Check:
    is_enough = len(calls) >= _FEWEST
    hint = None if is_enough else "Too few calls for any interval: lengthen load.at_most."
    return Check("calls", len(calls), _FEWEST, "calls", "VALID" if is_enough else "WARN", hint)


def _steady(calls: CallRows, facts: CallStage) -> Check:
    """Of arrivals, what each of them felt, in their order: a backlog that grows is no steady state."""
    waits_ms = (calls.end_ns - calls.intended_ns) / 1e6
    is_server = facts.scenario == "server"
    drift = latency_drift(waits_ms[np.argsort(calls.intended_ns)] if is_server else calls.service_ms)
    if drift is None:
        return Check("steady_times", None, CHANGE_LIMIT, "share", "VALID")
    return grade_high(
        "steady_times",
        abs(drift),
        unit="share",
        warn=CHANGE_LIMIT,
        hint="Arrivals waited longer and longer: they come faster than the model works, so the stage's length decides."
        if is_server
        else "Calls became slower or faster all along: look for throttling and other load, and lengthen load.warmup.",
    )


def _precision(facts: CallStage) -> Check:
    return grade_high(
        "mean_time_half_width",
        facts.half_width,
        unit="share",
        warn=max(facts.wanted_half_width, 0.0),
        hint="The time was up before the interval was as narrow as asked: lengthen load.at_most, or quiet the machine."
        if facts.half_width is not None
        else "Too few calls for an interval.",
    )


def _lateness(calls: CallRows) -> Check:
    return grade_high(
        "late_calls_p99",
        float(np.quantile(lateness_ms(calls), 0.99)),
        unit="ms",
        warn=_LATE_MS,
        invalid=_FAR_TOO_LATE_MS if len(calls) >= _ENOUGH_FOR_P99 else math.inf,
        hint="Calls began late though a stream was free: the machine has too few cores for the model's threads.",
    )
