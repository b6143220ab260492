"""GPU use of a stage: energy per item, shares of busy and idle time, and throttling.

Energy in a window is taken from the card's counter if it has one, else from the integral of its power.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from msgspec.structs import replace

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.validity import compute_verdict, grade_high
from app.records.estimate import Estimate
from app.records.gpu import THROTTLE_MASK, EnergyMethod, EnergyPerItem, EnergyUse, GpuShares, list_throttle_reasons
from app.records.result import Check, Stage, Window

GAP_NS = 1_000_000_000
"""Maximum gap between readings, in ns; larger gaps give no information on the time between them."""


class Readings(NamedTuple):
    """Readings of one metric of one GPU, in time order; NaN for a failed reading."""

    at_ns: Nanoseconds
    values: Floats

    def drop_unknown(self) -> Readings:
        known = ~np.isnan(self.values)
        return Readings(self.at_ns[known], self.values[known])


def list_gpus(telemetry: pd.DataFrame) -> tuple[str, ...]:
    """Return the sources that are whole GPUs, not MIG instances or processes."""
    return tuple(
        sorted(str(source) for source in telemetry["source"].unique() if source.startswith("gpu") and "/" not in source)
    )


def select_readings(telemetry: pd.DataFrame, source: str, metric: str) -> Readings:
    rows = telemetry[(telemetry["source"] == source) & (telemetry["metric"] == metric)]
    at_ns = rows["at_ns"].to_numpy(dtype=np.int64)
    values = rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    order = np.argsort(at_ns, kind="stable")
    return Readings(at_ns[order], values[order])


class _EnergyEstimate(NamedTuple):
    estimate: Estimate
    method: EnergyMethod | None


def compute_energy(telemetry: pd.DataFrame, source: str, window: Window, idle: Window | None = None) -> EnergyUse:
    """Compute the energy of one GPU. `idle` is a window in which it was idle; without one, the energy above idle is
    withheld."""
    seconds = _seconds(window)
    total = _energy_in_window(telemetry, source, window)
    idle_w = _idle_w(telemetry, source, idle)
    return EnergyUse(total.estimate, _above_idle(total.estimate, idle_w, seconds), idle_w, seconds, total.method)


def sum_energy(uses: Sequence[EnergyUse]) -> EnergyUse:
    """Sum the energy of several GPUs in the same window; withheld if it is withheld for one of them."""
    methods = {use.method for use in uses}
    return EnergyUse(
        total_j=_sum_estimates([use.total_j for use in uses]),
        above_idle_j=_sum_estimates([use.above_idle_j for use in uses]),
        idle_w=_sum_estimates([use.idle_w for use in uses]),
        seconds=max((use.seconds for use in uses), default=0.0),
        method=methods.pop() if len(methods) == 1 else None,
    )


def divide_energy(use: EnergyUse, items: int) -> EnergyPerItem:
    """Divide energy by the number of items produced in the same window: inferences, responses or tokens."""
    return EnergyPerItem(_divide(use.total_j, items), _divide(use.above_idle_j, items), items)


def _energy_in_window(telemetry: pd.DataFrame, source: str, window: Window) -> _EnergyEstimate:
    """Compute the energy by the first method that covers the window; if none does, give the reason for the card's best
    method."""
    if window.end_ns <= window.start_ns:
        return _EnergyEstimate(Estimate(None, n=0, reason="the measurement window is empty"), None)
    reason: str | None = None
    counter = select_readings(telemetry, source, "gpu_energy_j").drop_unknown()
    if counter.values.size:
        reason = _counter_problem(counter, window)
        if reason is None:
            return _EnergyEstimate(_energy_from_counter(counter, window), "counter")
    methods: tuple[tuple[str, EnergyMethod], ...] = (
        ("gpu_power_w", "power"),
        ("gpu_power_average_w", "average power"),
    )
    for metric, method in methods:
        power = select_readings(telemetry, source, metric).drop_unknown()
        if power.values.size:
            problem = _edge_problem(power, window) or _gap_problem(power, window)
            if problem is None:
                return _EnergyEstimate(_energy_from_power(power, window), method)
            reason = reason or problem
    return _EnergyEstimate(Estimate(None, n=0, reason=reason or f"{source} reports neither energy nor power"), None)


def _counter_problem(counter: Readings, window: Window) -> str | None:
    if problem := _edge_problem(counter, window):
        return problem
    first, last = _reading_range(counter, window)
    went_back = np.any(np.diff(counter.values[first : last + 1]) < 0)
    return "the energy counter decreased" if went_back else None


def _edge_problem(readings: Readings, window: Window) -> str | None:
    """Return why the value at an edge of the window is unknown: interpolation needs a reading on either side, close
    together."""
    for edge_ns, name in ((window.start_ns, "start"), (window.end_ns, "end")):
        after = int(np.searchsorted(readings.at_ns, edge_ns))
        if after < readings.at_ns.size and readings.at_ns[after] == edge_ns:
            continue
        if after in (0, readings.at_ns.size) or readings.at_ns[after] - readings.at_ns[after - 1] > GAP_NS:
            return f"no samples around the {name} of the window"
    return None


def _gap_problem(readings: Readings, window: Window) -> str | None:
    first, last = _reading_range(readings, window)
    longest_ns = int(np.diff(readings.at_ns[first : last + 1]).max(initial=0))
    return f"no samples for {longest_ns / 1e9:.1f} s" if longest_ns > GAP_NS else None


def _energy_from_counter(counter: Readings, window: Window) -> Estimate:
    start, end = np.interp([window.start_ns, window.end_ns], counter.at_ns, counter.values)
    first, last = _reading_range(counter, window)
    return Estimate(float(end - start), n=last - first + 1)


def _energy_from_power(power: Readings, window: Window) -> Estimate:
    inside = (power.at_ns > window.start_ns) & (power.at_ns < window.end_ns)
    at_ns = np.concatenate(([window.start_ns], power.at_ns[inside], [window.end_ns]))
    watts = np.interp(at_ns, power.at_ns, power.values)
    return Estimate(float(np.trapezoid(watts, (at_ns - window.start_ns) / 1e9)), n=int(inside.sum()))


def _reading_range(readings: Readings, window: Window) -> tuple[int, int]:
    """Return the range of readings that covers the window: from the last at or before its start to the first at or
    after its end."""
    first = int(np.searchsorted(readings.at_ns, window.start_ns, side="right")) - 1
    last = int(np.searchsorted(readings.at_ns, window.end_ns, side="left"))
    return first, last


def _idle_w(telemetry: pd.DataFrame, source: str, idle: Window | None) -> Estimate:
    if idle is None:
        return Estimate(None, n=0, reason="idle power was not measured")
    joules = _energy_in_window(telemetry, source, idle).estimate
    if joules.value is None:
        return Estimate(None, n=0, reason=f"idle: {joules.reason}")
    return Estimate(joules.value / _seconds(idle), n=joules.n)


def _above_idle(total: Estimate, idle_w: Estimate, seconds: float) -> Estimate:
    if total.value is None or idle_w.value is None:
        return Estimate(None, n=0, reason=total.reason or idle_w.reason)
    return Estimate(total.value - idle_w.value * seconds, n=total.n)


def _sum_estimates(parts: Sequence[Estimate]) -> Estimate:
    values = [part.value for part in parts if part.value is not None]
    if not parts or len(values) < len(parts):
        reason = next((part.reason for part in parts if part.value is None), "no GPU")
        return Estimate(None, n=0, reason=reason)
    return Estimate(sum(values), n=sum(part.n or 0 for part in parts))


def _divide(joules: Estimate, items: int) -> Estimate:
    if joules.value is None:
        return joules
    return Estimate(joules.value / items, n=items) if items else Estimate(None, n=0, reason="no items")


def _seconds(window: Window) -> float:
    return (window.end_ns - window.start_ns) / 1e9


MIN_KNOWN_SHARE = 0.5
"""Minimum share of the window's time that must be known for a share to be computed."""


