"""Compute the GPU metrics of a stage: energy per item, proportions of utilized and idle time, and
throttling.

Energy is taken from the GPU's energy counter if available; otherwise, power is integrated over
time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec.structs import replace

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.validity import check_upper_limit, compute_verdict
from app.records.estimate import Estimate
from app.records.gpu import THROTTLE_MASK, EnergyMethod, EnergyPerItem, EnergyUse, GpuShares, list_throttle_reasons
from app.records.result import Check, Stage, Window
from app.records.telemetry_sources import is_gpu_source

if TYPE_CHECKING:
    import pandas as pd

MAX_SAMPLE_GAP_NS = 1_000_000_000
"""Maximum gap between telemetry samples, in ns. Across a longer gap, the metric is treated as
unknown."""


class MetricSamples(NamedTuple):
    """Telemetry samples of one metric, in chronological order; the value of a failed sample is
    NaN."""

    times_ns: Nanoseconds
    values: Floats

    def drop_failed(self) -> MetricSamples:
        is_present = ~np.isnan(self.values)
        return MetricSamples(self.times_ns[is_present], self.values[is_present])


def list_gpu_sources(telemetry: pd.DataFrame) -> tuple[str, ...]:
    """Return the telemetry sources that are whole GPUs, not MIG instances or processes."""
    return tuple(sorted(str(source) for source in telemetry["source"].unique() if is_gpu_source(source)))


def select_samples(telemetry: pd.DataFrame, source: str, metric: str) -> MetricSamples:
    rows = telemetry[(telemetry["source"] == source) & (telemetry["metric"] == metric)]
    times_ns = rows["at_ns"].to_numpy(dtype=np.int64)
    values = rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    order = np.argsort(times_ns, kind="stable")
    return MetricSamples(times_ns[order], values[order])


class _EnergyEstimate(NamedTuple):
    estimate: Estimate
    method: EnergyMethod | None


def compute_energy(
    telemetry: pd.DataFrame, source: str, window: Window, idle_window: Window | None = None
) -> EnergyUse:
    """Compute the energy that one GPU used in the window. `idle_window` is a window in which the
    GPU was idle; without `idle_window`, the energy above idle is withheld."""
    duration_s = _get_duration_s(window)
    energy = _compute_energy_in_window(telemetry, source, window)
    idle_w = _compute_idle_w(telemetry, source, idle_window)
    return EnergyUse(
        energy.estimate,
        _compute_energy_above_idle(energy.estimate, idle_w, duration_s),
        idle_w,
        duration_s,
        energy.method,
    )


def sum_energy(energy_uses: Sequence[EnergyUse]) -> EnergyUse:
    """Sum the energy of several GPUs over the same window. A sum is withheld if the value of one
    GPU is missing."""
    methods = {energy_use.method for energy_use in energy_uses}
    return EnergyUse(
        total_j=_sum_estimates([energy_use.total_j for energy_use in energy_uses]),
        above_idle_j=_sum_estimates([energy_use.above_idle_j for energy_use in energy_uses]),
        idle_w=_sum_estimates([energy_use.idle_w for energy_use in energy_uses]),
        seconds=max((energy_use.seconds for energy_use in energy_uses), default=0.0),
        method=methods.pop() if len(methods) == 1 else None,
    )


def divide_energy(energy_use: EnergyUse, items: int) -> EnergyPerItem:
    """Divide the energy by the number of items produced in the same window (inferences, responses
    or tokens)."""
    return EnergyPerItem(
        _divide_by_items(energy_use.total_j, items), _divide_by_items(energy_use.above_idle_j, items), items
    )


def _compute_energy_in_window(telemetry: pd.DataFrame, source: str, window: Window) -> _EnergyEstimate:
    """Compute the energy of a GPU by the first method (energy counter, power, average power) whose
    samples cover the whole window. If there is no such method, the estimate states the problem of
    the most accurate method that the GPU reports."""
    if window.end_ns <= window.start_ns:
        return _EnergyEstimate(Estimate(None, n=0, reason="the measurement window is empty"), None)
    problem: str | None = None
    counter = select_samples(telemetry, source, "gpu_energy_j").drop_failed()
    if counter.values.size:
        problem = _find_counter_problem(counter, window)
        if problem is None:
            return _EnergyEstimate(_compute_energy_from_counter(counter, window), "counter")
    methods: tuple[tuple[str, EnergyMethod], ...] = (
        ("gpu_power_w", "power"),
        ("gpu_power_average_w", "average power"),
    )
    for metric, method in methods:
        power = select_samples(telemetry, source, metric).drop_failed()
        if power.values.size:
            power_problem = _find_edge_problem(power, window) or _find_gap_problem(power, window)
            if power_problem is None:
                return _EnergyEstimate(_compute_energy_from_power(power, window), method)
            problem = problem or power_problem
    return _EnergyEstimate(Estimate(None, n=0, reason=problem or f"{source} reports neither energy nor power"), None)


def _find_counter_problem(counter: MetricSamples, window: Window) -> str | None:
    if problem := _find_edge_problem(counter, window):
        return problem
    first_index, last_index = _find_sample_range(counter, window)
    has_decreased = np.any(np.diff(counter.values[first_index : last_index + 1]) < 0)
    return "the energy counter decreased" if has_decreased else None


def _find_edge_problem(samples: MetricSamples, window: Window) -> str | None:
    """Return the reason why the metric is unknown at the start or end of the window; `None` if the
    metric is known at both.

    Interpolation at either end needs one sample before it and one after it, at most
    `MAX_SAMPLE_GAP_NS` apart."""
    for edge_ns, edge_name in ((window.start_ns, "start"), (window.end_ns, "end")):
        next_index = int(np.searchsorted(samples.times_ns, edge_ns))
        if next_index < samples.times_ns.size and samples.times_ns[next_index] == edge_ns:
            continue
        if (
            next_index in (0, samples.times_ns.size)
            or samples.times_ns[next_index] - samples.times_ns[next_index - 1] > MAX_SAMPLE_GAP_NS
        ):
            return f"no samples around the {edge_name} of the window"
    return None


def _find_gap_problem(samples: MetricSamples, window: Window) -> str | None:
    first_index, last_index = _find_sample_range(samples, window)
    longest_gap_ns = int(np.diff(samples.times_ns[first_index : last_index + 1]).max(initial=0))
    return f"no samples for {longest_gap_ns / 1e9:.1f} s" if longest_gap_ns > MAX_SAMPLE_GAP_NS else None


def _compute_energy_from_counter(counter: MetricSamples, window: Window) -> Estimate:
    start_j, end_j = np.interp([window.start_ns, window.end_ns], counter.times_ns, counter.values)
    first_index, last_index = _find_sample_range(counter, window)
    return Estimate(float(end_j - start_j), n=last_index - first_index + 1)


def _compute_energy_from_power(power: MetricSamples, window: Window) -> Estimate:
    is_inside = (power.times_ns > window.start_ns) & (power.times_ns < window.end_ns)
    times_ns = np.concatenate(([window.start_ns], power.times_ns[is_inside], [window.end_ns]))
    watts = np.interp(times_ns, power.times_ns, power.values)
    return Estimate(float(np.trapezoid(watts, (times_ns - window.start_ns) / 1e9)), n=int(is_inside.sum()))


def _find_sample_range(samples: MetricSamples, window: Window) -> tuple[int, int]:
    """Return the indices of the first and last sample needed to cover the window: the last sample
    at or before its start, and the first sample at or after its end."""
    first_index = int(np.searchsorted(samples.times_ns, window.start_ns, side="right")) - 1
    last_index = int(np.searchsorted(samples.times_ns, window.end_ns, side="left"))
    return first_index, last_index


def _compute_idle_w(telemetry: pd.DataFrame, source: str, idle_window: Window | None) -> Estimate:
    if idle_window is None:
        return Estimate(None, n=0, reason="idle power was not measured")
    joules = _compute_energy_in_window(telemetry, source, idle_window).estimate
    if joules.value is None:
        return Estimate(None, n=0, reason=f"idle power is unknown: {joules.reason}")
    return Estimate(joules.value / _get_duration_s(idle_window), n=joules.n)


def _compute_energy_above_idle(total_j: Estimate, idle_w: Estimate, duration_s: float) -> Estimate:
    if total_j.value is None or idle_w.value is None:
        return Estimate(None, n=0, reason=total_j.reason or idle_w.reason)
    return Estimate(total_j.value - idle_w.value * duration_s, n=total_j.n)


def _sum_estimates(estimates: Sequence[Estimate]) -> Estimate:
    values = [estimate.value for estimate in estimates if estimate.value is not None]
    if not estimates or len(values) < len(estimates):
        reason = next((estimate.reason for estimate in estimates if estimate.value is None), "no GPU")
        return Estimate(None, n=0, reason=reason)
    return Estimate(sum(values), n=sum(estimate.n or 0 for estimate in estimates))


def _divide_by_items(joules: Estimate, items: int) -> Estimate:
    if joules.value is None:
        return joules
    return Estimate(joules.value / items, n=items) if items else Estimate(None, n=0, reason="no items")


def _get_duration_s(window: Window) -> float:
    return (window.end_ns - window.start_ns) / 1e9


MIN_KNOWN_PROPORTION = 0.5
"""Minimum proportion of the window that known samples must cover. Otherwise, proportions of time
are not computed."""


def compute_gpu_shares(telemetry: pd.DataFrame, source: str, window: Window) -> GpuShares:
    """Compute the proportions of idle, utilized and throttled time of one GPU. Each sample
    represents the time halfway to the neighboring samples, up to half a second in each
    direction."""
    utilization_samples = select_samples(telemetry, source, "gpu_utilization_percent")
    reason_samples = select_samples(telemetry, source, "gpu_throttle_reasons")
    bits = np.nan_to_num(reason_samples.values).astype(np.int64)
    utilized_share = _compute_time_share(utilization_samples, utilization_samples.values > 0, window)
    return GpuShares(
        idle=None if utilized_share is None else 1 - utilized_share,
        busy=utilized_share,
        throttled=_compute_time_share(reason_samples, (bits & THROTTLE_MASK) != 0, window),
    )


def _compute_time_share(samples: MetricSamples, is_counted: Mask, window: Window) -> float | None:
    weights_ns = np.where(np.isnan(samples.values), 0.0, _compute_time_weights_ns(samples, window))
    known_ns = float(weights_ns.sum())
    if known_ns <= MIN_KNOWN_PROPORTION * (window.end_ns - window.start_ns):
        return None
    return float(weights_ns[is_counted].sum()) / known_ns


def _compute_time_weights_ns(samples: MetricSamples, window: Window) -> Floats:
    """Compute the time within the window that each sample represents, in ns."""
    times_ns = samples.times_ns
    midpoints_ns = times_ns[:-1] + np.diff(times_ns) // 2
    starts_ns = np.concatenate(([-np.inf], midpoints_ns))[: times_ns.size]
    ends_ns = np.concatenate((midpoints_ns, [np.inf]))[: times_ns.size]
    starts_ns = np.maximum(np.maximum(starts_ns, times_ns - MAX_SAMPLE_GAP_NS / 2), window.start_ns)
    ends_ns = np.minimum(np.minimum(ends_ns, times_ns + MAX_SAMPLE_GAP_NS / 2), window.end_ns)
    return np.asarray(np.maximum(ends_ns - starts_ns, 0.0), dtype=np.float64)


Metrics = dict[str, dict[str, Estimate]]

_MAX_THROTTLED_SHARE = 0.01


def compute_gpu_metrics(
    telemetry: pd.DataFrame,
    window: Window,
    idle_window: Window | None,
    *,
    inferences: int,
    output_tokens: int = 0,
    sources: Sequence[str] | None = None,
) -> Metrics:
    """Compute the GPU metrics of all GPUs of this machine, or only of `sources`; empty if there are
    no GPUs. `idle_window` is a window in which the GPUs were idle."""
    gpu_sources = (
        list_gpu_sources(telemetry)
        if sources is None
        else tuple(source for source in sources if source in list_gpu_sources(telemetry))
    )
    if not gpu_sources:
        return {}
    energy_use = sum_energy([compute_energy(telemetry, source, window, idle_window) for source in gpu_sources])
    energy_per_inference, energy_per_token = (
        divide_energy(energy_use, inferences),
        divide_energy(energy_use, output_tokens),
    )
    shares = [compute_gpu_shares(telemetry, source, window) for source in gpu_sources]
    metrics = {
        "energy_j": energy_use.total_j,
        "idle_power_w": energy_use.idle_w,
        "energy_j_per_inference": energy_per_inference.total_j,
        "energy_above_idle_j_per_inference": energy_per_inference.above_idle_j,
        "gpu_busy_share": _build_mean_estimate([gpu_shares.busy for gpu_shares in shares]),
        "gpu_idle_share": _build_mean_estimate([gpu_shares.idle for gpu_shares in shares]),
        "gpu_throttled_share": _build_mean_estimate([gpu_shares.throttled for gpu_shares in shares]),
    }
    if output_tokens:
        metrics |= {
            "energy_j_per_output_token": energy_per_token.total_j,
            "energy_above_idle_j_per_output_token": energy_per_token.above_idle_j,
        }
    return {name: {"value": estimate} for name, estimate in metrics.items()}


def add_gpu_metrics(stage: Stage, telemetry: pd.DataFrame, idle_window: Window | None) -> Stage:
    """Add GPU metrics (energy per response and per output token) and the throttling check to a
    stage of an endpoint."""
    mean_output_tokens = stage.metrics.get("output_tokens", {}).get("mean", Estimate(None)).value
    output_tokens = 0 if mean_output_tokens is None else round(mean_output_tokens * stage.completed)
    gpu_metrics = compute_gpu_metrics(
        telemetry, stage.window, idle_window, inferences=stage.completed, output_tokens=output_tokens
    )
    throttling_check = check_throttling(telemetry, stage.window)
    checks = stage.checks if throttling_check is None else (*stage.checks, throttling_check)
    return replace(stage, metrics={**stage.metrics, **gpu_metrics}, checks=checks, verdict=compute_verdict(checks))


def check_throttling(telemetry: pd.DataFrame, window: Window, sources: Sequence[str] | None = None) -> Check | None:
    """Return a check of GPU throttling; `None` if no GPU reports throttling."""
    worst_share: float | None = None
    reasons: set[str] = set()
    for source in list_gpu_sources(telemetry) if sources is None else sources:
        share = compute_gpu_shares(telemetry, source, window).throttled
        if share is None:
            continue
        worst_share = share if worst_share is None else max(worst_share, share)
        reason_samples = select_samples(telemetry, source, "gpu_throttle_reasons").drop_failed()
        values_inside = reason_samples.values[
            (reason_samples.times_ns >= window.start_ns) & (reason_samples.times_ns < window.end_ns)
        ]
        reasons |= {
            name
            for value in set(values_inside.tolist())
            if int(value) & THROTTLE_MASK
            for name in list_throttle_reasons(value)
        }
    if worst_share is None:
        return None
    hint = f"GPU clocks were throttled ({', '.join(sorted(reasons))}). Improve cooling, or raise the power limit."
    return check_upper_limit("gpu_throttled", worst_share, unit="share", warn=_MAX_THROTTLED_SHARE, hint=hint)


def _build_mean_estimate(values: Sequence[float | None]) -> Estimate:
    known_values = [value for value in values if value is not None]
    if len(known_values) < len(values):
        return Estimate(None, reason="not reported by the GPU")
    return Estimate(sum(known_values) / len(known_values), n=len(known_values))
