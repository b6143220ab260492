"""Capacity curve of one replica, from the stages of a run, and the knees of a sweep.

A knee is the load above which latency grows faster than throughput. There is no single definition, so three independent
methods are used, and their agreement shows how sharp the knee is. All use the mean latency, for which the first is
defined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.objectives import binding_objectives
from app.analysis.spans import LIMIT_METRICS
from app.analysis.token_samples import find_sample_error
from app.records.metrics import PERCENTILES
from app.records.offers import CapacityCurve, CurvePoint
from app.records.planning_inputs import GapDistribution, MeasuredLoadPoint
from app.records.result import SWEEP_TAG, ArrivalKind, Knee, MaxRate, Objective, Stage, StageKind

_DEFAULT_LATENCY = ("latency_ms", "p95")


_CURVE_KINDS: tuple[StageKind, ...] = ("probe", "step", "steady")


def select_curve_stages(stages: Sequence[Stage]) -> list[Stage]:
    """Select the stages with one chosen rate, each a point of the capacity curve. Holds count individually, not
    pooled."""
    unpooled = (stage for stage in stages if not stage.is_pooled)
    return [stage for stage in unpooled if stage.kind in _CURVE_KINDS and stage.scheduled_per_s is not None]


def build_capacity_curve(stages: Sequence[Stage], slo: Sequence[Objective], max_rate: MaxRate) -> CapacityCurve:
    """Build the capacity curve of every rate tried, including failed ones, by rising rate. The max rate is 0 if no rate
    met the SLO."""
    rate = max_rate.per_s
    metric, aggregate = _slo_latency(slo)
    curve_stages = select_curve_stages(stages)
    points = [_curve_point(stage, metric, aggregate) for stage in curve_stages]
    return CapacityCurve(
        points=tuple(sorted(points, key=lambda point: point.offered_per_s)),
        latency_metric=f"{metric}.{aggregate}",
        max_rate_per_s=rate.value or 0.0,
        max_rate_ci95=rate.ci95,
        cores_used=_cores_used(
            [
                stage
                for stage in curve_stages
                if stage.kind in ("step", "steady") and stage.scheduled_per_s == rate.value
            ]
        ),
    )


_GAPS: dict[ArrivalKind, GapDistribution] = {"poisson": "random", "constant": "even"}
_LATENCY_NAMES = {"latency_ms": "latency", "ttft_ms": "ttft", "tpot_ms": "tpot", "itl_ms": "itl"}


def build_load_points(stages: Sequence[Stage], replicas: int = 1) -> tuple[MeasuredLoadPoint, ...]:
    """Return the load points of one of this number of replicas at each rate tried, by rising rate; INVALID stages are
    dropped."""
    points = [
        _build_load_point(stage, replicas) for stage in select_curve_stages(stages) if stage.verdict.status != "INVALID"
    ]
    return tuple(sorted(points, key=lambda point: point.offered_per_s or 0.0))


def _build_load_point(stage: Stage, replicas: int) -> MeasuredLoadPoint:
    duration_s = (stage.window.end_ns - stage.window.start_ns) / 1e9
    return MeasuredLoadPoint(
        offered_per_s=(stage.scheduled_per_s or 0.0) / replicas,
        clients=None,
        achieved_per_s=stage.completed / duration_s / replicas if duration_s > 0 else 0.0,
        duration_s=duration_s,
        completed=stage.completed // replicas,
        failed=sum(stage.errors.values()) // replicas,
        latencies_s={
            time: {
                name: estimate.value / 1000
                for name, estimate in stage.metrics[metric].items()
                if estimate.value is not None
            }
            for metric, time in _LATENCY_NAMES.items()
            if metric in stage.metrics
        },
        input_tokens_mean=_mean(stage, "input_tokens"),
        output_tokens_mean=_mean(stage, "output_tokens"),
        gaps=_gaps(stage),
        lengths=None if stage.lengths is None or find_sample_error(stage.lengths) else stage.lengths,
    )


def _gaps(stage: Stage) -> GapDistribution:
    """Return the kind of arrival gaps. For sessions, which have several requests each, it is unknown."""
    return "other" if stage.sessions or stage.arrival_kind is None else _GAPS.get(stage.arrival_kind, "other")


def _mean(stage: Stage, metric: str) -> float | None:
    mean = stage.metrics.get(metric, {}).get("mean")
    return None if mean is None else mean.value


def _slo_latency(slo: Sequence[Objective]) -> tuple[str, str]:
    """Return the first latency percentile of the SLO that decides whether a stage passes."""
    named = (
        (objective.metric, objective.aggregate)
        for objective in binding_objectives(slo)
        if objective.metric in LIMIT_METRICS
    )
    return next(((metric, aggregate) for metric, aggregate in named if aggregate in PERCENTILES), _DEFAULT_LATENCY)


def _curve_point(stage: Stage, metric: str, aggregate: str) -> CurvePoint:
    latency = stage.metrics.get(metric, {}).get(aggregate)
    return CurvePoint(
        offered_per_s=stage.scheduled_per_s or 0.0,
        latency_ms=None if latency is None else latency.value,
        achieved_per_s=stage.achieved_per_s.value or 0.0,
        meets_slo=bool(stage.meets_slo),
    )


def _cores_used(holds: Sequence[Stage]) -> float | None:
    means = [stage.metrics.get("endpoint_cpu_cores", {}).get("mean") for stage in holds]
    known = [mean.value for mean in means if mean is not None and mean.value is not None]
    return sum(known) / len(known) if known else None


KneeMethod = Literal["power", "chord", "two lines"]
LoadUnit = Literal["rate", "clients"]

_MIN_LOADS = 4
_FLAT_RATIO = 1.5
_MIN_BEND = 0.1
_MIN_FIT_GAIN = 0.5
_ROUNDING = 1e-12
_CUTS = 200
_MAX_KNEE_RATIO = 1.3


class LoadPoint(msgspec.Struct, frozen=True):
    """One load. `load` is in requests per second or in clients; `latency_ms` is the mean."""

    load: float
    throughput_per_s: float
    latency_ms: float


def find_sweep_knees(stages: Sequence[Stage]) -> tuple[Knee, ...]:
    """Find the knees of the sweep among these stages, without INVALID stages; empty if there is no sweep."""
    sweep = [stage for stage in stages if SWEEP_TAG in stage.tags]
    if not sweep:
        return ()
    kind: LoadUnit = "clients" if sweep[0].concurrency is not None else "rate"
    return find_knees(_load_points([stage for stage in sweep if stage.verdict.status != "INVALID"]), kind)


def find_knees(points: Sequence[LoadPoint], kind: LoadUnit) -> tuple[Knee, ...]:
    """Find the knees of `points`, which must be sorted by rising load, with one point per load."""
    methods: tuple[KneeMethod, ...] = ("power", "chord", "two lines")
    if len(points) < _MIN_LOADS:
        return tuple(
            _no_knee(method, kind, (f"needs {_MIN_LOADS} load points, has {len(points)}")) for method in methods
        )
    latencies = [point.latency_ms for point in points]
    if max(latencies) < _FLAT_RATIO * min(latencies):
        return tuple(
            _no_knee(method, kind, "the curve is still flat: no knee within the tested loads") for method in methods
        )
    return _knee_by_power(points, kind), _knee_by_chord(points, kind), _knee_by_two_lines(points, kind)


def has_disagreement(knees: Sequence[Knee]) -> bool:
    """Return True if the highest knee is more than 30 % above the lowest."""
    loads = [knee.at for knee in knees if knee.at is not None]
    return len(loads) > 1 and max(loads) > _MAX_KNEE_RATIO * min(loads)


def _knee_by_power(points: Sequence[LoadPoint], kind: LoadUnit) -> Knee:
    """Find the knee by power, which is throughput over mean latency and highest at the knee (Kleinrock, Power and
    deterministic rules of thumb for probabilistic problems in computer communications, ICC 1979). For M/M/1 that is
    half of capacity."""
    best = max(points, key=lambda point: point.throughput_per_s / point.latency_ms)
    if best is points[-1]:
        return _no_knee("power", kind, ("throughput was still growing faster than latency at the highest tested load"))
    return Knee("power", kind, best.load, best.latency_ms)


def _knee_by_chord(points: Sequence[LoadPoint], kind: LoadUnit) -> Knee:
    """Find the knee by chord: with throughput and latency scaled to 0 … 1, the point farthest below the line from
    the first to the last (Satopää et al., Finding a "Kneedle" in a haystack, ICDCS workshops 2011, for a complete
    curve)."""
    throughput = _scaled(np.array([point.throughput_per_s for point in points]))
    latency = _scaled(np.array([point.latency_ms for point in points]))
    chord = latency[0] + (latency[-1] - latency[0]) * throughput
    bend = chord - latency
    index = int(np.argmax(bend))
    if bend[index] < _MIN_BEND:
        return _no_knee("chord", kind, "latency grew about as fast as throughput: the curve has no knee")
    return Knee("chord", kind, points[index].load, points[index].latency_ms)


def _knee_by_two_lines(points: Sequence[LoadPoint], kind: LoadUnit) -> Knee:
    """Find the knee where two joined straight lines fit the logarithm of latency best by least squares (Hinkley,
    Inference about the intersection in two-phase regression, Biometrika 56, 1969), over rates, or over the logarithm of
    clients."""
    loads = np.array([point.load for point in points])
    x = np.log(loads) if kind == "clients" else loads
    y = np.log(np.array([point.latency_ms for point in points]))
    cuts = np.linspace(x[1], x[-2], _CUTS)
    fits = [_fit(np.column_stack((np.ones_like(x), x, np.maximum(0.0, x - cut))), y) for cut in cuts]
    index = int(np.argmin([error for _, error in fits]))
    (level, slope, turn), error = fits[index]
    one_line = _fit(np.column_stack((np.ones_like(x), x)), y)[1]
    is_straight = one_line <= _ROUNDING * float(np.sum((y - y.mean()) ** 2))  # only rounding errors are left
    if turn <= 0 or is_straight or error > (1 - _MIN_FIT_GAIN) * one_line:
        return _no_knee("two lines", kind, "two lines fit the curve hardly better than one")
    cut = float(cuts[index])
    load = math.exp(cut) if kind == "clients" else cut
    return Knee("two lines", kind, load, math.exp(level + slope * cut))


def _fit(columns: Floats, y: Floats) -> tuple[Floats, float]:
    coefficients: Floats = np.asarray(np.linalg.lstsq(columns, y, rcond=None)[0], dtype=np.float64)
    return coefficients, float(np.sum((columns @ coefficients - y) ** 2))


def _scaled(values: Floats) -> Floats:
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / (high - low)) if high > low else np.zeros_like(values)


def _no_knee(method: KneeMethod, kind: LoadUnit, reason: str) -> Knee:
    return Knee(method, kind, None, None, reason)


def _load_points(stages: Sequence[Stage]) -> list[LoadPoint]:
    """Average the repeats of each load; a load without a response is dropped."""
    by_load: dict[float, list[tuple[float, float]]] = {}
    for stage in stages:
        load = stage.scheduled_per_s if stage.concurrency is None else float(stage.concurrency)
        throughput, latency_ms = _value(stage, "completed_per_s", "value"), _latency_ms(stage)
        if load is not None and throughput is not None and latency_ms is not None and latency_ms > 0:
            by_load.setdefault(load, []).append((throughput, latency_ms))
    return [LoadPoint(load, *map(float, np.mean(by_load[load], axis=0))) for load in sorted(by_load)]


def _latency_ms(stage: Stage) -> float | None:
    latency_ms = _value(stage, "latency_ms", "mean")
    return _value(stage, "service_ms", "mean") if latency_ms is None else latency_ms


def _value(stage: Stage, metric: str, aggregate: str) -> float | None:
    estimate = stage.metrics.get(metric, {}).get(aggregate)
    return None if estimate is None else estimate.value