def compute_gpu_shares(telemetry: pd.DataFrame, source: str, window: Window) -> GpuShares:
    """Compute shares of time. Each reading represents the time that is closest to it, up to half a second on either
    side."""
    utilization = select_readings(telemetry, source, "gpu_utilization_percent")
    reasons = select_readings(telemetry, source, "gpu_throttle_reasons")
    bits = np.nan_to_num(reasons.values).astype(np.int64)
    busy = _share(utilization, utilization.values > 0, window)
    return GpuShares(
        idle=None if busy is None else 1 - busy,
        busy=busy,
        throttled=_share(reasons, (bits & THROTTLE_MASK) != 0, window),
    )


def _share(readings: Readings, hits: Mask, window: Window) -> float | None:
    weights_ns = np.where(np.isnan(readings.values), 0.0, _time_weights_ns(readings, window))
    known_ns = float(weights_ns.sum())
    if known_ns <= MIN_KNOWN_SHARE * (window.end_ns - window.start_ns):
        return None
    return float(weights_ns[hits].sum()) / known_ns


def _time_weights_ns(readings: Readings, window: Window) -> Floats:
    """Compute the time of the window that each reading represents, in ns."""
    at_ns = readings.at_ns
    midpoints = at_ns[:-1] + np.diff(at_ns) // 2
    starts = np.concatenate(([-np.inf], midpoints))[: at_ns.size]
    ends = np.concatenate((midpoints, [np.inf]))[: at_ns.size]
    starts = np.maximum(np.maximum(starts, at_ns - GAP_NS / 2), window.start_ns)
    ends = np.minimum(np.minimum(ends, at_ns + GAP_NS / 2), window.end_ns)
    return np.asarray(np.maximum(ends - starts, 0.0), dtype=np.float64)


