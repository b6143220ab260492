"""Objectives (SLO and gates): how they are written, which metrics they use, and whether they are met.

An SLO compares a metric of every stage with a limit; a gate has more options:

```
gate   = term comparator limit ["|" "warn"]
term   = metric | "change(" metric ")"
metric = name ["." aggregate] ["{" tag "=" value {"," tag "=" value} "}"]
limit  = number | number "%" ["of" name ["." aggregate]]
```
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from app.analysis.sample_size import needed_samples
from app.errors import UsageError
from app.records.metrics import METRICS, PERCENTILES, RUN_METRICS, Metric
from app.records.result import Estimate, Objective, ObjectiveOutcome, ObjectiveResult, Stage

_GRAMMAR = re.compile(
    r"""\s* (?P<change>change\s*\(\s*)?
    (?P<metric>[A-Za-z]\w*) (?:\.(?P<aggregate>[A-Za-z]\w*(?:\.\d+)?))? \s* (?:\{(?P<tags>[^{}]*)\})?
    (?(change)\s*\))
    \s* (?P<comparator><=|>=|<|>)
    \s* (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?) \s* (?P<unit>[^\s|]*)
    (?:\s+of\s+(?P<of>[A-Za-z]\w*)(?:\.(?P<of_aggregate>[A-Za-z]\w*(?:\.\d+)?))?)?
    \s* (?:\|\s*(?P<level>\S+)\s*)?""",
    re.VERBOSE,
)
_OBJECTIVE_HINT = (
    'Write metric.aggregate, comparator and value, such as "latency_ms.p95 < 50" or "error_rate < 0.1% | warn".'
)
_GATE_HINT = (
    'Write it like "latency_ms.p95{stage=peak} < 50", "error_rate < 0.1% | warn", "good_per_s >= 95% of '
    'offered_per_s" or "change(latency_ms.p95) < +8%".'
)


def parse_objective(text: str) -> Objective:
    """Parse one objective of an SLO. Raises UsageError, which suggests the nearest name for an unknown one."""
    parts = _match_grammar(text, _OBJECTIVE_HINT)
    if parts["change"] is not None:
        raise UsageError("change(…) compares with a baseline and cannot be an SLO", hint=("Write it as a gate."))
    if parts["tags"] is not None or parts["of"] is not None:
        what = "tags" if parts["of"] is None else f"a share of {parts['of']}"
        raise UsageError(f"an SLO applies to every stage alike and cannot have {what}", hint="Write it as a gate.")
    if parts["metric"] in RUN_METRICS:
        raise UsageError(
            f"{parts['metric']} is a metric of the whole run, but an SLO applies to stages", hint="Write it as a gate."
        )
    return _build_objective(text, parts, METRICS)


def parse_gate(text: str) -> Objective:
    """Parse a gate. Raises UsageError, which suggests the nearest name for an unknown one."""
    return _build_objective(text, _match_grammar(text, _GATE_HINT), METRICS | RUN_METRICS)


def _match_grammar(text: str, hint: str) -> re.Match[str]:
    parts = _GRAMMAR.fullmatch(text)
    if parts is None:
        raise UsageError(f'"{text}" is not a valid objective', hint=hint)
    if parts["level"] not in (None, "warn"):
        raise UsageError(f'"| {parts["level"]}" is unknown', hint='Only "| warn" may follow the value.')
    return parts


def _build_objective(text: str, parts: re.Match[str], known: Mapping[str, Metric]) -> Objective:
    metric = _find_metric(parts["metric"], known)
    return Objective(
        text=" ".join(text.split()),
        metric=metric.name,
        aggregate=_find_aggregate(metric, parts["aggregate"]),
        comparator=parts["comparator"],  # type: ignore[arg-type]
        limit=_parse_limit(metric, parts),
        level="fail" if parts["level"] is None else "warn",
        tags=_parse_tags(metric, parts["tags"]),
        of=_parse_reference(metric, parts),
        is_change=parts["change"] is not None,
    )


def _parse_tags(metric: Metric, written: str | None) -> dict[str, str]:
    if written is None:
        return {}
    if metric.name in RUN_METRICS:
        raise UsageError(
            f"{metric.name} is a metric of the whole run, but tags select stages", hint=f"Write {metric.name}."
        )
    tags: dict[str, str] = {}
    for part in written.split(","):
        tag, equals, value = (piece.strip() for piece in part.partition("="))
        if not tag or not equals or not value:
            raise UsageError(f'"{{{written}}}" are not valid tags', hint="Write them like {stage=peak}.")
        if tag in tags:
            raise UsageError(f'tag "{tag}" is given twice', hint="Give each tag once.")
        tags[tag] = value
    return tags


def _parse_reference(metric: Metric, parts: re.Match[str]) -> str | None:
    """Parse the metric that the limit is a share of, as `name.aggregate`; None if the limit is absolute."""
    if parts["of"] is None:
        return None
    if parts["change"] is not None or metric.name in RUN_METRICS:
        what = "a change" if parts["change"] is not None else metric.name
        raise UsageError(f"{what} is compared with a number, not with a share of {parts['of']}", hint=_GATE_HINT)
    reference = _find_metric(parts["of"], METRICS)
    aggregate = _find_aggregate(reference, parts["of_aggregate"])
    if reference.unit != metric.unit:
        candidates = [
            name for name, candidate in METRICS.items() if candidate.unit == metric.unit and name != metric.name
        ]
        hint = f"Metrics in {metric.unit}: {', '.join(candidates)}." if candidates else None
        raise UsageError((f"{metric.name} is in {metric.unit}, but {reference.name} is in {reference.unit}"), hint=hint)
    if (reference.name, aggregate) == (metric.name, _find_aggregate(metric, parts["aggregate"])):
        raise UsageError(f"{metric.name} cannot be a share of itself", hint='Write another metric after "of".')
    return reference.name if aggregate is None else f"{reference.name}.{aggregate}"


def _parse_limit(metric: Metric, parts: re.Match[str]) -> float:
    number, unit = parts["number"], parts["unit"]
    if math.isinf(float(number)):
        raise UsageError(f"the limit of {metric.name} is too large", hint="Use a smaller limit.")
    if parts["change"] is not None or parts["of"] is not None:
        if unit != "%":
            what = "a change" if parts["change"] is not None else f"a limit of {parts['of']}"
            raise UsageError(f"{what} is a share, but {number}{unit} is not", hint=f"Write {number}%.")
        return float(number) / 100
    if metric.unit != "share":
        if unit:
            hint = f"Write {number} alone, in {metric.unit}"
            hint += f", or name another metric: {number}% of METRIC." if unit == "%" else "."
            raise UsageError((f'"{unit}" after {number} is not needed: {metric.name} is in {metric.unit}'), hint=hint)
        return float(number)
    return _parse_share(metric.name, number, unit)


def _parse_share(name: str, number: str, unit: str) -> float:
    if not unit:
        raise UsageError(f"{number} has no unit, but {name} is a share", hint=f"Write it in %: {float(number):g}%.")
    if unit != "%":
        raise UsageError(f'"{unit}" is not a unit of {name}, which is a share', hint="Write it in %.")
    limit = float(number) / 100
    if not 0 <= limit <= 1:
        raise UsageError(f"{name} is a share, but {number}{unit} is not between 0% and 100%", hint="Write it in %.")
    return limit


def _find_metric(name: str, known: Mapping[str, Metric]) -> Metric:
    metric = known.get(name)
    if metric is None:
        raise UsageError(f'unknown metric "{name}"', hint=_suggest_name(name, known))
    return metric


def _find_aggregate(metric: Metric, written: str | None) -> str | None:
    aggregate = None if written is None else written.replace(".", "_")
    choices = ", ".join(metric.aggregates).replace("_", ".")
    if aggregate is None and metric.aggregates:
        raise UsageError(
            f"{metric.name} needs an aggregate", hint=(f"Write {metric.name}. followed by one of {choices}.")
        )
    if aggregate is not None and not metric.aggregates:
        whole = "run" if metric.name in RUN_METRICS else "stage"
        raise UsageError(
            (f"{metric.name} has no aggregates: it has one value per {whole}"), hint=f"Write {metric.name}."
        )
    if aggregate is not None and aggregate not in metric.aggregates:
        raise UsageError(f'{metric.name} has no aggregate "{written}"', hint=f"Aggregates: {choices}.")
    return aggregate


def _suggest_name(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"Metrics: {', '.join(names)}."


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_GAP_METRICS = ("icl_ms", "itl_ms")
_STAGE_FIELDS = ("offered_per_s", "achieved_per_s", "good_per_s")
_GOODPUT = ("good_per_s", "offered_per_s")
"""The first is a share of the second's arrivals, so their ratio is a metric that has an interval of its own."""


