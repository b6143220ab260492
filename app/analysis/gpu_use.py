"""What a stage cost the GPUs it ran on: energy by item, shares of the time, and whether they were held back.

One reading of one GPU over time, out of a frame of telemetry.

Energy of GPUs in a window: by the card's counter where it has one, else by the area under its
power.

How a GPU spent a window: idle, busy, and held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from msgspec.structs import replace

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.validity import grade_high, verdict_of
from app.records.estimate import Estimate
from app.records.gpu import THROTTLING, EnergyMethod, EnergyPerItem, EnergyUse, GpuShares, throttle_names
from app.records.result import Check, Stage, Window

GAP_NS = 1_000_000_000
"""Readings further apart than this say nothing of the time between them."""


class Readings(NamedTuple):
    """In time order; NaN where a reading could not be had."""

    at_ns: Nanoseconds
    values: Floats

    def known(self) -> Readings:
        known = ~np.isnan(self.values)
        return Readings(self.at_ns[known], self.values[known])


def whole_gpus(telemetry: pd.DataFrame) -> tuple[str, ...]:
    """The sources that are GPUs, without those that are their slices or processes."""
    return tuple(sorted(str(one) for one in telemetry["source"].unique() if one.startswith("gpu") and "/" not in one))


def readings_of(telemetry: pd.DataFrame, source: str, metric: str) -> Readings:
    rows = telemetry[(telemetry["source"] == source) & (telemetry["metric"] == metric)]
    at_ns = rows["at_ns"].to_numpy(dtype=np.int64)
    values = rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    order = np.argsort(at_ns, kind="stable")
    return Readings(at_ns[order], values[order])


class _Joules(NamedTuple):
    estimate: Estimate
    method: EnergyMethod | None


def energy_use(telemetry: pd.DataFrame, source: str, window: Window, idle: Window | None = None) -> EnergyUse:
    """Of one GPU. `idle` is a window in which it had nothing to do; without one, nothing is told above idle."""
    seconds = _seconds(window)
    total = _joules(telemetry, source, window)
    idle_w = _idle_w(telemetry, source, idle)
    return EnergyUse(total.estimate, _above_idle(total.estimate, idle_w, seconds), idle_w, seconds, total.method)


def energy_in_all(uses: Sequence[EnergyUse]) -> EnergyUse:
    """Of several GPUs in the same window; withheld where it is of one of them."""
    methods = {use.method for use in uses}
    return EnergyUse(
        total_j=_sum([use.total_j for use in uses]),
        above_idle_j=_sum([use.above_idle_j for use in uses]),
        idle_w=_sum([use.idle_w for use in uses]),
        seconds=max((use.seconds for use in uses), default=0.0),
        method=methods.pop() if len(methods) == 1 else None,
    )


def energy_per_item(use: EnergyUse, items: int) -> EnergyPerItem:
    """`items` are what came of the window that the energy is of: inferences, answers or tokens."""
    return EnergyPerItem(_divided(use.total_j, items), _divided(use.above_idle_j, items), items)


def _joules(telemetry: pd.DataFrame, source: str, window: Window) -> _Joules:
    """By the first method that covers the window; where none does, why not the best one that the card has."""
    if window.end_ns <= window.start_ns:
        return _Joules(Estimate(None, n=0, reason="the window is empty"), None)
    reason: str | None = None
    counter = readings_of(telemetry, source, "gpu_energy_j").known()
    if counter.values.size:
        reason = _against_counter(counter, window)
        if reason is None:
            return _Joules(_by_counter(counter, window), "counter")
    methods: tuple[tuple[str, EnergyMethod], ...] = (
        ("gpu_power_w", "power"),
        ("gpu_power_average_w", "average power"),
    )
    for metric, method in methods:
        power = readings_of(telemetry, source, metric).known()
        if power.values.size:
            against = _against_edges(power, window) or _against_gaps(power, window)
            if against is None:
                return _Joules(_by_power(power, window), method)
            reason = reason or against
    return _Joules(Estimate(None, n=0, reason=reason or f"{source} tells neither energy nor power"), None)


def _against_counter(counter: Readings, window: Window) -> str | None:
    if against := _against_edges(counter, window):
        return against
    first, last = _span(counter, window)
    went_back = np.any(np.diff(counter.values[first : last + 1]) < 0)
    return "the energy counter went back" if went_back else None


def _against_edges(readings: Readings, window: Window) -> str | None:
    """Why the value at an edge of the window cannot be told: it takes a reading on either side, near each other."""
    for edge_ns, name in ((window.start_ns, "start"), (window.end_ns, "end")):
        after = int(np.searchsorted(readings.at_ns, edge_ns))
        if after < readings.at_ns.size and readings.at_ns[after] == edge_ns:
            continue
        if after in (0, readings.at_ns.size) or readings.at_ns[after] - readings.at_ns[after - 1] > GAP_NS:
            return f"no readings around the {name} of the window"
    return None


def _against_gaps(readings: Readings, window: Window) -> str | None:
    first, last = _span(readings, window)
    longest_ns = int(np.diff(readings.at_ns[first : last + 1]).max(initial=0))
    return f"no readings for {longest_ns / 1e9:.1f} s" if longest_ns > GAP_NS else None


def _by_counter(counter: Readings, window: Window) -> Estimate:
    began, ended = np.interp([window.start_ns, window.end_ns], counter.at_ns, counter.values)
    first, last = _span(counter, window)
    return Estimate(float(ended - began), n=last - first + 1)


def _by_power(power: Readings, window: Window) -> Estimate:
    inside = (power.at_ns > window.start_ns) & (power.at_ns < window.end_ns)
    at_ns = np.concatenate(([window.start_ns], power.at_ns[inside], [window.end_ns]))
    watts = np.interp(at_ns, power.at_ns, power.values)
    return Estimate(float(np.trapezoid(watts, (at_ns - window.start_ns) / 1e9)), n=int(inside.sum()))


def _span(readings: Readings, window: Window) -> tuple[int, int]:
    """The readings that tell the window: from the last at or before its start to the first at or after its end."""
    first = int(np.searchsorted(readings.at_ns, window.start_ns, side="right")) - 1
    last = int(np.searchsorted(readings.at_ns, window.end_ns, side="left"))
    return first, last


def _idle_w(telemetry: pd.DataFrame, source: str, idle: Window | None) -> Estimate:
    if idle is None:
        return Estimate(None, n=0, reason="no idle window was measured")
    joules = _joules(telemetry, source, idle).estimate
    if joules.value is None:
        return Estimate(None, n=0, reason=f"idle: {joules.reason}")
    return Estimate(joules.value / _seconds(idle), n=joules.n)


def _above_idle(total: Estimate, idle_w: Estimate, seconds: float) -> Estimate:
    if total.value is None or idle_w.value is None:
        return Estimate(None, n=0, reason=total.reason or idle_w.reason)
    return Estimate(total.value - idle_w.value * seconds, n=total.n)


def _sum(parts: Sequence[Estimate]) -> Estimate:
    values = [part.value for part in parts if part.value is not None]
    if not parts or len(values) < len(parts):
        reason = next((part.reason for part in parts if part.value is None), "no GPU")
        return Estimate(None, n=0, reason=reason)
    return Estimate(sum(values), n=sum(part.n or 0 for part in parts))


def _divided(joules: Estimate, items: int) -> Estimate:
    if joules.value is None:
        return joules
    return Estimate(joules.value / items, n=items) if items else Estimate(None, n=0, reason="no items")


def _seconds(window: Window) -> float:
    return (window.end_ns - window.start_ns) / 1e9


LEAST_KNOWN = 0.5
"""A share is told from this part of the window's time on."""


