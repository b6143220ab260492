"""A measured target as a plan takes it: its capacity, and the service model of one replica."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.analysis.token_samples import scaled
from app.analysis.trace_rows import token_pairs
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
    from app.planning.token_fit import mean_lengths, sample_of

    try:
        fit = _fit(rungs)
    except CannotFitError as error:
        return MeasuredTarget(name, hardware, curve, why_no_fit=str(error), load_points=_without_lengths(rungs))
    return MeasuredTarget(
        name, hardware, curve, fit, lengths=mean_lengths(rungs), load_points=_without_lengths(rungs),
        token_sample=sample_of(rungs),
    )  # fmt: skip


def _without_lengths(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """Their lengths are in one sample of all."""
    return tuple(msgspec.structs.replace(rung, lengths=None) for rung in rungs)


def may_meet_in_a_fleet(target: MeasuredTarget, slo: Sequence[Objective]) -> bool:
    """Whether replicas that miss the SLO one by one may still meet it together, since a fleet pools their queues."""
    from app.planning.formulae import meets_without_waiting

    return target.fit is not None and meets_without_waiting(target.fit.laws[0].service, goals_of(slo))


def tokens_as_measured(lengths: tuple[float, float]) -> tuple[TokenLengths, ...]:
    """Traffic with the measured means."""
    return (TokenLengths(1.0, *lengths),)


def with_measured_tokens(question: PlanQuestion) -> PlanQuestion:
    """Traffic with the measured joint lengths, around the means that are given, if any. A trace has its own."""
    traffic = question.traffic
    if traffic.token_sample is not None or len(traffic.tokens) > 1:
        return question
    if traffic.rows is not None and token_pairs(traffic.rows) is not None:
        return question
    target = next((target for target in question.measured if target.lengths is not None), None)
    if target is None or target.lengths is None or (traffic.tokens and target.token_sample is None):
        return question
    tokens, sample = traffic.tokens or tokens_as_measured(target.lengths), target.token_sample
    means = tokens[0].input, tokens[0].output
    sample = None if sample is None else scaled(sample, means)
    traffic = msgspec.structs.replace(traffic, tokens=tokens, token_sample=sample)
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
