"""Reasons to doubt one stage.

What the endpoint does to itself is no fault of the measurement: in an open loop the client goes on sending, so a slow
or failing endpoint leaves the sends on time. Arrivals sent late or never, because the generator ran out of time or of
connections, are the client's fault even where a slow endpoint held those connections: nobody can tell what it would
have done with the load it did not get. Such a stage is INVALID; whether the run's answer rests on it is decided in
`run_checks`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from app.analysis.arrival_checks import arrival_checks
from app.analysis.drift import CHANGE_LIMIT, latency_drift
from app.analysis.generator_checks import generator_checks
from app.analysis.grading import grade_high, grade_low
from app.analysis.local_limit_checks import local_limit_check
from app.analysis.objectives import samples_needed
from app.analysis.rows import StageRows
from app.analysis.send_checks import in_step_check, never_started_check
from app.analysis.stream_checks import stream_checks
from app.analysis.worker_checks import worker_checks
from app.records.result import Check, CheckId, Objective, StageKind, Window
from app.records.stage import StageFacts

TARGET_PROCESS: CheckId = "target_process"
_FROM_LITTLE = 0.1
_SHORTEST_TO_JUDGE_S = 1.0
"""Of a stage that was stopped: in less time, one late request or the start of the sending decides these checks. A stage
that its own backlog ends is longer."""
_CHANGING: tuple[StageKind, ...] = ("varying", "spike")


def stage_checks(rows: StageRows, facts: StageFacts, window: Window, slo: Sequence[Objective]) -> tuple[Check, ...]:
    """`rows` are those of arrivals inside the window."""
    sending = (
        (_unpaced_check(), *generator_checks(rows, facts, window, slo))
        if facts.arrival_kind == "locust"
        else _sending(rows, facts, window, slo)
    )
    if facts.stopped_early and window.end_ns - window.start_ns < _SHORTEST_TO_JUDGE_S * 1e9:
        sending = tuple(map(_too_short_to_judge, sending))
    return (
        *_target_check(facts),
        *local_limit_check(rows, facts),
        *sending,
        *worker_checks(facts),
        _samples_check(rows, slo),
        *(() if facts.kind in _CHANGING else (_drift_check(rows, facts),)),
        *_clients_check(rows, facts, window),
        *in_step_check(rows.sent_ns[rows.was_sent], facts, window),
        _error_check(rows),
        *_token_check(rows),
        *stream_checks(rows, facts, sending),
    )


def _sending(rows: StageRows, facts: StageFacts, window: Window, slo: Sequence[Objective]) -> tuple[Check, ...]:
    return (
        *generator_checks(rows, facts, window, slo),
        never_started_check(rows),
        *arrival_checks(rows.sent_ns[rows.was_sent], facts, window),
    )


def _too_short_to_judge(check: Check) -> Check:
    if check.verdict != "INVALID":
        return check
    hint = f"The stage was stopped less than {_SHORTEST_TO_JUDGE_S:g} s after its start, too soon to judge this."
    return msgspec.structs.replace(check, verdict="WARN", hint=hint)


def _unpaced_check() -> Check:
    return Check(
        "locust_transport",
        "coordinated omission cannot be ruled out",
        None,
        None,
        "WARN",
        "Locust does not say when a request should have started: what users wait while it is held up is in no number.",
    )


def _samples_check(rows: StageRows, slo: Sequence[Objective]) -> Check:
    needed = samples_needed(slo)
    return grade_low(
        "samples",
        float(np.count_nonzero(rows.is_success)),
        unit="answers",
        warn=float(max(1, needed)),
        hint=f"The SLO's percentiles need {needed:,} successful answers: lengthen the stage."
        if np.any(rows.is_success)
        else "No request succeeded: look at the errors.",
    )


def _drift_check(rows: StageRows, facts: StageFacts) -> Check:
    change = latency_drift((rows.end_ns - rows.intended_ns)[rows.is_success] / 1e6)
    is_steady = change is not None and abs(change) <= CHANGE_LIMIT and not facts.over_saturated
    if is_steady:
        return Check("stationarity", change, CHANGE_LIMIT, "share", "VALID")
    if facts.target_ended is not None:
        hint = "The target's process ended during the stage."
    elif facts.over_saturated:
        hint = "The backlog kept growing, so the stage was ended: the endpoint cannot carry this rate."
    elif change is None:
        hint = "Too few answers to tell: lengthen the stage."
    else:
        hint = (
            "Latency kept changing: warm up for longer, or lengthen the stage; a growing one is an overloaded endpoint."
        )
    return Check("stationarity", change, CHANGE_LIMIT, "share", "WARN", hint)


def _clients_check(rows: StageRows, facts: StageFacts, window: Window) -> tuple[Check, ...]:
    """Little's law (Operations Research 9, 1961): clients = rate × (time of an answer + pause). What falls on the edges
    of the window is one answer a client, so short stages may be that far off. Pauses of sessions and of Locust's users
    are not known here.
    """
    length_s = (window.end_ns - window.start_ns) / 1e9
    ended = rows.was_sent & (rows.end_ns > 0)
    if facts.arrival_kind != "closed" or facts.sessions or not facts.concurrency or length_s <= 0 or not ended.any():
        return ()
    answer_s = float(np.mean((rows.end_ns - rows.sent_ns)[ended])) / 1e9 + facts.think_s
    share = float(np.count_nonzero(ended)) / length_s * answer_s / facts.concurrency
    within = _FROM_LITTLE + answer_s / length_s
    is_valid = abs(share - 1) <= within
    hint = "The clients were not always waiting or thinking: the generator was busy, or requests are missing."
    limits = f"{1 - within:.2f} to {1 + within:.2f}"
    check = Check("littles_law", share, limits, "of them", "VALID" if is_valid else "WARN", None if is_valid else hint)
    return (check,)


def _token_check(rows: StageRows) -> tuple[Check, ...]:
    """What token numbers stand on, where there are any."""
    tokens = rows.tokens
    if tokens is None or not np.any(rows.is_success & (tokens.tokens_out > 0)):
        return ()
    if np.any(rows.is_success & tokens.is_counted_by_chunks):
        hint = "The server counts no tokens: name its tokenizer in the profile, or ask it for usage."
        return (Check("token_counts", "chunks, not tokens", None, None, "WARN", hint),)
    return (Check("token_counts", "tokens", None, None, "VALID"),)


def _target_check(facts: StageFacts) -> tuple[Check, ...]:
    """A server that ended says nothing of what it sustains while it runs."""
    if facts.target_ended is None:
        return ()
    hint = "The target's process ended during the stage: find out why, and measure again."
    return (Check(TARGET_PROCESS, facts.target_ended, None, None, "INVALID", hint),)


def _error_check(rows: StageRows) -> Check:
    started = int(np.count_nonzero(rows.was_started))
    return grade_high(
        "errors",
        float(np.count_nonzero(rows.is_failed) / started) if started else None,
        unit="share",
        warn=0.01,
        hint="Latency is that of successful requests only: see the errors by class before trusting it.",
    )