def binding_objectives(slo: Sequence[Objective]) -> tuple[Objective, ...]:
    """Return the objectives that decide whether a stage meets the SLO: those not marked `warn`.

    Latency covers successful requests only, so an SLO that sets no limit on the error rate or the goodput could be met
    by failing slow requests. Such an SLO also gets a limit of 1 % on the error rate.
    """
    deciding = tuple(objective for objective in slo if objective.level == "fail")
    if not deciding or any(objective.metric in ("error_rate", "goodput_share") for objective in deciding):
        return deciding
    return (*deciding, _DEFAULT_ERROR_LIMIT)


def count_samples_needed(slo: Iterable[Objective]) -> int:
    """Compute the minimum number of responses that can show every percentile of the objectives; 0 if they use none.

    A stream has many gaps per response, so percentiles of gaps need no number of responses. A goodput of 99 % states
    the same as a p99 within the limits, and needs as many.
    """
    shares = (_required_share(objective) for objective in slo)
    return max((needed_samples(q) for q in shares if q is not None), default=0)


def _required_share(objective: Objective) -> float | None:
    """Return the share of responses that must be within a limit; None if the objective does not require one."""
    if objective.metric in _GAP_METRICS:
        return None
    if objective.metric == "goodput_share":
        return objective.limit if objective.comparator in (">", ">=") and 0 < objective.limit < 1 else None
    return PERCENTILES.get(objective.aggregate or "")


