"""Compute the capacity curve of one replica from the stages of a run, and the knees of a sweep.

A knee is the load above which latency grows faster than throughput. As there is no single
definition, three independent methods are used; the distance between their knees shows how sharp the
knee is. All three use the mean latency, because the power method is defined for the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.objectives import select_binding_objectives, select_run_objectives
from app.analysis.spans import LIMIT_METRICS
from app.analysis.token_samples import find_sample_error
from app.records.metrics import PERCENTILES
from app.records.offers import CapacityCurve, CurvePoint
from app.records.planning_inputs import GapDistribution, MeasuredLoadPoint
from app.records.result import SWEEP_TAG, ArrivalKind, Knee, MaxRate, Objective, Stage
from app.records.stage_kinds import STAGE_KINDS

_DEFAULT_LATENCY = ("latency_ms", "p95")


def select_curve_stages(stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages with a constant open-loop rate; each stage is one point of the capacity
    curve. Search steps are included individually, not pooled."""
    unpooled_stages = (stage for stage in stages if not stage.is_pooled)
    return [
        stage
        for stage in unpooled_stages
        if STAGE_KINDS[stage.kind].has_fixed_rate and stage.scheduled_per_s is not None
    ]


def build_capacity_curve(stages: Sequence[Stage], slo: Sequence[Objective], max_rate: MaxRate) -> CapacityCurve:
    """Build the capacity curve with one point per tested rate, including failed rates, in order of
    increasing rate. The max rate is 0 if no rate met the SLO."""
    rate_estimate = max_rate.per_s
    metric, aggregate = _find_slo_latency_metric(slo)
    curve_stages = select_curve_stages(stages)
    points = [_build_curve_point(stage, metric, aggregate) for stage in curve_stages]
    return CapacityCurve(
        points=tuple(sorted(points, key=lambda point: point.offered_per_s)),
        latency_metric=f"{metric}.{aggregate}",
        max_rate_per_s=rate_estimate.value or 0.0,
        max_rate_ci95=rate_estimate.ci95,
        cores_used=_compute_cores_used(
            [
                stage
                for stage in curve_stages
                if STAGE_KINDS[stage.kind].confirms_rate and stage.scheduled_per_s == rate_estimate.value
            ]
        ),
    )


_GAP_DISTRIBUTIONS: dict[ArrivalKind, GapDistribution] = {"poisson": "random", "constant": "even"}
_LATENCY_NAMES = {"latency_ms": "latency", "ttft_ms": "ttft", "tpot_ms": "tpot", "itl_ms": "itl"}


def build_load_points(stages: Sequence[Stage], replicas: int = 1) -> tuple[MeasuredLoadPoint, ...]:
    """Build one load point per tested rate, in order of increasing rate. Rates and counts are
    divided by `replicas`. INVALID stages are dropped."""
    points = [
        _build_load_point(stage, replicas) for stage in select_curve_stages(stages) if stage.verdict.status != "INVALID"
    ]
    return tuple(sorted(points, key=lambda point: point.offered_per_s or 0.0))


def build_client_load_points(stages: Sequence[Stage], *, sweeps_only: bool = True) -> tuple[MeasuredLoadPoint, ...]:
    """Build one load point per number of clients of a sweep or, unless `sweeps_only`, of any closed loop, in ascending
    order, of the whole target. INVALID stages are dropped."""
    points = [
        msgspec.structs.replace(
            _build_load_point(stage, 1),
            gaps="random",
            achieved_per_s=_get_value(stage, "completed_per_s", "value") or 0.0,
        )
        for stage in _select_client_stages(stages, sweeps_only=sweeps_only)
    ]
    return tuple(sorted(points, key=lambda point: point.clients or 0.0))


