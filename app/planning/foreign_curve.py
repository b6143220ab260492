"""Another tool's load points as a target: what of them held the SLO, and the service model of one replica."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from app.analysis.objectives import binding
from app.errors import UsageError
from app.planning.evidence import TIMES, evidence_of, meets, time_of
from app.planning.goals import DEFAULT_LATENCY_METRIC, Goals, goals_of
from app.planning.measured import may_meet_in_a_fleet, measured_target
from app.records.curves import ForeignCurve, Rung
from app.records.offers import CapacityCurve, CurvePoint
from app.records.plan_question import MeasuredTarget
from app.records.result import Hardware, Objective
from app.records.service import ServiceFit

_FORMULA_SIGMA = 0.1
"""How far a formula's rate is taken to be off, as one sigma of its logarithm."""


def foreign_target(curve: ForeignCurve, hardware: Hardware, slo: Sequence[Objective]) -> MeasuredTarget:
    """The load points are of the hardware as a whole, all its replicas together.

    Raises UsageError where the SLO is of a time that no load point tells, or where not even a fitted model holds it.
    """
    goals = goals_of(slo)
    points = tuple(point for rung in curve.rungs if (point := _point(rung, slo)) is not None)
    held = max((point.offered_per_s for point in points if point.held), default=0.0)
    capacity = CapacityCurve(points, _metric(slo), held, None, None)
    rungs = [_of_one(rung, hardware.replicas) for rung in curve.rungs]
    target = measured_target(curve.source, hardware, capacity, rungs)
    if held == 0:
        target = msgspec.structs.replace(target, curve=_by_fit(target, goals, curve, slo))
    is_assumed = curve.precision == "typed"
    notes = tuple(f"{curve.source} ({_tool(curve)}): {note}." for note in curve.notes)
    return msgspec.structs.replace(target, is_assumed=is_assumed, notes=notes)


def _by_fit(target: MeasuredTarget, goals: Goals, curve: ForeignCurve, slo: Sequence[Objective]) -> CapacityCurve:
    """The rate that the service model holds, where no load point does, or none can be judged."""
    rate = 0.0 if target.fit is None else _rate_of(target, target.fit, goals, slo)
    if rate <= 0:
        untold = [one.text for one in _of_times(slo) if all(time_of(rung, one) is None for rung in curve.rungs)]
        if untold:
            what = f"no load point of {curve.source} tells what {untold[0]} is of"
            raise UsageError(what, hint=f"It tells {', '.join(_all_told(curve)) or 'no times'}.")
        if may_meet_in_a_fleet(target, slo):
            return target.curve
        raise UsageError(
            f"no load point of {curve.source} held {' and '.join(one.text for one in slo)}",
            hint="Measure it at a lower load, or ask for less.",
        )
    return msgspec.structs.replace(target.curve, max_rate_per_s=rate)


def _rate_of(target: MeasuredTarget, fit: ServiceFit, goals: Goals, slo: Sequence[Objective]) -> float:
    """Within what the load points leave: below the lowest rate that missed the SLO."""
    from app.planning.formulae import rate_inside

    lengths = target.lengths or (1.0, 1.0)
    rate = min(rate_inside(fit.laws[0].service, goals, 1, "random", lengths), fit.highest_per_s)
    rate = evidence_of(target, slo).belief(rate, _FORMULA_SIGMA).p50
    return rate * target.hardware.replicas


def _of_one(rung: Rung, replicas: int) -> Rung:
    """One replica's share, of so many that are alike."""
    if replicas == 1:
        return rung
    return msgspec.structs.replace(
        rung,
        offered_per_s=None if rung.offered_per_s is None else rung.offered_per_s / replicas,
        clients=None if rung.clients is None else rung.clients / replicas,
        achieved_per_s=rung.achieved_per_s / replicas,
        completed=None if rung.completed is None else rung.completed // replicas,
        failed=None if rung.failed is None else rung.failed // replicas,
    )


def _point(rung: Rung, slo: Sequence[Objective]) -> CurvePoint | None:
    """None without a load. Of a closed loop the rate is that of its answers."""
    rate = rung.offered_per_s or rung.achieved_per_s
    if rate <= 0:
        return None
    decides = next(iter(_of_times(slo)), None)
    latency_s = None if decides is None else time_of(rung, decides)
    return CurvePoint(
        rate, None if latency_s is None else 1000 * latency_s, rung.achieved_per_s, meets(rung, slo) is True
    )


def _of_times(slo: Sequence[Objective]) -> list[Objective]:
    return [one for one in binding(slo) if one.metric in TIMES]


def _metric(slo: Sequence[Objective]) -> str:
    one = next(iter(_of_times(slo)), None)
    return DEFAULT_LATENCY_METRIC if one is None else one.name


def _all_told(curve: ForeignCurve) -> Iterator[str]:
    told = {(metric, name) for rung in curve.rungs for metric, known in rung.latencies_s.items() for name in known}
    for metric, name in sorted(told):
        yield f"{metric}_ms.{name.replace('_', '.')}"


def _tool(curve: ForeignCurve) -> str:
    return curve.tool if curve.version is None else f"{curve.tool} {curve.version}"
