"""Reasons to doubt one stage.

What the endpoint does to itself is no fault of the measurement: in an open loop the client goes on sending, so a slow
or failing endpoint leaves the sends on time. Arrivals sent late or never, because the generator ran out of time or of
connections, are the client's fault even where a slow endpoint held those connections: nobody can tell what it would
have done with the load it did not get. Such a stage is INVALID; whether the run's answer rests on it is decided in
`run_checks`.

Was the load what the profile says? Checks of the arrivals as they were really sent.

A rate that changes is taken out first: where each send lies by the area under the rate curve, the
arrivals of any curve are those of a rate of 1 (the time-rescaling theorem; Daley and Vere-Jones,
Introduction to the Theory of Point Processes, 2003, theorem 7.4.I).

Was everything sent that was to be, and did clients that wait for answers send independently of each
other?

Did all workers send, and do their times belong together? Checks of a load that several of them
shared.

Reasons to doubt what a stage's streams tell of tokens: chunks that came together, answers that
ended early.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import special

from app.analysis.arrivals import curve_of
from app.analysis.columns import Floats, Nanoseconds
from app.analysis.drift import CHANGE_LIMIT, latency_drift
from app.analysis.generator_checks import generator_checks, local_limit_check
from app.analysis.objectives import samples_needed
from app.analysis.rows import StageRows
from app.analysis.token_metrics import share_read_together
from app.analysis.validity import grade_high, grade_low
from app.records.result import Check, CheckId, Objective, StageKind, Trust, Window, WorkerFacts
from app.records.stage import StageFacts

_FEWEST = 100
_PER_COUNT = 10
_PER_LARGE = 100
_MOST_COUNTS = 1_000
_TAIL = 0.0005
_CONSTANT_LIMIT = 0.1
_SPACING_LIMIT = 0.05
_SHORTEST_S = 0.0001
_HINT_BUSY = "The generator's machine was busy: stop other work on it, or lower the rate."
_HINT_FEW = "Too few requests were sent to tell: a longer stage or a higher rate shows it."


def arrival_checks(sent_ns: Nanoseconds, facts: StageFacts, window: Window) -> tuple[Check, ...]:
    """`sent_ns` of the stage, in any order. None of what answers decide, nor of a trace, whose lag tells all.

    A constant schedule is judged by its evenness alone.
    """
    curve = None if facts.sessions else curve_of(facts)
    if curve is None:
        return ()
    inside = np.sort(sent_ns[(sent_ns >= window.start_ns) & (sent_ns < window.end_ns)])
    length = curve.area_until(np.array([(window.end_ns - facts.start_ns) / 1e9]))
    sent = curve.area_until((inside - facts.start_ns) / 1e9)
    if facts.arrival_kind == "constant":
        return (_evenness(sent, float(length[0])),)
    cv = facts.cv if facts.arrival_kind == "gamma" else 1.0
    shortest = _SHORTEST_S * float(curve.per_s.max()) if cv > 1 else 0.0
    return _dispersion(sent, float(length[0]), cv), _spacing(sent, cv, shortest)


def _dispersion(sent: Floats, length: float, cv: float) -> Check:
    """Variance over mean of counts in equal windows: cv² for a renewal process (Cox, Renewal Theory, 1962, section
    4.2), so 1 for Poisson; within 10 % of that (20 % where it is not 1) and what chance allows.

    With few windows chance allows more: (windows − 1) times the index over cv² follows chi-square, taken at 99.9 %.
    Other than 1, cv² holds in large windows only.
    """
    expected, is_poisson = cv * cv, cv == 1.0
    tolerance = 0.1 if is_poisson else 0.2
    if sent.size < (_FEWEST if is_poisson else 2 * _FEWEST):
        plain = f"{(1 - tolerance) * expected:.3g} to {(1 + tolerance) * expected:.3g}"
        return Check("arrival_dispersion", None, plain, "variance/mean", "WARN", _HINT_FEW)
    index, counts = _dispersion_index(sent, length, _PER_COUNT if is_poisson else min(_PER_LARGE, sent.size // 10))
    low = expected * min(1 - tolerance, float(special.chdtri(counts - 1, 1 - _TAIL)) / (counts - 1))
    high = expected * max(1 + tolerance, float(special.chdtri(counts - 1, _TAIL)) / (counts - 1))
    is_valid = low <= index <= high
    verdict: Trust = "VALID" if is_valid else "WARN"
    hint = None if is_valid else _HINT_BUSY
    return Check("arrival_dispersion", index, f"{low:.2f} to {high:.2f}", "variance/mean", verdict, hint)


def _evenness(sent: Floats, length: float) -> Check:
    """The same index where arrivals are meant to be even: 0, but for one arrival at the edge of a window."""
    few = sent.size < _FEWEST
    index = None if few else _dispersion_index(sent, length, _PER_COUNT)[0]
    hint = _HINT_FEW if few else _HINT_BUSY
    return grade_high("arrival_dispersion", index, unit="variance/mean", warn=_CONSTANT_LIMIT, hint=hint)


def _dispersion_index(sent: Floats, length: float, per_count: int) -> tuple[float, int]:
    counts = min(_MOST_COUNTS, sent.size // per_count)
    in_each = np.diff(np.searchsorted(sent, np.linspace(0.0, length, counts + 1)))
    return float(in_each.var(ddof=1) / in_each.mean()), counts


def _spacing(sent: Floats, cv: float, shortest: float) -> Check:
    """Kolmogorov–Smirnov distance of the gaps from the gamma distribution of mean 1 (cv 1: the exponential).

    Below `shortest` gaps are not told apart: bursts hold many that are shorter than a send takes.
    """
    n = sent.size - 1
    if n < _FEWEST:
        return Check("arrival_spacing", None, _SPACING_LIMIT, "KS distance", "WARN", _HINT_FEW)
    gaps, shape = np.sort(np.diff(sent)), cv**-2
    expected = -np.expm1(-gaps) if cv == 1.0 else special.gammainc(shape, shape * gaps)
    steps = np.arange(n + 1) / n
    apart = np.maximum(steps[1:] - expected, expected - steps[:-1])
    distance = float(np.max(apart, where=gaps >= shortest, initial=0.0))
    limit = round(_SPACING_LIMIT + 1.36 / math.sqrt(n), 3)
    return grade_high("arrival_spacing", distance, unit="KS distance", warn=limit, hint=_HINT_BUSY)


_NEVER_STARTED = 0.01
_CYCLE_PARTS = 20
_FEWEST_CYCLES = 10
_MAX_IN_STEP_SHARE = 0.3
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
    if cycle_ns < _CYCLE_PARTS * _SHORTEST_PART_NS:
        return ()
    counts = _counts(((inside - window.start_ns) * (_CYCLE_PARTS / cycle_ns)).astype(np.int64))
    together = float(np.sum(counts * (counts - 1)) / np.sum(counts)) / (clients - 1)
    check = grade_high(
        "clients_in_step",
        min(1.0, together),
        unit="share",
        warn=_MAX_IN_STEP_SHARE,
        hint="Clients send at the same moment and wait at the same moment, as independent users do not: give them a "
        "pause (think, or Locust's wait_time), or send open loop (arrivals: poisson).",
    )
    return (check,)


def _counts(places: Nanoseconds) -> Nanoseconds:
    """How often each of them is there; they are in order."""
    edges = np.flatnonzero(np.diff(places)) + 1
    return np.diff(np.concatenate(([0], edges, [places.size])))


_WARN_MS, _INVALID_MS = 1.0, 10.0
_FRACTION_NAMES = {2: "half", 3: "a third", 4: "a quarter"}


def worker_checks(facts: StageFacts) -> tuple[Check, ...]:
    """None where one worker sends for itself."""
    return (_presence(facts), _clocks(facts.workers)) if facts.workers else ()


def is_before(worker: WorkerFacts, facts: StageFacts) -> bool:
    """Whether it was lost before the stage, which was then shared among the others."""
    return worker.lost_ns is not None and worker.lost_ns < facts.start_ns - round(facts.lead_in_s * 1e9)


def _presence(facts: StageFacts) -> Check:
    """A share that was not sent spoils the stage; one that was given to the others does not."""
    everyone, lost = len(facts.workers), [worker for worker in facts.workers if worker.lost_ns is not None]
    in_it = [worker for worker in lost if not is_before(worker, facts)]
    there = f"{everyone - len(lost)} of {everyone}"
    if not lost:
        return Check("workers", there, str(everyone), None, "VALID")
    if not in_it:
        hint = f"{_were(lost)} lost before the stage: the load is shared by {there} since."
        return Check("workers", there, str(everyone), None, "WARN", hint)
    after_s = max(0.0, (min(worker.lost_ns or 0 for worker in in_it) - facts.start_ns) / 1e9)
    part = _part(len(in_it), everyone - len(lost) + len(in_it))
    missing = f"{part} of the load was not sent from then on{', and the stage was ended' * facts.stopped_early}."
    if after_s >= facts.duration_s:
        missing = "answers that were still to come then are in no number."
    hint = f"{_were(in_it)} lost {after_s:.1f} s into the stage: {missing}"
    return Check("workers", there, str(everyone), None, "INVALID", hint)


def _clocks(workers: Sequence[WorkerFacts]) -> Check:
    """How far rows of different workers may be from their true place on the one clock they are told on."""
    residuals_ms = [worker.clock_residual_ms for worker in workers if worker.clock_residual_ms is not None]
    if not residuals_ms:
        return Check("worker_clocks", "one clock", None, None, "VALID")
    return grade_high(
        "worker_clocks",
        max(residuals_ms),
        unit="ms",
        warn=_WARN_MS,
        invalid=_INVALID_MS,
        hint="The workers' clocks were told apart by answers over the network, and not better than this: use a quieter "
        "network between them, or workers of one machine.",
    )


def _were(workers: Sequence[WorkerFacts]) -> str:
    *first, last = (f"worker {worker.worker} on {worker.host}" for worker in workers)
    names = f"{', '.join(first)} and {last} were" if first else f"{last} was"
    return f"{names[:1].upper()}{names[1:]}"


def _part(lost: int, of: int) -> str:
    return "all" if lost == of else _FRACTION_NAMES.get(of, f"1/{of}") if lost == 1 else f"{lost}/{of}"


_MAX_COALESCED_SHARE = 0.1
_OF_ASKED = 0.9
_OF_LOAD = ("generator_ceiling", "generator_cpu", "generator_core_wait")


def stream_checks(rows: StageRows, facts: StageFacts, sending: Sequence[Check]) -> tuple[Check, ...]:
    """`rows` are those of arrivals inside the window, `sending` the checks of how they were sent; nothing where the
    rows tell of no tokens."""
    return (*_coalesced_check(rows, sending), *(_lengths_check(rows) if facts.lengths_asked else ()))


def _coalesced_check(rows: StageRows, sending: Sequence[Check]) -> tuple[Check, ...]:
    together = share_read_together(rows)
    if together is None:
        return ()
    hint = (
        "The load worker was busy, or had no core, and chunks waited until it read several at once: ICL and ITL are of "
        "its reads, not of the server. Use more workers, or lower the rate."
        if _is_busy(sending)
        else "The server, or a proxy before it, sent several at once: ICL and ITL are of what arrived, not of how the "
        "tokens were made. TPOT does not mind."
    )
    return (grade_high("coalesced_chunks", together, unit="share", warn=_MAX_COALESCED_SHARE, hint=hint),)


def _is_busy(sending: Sequence[Check]) -> bool:
    return any(one.id in _OF_LOAD and one.value is not None and one.verdict != "VALID" for one in sending)


def _lengths_check(rows: StageRows) -> tuple[Check, ...]:
    """The median of tokens in an answer over those asked for. Chunks counted as tokens would tell of nothing."""
    tokens = rows.tokens
    if tokens is None:
        return ()
    counted = rows.is_success & (tokens.tokens_asked > 0) & ~np.isnan(tokens.tokens_out) & ~tokens.is_counted_by_chunks
    if not counted.any():
        return ()
    share = float(np.median(tokens.tokens_out[counted] / tokens.tokens_asked[counted]))
    hint = (
        f"The median answer had {100 * share:.0f} % of the tokens asked for: make the server go on to the end "
        "(ignore_eos in workload.extra_body, where it knows that), or take the throughput as that of short answers."
    )
    return (grade_low("output_lengths", share, unit="share", warn=_OF_ASKED, hint=hint),)


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