def compute_client_cores_used(stages: Sequence[Stage]) -> float | None:
    """Return the mean number of cores that the target used in the stage of a sweep over clients
    that met the SLO with the most clients; `None` if unknown."""
    passed_stages = [stage for stage in _select_client_stages(stages) if stage.meets_slo]
    return _compute_cores_used([max(passed_stages, key=lambda stage: stage.concurrency or 0)] if passed_stages else [])


def _select_client_stages(stages: Sequence[Stage], *, sweeps_only: bool = True) -> list[Stage]:
    return [
        stage
        for stage in stages
        if stage.kind == "closed"
        and (SWEEP_TAG in stage.tags or not sweeps_only)
        and not stage.is_pooled
        and stage.concurrency is not None
        and stage.verdict.status != "INVALID"
    ]


def _build_load_point(stage: Stage, replicas: int) -> MeasuredLoadPoint:
    """Return the load and latencies of a stage per replica. Rates, clients and counts are divided by `replicas`;
    latencies are in s."""
    duration_s = (stage.window.end_ns - stage.window.start_ns) / 1e9
    return MeasuredLoadPoint(
        offered_per_s=None if stage.scheduled_per_s is None else stage.scheduled_per_s / replicas,
        clients=None if stage.concurrency is None else stage.concurrency / replicas,
        achieved_per_s=stage.completed / duration_s / replicas if duration_s > 0 else 0.0,
        duration_s=duration_s,
        completed=stage.completed // replicas,
        failed=sum(stage.errors.values()) // replicas,
        latencies_s={
            latency_name: {
                aggregate: estimate.value / 1000
                for aggregate, estimate in stage.metrics[metric].items()
                if estimate.value is not None
            }
            for metric, latency_name in _LATENCY_NAMES.items()
            if metric in stage.metrics
        },
        input_tokens_mean=_get_mean(stage, "input_tokens"),
        output_tokens_mean=_get_mean(stage, "output_tokens"),
        gaps=_get_gap_distribution(stage),
        lengths=None if stage.lengths is None or find_sample_error(stage.lengths) else stage.lengths,
        start_s=stage.window.start_ns / 1e9,
    )


def _get_gap_distribution(stage: Stage) -> GapDistribution:
    """Return the distribution of the gaps between requests; "other" for sessions, since each
    session sends several requests."""
    return (
        "other" if stage.sessions or stage.arrival_kind is None else _GAP_DISTRIBUTIONS.get(stage.arrival_kind, "other")
    )


def _get_mean(stage: Stage, metric: str) -> float | None:
    mean = stage.metrics.get(metric, {}).get("mean")
    return None if mean is None else mean.value


def _find_slo_latency_metric(slo: Sequence[Objective]) -> tuple[str, str]:
    """Return the metric and aggregate of the first binding latency percentile of the SLO, or p95
    latency if the SLO has none."""
    latency_objectives = (
        (objective.metric, objective.aggregate)
        for objective in select_run_objectives(select_binding_objectives(slo))
        if objective.metric in LIMIT_METRICS
    )
    return next(
        ((metric, aggregate) for metric, aggregate in latency_objectives if aggregate in PERCENTILES), _DEFAULT_LATENCY
    )


def _build_curve_point(stage: Stage, metric: str, aggregate: str) -> CurvePoint:
    latency = stage.metrics.get(metric, {}).get(aggregate)
    return CurvePoint(
        offered_per_s=stage.scheduled_per_s or 0.0,
        latency_ms=None if latency is None else latency.value,
        achieved_per_s=stage.achieved_per_s.value or 0.0,
        meets_slo=bool(stage.meets_slo),
    )


def _compute_cores_used(stages: Sequence[Stage]) -> float | None:
    means = [stage.metrics.get("endpoint_cpu_cores", {}).get("mean") for stage in stages]
    mean_cores = [mean.value for mean in means if mean is not None and mean.value is not None]
    return sum(mean_cores) / len(mean_cores) if mean_cores else None


KneeMethod = Literal["power", "chord", "two lines"]
LoadUnit = Literal["rate", "clients"]

