"""Objectives (SLO and gates): finding what they speak of, judging it. How they are written: `objective_grammar`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from app.analysis.objective_grammar import parse_gate as parse_gate
from app.analysis.objective_grammar import parse_objective as parse_objective
from app.analysis.sample_size import needed_samples
from app.records.metrics import METRICS, PERCENTILES, RUN_METRICS
from app.records.result import Estimate, Judged, Judgement, Objective, Stage

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_GAPS = ("icl_ms", "itl_ms")
_STAGE_FIELDS = ("offered_per_s", "achieved_per_s", "good_per_s")
_GOODPUT = ("good_per_s", "offered_per_s")
"""One of the other is a share of the same arrivals, which has an interval of its own."""


def binding(slo: Sequence[Objective]) -> tuple[Objective, ...]:
    """The objectives that decide whether a stage holds: those not marked `warn`.

    Latency is that of successful requests, so an SLO that names neither the error rate nor the goodput could be met by
    failing whatever is slow. Such an SLO is held to an error rate of 1 % as well.
    """
    deciding = tuple(objective for objective in slo if objective.level == "fail")
    if not deciding or any(objective.metric in ("error_rate", "goodput_share") for objective in deciding):
        return deciding
    return (*deciding, _IMPLIED)


def samples_needed(slo: Iterable[Objective]) -> int:
    """The fewest answers with which every percentile of the objectives can be shown; 0 when they name none.

    Gaps of a stream are many an answer, so their percentiles ask for no number of answers. A goodput of 99 % says what
    a p99 within the limits says, and needs as many.
    """
    shares = (_share_wanted(one) for one in slo)
    return max((needed_samples(q) for q in shares if q is not None), default=0)


def _share_wanted(objective: Objective) -> float | None:
    """Of answers within a limit; None where the objective asks for none."""
    if objective.metric in _GAPS:
        return None
    if objective.metric == "goodput_share":
        return objective.limit if objective.comparator in (">", ">=") and 0 < objective.limit < 1 else None
    return PERCENTILES.get(objective.aggregate or "")


def is_met(objective: Objective, estimate: Estimate) -> bool | None:
    """Whether the point estimate meets the limit; None where there is no value."""
    if estimate.value is None:
        return None
    return _COMPARE[objective.comparator](estimate.value, objective.limit)


def judge(objective: Objective, estimate: Estimate) -> Judged:
    """PASS and FAIL need the whole interval on one side of the limit.

    A value without an interval is judged as it is when it has none by nature (a maximum); when its interval was
    withheld (`reason` says why) it cannot PASS, but fails where it misses the limit.
    """
    return Judged(objective=objective, observed=estimate, judgement=_judgement(objective, estimate))


def find_estimate(stage: Stage, objective: Objective) -> Estimate:
    """What the stage says about the objective's metric, or of its share of another; withheld where it says nothing."""
    estimate = _estimate(stage, objective.metric, objective.aggregate)
    if objective.of is None:
        return estimate
    if (objective.metric, objective.of) == _GOODPUT:
        return _estimate(stage, "goodput_share", None)
    name, _, aggregate = objective.of.partition(".")
    return _ratio(estimate, _estimate(stage, name, aggregate or None), objective.of)


def unit_of(objective: Objective) -> str:
    """Of its limit and of what is held against it."""
    if objective.of is not None or objective.is_change:
        return "share"
    return (METRICS.get(objective.metric) or RUN_METRICS[objective.metric]).unit


def _estimate(stage: Stage, metric: str, aggregate: str | None) -> Estimate:
    if metric in _STAGE_FIELDS:
        estimate: Estimate = getattr(stage, metric)
        return estimate
    found = stage.metrics.get(metric, {}).get(aggregate or "value")
    return found or Estimate(None, reason=f"{metric} was not measured")


def _ratio(part: Estimate, whole: Estimate, name: str) -> Estimate:
    """From the lowest `part` by the highest `whole` to the highest by the lowest.

    That is a 95 % interval at least, whatever the two have to do with each other: exactly one where one falls when the
    other rises, and too wide a one where both rise together, as rates of one stage do. It is withheld where either is.
    """
    if part.value is None or whole.value is None:
        return Estimate(None, n=part.n, reason=part.reason if part.value is None else whole.reason)
    if whole.value <= 0 or part.value < 0:
        return Estimate(None, n=part.n, reason=f"there is no share of {name}, which was {whole.value:g}")
    value, reason = part.value / whole.value, part.reason or whole.reason
    if reason is not None or (part.ci95 is None and whole.ci95 is None):
        return Estimate(value, n=part.n, reason=reason)
    low, high = part.ci95 or (part.value, part.value)
    least, most = whole.ci95 or (whole.value, whole.value)
    if least <= 0:
        return Estimate(value, n=part.n, reason=f"no interval: that of {name} reaches down to 0")
    return Estimate(value, (low / most, high / least), part.n)


def _judgement(objective: Objective, estimate: Estimate) -> Judgement:
    met = is_met(objective, estimate)
    if met is None:
        return "INCONCLUSIVE"
    if estimate.ci95 is None:
        is_withheld = estimate.reason is not None
        return "FAIL" if not met else "INCONCLUSIVE" if is_withheld else "PASS"
    compare = _COMPARE[objective.comparator]
    ends_met = {compare(end, objective.limit) for end in estimate.ci95}
    return "INCONCLUSIVE" if len(ends_met) == 2 else "PASS" if True in ends_met else "FAIL"


_IMPLIED = replace(parse_objective("error_rate <= 1%"), implied=True)
