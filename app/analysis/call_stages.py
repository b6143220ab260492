"""All numbers of one stage of a local model, from its calls and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from app.analysis.call_checks import call_checks
from app.analysis.call_rows import PARTS, CallRows, Floats, lateness_ms, read_calls
from app.analysis.digits import digits
from app.analysis.estimates import distribution, rate
from app.analysis.rows import NOT_STARTED
from app.analysis.validity import verdict_of
from app.records.calls import CallStage
from app.records.estimate import Estimate
from app.records.result import Check, Stage, Window

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
