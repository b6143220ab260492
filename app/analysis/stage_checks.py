"""Validity checks of one stage.

Effects that the endpoint has on itself do not make a measurement invalid: in an open loop the client continues to send,
so a slow or failing endpoint leaves the sends on time. Arrivals sent late or never, because the generator ran out of
time or of connections, are the client's fault even if a slow endpoint occupied those connections: it is unknown how the
endpoint would have handled the load that it did not get. Such a stage is INVALID; `run_checks` decides whether the
run's result is based on it.

The checks of arrivals compare the sends with the load in the profile. A changing rate is removed first: if each send is
placed at the area under the rate curve until then, the arrivals of any curve are those of a rate of 1 (the
time-rescaling theorem; Daley and Vere-Jones, Introduction to the Theory of Point Processes, 2003, theorem 7.4.I).

Further checks: whether all arrivals were sent; whether closed-loop clients sent independently of each other; whether
all load workers sent, and how well their clocks agree; and whether token numbers of streams are reliable, with regard
to coalesced chunks and responses that ended early.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import special

from app.analysis.arrivals import build_rate_curve
from app.analysis.columns import Floats, Nanoseconds
from app.analysis.drift import CHANGE_LIMIT, latency_drift
from app.analysis.generator_checks import generator_checks, local_limit_check
from app.analysis.objectives import count_samples_needed
from app.analysis.rows import StageRows
from app.analysis.token_metrics import compute_coalesced_share
from app.analysis.validity import grade_high, grade_low
from app.records.result import Check, CheckId, Objective, StageKind, Validity, Window, WorkerData
from app.records.stage import StageData

_MIN_ARRIVALS = 100
_ARRIVALS_PER_WINDOW = 10
_ARRIVALS_PER_LARGE_WINDOW = 100
_MAX_WINDOWS = 1_000
_TAIL = 0.0005
_CONSTANT_LIMIT = 0.1
_SPACING_LIMIT = 0.05
_MIN_GAP_S = 0.0001
_HINT_BUSY = "The load generator's machine was busy. Stop other work on it, or lower the rate."
_HINT_FEW = "Too few requests for this check. Use a longer stage or a higher rate."


def arrival_checks(sent_ns: Nanoseconds, facts: StageData, window: Window) -> tuple[Check, ...]:
    """Check the distribution of the arrivals that were sent.

    `sent_ns` are the sends of the stage in any order. There is no check if responses decide the arrivals, nor for a
    trace, whose send lag is sufficient. A constant schedule is only checked for evenness.
    """
    curve = None if facts.sessions else build_rate_curve(facts)
    if curve is None:
        return ()
    inside = np.sort(sent_ns[(sent_ns >= window.start_ns) & (sent_ns < window.end_ns)])
    length = curve.expected_arrivals(np.array([(window.end_ns - facts.start_ns) / 1e9]))
    sent = curve.expected_arrivals((inside - facts.start_ns) / 1e9)
    if facts.arrival_kind == "constant":
        return (_evenness_check(sent, float(length[0])),)
    cv = facts.cv if facts.arrival_kind == "gamma" else 1.0
    shortest = _MIN_GAP_S * float(curve.per_s.max()) if cv > 1 else 0.0
    return _dispersion_check(sent, float(length[0]), cv), _spacing_check(sent, cv, shortest)


def _dispersion_check(sent: Floats, length: float, cv: float) -> Check:
    """Check the index of dispersion, variance over mean of the counts in equal windows.

    It is cv² for a renewal process (Cox, Renewal Theory, 1962, section 4.2), so 1 for a Poisson process; the check
    allows 10 % around that (20 % if it is not 1) and random variation. With few windows random variation is larger:
    (windows − 1) times the index over cv² follows a chi-square distribution, of which 99.9 % are allowed. If cv² is not
    1, it only applies to large windows.
    """
    expected, is_poisson = cv * cv, cv == 1.0
    tolerance = 0.1 if is_poisson else 0.2
    if sent.size < (_MIN_ARRIVALS if is_poisson else 2 * _MIN_ARRIVALS):
        limits = f"{(1 - tolerance) * expected:.3g} to {(1 + tolerance) * expected:.3g}"
        return Check("arrival_dispersion", None, limits, "variance/mean", "WARN", _HINT_FEW)
    index, counts = _dispersion_index(
        sent, length, _ARRIVALS_PER_WINDOW if is_poisson else min(_ARRIVALS_PER_LARGE_WINDOW, sent.size // 10)
    )
    low = expected * min(1 - tolerance, float(special.chdtri(counts - 1, 1 - _TAIL)) / (counts - 1))
    high = expected * max(1 + tolerance, float(special.chdtri(counts - 1, _TAIL)) / (counts - 1))
    is_valid = low <= index <= high
    verdict: Validity = "VALID" if is_valid else "WARN"
    hint = None if is_valid else _HINT_BUSY
    return Check("arrival_dispersion", index, f"{low:.2f} to {high:.2f}", "variance/mean", verdict, hint)


def _evenness_check(sent: Floats, length: float) -> Check:
    """Check the index of dispersion of arrivals that should be even: 0, except for one arrival at the edge of a
    window."""
    is_few = sent.size < _MIN_ARRIVALS
    index = None if is_few else _dispersion_index(sent, length, _ARRIVALS_PER_WINDOW)[0]
    hint = _HINT_FEW if is_few else _HINT_BUSY
    return grade_high("arrival_dispersion", index, unit="variance/mean", warn=_CONSTANT_LIMIT, hint=hint)


def _dispersion_index(sent: Floats, length: float, per_count: int) -> tuple[float, int]:
    counts = min(_MAX_WINDOWS, sent.size // per_count)
    window_counts = np.diff(np.searchsorted(sent, np.linspace(0.0, length, counts + 1)))
    return float(window_counts.var(ddof=1) / window_counts.mean()), counts


def _spacing_check(sent: Floats, cv: float, shortest: float) -> Check:
    """Check the Kolmogorov–Smirnov distance of the gaps from the gamma distribution with mean 1 (cv 1: the
    exponential).

    Gaps below `shortest` are not compared: bursts contain many that are shorter than a send takes.
    """
    n = sent.size - 1
    if n < _MIN_ARRIVALS:
        return Check("arrival_spacing", None, _SPACING_LIMIT, "KS distance", "WARN", _HINT_FEW)
    gaps, shape = np.sort(np.diff(sent)), cv**-2
    expected = -np.expm1(-gaps) if cv == 1.0 else special.gammainc(shape, shape * gaps)
    steps = np.arange(n + 1) / n
    distances = np.maximum(steps[1:] - expected, expected - steps[:-1])
    distance = float(np.max(distances, where=gaps >= shortest, initial=0.0))
    limit = round(_SPACING_LIMIT + 1.36 / math.sqrt(n), 3)
    return grade_high("arrival_spacing", distance, unit="KS distance", warn=limit, hint=_HINT_BUSY)


_MAX_NEVER_STARTED_SHARE = 0.01
_CYCLE_PARTS = 20
_MIN_CYCLES = 10
_MAX_IN_STEP_SHARE = 0.3
_MIN_PART_NS = 500_000
"""Shortest part of a cycle that is checked. In less time, an event loop that reads several responses at once, here or
in the server, makes clients send together."""


def never_started_check(rows: StageRows) -> Check:
    """Check for arrivals that were never started. They are the extreme of late sends, and many of them make a stage
    INVALID."""
    return grade_high(
        "arrivals_never_started",
        float(np.mean(~rows.was_started)) if rows.was_started.size else None,
        unit="share",
        warn=0.0,
        invalid=_MAX_NEVER_STARTED_SHARE,
        hint="No connection was free for these requests before the stage ended. Lower the rate, or raise "
        "target.max_connections if it is the limit."
        if rows.was_started.size
        else "No requests were scheduled.",
    )


def in_step_check(sent_ns: Nanoseconds, facts: StageData, window: Window) -> tuple[Check, ...]:
    """Check for clients of a closed loop that send in step: the share of the other clients that send in the same
    twentieth of a cycle as a given client.

    A cycle is the mean time from one send of a client to its next (Little's law: clients over rate). Independent
    clients share a twentieth with one in twenty others; clients in step all send at once and then all wait. Only sends
    of the same cycle are compared, so uneven cycles do not matter.
    """
    clients = facts.concurrency or 0
    inside = np.sort(sent_ns[(sent_ns >= window.start_ns) & (sent_ns < window.end_ns)])
    if facts.arrival_kind not in ("closed", "locust") or clients < 2 or inside.size < _MIN_CYCLES * clients:
        return ()
    cycle_ns = (window.end_ns - window.start_ns) * clients / inside.size
    if cycle_ns < _CYCLE_PARTS * _MIN_PART_NS:
        return ()
    counts = _count_runs(((inside - window.start_ns) * (_CYCLE_PARTS / cycle_ns)).astype(np.int64))
    in_step_share = float(np.sum(counts * (counts - 1)) / np.sum(counts)) / (clients - 1)
    check = grade_high(
        "synchronized_clients",
        min(1.0, in_step_share),
        unit="share",
        warn=_MAX_IN_STEP_SHARE,
        hint="Clients send and wait at the same moment, unlike independent users. Give them a think time (think, "
        "or Locust's wait_time), or use an open loop (arrivals: poisson).",
    )
    return (check,)


def _count_runs(values: Nanoseconds) -> Nanoseconds:
    """Count the occurrences of each value of a sorted array."""
    edges = np.flatnonzero(np.diff(values)) + 1
    return np.diff(np.concatenate(([0], edges, [values.size])))


_WARN_MS, _INVALID_MS = 1.0, 10.0
_FRACTION_NAMES = {2: "half", 3: "a third", 4: "a quarter"}


def worker_checks(facts: StageData) -> tuple[Check, ...]:
    """Check the load workers; no checks if a single worker sends for itself."""
    return (_presence_check(facts), _clock_check(facts.workers)) if facts.workers else ()


def was_lost_before(worker: WorkerData, facts: StageData) -> bool:
    """Return True if the worker was lost before the stage, whose load was then shared among the others."""
    return worker.lost_ns is not None and worker.lost_ns < facts.start_ns - round(facts.lead_in_s * 1e9)


def _presence_check(facts: StageData) -> Check:
    """Check for lost workers. A share of the load that was not sent makes the stage INVALID; one that other workers
    took over does not."""
    total, lost = len(facts.workers), [worker for worker in facts.workers if worker.lost_ns is not None]
    lost_in_stage = [worker for worker in lost if not was_lost_before(worker, facts)]
    present = f"{total - len(lost)} of {total}"
    if not lost:
        return Check("workers", present, str(total), None, "VALID")
    if not lost_in_stage:
        hint = f"{_format_lost(lost)} disconnected before the stage. {present} share the load since then."
        return Check("workers", present, str(total), None, "WARN", hint)
    after_s = max(0.0, (min(worker.lost_ns or 0 for worker in lost_in_stage) - facts.start_ns) / 1e9)
    fraction = _format_fraction(len(lost_in_stage), total - len(lost) + len(lost_in_stage))
    missing = f"{fraction} of the load was not sent from then on{', and the stage was stopped' * facts.stopped_early}."
    if after_s >= facts.duration_s:
        missing = "pending responses are not counted."
    hint = f"{_format_lost(lost_in_stage)} disconnected {after_s:.1f} s into the stage: {missing}"
    return Check("workers", present, str(total), None, "INVALID", hint)


def _clock_check(workers: Sequence[WorkerData]) -> Check:
    """Check how far the rows of different workers may be off on the common clock."""
    residuals_ms = [worker.clock_residual_ms for worker in workers if worker.clock_residual_ms is not None]
    if not residuals_ms:
        return Check("worker_clocks", "one clock", None, None, "VALID")
    return grade_high(
        "worker_clocks",
        max(residuals_ms),
        unit="ms",
        warn=_WARN_MS,
        invalid=_INVALID_MS,
        hint="Worker clocks were compared over the network and are only known to this accuracy. Use a quieter "
        "network between the workers, or workers on one machine.",
    )


def _format_lost(workers: Sequence[WorkerData]) -> str:
    *others, last = (f"worker {worker.worker} on {worker.host}" for worker in workers)
    names = f"{', '.join(others)} and {last} were" if others else f"{last} was"
    return f"{names[:1].upper()}{names[1:]}"


def _format_fraction(lost: int, total: int) -> str:
    return "all" if lost == total else _FRACTION_NAMES.get(total, f"1/{total}") if lost == 1 else f"{lost}/{total}"


_MAX_COALESCED_SHARE = 0.1
_MIN_LENGTH_SHARE = 0.9
_GENERATOR_CHECKS = ("generator_capacity", "generator_cpu", "generator_core_wait")


def stream_checks(rows: StageRows, facts: StageData, send_checks: Sequence[Check]) -> tuple[Check, ...]:
    """Check the token data of streams.

    `rows` are those of arrivals inside the window, `send_checks` the checks of how they were sent; no checks if the
    rows have no token data.
    """
    return (*_coalesced_check(rows, send_checks), *(_lengths_check(rows) if facts.requests_output_lengths else ()))


def _coalesced_check(rows: StageRows, sending: Sequence[Check]) -> tuple[Check, ...]:
    coalesced_share = compute_coalesced_share(rows)
    if coalesced_share is None:
        return ()
    hint = (
        "The load worker was busy or had no core, so it read several chunks at once. ICL and ITL are those of its "
        "reads, not of the server. Use more workers, or lower the rate."
        if _is_busy(sending)
        else "The server, or a proxy in front of it, sent several tokens at once. ICL and ITL are those of the "
        "chunks received, not of token generation. TPOT is not affected."
    )
    return (grade_high("coalesced_chunks", coalesced_share, unit="share", warn=_MAX_COALESCED_SHARE, hint=hint),)


def _is_busy(sending: Sequence[Check]) -> bool:
    return any(
        check.id in _GENERATOR_CHECKS and check.value is not None and check.verdict != "VALID" for check in sending
    )


def _lengths_check(rows: StageRows) -> tuple[Check, ...]:
    """Check the median ratio of the tokens in a response to those requested. Chunks counted as tokens are excluded,
    because their number is meaningless here."""
    tokens = rows.tokens
    if tokens is None:
        return ()
    counted = (
        rows.is_success & (tokens.tokens_requested > 0) & ~np.isnan(tokens.tokens_out) & ~tokens.is_counted_by_chunks
    )
    if not counted.any():
        return ()
    share = float(np.median(tokens.tokens_out[counted] / tokens.tokens_requested[counted]))
    hint = (
        f"The median response had {100 * share:.0f} % of the requested tokens. Make the server generate all of them "
        "(ignore_eos in workload.extra_body, if supported), or report this as the throughput of short responses."
    )
    return (grade_low("output_lengths", share, unit="share", warn=_MIN_LENGTH_SHARE, hint=hint),)


TARGET_PROCESS: CheckId = "target_process"
_LITTLE_TOLERANCE = 0.1
_MIN_STAGE_S = 1.0
"""Minimum length of a stage that was stopped, for INVALID checks of the sends: in less time, one late request or the
start of the sending decides them. A stage that is ended by its own backlog is longer."""
_CHANGING_KINDS: tuple[StageKind, ...] = ("varying", "spike")


def stage_checks(rows: StageRows, facts: StageData, window: Window, slo: Sequence[Objective]) -> tuple[Check, ...]:
    """Run all checks of a stage. `rows` are those of arrivals inside the window."""
    sending = (
        (_unpaced_check(), *generator_checks(rows, facts, window, slo))
        if facts.arrival_kind == "locust"
        else _sending_checks(rows, facts, window, slo)
    )
    if facts.stopped_early and window.end_ns - window.start_ns < _MIN_STAGE_S * 1e9:
        sending = tuple(map(_downgrade_too_short, sending))
    return (
        *_target_check(facts),
        *local_limit_check(rows, facts),
        *sending,
        *worker_checks(facts),
        _samples_check(rows, slo),
        *(() if facts.kind in _CHANGING_KINDS else (_drift_check(rows, facts),)),
        *_clients_check(rows, facts, window),
        *in_step_check(rows.sent_ns[rows.was_sent], facts, window),
        _error_check(rows),
        *_token_check(rows),
        *stream_checks(rows, facts, sending),
    )


def _sending_checks(rows: StageRows, facts: StageData, window: Window, slo: Sequence[Objective]) -> tuple[Check, ...]:
    return (
        *generator_checks(rows, facts, window, slo),
        never_started_check(rows),
        *arrival_checks(rows.sent_ns[rows.was_sent], facts, window),
    )


def _downgrade_too_short(check: Check) -> Check:
    if check.verdict != "INVALID":
        return check
    hint = f"The stage was stopped less than {_MIN_STAGE_S:g} s after its start, too early for this check."
    return msgspec.structs.replace(check, verdict="WARN", hint=hint)


def _unpaced_check() -> Check:
    return Check(
        "locust_transport",
        "coordinated omission cannot be ruled out",
        None,
        None,
        "WARN",
        (
            "Locust does not report when a request should have started, so time that users wait while a user is "
            "blocked is not measured."
        ),
    )


def _samples_check(rows: StageRows, slo: Sequence[Objective]) -> Check:
    needed = count_samples_needed(slo)
    return grade_low(
        "samples",
        float(np.count_nonzero(rows.is_success)),
        unit="answers",
        warn=float(max(1, needed)),
        hint=f"The SLO's percentiles need {needed:,} successful requests. Use a longer stage."
        if np.any(rows.is_success)
        else "No request succeeded. See the errors.",
    )


def _drift_check(rows: StageRows, facts: StageData) -> Check:
    change = latency_drift((rows.end_ns - rows.intended_ns)[rows.is_success] / 1e6)
    is_steady = change is not None and abs(change) <= CHANGE_LIMIT and not facts.is_saturated
    if is_steady:
        return Check("stationarity", change, CHANGE_LIMIT, "share", "VALID")
    if facts.target_ended is not None:
        hint = "The target's process exited during the stage."
    elif facts.is_saturated:
        hint = "The backlog kept growing, so the stage was stopped. The endpoint cannot sustain this rate."
    elif change is None:
        hint = "Too few responses for this check. Use a longer stage."
    else:
        hint = "Latency drifted. Warm up longer or lengthen the stage; a steady rise means overload."
    return Check("stationarity", change, CHANGE_LIMIT, "share", "WARN", hint)


def _clients_check(rows: StageRows, facts: StageData, window: Window) -> tuple[Check, ...]:
    """Check Little's law (Operations Research 9, 1961): clients = rate × (response time + pause).

    Up to one response per client falls on the edges of the window, so short stages may be that far off. Pauses of
    sessions and of Locust's users are not known here.
    """
    length_s = (window.end_ns - window.start_ns) / 1e9
    ended = rows.was_sent & (rows.end_ns > 0)
    if facts.arrival_kind != "closed" or facts.sessions or not facts.concurrency or length_s <= 0 or not ended.any():
        return ()
    response_s = float(np.mean((rows.end_ns - rows.sent_ns)[ended])) / 1e9 + facts.think_s
    share = float(np.count_nonzero(ended)) / length_s * response_s / facts.concurrency
    tolerance = _LITTLE_TOLERANCE + response_s / length_s
    is_valid = abs(share - 1) <= tolerance
    hint = (
        "Clients were neither waiting nor thinking all the time. The load generator was busy, or requests are missing."
    )
    limits = f"{1 - tolerance:.2f} to {1 + tolerance:.2f}"
    check = Check(
        "littles_law", share, limits, ("of these"), "VALID" if is_valid else "WARN", None if is_valid else hint
    )
    return (check,)


def _token_check(rows: StageRows) -> tuple[Check, ...]:
    """Report how tokens were counted, if there are any."""
    tokens = rows.tokens
    if tokens is None or not np.any(rows.is_success & (tokens.tokens_out > 0)):
        return ()
    if np.any(rows.is_success & tokens.is_counted_by_chunks):
        hint = "The server does not report token counts. Name its tokenizer in the profile, or request usage from it."
        return (Check("token_counts", "chunks, not tokens", None, None, "WARN", hint),)
    return (Check("token_counts", "tokens", None, None, "VALID"),)


def _target_check(facts: StageData) -> tuple[Check, ...]:
    """Report a target whose process ended: it does not show what the target sustains while it runs."""
    if facts.target_ended is None:
        return ()
    hint = "The target's process exited during the stage. Find the cause and measure again."
    return (Check(TARGET_PROCESS, facts.target_ended, None, None, "INVALID", hint),)


def _error_check(rows: StageRows) -> Check:
    started = int(np.count_nonzero(rows.was_started))
    return grade_high(
        "errors",
        float(np.count_nonzero(rows.is_failed) / started) if started else None,
        unit="share",
        warn=0.01,
        hint="Latency covers successful requests only. Check the errors by class first.",
    )