Metrics = dict[str, dict[str, Estimate]]

_MAX_THROTTLED_SHARE = 0.01


def compute_gpu_metrics(
    telemetry: pd.DataFrame,
    window: Window,
    idle: Window | None,
    *,
    inferences: int,
    tokens: int = 0,
    sources: Sequence[str] | None = None,
) -> Metrics:
    """Compute GPU metrics of all of this machine's GPUs, or of the named ones; empty if there are none. `idle` is a
    window in which they were idle."""
    gpus = (
        list_gpus(telemetry)
        if sources is None
        else tuple(source for source in sources if source in list_gpus(telemetry))
    )
    if not gpus:
        return {}
    use = sum_energy([compute_energy(telemetry, source, window, idle) for source in gpus])
    inference, token = divide_energy(use, inferences), divide_energy(use, tokens)
    shares = [compute_gpu_shares(telemetry, source, window) for source in gpus]
    metrics = {
        "energy_j": use.total_j,
        "idle_power_w": use.idle_w,
        "energy_j_per_inference": inference.total_j,
        "energy_above_idle_j_per_inference": inference.above_idle_j,
        "gpu_busy_share": _mean([gpu.busy for gpu in shares]),
        "gpu_idle_share": _mean([gpu.idle for gpu in shares]),
        "gpu_throttled_share": _mean([gpu.throttled for gpu in shares]),
    }
    if tokens:
        metrics |= {
            "energy_j_per_output_token": token.total_j,
            "energy_above_idle_j_per_output_token": token.above_idle_j,
        }
    return {name: {"value": estimate} for name, estimate in metrics.items()}


def add_gpu_metrics(stage: Stage, telemetry: pd.DataFrame, idle: Window | None) -> Stage:
    """Add GPU metrics and the throttling check to an endpoint's stage, per response and per output token."""
    tokens = stage.metrics.get("output_tokens", {}).get("mean", Estimate(None)).value
    output_tokens = 0 if tokens is None else round(tokens * stage.completed)
    use = compute_gpu_metrics(telemetry, stage.window, idle, inferences=stage.completed, tokens=output_tokens)
    throttling = throttling_check(telemetry, stage.window)
    checks = stage.checks if throttling is None else (*stage.checks, throttling)
    return replace(stage, metrics={**stage.metrics, **use}, checks=checks, verdict=compute_verdict(checks))


def throttling_check(telemetry: pd.DataFrame, window: Window, sources: Sequence[str] | None = None) -> Check | None:
    """Check for throttling; None if no GPU reports it."""
    worst: float | None = None
    reasons: set[str] = set()
    for source in list_gpus(telemetry) if sources is None else sources:
        share = compute_gpu_shares(telemetry, source, window).throttled
        if share is None:
            continue
        worst = share if worst is None else max(worst, share)
        bits = select_readings(telemetry, source, "gpu_throttle_reasons").drop_unknown()
        inside = bits.values[(bits.at_ns >= window.start_ns) & (bits.at_ns < window.end_ns)]
        reasons |= {
            name
            for value in set(inside.tolist())
            if int(value) & THROTTLE_MASK
            for name in list_throttle_reasons(value)
        }
    if worst is None:
        return None
    hint = f"GPU clocks were throttled ({', '.join(sorted(reasons))}). Improve cooling, or raise the power limit."
    return grade_high("gpu_throttled", worst, unit="share", warn=_MAX_THROTTLED_SHARE, hint=hint)


def _mean(values: Sequence[float | None]) -> Estimate:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Estimate(None, reason="not reported by the GPU")
    return Estimate(sum(known) / len(known), n=len(known))
