"""The capacity curve of one replica, from the stages of a run.

The knee of a sweep: the load from which latency grows faster than what it buys in throughput.

There is no one definition, so three independent ones are asked, and whether they agree says how
sharp the knee is. All take the mean latency, which the first of them is about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.objectives import binding
from app.analysis.spans import SPANS
from app.analysis.token_samples import invalid_sample
from app.records.metrics import PERCENTILES
from app.records.offers import CapacityCurve, CurvePoint
from app.records.plan_question import Gaps, Rung
from app.records.result import IN_SWEEP, ArrivalKind, Knee, MaxRate, Objective, Stage, StageKind

_DEFAULT = ("latency_ms", "p95")


_KINDS: tuple[StageKind, ...] = ("probe", "hold", "steady")


def on_the_curve(stages: Sequence[Stage]) -> list[Stage]:
    """Those with one rate that was chosen: a point each of the capacity curve. Pooled holds are there alone."""
    alone = (stage for stage in stages if not stage.is_pooled)
    return [stage for stage in alone if stage.kind in _KINDS and stage.scheduled_per_s is not None]


def capacity_curve(stages: Sequence[Stage], slo: Sequence[Objective], max_rate: MaxRate) -> CapacityCurve:
    """Every rate tried, failed ones too, by rising rate. The max rate is 0 where no rate met the SLO."""
    found = max_rate.per_s
    metric, aggregate = _latency_of(slo)
    tried = on_the_curve(stages)
    points = [_point(stage, metric, aggregate) for stage in tried]
    return CapacityCurve(
        points=tuple(sorted(points, key=lambda point: point.offered_per_s)),
        latency_metric=f"{metric}.{aggregate}",
        max_rate_per_s=found.value or 0.0,
        max_rate_ci95=found.ci95,
        cores_used=_cores_used(
            [one for one in tried if one.kind in ("hold", "steady") and one.scheduled_per_s == found.value]
        ),
    )


_GAPS: dict[ArrivalKind, Gaps] = {"poisson": "random", "constant": "even"}
_TIMES = {"latency_ms": "latency", "ttft_ms": "ttft", "tpot_ms": "tpot", "itl_ms": "itl"}


def rungs_of(stages: Sequence[Stage], replicas: int = 1) -> tuple[Rung, ...]:
    """What one of so many replicas did at each rate tried, by rising rate; INVALID stages are left out."""
    rungs = [_rung(stage, replicas) for stage in on_the_curve(stages) if stage.verdict.status != "INVALID"]
    return tuple(sorted(rungs, key=lambda rung: rung.offered_per_s or 0.0))


def _rung(stage: Stage, replicas: int) -> Rung:
    duration_s = (stage.window.end_ns - stage.window.start_ns) / 1e9
    return Rung(
        offered_per_s=(stage.scheduled_per_s or 0.0) / replicas,
        clients=None,
        achieved_per_s=stage.completed / duration_s / replicas if duration_s > 0 else 0.0,
        duration_s=duration_s,
        completed=stage.completed // replicas,
        failed=sum(stage.errors.values()) // replicas,
        latencies_s={
            time: {name: one.value / 1000 for name, one in stage.metrics[metric].items() if one.value is not None}
            for metric, time in _TIMES.items()
            if metric in stage.metrics
        },
        input_tokens_mean=_mean(stage, "input_tokens"),
        output_tokens_mean=_mean(stage, "output_tokens"),
        gaps=_gaps(stage),
        lengths=None if stage.lengths is None or invalid_sample(stage.lengths) else stage.lengths,
    )


def _gaps(stage: Stage) -> Gaps:
    """Of sessions, each of which brings several requests, little is known."""
    return "other" if stage.sessions or stage.arrival_kind is None else _GAPS.get(stage.arrival_kind, "other")


def _mean(stage: Stage, metric: str) -> float | None:
    mean = stage.metrics.get(metric, {}).get("mean")
    return None if mean is None else mean.value


def _latency_of(slo: Sequence[Objective]) -> tuple[str, str]:
    """The first latency percentile that decides whether a stage holds."""
    named = ((one.metric, one.aggregate) for one in binding(slo) if one.metric in SPANS)
    return next(((metric, aggregate) for metric, aggregate in named if aggregate in PERCENTILES), _DEFAULT)


def _point(stage: Stage, metric: str, aggregate: str) -> CurvePoint:
    latency = stage.metrics.get(metric, {}).get(aggregate)
    return CurvePoint(
        offered_per_s=stage.scheduled_per_s or 0.0,
        latency_ms=None if latency is None else latency.value,
        achieved_per_s=stage.achieved_per_s.value or 0.0,
        held=bool(stage.held),
    )


def _cores_used(holds: Sequence[Stage]) -> float | None:
    means = [stage.metrics.get("endpoint_cpu_cores", {}).get("mean") for stage in holds]
    known = [mean.value for mean in means if mean is not None and mean.value is not None]
    return sum(known) / len(known) if known else None


Method = Literal["power", "chord", "two lines"]
Kind = Literal["rate", "clients"]

_FEWEST = 4
_FLAT = 1.5
_LEAST_BEND = 0.1
_LEAST_GAIN = 0.5
_ROUNDING = 1e-12
_CUTS = 200
_APART = 1.3


class LoadPoint(msgspec.Struct, frozen=True):
    """`load`: requests a second or clients. `latency_ms` is the mean."""

    load: float
    throughput_per_s: float
    latency_ms: float


def knees_of(stages: Sequence[Stage]) -> tuple[Knee, ...]:
    """Of the stages of a sweep among these, those that are INVALID left out; empty when there is no sweep."""
    swept = [stage for stage in stages if IN_SWEEP in stage.tags]
    if not swept:
        return ()
    kind: Kind = "clients" if swept[0].concurrency is not None else "rate"
    return find_knees(_points([stage for stage in swept if stage.verdict.status != "INVALID"]), kind)


def find_knees(points: Sequence[LoadPoint], kind: Kind) -> tuple[Knee, ...]:
    """`points` by rising load, one a load."""
    methods: tuple[Method, ...] = ("power", "chord", "two lines")
    if len(points) < _FEWEST:
        return tuple(_none(method, kind, f"needs {_FEWEST} loads, has {len(points)}") for method in methods)
    latencies = [point.latency_ms for point in points]
    if max(latencies) < _FLAT * min(latencies):
        return tuple(
            _none(method, kind, "the curve is still flat: no knee within what was tried") for method in methods
        )
    return _of_power(points, kind), _of_chord(points, kind), _of_two_lines(points, kind)


def are_apart(knees: Sequence[Knee]) -> bool:
    """Whether the highest of the knees lies more than 30 % above the lowest."""
    found = [knee.at for knee in knees if knee.at is not None]
    return len(found) > 1 and max(found) > _APART * min(found)


def _of_power(points: Sequence[LoadPoint], kind: Kind) -> Knee:
    """Power is throughput over mean latency, and its highest point the knee (Kleinrock, Power and deterministic rules
    of thumb for probabilistic problems in computer communications, ICC 1979). For M/M/1 that is half of capacity."""
    best = max(points, key=lambda point: point.throughput_per_s / point.latency_ms)
    if best is points[-1]:
        return _none("power", kind, "throughput still grew faster than latency at the highest load tried")
    return Knee("power", kind, best.load, best.latency_ms)


def _of_chord(points: Sequence[LoadPoint], kind: Kind) -> Knee:
    """With throughput and latency scaled to 0 … 1, the point farthest below the line from the first to the last
    (Satopää et al., Finding a "Kneedle" in a haystack, ICDCS workshops 2011, for a curve that is known whole)."""
    throughput = _scaled(np.array([point.throughput_per_s for point in points]))
    latency = _scaled(np.array([point.latency_ms for point in points]))
    along = latency[0] + (latency[-1] - latency[0]) * throughput
    bend = along - latency
    place = int(np.argmax(bend))
    if bend[place] < _LEAST_BEND:
        return _none("chord", kind, "latency grew about as throughput did: the curve has no bend")
    return Knee("chord", kind, points[place].load, points[place].latency_ms)


def _of_two_lines(points: Sequence[LoadPoint], kind: Kind) -> Knee:
    """Where two straight lines, joined, fit the logarithm of latency best by least squares (Hinkley, Inference about
    the intersection in two-phase regression, Biometrika 56, 1969), over rates, or over the logarithm of clients."""
    loads = np.array([point.load for point in points])
    x = np.log(loads) if kind == "clients" else loads
    y = np.log(np.array([point.latency_ms for point in points]))
    cuts = np.linspace(x[1], x[-2], _CUTS)
    fits = [_fit(np.column_stack((np.ones_like(x), x, np.maximum(0.0, x - cut))), y) for cut in cuts]
    place = int(np.argmin([error for _, error in fits]))
    (level, slope, turn), error = fits[place]
    one_line = _fit(np.column_stack((np.ones_like(x), x)), y)[1]
    is_straight = one_line <= _ROUNDING * float(np.sum((y - y.mean()) ** 2))  # what is left is the arithmetic's own
    if turn <= 0 or is_straight or error > (1 - _LEAST_GAIN) * one_line:
        return _none("two lines", kind, "two lines fit the curve little better than one")
    cut = float(cuts[place])
    at = math.exp(cut) if kind == "clients" else cut
    return Knee("two lines", kind, at, math.exp(level + slope * cut))


def _fit(columns: Floats, y: Floats) -> tuple[Floats, float]:
    coefficients: Floats = np.asarray(np.linalg.lstsq(columns, y, rcond=None)[0], dtype=np.float64)
    return coefficients, float(np.sum((columns @ coefficients - y) ** 2))


def _scaled(values: Floats) -> Floats:
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / (high - low)) if high > low else np.zeros_like(values)


def _none(method: Method, kind: Kind, reason: str) -> Knee:
    return Knee(method, kind, None, None, reason)


def _points(stages: Sequence[Stage]) -> list[LoadPoint]:
    """Repeats of a load are averaged; one without an answer is left out."""
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