def is_met(objective: Objective, estimate: Estimate) -> bool | None:
    """Return whether the point estimate meets the limit; None if there is no value."""
    if estimate.value is None:
        return None
    return _COMPARE[objective.comparator](estimate.value, objective.limit)


def evaluate_objective(objective: Objective, estimate: Estimate) -> ObjectiveResult:
    """Evaluate an objective. PASS and FAIL need the whole interval on one side of the limit.

    A value that has no interval by nature (a maximum) is evaluated by itself. If its interval was withheld (`reason`
    says why), it cannot PASS, but fails if it misses the limit.
    """
    return ObjectiveResult(objective=objective, observed=estimate, outcome=_evaluate(objective, estimate))


def find_estimate(stage: Stage, objective: Objective) -> Estimate:
    """Find the stage's estimate of the objective's metric, or of its share of another; withheld if not measured."""
    estimate = _estimate(stage, objective.metric, objective.aggregate)
    if objective.of is None:
        return estimate
    if (objective.metric, objective.of) == _GOODPUT:
        return _estimate(stage, "goodput_share", None)
    name, _, aggregate = objective.of.partition(".")
    return _divide(estimate, _estimate(stage, name, aggregate or None), objective.of)


def get_unit(objective: Objective) -> str:
    """Return the unit of the objective's limit and of the values compared with it."""
    if objective.of is not None or objective.is_change:
        return "share"
    return (METRICS.get(objective.metric) or RUN_METRICS[objective.metric]).unit


def _estimate(stage: Stage, metric: str, aggregate: str | None) -> Estimate:
    if metric in _STAGE_FIELDS:
        estimate: Estimate = getattr(stage, metric)
        return estimate
    stored = stage.metrics.get(metric, {}).get(aggregate or "value")
    return stored or Estimate(None, reason=f"{metric} was not measured")


def _divide(part: Estimate, whole: Estimate, name: str) -> Estimate:
    """Divide two estimates; the interval is from lowest `part` over highest `whole` to highest over lowest.

    It covers at least 95 % for any dependence of the two: exactly if one falls when the other rises, and more if both
    rise together, as rates of one stage do. It is withheld if either interval is.
    """
    if part.value is None or whole.value is None:
        return Estimate(None, n=part.n, reason=part.reason if part.value is None else whole.reason)
    if whole.value <= 0 or part.value < 0:
        return Estimate(None, n=part.n, reason=f"no share of {name}, which was {whole.value:g}")
    value, reason = part.value / whole.value, part.reason or whole.reason
    if reason is not None or (part.ci95 is None and whole.ci95 is None):
        return Estimate(value, n=part.n, reason=reason)
    low, high = part.ci95 or (part.value, part.value)
    whole_low, whole_high = whole.ci95 or (whole.value, whole.value)
    if whole_low <= 0:
        return Estimate(value, n=part.n, reason=f"no interval: the interval of {name} includes 0")
    return Estimate(value, (low / whole_high, high / whole_low), part.n)


def _evaluate(objective: Objective, estimate: Estimate) -> ObjectiveOutcome:
    met = is_met(objective, estimate)
    if met is None:
        return "INCONCLUSIVE"
    if estimate.ci95 is None:
        is_withheld = estimate.reason is not None
        return "FAIL" if not met else "INCONCLUSIVE" if is_withheld else "PASS"
    compare = _COMPARE[objective.comparator]
    ends_met = {compare(bound, objective.limit) for bound in estimate.ci95}
    return "INCONCLUSIVE" if len(ends_met) == 2 else "PASS" if True in ends_met else "FAIL"


_DEFAULT_ERROR_LIMIT = replace(parse_objective("error_rate <= 1%"), implied=True)