def gpu_shares(telemetry: pd.DataFrame, source: str, window: Window) -> GpuShares:
    """Each reading stands for the time that is nearest to it, up to half a second to either side."""
    utilisation = readings_of(telemetry, source, "gpu_utilisation_percent")
    reasons = readings_of(telemetry, source, "gpu_throttle_reasons")
    bits = np.nan_to_num(reasons.values).astype(np.int64)
    busy = _share(utilisation, utilisation.values > 0, window)
    return GpuShares(
        idle=None if busy is None else 1 - busy,
        busy=busy,
        throttled=_share(reasons, (bits & THROTTLING) != 0, window),
    )


def _share(readings: Readings, hits: Mask, window: Window) -> float | None:
    weights_ns = np.where(np.isnan(readings.values), 0.0, _weights_ns(readings, window))
    known_ns = float(weights_ns.sum())
    if known_ns <= LEAST_KNOWN * (window.end_ns - window.start_ns):
        return None
    return float(weights_ns[hits].sum()) / known_ns


def _weights_ns(readings: Readings, window: Window) -> Floats:
    """The time of the window that each reading stands for."""
    at_ns = readings.at_ns
    middles = at_ns[:-1] + np.diff(at_ns) // 2
    began = np.concatenate(([-np.inf], middles))[: at_ns.size]
    ended = np.concatenate((middles, [np.inf]))[: at_ns.size]
    began = np.maximum(np.maximum(began, at_ns - GAP_NS / 2), window.start_ns)
    ended = np.minimum(np.minimum(ended, at_ns + GAP_NS / 2), window.end_ns)
    return np.asarray(np.maximum(ended - began, 0.0), dtype=np.float64)


