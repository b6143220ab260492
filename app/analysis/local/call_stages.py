"""All numbers of one stage of a local model, from its calls and what is known of them.

The calls of one stage of a local model as plain arrays.

Whether the calls of a local model were timed in a steady state, and begun when they were due.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from app.analysis.columns import Nanoseconds, known_times
from app.analysis.digits import digits
from app.analysis.drift import CHANGE_LIMIT, latency_drift
from app.analysis.estimates import distribution, rate
from app.analysis.rows import NOT_STARTED
from app.analysis.validity import grade_high, verdict_of
from app.records.calls import CallStage
from app.records.estimate import Estimate
from app.records.result import Check, Stage, Window

Floats = npt.NDArray[np.float64]

PARTS = {
    "prepare_ms": ("begin_ns", "prepared_ns"),
    "copy_in_ms": ("prepared_ns", "copied_in_ns"),
    "execute_ms": ("copied_in_ns", "executed_ns"),
    "copy_out_ms": ("executed_ns", "copied_out_ns"),
    "post_process_ms": ("copied_out_ns", "end_ns"),
}
"""Of a call: from which of its times to which."""


@dataclass(frozen=True)
class CallRows:
    """One entry a call of the measured part, in the order of their ends; `never_begun_ns` are arrivals not got to."""

    query: Nanoseconds
    stream: Nanoseconds
    intended_ns: Nanoseconds
    begin_ns: Nanoseconds
    prepared_ns: Nanoseconds
    copied_in_ns: Nanoseconds
    """Where copies are a part of the execution: when that began."""
    executed_ns: Nanoseconds
    copied_out_ns: Nanoseconds
    """Where copies are a part of the execution: when that ended."""
    end_ns: Nanoseconds
    copies_apart: bool
    never_begun_ns: Nanoseconds

    def __len__(self) -> int:
        return len(self.end_ns)

    @property
    def service_ms(self) -> Floats:
        """Of the call itself: copies and execution, as a bare call of the runtime takes."""
        times: Floats = (self.copied_out_ns - self.prepared_ns) / 1e6
        return times

    def part_ms(self, part: str) -> Floats:
        first, last = PARTS[part]
        times: Floats = (getattr(self, last) - getattr(self, first)) / 1e6
        return times


def read_calls(rows: pd.DataFrame | pa.Table, facts: CallStage) -> CallRows:
    """`rows` are those of the stage, its warm-up too, which is left out."""
    frame = rows.to_pandas(types_mapper=pd.ArrowDtype) if isinstance(rows, pa.Table) else rows
    begin_ns, has_begun = known_times(frame["begin_ns"])
    copied_in_ns, has_copies = known_times(frame["copied_in_ns"])
    intended_ns, is_due = known_times(frame["intended_ns"])
    query, stream = (known_times(frame[name])[0] for name in ("query", "stream"))  # no stream took what never began
    inside = has_begun & (begin_ns >= facts.start_ns)
    if facts.scenario in ("server", "multi-stream"):
        inside &= is_due
    end_ns = known_times(frame["end_ns"])[0]
    order = np.flatnonzero(inside)
    order = order[np.argsort(end_ns[order], kind="stable")]
    copies_apart = bool(order.size) and bool(has_copies[order].all())
    prepared_ns, executed_ns = (known_times(frame[name])[0][order] for name in ("prepared_ns", "executed_ns"))
    return CallRows(
        query=query[order],
        stream=stream[order],
        intended_ns=intended_ns[order],
        begin_ns=begin_ns[order],
        prepared_ns=prepared_ns,
        copied_in_ns=copied_in_ns[order] if copies_apart else prepared_ns,
        executed_ns=executed_ns,
        copied_out_ns=known_times(frame["copied_out_ns"])[0][order] if copies_apart else executed_ns,
        end_ns=end_ns[order],
        copies_apart=copies_apart,
        never_begun_ns=intended_ns[~has_begun & is_due],
    )


def lateness_ms(calls: CallRows) -> Floats:
    """How long after it was due and a stream was free each call began: what this program itself added."""
    order = np.lexsort((calls.begin_ns, calls.stream))
    stream, begin_ns, end_ns = calls.stream[order], calls.begin_ns[order], calls.end_ns[order]
    free_ns = np.where(np.concatenate([[False], stream[1:] == stream[:-1]]), np.roll(end_ns, 1), 0)
    late: Floats = (begin_ns - np.maximum(calls.intended_ns[order], free_ns)) / 1e6
    return late


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


IN_SEARCH = "search"
"""Tag of the stages of a search for the highest rate inside the SLO."""

_ENDLESS_MS = 1e15
_CLOSED_LOOP = Estimate(None, reason="closed loop: the next call starts when the last one ends")


def summarise_calls(rows: pd.DataFrame | pa.Table, facts: CallStage, checks: Sequence[Check] = ()) -> Stage:
    """`rows` are those of this stage, its warm-up too. `checks` are of the variant as a whole."""
    calls = read_calls(rows, facts)
    window = Window(facts.start_ns, facts.end_ns)
    bounds = (window.start_ns, window.end_ns)
    every = (*checks, *call_checks(calls, facts))
    is_server = facts.scenario == "server"
    intended_ns = np.concatenate([calls.intended_ns, calls.never_begun_ns]) if is_server else calls.intended_ns
    return Stage(
        name=stage_name(facts),
        kind="steady" if is_server else "closed",
        repeat=1,
        tags={"scenario": facts.scenario} | ({IN_SEARCH: "yes"} if facts.in_search else {}),
        variant=facts.variant,
        window=window,
        offered_per_s=rate(np.sort(intended_ns), bounds) if is_server else _CLOSED_LOOP,
        achieved_per_s=rate(np.sort(calls.begin_ns), bounds),
        good_per_s=Estimate(None, reason="of a local model, calls are not judged one by one"),
        completed=len(calls),
        errors={NOT_STARTED: len(calls.never_begun_ns)} if len(calls.never_begun_ns) else {},
        metrics=_metrics(calls, facts, bounds),
        verdict=verdict_of(every),
        checks=every,
        scheduled_per_s=facts.rate_per_s,
        concurrency=_concurrency(facts),
        arrivals="Poisson" if is_server else None,
        arrival_kind="poisson" if is_server else None,
    )


def stage_name(facts: CallStage) -> str:
    """As in `offline: digits cpu as-is, batch 8`."""
    at = "" if facts.rate_per_s is None else f" at {digits(facts.rate_per_s)}/s"
    return f"{facts.scenario}{at}: {facts.variant.label}"


def _concurrency(facts: CallStage) -> int | None:
    """Calls at once; None where that is the arrivals' doing."""
    match facts.scenario:
        case "server":
            return None
        case "single-stream":
            return 1
        case _:
            return facts.variant.streams * max(1, len(facts.variant.devices))


