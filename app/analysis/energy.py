"""Energy of GPUs in a window: by the card's counter where it has one, else by the area under its power."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from app.analysis.gpu_readings import GAP_NS, Readings, readings_of
from app.records.energy import EnergyMethod, EnergyPerItem, EnergyUse
from app.records.estimate import Estimate
from app.records.result import Window


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
