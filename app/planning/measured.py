"""A measured target as a plan takes it: its capacity, and the service model of one replica."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.planning.goals import goals_of
from app.records.curves import Rung
from app.records.offers import CapacityCurve
from app.records.plan_question import MeasuredTarget, PlanQuestion
from app.records.result import Hardware, Objective
from app.records.service import ServiceFit
from app.records.traffic import TokenLengths


def measured_target(name: str, hardware: Hardware, curve: CapacityCurve, rungs: Sequence[Rung]) -> MeasuredTarget:
    """`rungs` are of one replica. Takes a second or two where a service model can be fitted."""
    from app.planning.moments import CannotFitError
    from app.planning.token_fit import mean_lengths

    try:
        fit = _fit(rungs)
    except CannotFitError as error:
        return MeasuredTarget(name, hardware, curve, why_no_fit=str(error), load_points=tuple(rungs))
    return MeasuredTarget(name, hardware, curve, fit, lengths=mean_lengths(rungs), load_points=tuple(rungs))


def may_meet_in_a_fleet(target: MeasuredTarget, slo: Sequence[Objective]) -> bool:
    """Whether replicas that miss the SLO one by one may still meet it together, since a fleet pools their queues."""
    from app.planning.formulae import meets_without_waiting

    return target.fit is not None and meets_without_waiting(target.fit.laws[0].service, goals_of(slo))


def tokens_as_measured(lengths: tuple[float, float]) -> tuple[TokenLengths, ...]:
    """Traffic whose requests are all alike."""
    return (TokenLengths(1.0, *lengths),)


def with_measured_tokens(question: PlanQuestion) -> PlanQuestion:
    """Requests of which nothing is said are as long as those that were measured."""
    lengths = next((target.lengths for target in question.measured if target.lengths is not None), None)
    if question.traffic.tokens or lengths is None:
        return question
    traffic = msgspec.structs.replace(question.traffic, tokens=tokens_as_measured(lengths))
    return msgspec.structs.replace(question, traffic=traffic)


def _fit(rungs: Sequence[Rung]) -> ServiceFit:
    """By what the load points tell: times per token, else latency in an open loop, else that in a closed one."""
    from app.planning.closed_loop import fit_closed  # the simulation takes a second to import
    from app.planning.service_fit import fit_service
    from app.planning.token_fit import fit_tokens, tells_tokens

    if any(tells_tokens(rung) for rung in rungs):
        return fit_tokens(rungs)
    if any(rung.clients is None for rung in rungs):
        return fit_service(rungs)
    return fit_closed(rungs)
