"""Machine data in a report: the environment as labeled properties, the load workers, and telemetry.

Telemetry becomes time series of at most `MAX_POINTS` points.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from app.analysis.pooling import sum_worker_totals
from app.records.metrics import METRICS
from app.records.result import Environment, Estimate, Gpu, Result, Stage, WorkerData
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.quantities import build_quantity
from app.reporting.rows import MAX_POINTS
from reports import formatting, model


def sum_workers(stages: Sequence[Stage]) -> tuple[WorkerData, ...]:
    """Return the totals of each worker over all stages except warm-ups; empty if there was a single
    worker."""
    return sum_worker_totals(
        stage.workers for stage in stages if STAGE_KINDS[stage.kind].is_measured and not stage.is_pooled
    )


def format_workers(stages: Sequence[Stage]) -> str | None:
    """Format the number of workers and their hosts, such as "4 workers on 2 hosts (a: 2, b: 2)";
    `None` for a single worker."""
    workers = sum_workers(stages)
    if not workers:
        return None
    worker_counts = Counter(worker.host for worker in workers)
    prefix = f"{len(workers)} worker{'' if len(workers) == 1 else 's'} on"
    if len(worker_counts) == 1:
        return f"{prefix} {next(iter(worker_counts))}"
    hosts_text = ", ".join(f"{host}: {count}" for host, count in worker_counts.items())
    return f"{prefix} {len(worker_counts)} hosts ({hosts_text})"


def find_clock_residual_ms(stages: Sequence[Stage]) -> float | None:
    """Return the largest residual clock error of the workers in ms; `None` if all workers use the
    same clock."""
    residuals_ms = [worker.clock_residual_ms for worker in sum_workers(stages) if worker.clock_residual_ms is not None]
    return max(residuals_ms, default=None)


def build_worker_rows(result: Result) -> tuple[model.WorkerRow, ...]:
    """Build a row for each load worker; empty if there was a single worker."""
    start_ns = result.time_zero_ns
    return tuple(
        model.WorkerRow(
            worker=worker.worker,
            host=worker.host,
            sent=worker.sent,
            cpu=build_quantity(_get_cpu_time(worker), "s"),
            max_lag=build_quantity(Estimate(worker.max_lag_ms), "ms"),
            clock=build_quantity(_get_clock_residual(worker), "ms"),
            lost_s=None if worker.lost_ns is None else (worker.lost_ns - start_ns) / 1e9,
        )
        for worker in sum_workers(result.stages)
    )


def _get_cpu_time(worker: WorkerData) -> Estimate:
    """Return the CPU time of a worker in seconds. The CPU time of a lost worker is unknown, because
    workers report their CPU time at the end of a stage."""
    return (
        Estimate(worker.cpu_s)
        if worker.lost_ns is None
        else Estimate(None, reason="the worker was lost before it reported its CPU time")
    )


def _get_clock_residual(worker: WorkerData) -> Estimate:
    return Estimate(
        worker.clock_residual_ms, reason="same clock as the run" if worker.clock_residual_ms is None else None
    )


def describe_workers(stages: Sequence[Stage]) -> str | None:
    """Return a sentence about the load workers for the description of the method; `None` for a
    single worker."""
    workers_text = format_workers(stages)
    return None if workers_text is None else f"The load was sent by {workers_text}, which share one arrival schedule."


def describe_clock(stages: Sequence[Stage]) -> str:
    residual_ms = find_clock_residual_ms(stages)
    if residual_ms is None:
        return "All times use one monotonic clock"
    return (
        "All times use one monotonic clock; clocks of other hosts were synchronized to it with an error of at most "
        f"{formatting.format_number(residual_ms)}{formatting.THIN_SPACE}ms"
    )


_MIN_BIN_S = 0.25
_MIN_HIT_INTERVAL_S = 2.0
"""Minimum length of an interval for which a hit rate is computed. A server counts the hits of a
request before its input tokens, so shorter intervals are only noise."""
_MAX_HIT_INTERVALS = 60
_HIT_COUNTERS = ("server_cached_tokens_total", "server_input_tokens_total")


def build_telemetry_series(telemetry: pd.DataFrame, start_ns: int) -> tuple[model.TelemetrySeries, ...]:
    """Build a time series for each source and metric, in the order of the metric catalog.

    Each point is the mean of a time bin, or `None` if no value could be read in the bin.
    """
    if telemetry.empty:
        return ()
    telemetry = _add_cache_hits(_replace_core_series(telemetry), start_ns)
    at_s = (telemetry["at_ns"].to_numpy() - start_ns) / 1e9
    first_s, last_s = float(at_s.min()), float(at_s.max())
    width_s = max(_MIN_BIN_S, (last_s - first_s) / (MAX_POINTS - 1))
    binned_telemetry = telemetry.assign(bin=np.floor((at_s - first_s) / width_s).astype(int))
    means = binned_telemetry.groupby(["source", "metric", "bin"], observed=True)["value"].mean()
    metric_order = list(METRICS)
    series_keys = {(source, metric) for source, metric, _ in means.index if metric in METRICS}
    return tuple(
        _build_series(source, metric, means[source, metric], first_s, width_s)
        for source, metric in sorted(series_keys, key=lambda key: (metric_order.index(key[1]), key[0]))
    )


def _replace_core_series(telemetry: pd.DataFrame) -> pd.DataFrame:
    """Replace the time series of all CPU cores by one time series, which contains the utilization
    of the busiest core at each time.

    A machine may have hundreds of cores, which is too many for a chart.
    """
    is_core = telemetry["metric"] == "core_cpu_percent"
    if not is_core.any():
        return telemetry
    busiest_values = telemetry[is_core].groupby("at_ns", as_index=False)["value"].max()
    busiest_series = busiest_values.assign(source="busiest core", metric="core_cpu_percent")
    combined_telemetry: pd.DataFrame = pd.concat(
        [telemetry[~is_core].astype({"source": str, "metric": str}), busiest_series], ignore_index=True
    )
    return combined_telemetry


def _add_cache_hits(telemetry: pd.DataFrame, start_ns: int) -> pd.DataFrame:
    """Add the hit rate of each server's prefix cache from the start of the load on, from the
    counters of its metrics page. The hit rate of an interval without input tokens, or in which the
    server was restarted, is missing."""
    is_counter = telemetry["metric"].isin(_HIT_COUNTERS) & (telemetry["at_ns"] >= start_ns)
    counters = telemetry[is_counter].dropna()
    frames = [telemetry]
    for source, readings in counters.groupby("source", observed=True):
        by_time = readings.pivot_table(index="at_ns", columns="metric", values="value", observed=True).dropna()
        if set(by_time.columns) != set(_HIT_COUNTERS):
            continue
        at_ns = by_time.index.to_numpy(np.int64)
        width_ns = max(_MIN_HIT_INTERVAL_S * 1e9, np.ptp(at_ns) / _MAX_HIT_INTERVALS)
        is_start = np.diff((at_ns - at_ns[0]) // width_ns, prepend=-1) > 0
        starts_ns, counts = at_ns[is_start], by_time[list(_HIT_COUNTERS)].to_numpy()[is_start]
        hits, tokens = np.diff(counts, axis=0).T
        with np.errstate(divide="ignore", invalid="ignore"):
            percent = np.where((tokens > 0) & (hits >= 0), np.minimum(100 * hits / tokens, 100), np.nan)
        middles_ns = starts_ns[:-1] + np.diff(starts_ns) // 2
        frames.append(
            pd.DataFrame(
                {"at_ns": middles_ns, "source": source, "metric": "server_cache_hit_percent", "value": percent}
            )
        )
    if len(frames) == 1:
        return telemetry
    return pd.concat([telemetry.astype({"source": str, "metric": str}), *frames[1:]], ignore_index=True)


def _build_series(source: str, metric: str, means: pd.Series, first_s: float, width_s: float) -> model.TelemetrySeries:
    return model.TelemetrySeries(
        source=source,
        metric=metric,
        unit=METRICS[metric].unit,
        description=METRICS[metric].description,
        at_s=tuple(round(first_s + (bin_index + 0.5) * width_s, 3) for bin_index in means.index),
        values=tuple(None if math.isnan(value) else round(value, 4) for value in means),
    )


def list_environment_entries(result: Result) -> tuple[model.EnvironmentEntry, ...]:
    """Return the labeled properties of the machine, the load workers and the target; the value of
    an unknown property is `None`."""
    environment = result.environment
    properties = {
        "Host": environment.host,
        "Operating system": environment.os,
        "CPU": environment.cpu_model,
        "CPU architecture": environment.cpu_architecture,
        "Cores": _format_cores(environment),
        "CPU governor": environment.cpu_governor,
        "Memory": f"{formatting.format_number(environment.memory_gib)} GiB",
        "GPUs": ", ".join(_format_gpu(gpu) for gpu in environment.gpus) or "none",
        "NVIDIA driver": environment.nvidia_driver,
        "ONNX Runtime": environment.onnxruntime,
        "Execution providers": ", ".join(environment.providers) or None,
        "Python": environment.python,
        "Packages": ", ".join(f"{name} {version}" for name, version in sorted(environment.packages.items())) or None,
        "Clock resolution": f"{environment.clock_resolution_ns} ns",
        "Fingerprint": environment.fingerprint,
        **_list_sender_properties(result),
        **_list_target_properties(result),
    }
    return tuple(model.EnvironmentEntry(label=label, value=value) for label, value in properties.items())


def _list_sender_properties(result: Result) -> dict[str, str]:
    workers_text = format_workers(result.stages)
    return {} if workers_text is None else {"Load workers": workers_text}


def _list_target_properties(result: Result) -> dict[str, str]:
    hardware = result.target.hardware
    if hardware is None:
        return {"Target hardware": "not specified in the profile"}
    replicas_text = "1 replica" if hardware.replicas == 1 else f"{hardware.replicas} replicas"
    return {"Target hardware": f"{hardware.description}, {replicas_text}"}


def _format_cores(environment: Environment) -> str:
    physical_text = formatting.NOT_AVAILABLE if environment.physical_cores is None else str(environment.physical_cores)
    cores_text = f"{physical_text} physical, {environment.logical_cores} logical"
    if environment.cpu_limit_cores is None:
        return cores_text
    return f"{cores_text}, limited to {formatting.format_plain(environment.cpu_limit_cores)}"


def _format_gpu(gpu: Gpu) -> str:
    memory_text = "memory n/a" if gpu.memory_gib is None else f"{formatting.format_number(gpu.memory_gib)} GiB"
    power_text = "power limit n/a" if gpu.power_limit_w is None else f"{formatting.format_number(gpu.power_limit_w)} W"
    identity_text = f", id {gpu.uuid_hash}" if gpu.uuid_hash else ""
    return f"{gpu.index}: {gpu.name} ({memory_text}, {power_text}{identity_text})"