_MIN_LOADS = 4
_MIN_LATENCY_RATIO = 1.5
_MIN_BEND = 0.1
_MIN_FIT_GAIN = 0.5
_MAX_ROUNDING_ERROR = 1e-12
_BREAKPOINT_COUNT = 200
_MAX_KNEE_RATIO = 1.3


class SweepPoint(msgspec.Struct, frozen=True):
    """Results at one load of a sweep. `load` is in requests per second or in clients; `latency_ms`
    is the mean latency."""

    load: float
    throughput_per_s: float
    latency_ms: float


def find_sweep_knees(stages: Sequence[Stage]) -> tuple[Knee, ...]:
    """Find the knees of the sweep in `stages`, ignoring INVALID stages; empty if the stages contain
    no sweep."""
    sweep_stages = [stage for stage in stages if SWEEP_TAG in stage.tags]
    if not sweep_stages:
        return ()
    load_unit: LoadUnit = "clients" if sweep_stages[0].concurrency is not None else "rate"
    return find_knees(
        _build_sweep_points([stage for stage in sweep_stages if stage.verdict.status != "INVALID"]), load_unit
    )


def find_knees(points: Sequence[SweepPoint], load_unit: LoadUnit) -> tuple[Knee, ...]:
    """Find the knee of a load curve by each method. `points` must be in order of increasing load,
    with one point per load."""
    methods: tuple[KneeMethod, ...] = ("power", "chord", "two lines")
    if len(points) < _MIN_LOADS:
        return tuple(
            _build_no_knee(method, load_unit, f"fewer than {_MIN_LOADS} load points ({len(points)})")
            for method in methods
        )
    latencies = [point.latency_ms for point in points]
    if max(latencies) < _MIN_LATENCY_RATIO * min(latencies):
        return tuple(
            _build_no_knee(method, load_unit, "the curve is still flat, so there is no knee within the tested loads")
            for method in methods
        )
    return (
        _find_knee_by_power(points, load_unit),
        _find_knee_by_chord(points, load_unit),
        _find_knee_by_two_lines(points, load_unit),
    )


def has_disagreement(knees: Sequence[Knee]) -> bool:
    """Return True if the highest knee is more than 30 % above the lowest knee."""
    loads = [knee.at for knee in knees if knee.at is not None]
    return len(loads) > 1 and max(loads) > _MAX_KNEE_RATIO * min(loads)


def _find_knee_by_power(points: Sequence[SweepPoint], load_unit: LoadUnit) -> Knee:
    """Find the knee by power, which is throughput divided by mean latency. Power is highest at the
    knee (Kleinrock, Power and deterministic rules of thumb for probabilistic problems in computer
    communications, ICC 1979). For M/M/1, the knee is at half the capacity."""
    best_point = max(points, key=lambda point: point.throughput_per_s / point.latency_ms)
    if best_point is points[-1]:
        return _build_no_knee(
            "power", load_unit, ("throughput was still growing faster than latency at the highest tested load")
        )
    return Knee("power", load_unit, best_point.load, best_point.latency_ms)


def _find_knee_by_chord(points: Sequence[SweepPoint], load_unit: LoadUnit) -> Knee:
    """Find the knee by chord. With throughput and latency scaled to 0 … 1, the knee is the point
    farthest below the line from the first to the last point (Satopää et al., Finding a "Kneedle" in
    a haystack, ICDCS workshops 2011, for a complete curve)."""
    scaled_throughputs = _scale_to_unit(np.array([point.throughput_per_s for point in points]))
    scaled_latencies = _scale_to_unit(np.array([point.latency_ms for point in points]))
    chord_latencies = scaled_latencies[0] + (scaled_latencies[-1] - scaled_latencies[0]) * scaled_throughputs
    bends = chord_latencies - scaled_latencies
    index = int(np.argmax(bends))
    if bends[index] < _MIN_BEND:
        return _build_no_knee("chord", load_unit, "latency grew about as fast as throughput: the curve has no knee")
    return Knee("chord", load_unit, points[index].load, points[index].latency_ms)