def _metrics(calls: CallRows, facts: CallStage, bounds: tuple[int, int]) -> dict[str, dict[str, Estimate]]:
    metrics = {"service_ms": distribution(calls.service_ms)}
    if facts.scenario == "server":
        metrics["latency_ms"] = _latency_of_arrivals(calls)
        metrics["send_lag_ms"] = distribution(lateness_ms(calls))
    if facts.scenario == "multi-stream":
        metrics["latency_ms"] = distribution(_query_ms(calls))
    for part in PARTS:
        if not part.startswith("copy") or calls.copies_apart:
            metrics[part] = _of_part(calls.part_ms(part))
    metrics["throughput_per_s"] = {"value": _throughput(calls, facts, bounds)}
    return metrics


def _throughput(calls: CallRows, facts: CallStage, bounds: tuple[int, int]) -> Estimate:
    """Rows a second. Calls that the end of a closed loop cut count by their part inside: without them a stage of few
    long calls would seem slower than it is."""
    end_ns = bounds[1]
    told = rate(calls.end_ns, (bounds[0], end_ns + 1))  # a stream alone ends with its last call, which counts
    is_cut = (calls.begin_ns < end_ns) & (calls.end_ns > end_ns)
    took_ns = np.maximum(calls.end_ns - calls.begin_ns, 1)
    parts = float(((end_ns - calls.begin_ns) / took_ns)[is_cut].sum()) if facts.scenario != "server" else 0.0
    inside = told.n or 0
    if not inside:
        seconds = (end_ns - bounds[0]) / 1e9
        value = parts * facts.variant.batch / seconds if seconds > 0 and parts else None
        return Estimate(value, n=0, reason="no call ended inside the stage")
    return _times(told, facts.variant.batch * (inside + parts) / inside)


def _of_part(values_ms: Floats) -> dict[str, Estimate]:
    return {name: one for name, one in distribution(values_ms).items() if name in ("p50", "p95", "p99", "mean", "max")}


def _latency_of_arrivals(calls: CallRows) -> dict[str, Estimate]:
    """From when an arrival was due to its end. One that nobody got to would have waited longest: it counts as endless,
    and what is endless has no value."""
    waited_ms = ((calls.end_ns - calls.intended_ns) / 1e6)[np.argsort(calls.intended_ns, kind="stable")]
    never = len(calls.never_begun_ns)
    if not never:
        return distribution(waited_ms)
    why = f"{never:,} arrivals were never begun: the model could not keep up"
    found = distribution(np.concatenate([waited_ms, np.full(never, _ENDLESS_MS)]))
    return {name: Estimate(None, reason=why) if name == "mean" else _told(one, why) for name, one in found.items()}


def _told(one: Estimate, why: str) -> Estimate:
    if one.value is None:
        return one
    if one.value >= _ENDLESS_MS:
        return Estimate(None, n=one.n, reason=why)
    is_known = one.ci95 is not None and one.ci95[1] < _ENDLESS_MS
    return one if is_known else Estimate(one.value, n=one.n, reason=f"no interval: {why}")


def _query_ms(calls: CallRows) -> Floats:
    """From when a query was due until the last of its calls ended, in the order of the queries."""
    queries, place = np.unique(calls.query, return_inverse=True)
    ends = np.zeros(len(queries), np.int64)
    np.maximum.at(ends, place, calls.end_ns)
    due = np.zeros(len(queries), np.int64)
    due[place] = calls.intended_ns
    times: Floats = (ends - due) / 1e6
    return times


def _times(one: Estimate, factor: float) -> Estimate:
    if one.value is None:
        return one
    interval = None if one.ci95 is None else (one.ci95[0] * factor, one.ci95[1] * factor)
    return Estimate(one.value * factor, interval, one.n, one.basis, one.reason)


def fastest_per_s(stages: Sequence[Stage]) -> float | None:
    """The most inferences a second of a variant's stages that nothing makes INVALID."""
    return fastest(stages).value


def fastest(stages: Sequence[Stage]) -> Estimate:
    """As `fastest_per_s`, with its interval."""
    found = [one.metrics["throughput_per_s"]["value"] for one in stages if one.verdict.status != "INVALID"]
    return max(found, key=lambda one: one.value or 0.0, default=Estimate(None, reason="not measured"))
