"""Check the validity of one stage.

A slow or failing endpoint does not make a measurement invalid, because in an open loop the load
generator continues to send on time. If requests were sent late or never, because the generator ran
out of CPU time or connections, the endpoint did not receive the stated load, and its behavior under
that load is unknown. This applies even if a slow endpoint occupied the connections. Such a stage is
INVALID; `combine_stage_checks` decides whether the result of the run is based on it.

The arrival checks compare the send times with the load in the profile. A varying rate is normalized
first: each send time is replaced by the area under the rate curve up to that time. The arrivals of
any rate curve then become those of a constant rate of 1 (time-rescaling theorem; Daley and
Vere-Jones, Introduction to the Theory of Point Processes, 2003, theorem 7.4.I).

Further checks cover whether all requests were sent; whether closed-loop clients sent independently
of each other; whether all load workers sent, and how well their clocks agree; and whether token
metrics of streams are reliable (coalesced chunks, responses that ended early).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import special

from app.analysis.arrivals import build_rate_curve
from app.analysis.columns import Floats, Ints, Nanoseconds
from app.analysis.drift import CHANGE_LIMIT, MIN_VALUES, compute_latency_drift
from app.analysis.generator_checks import check_generator, check_local_limits
from app.analysis.objectives import count_needed_slo_samples
from app.analysis.rows import StageRows
from app.analysis.token_metrics import compute_coalesced_share
from app.analysis.validity import check_lower_limit, check_upper_limit, require_evidence
from app.records.result import Check, CheckId, Objective, Validity, Window, WorkerData
from app.records.stage import StageData
from app.records.stage_kinds import STAGE_KINDS

_MIN_ARRIVALS = 100
_ARRIVALS_PER_WINDOW = 10
_ARRIVALS_PER_LARGE_WINDOW = 100
_MAX_WINDOWS = 1_000
_TAIL_PROBABILITY = 0.0005
_MAX_CONSTANT_DISPERSION = 0.1
_MAX_SPACING_DISTANCE = 0.05
_MIN_GAP_S = 0.0001
_OVERLOADED_HINT = "The load generator's machine was overloaded. Stop other work on it, or lower the rate."
_TOO_FEW_HINT = "There are too few requests for this check. Use a longer stage or a higher rate."


def check_arrivals(sent_ns: Nanoseconds, stage_data: StageData, window: Window) -> tuple[Check, ...]:
    """Check the distribution of the arrivals that were sent.

    `sent_ns` contains the send times of the stage in any order. Return no check if responses
    determine the arrivals. For a trace there is no check either, because the check of the send lag
    is sufficient. A constant rate is checked only for evenness."""
    curve = None if stage_data.sessions else build_rate_curve(stage_data)
    if curve is None:
        return ()
    times_inside_ns = np.sort(sent_ns[(sent_ns >= window.start_ns) & (sent_ns < window.end_ns)])
    normalized_length = curve.compute_expected_arrivals(np.array([(window.end_ns - stage_data.start_ns) / 1e9]))
    normalized_times = curve.compute_expected_arrivals((times_inside_ns - stage_data.start_ns) / 1e9)
    if stage_data.arrival_kind == "constant":
        return (_check_evenness(normalized_times, float(normalized_length[0])),)
    cv = stage_data.cv if stage_data.arrival_kind == "gamma" else 1.0
    min_gap = _MIN_GAP_S * float(curve.rates_per_s.max()) if cv > 1 else 0.0
    return _check_dispersion(normalized_times, float(normalized_length[0]), cv), _check_spacing(
        normalized_times, cv, min_gap
    )


def _check_dispersion(normalized_times: Floats, normalized_length: float, cv: float) -> Check:
    """Check the index of dispersion: the variance divided by the mean of the counts in equal
    windows.

    The expected index is cv² for a renewal process (Cox, Renewal Theory, 1962, section 4.2), so 1
    for a Poisson process. The allowed deviation is 10 % (20 % if cv² is not 1), or the random
    variation if that is larger, as with few windows. For the random variation, (windows − 1) times
    the index over cv² follows a chi-square distribution, whose central 99.9 % are allowed. If cv²
    is not 1, this holds only for large windows, which are used instead."""
    expected_index, is_poisson = cv * cv, cv == 1.0
    tolerance = 0.1 if is_poisson else 0.2
    if normalized_times.size < (_MIN_ARRIVALS if is_poisson else 2 * _MIN_ARRIVALS):
        limits_text = f"{(1 - tolerance) * expected_index:.3g} to {(1 + tolerance) * expected_index:.3g}"
        return Check("arrival_dispersion", None, limits_text, "variance/mean", "WARN", _TOO_FEW_HINT)
    dispersion_index, window_count = _compute_dispersion_index(
        normalized_times,
        normalized_length,
        _ARRIVALS_PER_WINDOW if is_poisson else min(_ARRIVALS_PER_LARGE_WINDOW, normalized_times.size // 10),
    )
    min_index = expected_index * min(
        1 - tolerance, float(special.chdtri(window_count - 1, 1 - _TAIL_PROBABILITY)) / (window_count - 1)
    )
    max_index = expected_index * max(
        1 + tolerance, float(special.chdtri(window_count - 1, _TAIL_PROBABILITY)) / (window_count - 1)
    )
    is_valid = min_index <= dispersion_index <= max_index
    validity: Validity = "VALID" if is_valid else "WARN"
    hint = None if is_valid else _OVERLOADED_HINT
    return Check(
        "arrival_dispersion", dispersion_index, f"{min_index:.2f} to {max_index:.2f}", "variance/mean", validity, hint
    )


def _check_evenness(normalized_times: Floats, normalized_length: float) -> Check:
    """Check the index of dispersion of constant-rate arrivals. The index is 0, except for arrivals
    at the edges of the windows."""
    has_too_few = normalized_times.size < _MIN_ARRIVALS
    dispersion_index = (
        None if has_too_few else _compute_dispersion_index(normalized_times, normalized_length, _ARRIVALS_PER_WINDOW)[0]
    )
    hint = _TOO_FEW_HINT if has_too_few else _OVERLOADED_HINT
    return check_upper_limit(
        "arrival_dispersion", dispersion_index, unit="variance/mean", warn=_MAX_CONSTANT_DISPERSION, hint=hint
    )


def _compute_dispersion_index(
    normalized_times: Floats, normalized_length: float, arrivals_per_window: int
) -> tuple[float, int]:
    window_count = min(_MAX_WINDOWS, normalized_times.size // arrivals_per_window)
    window_counts = np.diff(np.searchsorted(normalized_times, np.linspace(0.0, normalized_length, window_count + 1)))
    return float(window_counts.var(ddof=1) / window_counts.mean()), window_count


def _check_spacing(normalized_times: Floats, cv: float, min_gap: float) -> Check:
    """Check the Kolmogorov–Smirnov distance between the normalized gaps and the gamma distribution
    with mean 1 (exponential if cv is 1).

    Gaps shorter than `min_gap` are not compared, because bursts contain many gaps that are shorter
    than the duration of a send."""
    n = normalized_times.size - 1
    if n < _MIN_ARRIVALS:
        return Check("arrival_spacing", None, _MAX_SPACING_DISTANCE, "KS distance", "WARN", _TOO_FEW_HINT)
    gaps, shape = np.sort(np.diff(normalized_times)), cv**-2
    expected_cdf = -np.expm1(-gaps) if cv == 1.0 else special.gammainc(shape, shape * gaps)
    empirical_cdf = np.arange(n + 1) / n
    distances = np.maximum(empirical_cdf[1:] - expected_cdf, expected_cdf - empirical_cdf[:-1])
    distance = float(np.max(distances, where=gaps >= min_gap, initial=0.0))
    limit = round(_MAX_SPACING_DISTANCE + 1.36 / math.sqrt(n), 3)
    return check_upper_limit("arrival_spacing", distance, unit="KS distance", warn=limit, hint=_OVERLOADED_HINT)


_MAX_NEVER_STARTED_SHARE = 0.01
_CYCLE_PART_COUNT = 20
_MIN_CYCLES = 10
_MAX_SYNCHRONIZED_SHARE = 0.3
_MIN_PART_NS = 500_000
"""Minimum length in ns of the parts into which a cycle is divided for the check. In a shorter part,
an event loop (of the generator or the server) that handles several responses at once makes clients
send together."""


def check_never_started(rows: StageRows) -> Check:
    """Check for requests that were never started, an extreme case of late sends. Too many of them
    make the stage INVALID."""
    missing_count, request_count = int(np.count_nonzero(~rows.was_started)), rows.was_started.size
    check = check_upper_limit(
        "arrivals_never_started",
        missing_count / request_count if request_count else None,
        unit="share",
        warn=0.0,
        invalid=_MAX_NEVER_STARTED_SHARE,
        hint="No connection was free for these requests before the stage ended. Lower the rate, or raise "
        "target.max_connections if it is the limit."
        if request_count
        else "No requests were scheduled.",
    )
    return require_evidence(check, missing_count, request_count, _MAX_NEVER_STARTED_SHARE)


def check_client_synchronization(sent_ns: Nanoseconds, stage_data: StageData, window: Window) -> tuple[Check, ...]:
    """Check whether the clients of a closed loop send synchronously. The checked value is the
    proportion of the other clients that send in the same twentieth of a cycle as a given client.

    A cycle is the mean time between two sends of one client (by Little's law: clients divided by
    rate). For independent clients, the proportion is one in twenty; synchronized clients all send
    at once and then all wait. Only sends of the same cycle are compared, so the check does not
    require cycles of equal length."""
    client_count = stage_data.concurrency or 0
    times_inside_ns = np.sort(sent_ns[(sent_ns >= window.start_ns) & (sent_ns < window.end_ns)])
    if not stage_data.is_closed_loop or client_count < 2 or times_inside_ns.size < _MIN_CYCLES * client_count:
        return ()
    cycle_ns = (window.end_ns - window.start_ns) * client_count / times_inside_ns.size
    if cycle_ns < _CYCLE_PART_COUNT * _MIN_PART_NS:
        return ()
    run_lengths = _compute_run_lengths(
        ((times_inside_ns - window.start_ns) * (_CYCLE_PART_COUNT / cycle_ns)).astype(np.int64)
    )
    synchronized_share = float(np.sum(run_lengths * (run_lengths - 1)) / np.sum(run_lengths)) / (client_count - 1)
    check = check_upper_limit(
        "synchronized_clients",
        min(1.0, synchronized_share),
        unit="share",
        warn=_MAX_SYNCHRONIZED_SHARE,
        hint="Clients send and wait at the same moment, unlike independent users. Set a think time (think, "
        "or Locust's wait_time), or use an open loop (arrivals: poisson).",
    )
    return (check,)


def _compute_run_lengths(values: Ints) -> Ints:
    """Count the occurrences of each distinct value of a sorted array."""
    run_starts = np.flatnonzero(np.diff(values)) + 1
    return np.diff(np.concatenate(([0], run_starts, [values.size])))


_MAX_CLOCK_ERROR_MS, _INVALID_CLOCK_ERROR_MS = 1.0, 10.0
_FRACTION_NAMES = {2: "half", 3: "a third", 4: "a quarter"}


def check_workers(stage_data: StageData) -> tuple[Check, ...]:
    """Return the checks of the load workers; empty if the run used a single local worker."""
    return (_check_worker_presence(stage_data), _check_clocks(stage_data.workers)) if stage_data.workers else ()


def was_lost_before_stage(worker: WorkerData, stage_data: StageData) -> bool:
    """Return True if the worker was lost before the stage. In that case, the remaining workers took
    over its load."""
    return worker.lost_ns is not None and worker.lost_ns < stage_data.start_ns - round(stage_data.lead_in_s * 1e9)


def _check_worker_presence(stage_data: StageData) -> Check:
    """Check for lost workers. A worker lost during the stage makes the stage INVALID; the load of a
    worker lost before the stage was taken over by the remaining workers."""
    worker_count, lost_workers = (
        len(stage_data.workers),
        [worker for worker in stage_data.workers if worker.lost_ns is not None],
    )
    workers_lost_in_stage = [worker for worker in lost_workers if not was_lost_before_stage(worker, stage_data)]
    present_text = f"{worker_count - len(lost_workers)} of {worker_count}"
    if not lost_workers:
        return Check("workers", present_text, str(worker_count), None, "VALID")
    if not workers_lost_in_stage:
        hint = (
            f"{_format_lost_workers(lost_workers)} disconnected before the stage. {present_text} workers have shared "
            "the load since."
        )
        return Check("workers", present_text, str(worker_count), None, "WARN", hint)
    lost_after_s = max(0.0, (min(worker.lost_ns or 0 for worker in workers_lost_in_stage) - stage_data.start_ns) / 1e9)
    fraction_text = _format_fraction(
        len(workers_lost_in_stage), worker_count - len(lost_workers) + len(workers_lost_in_stage)
    )
    consequence = (
        f"{fraction_text} of the load was not sent from then on"
        f"{', and the stage was stopped' * stage_data.stopped_early}."
    )
    if lost_after_s >= stage_data.duration_s:
        consequence = "pending responses were not counted."
    hint = (
        f"{_format_lost_workers(workers_lost_in_stage)} disconnected {lost_after_s:.1f} s into the stage: "
        f"{consequence} Restart the worker and measure again."
    )
    return Check("workers", present_text, str(worker_count), None, "INVALID", hint)


def _check_clocks(workers: Sequence[WorkerData]) -> Check:
    """Check the maximum error between the clocks of different workers."""
    residuals_ms = [worker.clock_residual_ms for worker in workers if worker.clock_residual_ms is not None]
    if not residuals_ms:
        return Check("worker_clocks", "one clock", None, None, "VALID")
    return check_upper_limit(
        "worker_clocks",
        max(residuals_ms),
        unit="ms",
        warn=_MAX_CLOCK_ERROR_MS,
        invalid=_INVALID_CLOCK_ERROR_MS,
        hint="Worker clocks were compared over the network and are only known to this accuracy. Use a quieter "
        "network between the workers, or workers on one machine.",
    )


def _format_lost_workers(workers: Sequence[WorkerData]) -> str:
    *first_names, last_name = (f"worker {worker.worker} on {worker.host}" for worker in workers)
    names = f"{', '.join(first_names)} and {last_name} were" if first_names else f"{last_name} was"
    return f"{names[:1].upper()}{names[1:]}"


def _format_fraction(lost_count: int, total_count: int) -> str:
    return (
        "all"
        if lost_count == total_count
        else _FRACTION_NAMES.get(total_count, f"1/{total_count}")
        if lost_count == 1
        else f"{lost_count}/{total_count}"
    )


_MAX_COALESCED_SHARE = 0.1
_MIN_LENGTH_SHARE = 0.9
_GENERATOR_CHECK_IDS = ("generator_capacity", "generator_cpu", "generator_core_wait")


def check_streams(rows: StageRows, stage_data: StageData, send_checks: Sequence[Check]) -> tuple[Check, ...]:
    """Check the token data of streams; returns no checks if there is no token data.

    `rows` contains the requests scheduled inside the window; `send_checks` contains the results of
    the checks on sending.
    """
    return (
        *_check_coalescing(rows, send_checks),
        *(_check_output_lengths(rows) if stage_data.requests_output_lengths else ()),
    )


def _check_coalescing(rows: StageRows, send_checks: Sequence[Check]) -> tuple[Check, ...]:
    coalesced_share = compute_coalesced_share(rows)
    if coalesced_share is None:
        return ()
    hint = (
        "The load worker was overloaded, so it read several chunks at once. ICL and ITL reflect these reads, not the "
        "server. Use more workers, or lower the rate."
        if _is_generator_overloaded(send_checks)
        else "The server, or a proxy in front of it, sent several tokens at once. ICL and ITL reflect the "
        "received chunks, not token generation. TPOT is not affected."
    )
    return (check_upper_limit("coalesced_chunks", coalesced_share, unit="share", warn=_MAX_COALESCED_SHARE, hint=hint),)


def _is_generator_overloaded(send_checks: Sequence[Check]) -> bool:
    return any(
        check.id in _GENERATOR_CHECK_IDS and check.value is not None and check.verdict != "VALID"
        for check in send_checks
    )


def _check_output_lengths(rows: StageRows) -> tuple[Check, ...]:
    """Check the median ratio of received to requested output tokens. Responses whose chunks were
    counted as tokens are excluded, because their token counts are not exact."""
    tokens = rows.tokens
    if tokens is None:
        return ()
    has_counts = (
        rows.is_success & (tokens.tokens_requested > 0) & ~np.isnan(tokens.tokens_out) & ~tokens.is_counted_by_chunks
    )
    if not has_counts.any():
        return ()
    median_ratio = float(np.median(tokens.tokens_out[has_counts] / tokens.tokens_requested[has_counts]))
    hint = (
        f"The median response had {100 * median_ratio:.0f} % of the requested tokens. Make the server generate all "
        "tokens (ignore_eos in workload.extra_body, if supported), or report this as the throughput of short responses."
    )
    return (check_lower_limit("output_lengths", median_ratio, unit="share", warn=_MIN_LENGTH_SHARE, hint=hint),)


TARGET_PROCESS: CheckId = "target_process"
_LITTLE_TOLERANCE = 0.1
_MIN_STAGE_S = 1.0
"""Minimum duration, in s, at which checks on sending can make a stage INVALID that was stopped
early. In a shorter stage, a single late request or the start of sending would decide these checks.
A stage that was stopped because of its backlog is always longer."""


def check_stage(rows: StageRows, stage_data: StageData, window: Window, slo: Sequence[Objective]) -> tuple[Check, ...]:
    """Run all checks of a stage. `rows` contains the requests scheduled inside the window."""
    if stage_data.kind == "batch":  # nothing is sent on time, and the requests are not measured one by one
        return (*_check_target(stage_data), _check_samples(rows, slo), _check_errors(rows), *_check_token_counts(rows))
    send_checks = (
        (_build_unpaced_check(), *check_generator(rows, stage_data, window, slo))
        if stage_data.arrival_kind == "locust"
        else _check_sending(rows, stage_data, window, slo)
    )
    if stage_data.stopped_early and window.end_ns - window.start_ns < _MIN_STAGE_S * 1e9:
        send_checks = tuple(map(_downgrade_invalid_check, send_checks))
    return (
        *_check_target(stage_data),
        *check_local_limits(rows, stage_data),
        *send_checks,
        *check_workers(stage_data),
        _check_samples(rows, slo),
        *(() if STAGE_KINDS[stage_data.kind].has_changing_rate else (_check_drift(rows, stage_data),)),
        *_check_littles_law(rows, stage_data, window),
        *check_client_synchronization(rows.sent_ns[rows.was_sent], stage_data, window),
        _check_errors(rows),
        *_check_token_counts(rows),
        *check_streams(rows, stage_data, send_checks),
    )


def _check_sending(
    rows: StageRows, stage_data: StageData, window: Window, slo: Sequence[Objective]
) -> tuple[Check, ...]:
    return (
        *check_generator(rows, stage_data, window, slo),
        check_never_started(rows),
        *check_arrivals(rows.sent_ns[rows.was_sent], stage_data, window),
    )


def _downgrade_invalid_check(check: Check) -> Check:
    if check.verdict != "INVALID":
        return check
    hint = f"The stage was stopped less than {_MIN_STAGE_S:g} s after its start, too early for this check."
    return msgspec.structs.replace(check, verdict="WARN", hint=hint)


def _build_unpaced_check() -> Check:
    return Check(
        "locust_transport",
        "coordinated omission cannot be ruled out",
        None,
        None,
        "WARN",
        (
            "Locust does not report when a request should have started, so the time that a blocked user delays its "
            "requests is not measured. To measure it, use an open loop (arrivals: poisson)."
        ),
    )


def _check_samples(rows: StageRows, slo: Sequence[Objective]) -> Check:
    min_responses = count_needed_slo_samples(slo)
    return check_lower_limit(
        "samples",
        float(np.count_nonzero(rows.is_success)),
        unit="responses",
        warn=float(max(1, min_responses)),
        hint=f"The SLO's percentiles need {min_responses:,} successful requests. Use a longer stage."
        if np.any(rows.is_success)
        else "No request succeeded. See the errors.",
    )


def _check_drift(rows: StageRows, stage_data: StageData) -> Check:
    change = compute_latency_drift((rows.end_ns - rows.scheduled_ns)[rows.is_success] / 1e6)
    is_steady = change is not None and abs(change) <= CHANGE_LIMIT and not stage_data.is_saturated
    if is_steady:
        return Check("stationarity", change, CHANGE_LIMIT, "share", "VALID")
    if stage_data.target_ended is not None:
        hint = "The target process exited during the stage."
    elif stage_data.is_saturated:
        hint = "The backlog kept growing, so the stage was stopped. The endpoint cannot sustain this rate."
    elif change is None:
        hint = f"Drift can be found from {MIN_VALUES} responses on. Send more requests, or use a longer stage."
    else:
        hint = "Latency drifted. Warm up longer or lengthen the stage; a steady rise means overload."
    return Check("stationarity", change, CHANGE_LIMIT, "share", "WARN", hint)


def _check_littles_law(rows: StageRows, stage_data: StageData, window: Window) -> tuple[Check, ...]:
    """Check Little's law (Operations Research 9, 1961): clients = rate × (response time + think
    time).

    The window cuts off up to one response per client at its edges, so the tolerance is larger for
    short stages. The window of a stage with a number of requests ends with the last response; the
    time after its last send, when clients had nothing more to send, does not count. The check does
    not apply to sessions and Locust users, whose think times are unknown, and to stages in which no
    client sent a second request."""
    has_ended = rows.was_sent & (rows.end_ns > 0)
    if stage_data.arrival_kind != "closed" or stage_data.sessions or not stage_data.concurrency or not has_ended.any():
        return ()
    ends_with_last_response = window.end_ns == int(rows.end_ns.max()) + 1
    busy_end_ns = int(rows.scheduled_ns[-1]) + 1 if ends_with_last_response else window.end_ns
    duration_s = (busy_end_ns - window.start_ns) / 1e9
    if duration_s <= 0 or rows.scheduled_ns.size <= stage_data.concurrency:
        return ()
    cycle_s = float(np.mean((rows.end_ns - rows.sent_ns)[has_ended])) / 1e9 + stage_data.think_s
    clients_ratio = float(np.count_nonzero(has_ended)) / duration_s * cycle_s / stage_data.concurrency
    tolerance = _LITTLE_TOLERANCE + cycle_s / duration_s
    is_valid = abs(clients_ratio - 1) <= tolerance
    hint = "Clients were idle for part of the time. The load generator was overloaded, or requests are missing."
    limits_text = f"{1 - tolerance:.2f} to {1 + tolerance:.2f}"
    check = Check(
        "littles_law",
        clients_ratio,
        limits_text,
        "of the clients",
        "VALID" if is_valid else "WARN",
        None if is_valid else hint,
    )
    return (check,)


def _check_token_counts(rows: StageRows) -> tuple[Check, ...]:
    """Return a check that states how tokens were counted; empty without token counts."""
    tokens = rows.tokens
    if tokens is None or not np.any(rows.is_success & (tokens.tokens_out > 0)):
        return ()
    if np.any(rows.is_success & tokens.is_counted_by_chunks):
        hint = (
            "The server does not report token counts. Set the tokenizer in the profile, or enable usage reporting on "
            "the server."
        )
        return (Check("token_counts", "chunks, not tokens", None, None, "WARN", hint),)
    return (Check("token_counts", "tokens", None, None, "VALID"),)


def _check_target(stage_data: StageData) -> tuple[Check, ...]:
    """Return an INVALID check if the target process exited, because the stage then does not show
    what the target can sustain."""
    if stage_data.target_ended is None:
        return ()
    hint = "The target process exited during the stage. Find the cause and measure again."
    return (Check(TARGET_PROCESS, stage_data.target_ended, None, None, "INVALID", hint),)


def _check_errors(rows: StageRows) -> Check:
    started_count = int(np.count_nonzero(rows.was_started))
    return check_upper_limit(
        "errors",
        float(np.count_nonzero(rows.is_failed) / started_count) if started_count else None,
        unit="share",
        warn=0.01,
        hint="Latency covers successful requests only. Check the errors by class first.",
    )
