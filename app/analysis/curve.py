"""The capacity curve of one replica, from the stages of a run."""

from __future__ import annotations

from collections.abc import Sequence

from app.analysis.objectives import binding
from app.analysis.spans import SPANS
from app.analysis.token_samples import invalid_sample
from app.records.curves import Gaps, Rung
from app.records.metrics import PERCENTILES
from app.records.offers import CapacityCurve, CurvePoint
from app.records.result import ArrivalKind, MaxRate, Objective, Stage, StageKind

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