Metrics = dict[str, dict[str, Estimate]]

_THROTTLED = 0.01


def gpu_use(
    telemetry: pd.DataFrame,
    window: Window,
    idle: Window | None,
    *,
    inferences: int,
    tokens: int = 0,
    sources: Sequence[str] | None = None,
) -> Metrics:
    """Of all of this machine's GPUs, or of those named; empty where there is none. `idle`: when they had nothing to
    do."""
    gpus = whole_gpus(telemetry) if sources is None else tuple(one for one in sources if one in whole_gpus(telemetry))
    if not gpus:
        return {}
    use = energy_in_all([energy_use(telemetry, one, window, idle) for one in gpus])
    inference, token = energy_per_item(use, inferences), energy_per_item(use, tokens)
    shares = [gpu_shares(telemetry, one, window) for one in gpus]
    metrics = {
        "energy_j": use.total_j,
        "idle_power_w": use.idle_w,
        "energy_j_per_inference": inference.total_j,
        "energy_above_idle_j_per_inference": inference.above_idle_j,
        "gpu_busy_share": _mean([one.busy for one in shares]),
        "gpu_idle_share": _mean([one.idle for one in shares]),
        "gpu_throttled_share": _mean([one.throttled for one in shares]),
    }
    if tokens:
        metrics |= {
            "energy_j_per_output_token": token.total_j,
            "energy_above_idle_j_per_output_token": token.above_idle_j,
        }
    return {name: {"value": estimate} for name, estimate in metrics.items()}


def with_gpu_use(stage: Stage, telemetry: pd.DataFrame, idle: Window | None) -> Stage:
    """An endpoint's stage with what its answers, and their tokens, took of this machine's GPUs."""
    tokens = stage.metrics.get("output_tokens", {}).get("mean", Estimate(None)).value
    written = 0 if tokens is None else round(tokens * stage.completed)
    use = gpu_use(telemetry, stage.window, idle, inferences=stage.completed, tokens=written)
    held_back = throttling_check(telemetry, stage.window)
    checks = stage.checks if held_back is None else (*stage.checks, held_back)
    return replace(stage, metrics={**stage.metrics, **use}, checks=checks, verdict=verdict_of(checks))


def throttling_check(telemetry: pd.DataFrame, window: Window, sources: Sequence[str] | None = None) -> Check | None:
    """None where no GPU tells of it."""
    worst: float | None = None
    reasons: set[str] = set()
    for source in whole_gpus(telemetry) if sources is None else sources:
        share = gpu_shares(telemetry, source, window).throttled
        if share is None:
            continue
        worst = share if worst is None else max(worst, share)
        bits = readings_of(telemetry, source, "gpu_throttle_reasons").known()
        inside = bits.values[(bits.at_ns >= window.start_ns) & (bits.at_ns < window.end_ns)]
        reasons |= {name for value in set(inside.tolist()) if int(value) & THROTTLING for name in throttle_names(value)}
    if worst is None:
        return None
    hint = f"The GPU's clocks were held back ({', '.join(sorted(reasons))}): cool it, or raise its power limit."
    return grade_high("gpu_throttled", worst, unit="share", warn=_THROTTLED, hint=hint)


def _mean(values: Sequence[float | None]) -> Estimate:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Estimate(None, reason="the GPU does not tell")
    return Estimate(sum(known) / len(known), n=len(known))
