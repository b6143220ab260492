"""Objectives (SLO and gates): reading them, finding what they speak of, judging it."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from app.analysis.sample_size import needed_samples
from app.errors import UsageError
from app.records.metrics import METRICS, PERCENTILES, Metric
from app.records.result import Estimate, Judged, Judgement, Objective, Stage

_GRAMMAR = re.compile(
    r"""\s* (?P<metric>[A-Za-z]\w*) (?:\.(?P<aggregate>[A-Za-z]\w*(?:\.\d+)?))?
    \s* (?P<comparator><=|>=|<|>)
    \s* (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?) \s* (?P<unit>[^\s|]*)
    \s* (?:\|\s*(?P<level>\S+)\s*)?""",
    re.VERBOSE,
)
_FORM = 'Write it as metric.aggregate, comparator, value: "latency_ms.p95 < 50", "error_rate < 0.1% | warn".'
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_GAPS = ("icl_ms", "itl_ms")
_STAGE_FIELDS = ("offered_per_s", "achieved_per_s", "good_per_s")


def parse_objective(text: str) -> Objective:
    """Raises UsageError, with the nearest right name where one is wrong."""
    parts = _GRAMMAR.fullmatch(text)
    if parts is None:
        raise UsageError(f'cannot read "{text}" as an objective', hint=_FORM)
    if parts["level"] not in (None, "warn"):
        raise UsageError(f'"| {parts["level"]}" is not known', hint='Only "| warn" may follow the value.')
    metric = _find_metric(parts["metric"])
    return Objective(
        text=" ".join(text.split()),
        metric=metric.name,
        aggregate=_find_aggregate(metric, parts["aggregate"]),
        comparator=parts["comparator"],  # type: ignore[arg-type]
        limit=_read_limit(metric, parts["number"], parts["unit"]),
        level="fail" if parts["level"] is None else "warn",
    )


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
    """What the stage says about the objective's metric; a withheld estimate where it says nothing."""
    if objective.metric in _STAGE_FIELDS:
        estimate: Estimate = getattr(stage, objective.metric)
        return estimate
    found = stage.metrics.get(objective.metric, {}).get(objective.aggregate or "value")
    return found or Estimate(None, reason=f"{objective.metric} was not measured")


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


def _find_metric(name: str) -> Metric:
    metric = METRICS.get(name)
    if metric is None:
        raise UsageError(f'there is no metric "{name}"', hint=_nearest(name, METRICS))
    return metric


def _find_aggregate(metric: Metric, written: str | None) -> str | None:
    aggregate = None if written is None else written.replace(".", "_")
    choices = ", ".join(metric.aggregates).replace("_", ".")
    if aggregate is None and metric.aggregates:
        raise UsageError(f"{metric.name} needs an aggregate", hint=f"Write {metric.name}. and one of {choices}.")
    if aggregate is not None and not metric.aggregates:
        raise UsageError(f"{metric.name} has no aggregates: it is one number a stage", hint=f"Write {metric.name}.")
    if aggregate is not None and aggregate not in metric.aggregates:
        raise UsageError(f'{metric.name} has no aggregate "{written}"', hint=f"It has {choices}.")
    return aggregate


def _read_limit(metric: Metric, number: str, unit: str) -> float:
    if metric.unit != "share":
        if unit:
            raise UsageError(
                f'"{unit}" after {number} is not needed: {metric.name} is in {metric.unit}',
                hint=f"Write {number} alone, in {metric.unit}.",
            )
        return float(number)
    if unit not in ("", "%"):
        raise UsageError(f'"{unit}" is not a unit of {metric.name}: it is a share', hint="Write it in %.")
    limit = float(number) / 100 if unit else float(number)
    if not 0 <= limit <= 1:
        raise UsageError(
            f"{metric.name} is a share, and {number}{unit} is not within 0% and 100%", hint="Write it in %."
        )
    return limit


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"The metrics are {', '.join(names)}."


_IMPLIED = replace(parse_objective("error_rate <= 1%"), implied=True)