def _find_knee_by_two_lines(points: Sequence[SweepPoint], load_unit: LoadUnit) -> Knee:
    """Find the knee by two joined straight lines, fitted to the logarithm of latency by least
    squares. The knee is where the lines meet (Hinkley, Inference about the intersection in
    two-phase regression, Biometrika 56, 1969). The x axis is the rate, or the logarithm of the
    number of clients."""
    loads = np.array([point.load for point in points])
    x = np.log(loads) if load_unit == "clients" else loads
    y = np.log(np.array([point.latency_ms for point in points]))
    breakpoints = np.linspace(x[1], x[-2], _BREAKPOINT_COUNT)
    fits = [
        _fit_least_squares(np.column_stack((np.ones_like(x), x, np.maximum(0.0, x - breakpoint_x))), y)
        for breakpoint_x in breakpoints
    ]
    index = int(np.argmin([squared_error for _, squared_error in fits]))
    (intercept, slope, slope_change), squared_error = fits[index]
    one_line_squared_error = _fit_least_squares(np.column_stack((np.ones_like(x), x)), y)[1]
    is_straight = one_line_squared_error <= _MAX_ROUNDING_ERROR * float(
        np.sum((y - y.mean()) ** 2)
    )  # the residuals are rounding errors
    if slope_change <= 0 or is_straight or squared_error > (1 - _MIN_FIT_GAIN) * one_line_squared_error:
        return _build_no_knee("two lines", load_unit, "two lines do not fit the curve clearly better than one line")
    breakpoint_x = float(breakpoints[index])
    load = math.exp(breakpoint_x) if load_unit == "clients" else breakpoint_x
    return Knee("two lines", load_unit, load, math.exp(intercept + slope * breakpoint_x))


def _fit_least_squares(design_matrix: Floats, y: Floats) -> tuple[Floats, float]:
    coefficients: Floats = np.asarray(np.linalg.lstsq(design_matrix, y, rcond=None)[0], dtype=np.float64)
    return coefficients, float(np.sum((design_matrix @ coefficients - y) ** 2))


def _scale_to_unit(values: Floats) -> Floats:
    min_value, max_value = float(values.min()), float(values.max())
    return (
        np.asarray((values - min_value) / (max_value - min_value)) if max_value > min_value else np.zeros_like(values)
    )


def _build_no_knee(method: KneeMethod, load_unit: LoadUnit, reason: str) -> Knee:
    return Knee(method, load_unit, None, None, reason)


def _build_sweep_points(stages: Sequence[Stage]) -> list[SweepPoint]:
    """Return one point per load, averaged over its repeats; loads without a response are
    dropped."""
    measurements_by_load: dict[float, list[tuple[float, float]]] = {}
    for stage in stages:
        load = stage.scheduled_per_s if stage.concurrency is None else float(stage.concurrency)
        throughput, latency_ms = _get_value(stage, "completed_per_s", "value"), _get_mean_latency_ms(stage)
        if load is not None and throughput is not None and latency_ms is not None and latency_ms > 0:
            measurements_by_load.setdefault(load, []).append((throughput, latency_ms))
    return [
        SweepPoint(load, *map(float, np.mean(measurements_by_load[load], axis=0)))
        for load in sorted(measurements_by_load)
    ]


def _get_mean_latency_ms(stage: Stage) -> float | None:
    latency_ms = _get_value(stage, "latency_ms", "mean")
    return _get_value(stage, "service_ms", "mean") if latency_ms is None else latency_ms


def _get_value(stage: Stage, metric: str, aggregate: str) -> float | None:
    estimate = stage.metrics.get(metric, {}).get(aggregate)
    return None if estimate is None else estimate.value
