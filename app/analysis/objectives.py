"""Objectives of the SLO and gates: syntax, metrics, and evaluation.

An SLO objective compares a metric of each stage with a limit; a gate has more options:

```
gate   = term comparator limit ["|" "warn"]
term   = metric | "change(" metric ")"
metric = name ["." aggregate] ["{" tag "=" value {"," tag "=" value} "}"]
limit  = number | number "%" ["of" name ["." aggregate]]
```

A short form is accepted too: `p95 < 50ms` for `latency_ms.p95 < 50`, and a metric in ms without its
unit in the name, such as `ttft p99 < 0.3s` or `ttft.p99 < 0.3s` for `ttft_ms.p99 < 300`.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from app.analysis.sample_size import count_needed_samples
from app.errors import UsageError
from app.records.metrics import METRICS, PERCENTILES, RUN_METRICS, Metric, metric_label
from app.records.result import (
    CLASS_TAG,
    ClassSummary,
    Estimate,
    Objective,
    ObjectiveOutcome,
    ObjectiveResult,
    Stage,
)

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
_SHORT_FORM = re.compile(
    r"""\s* (?:(?P<name>[A-Za-z]\w*)(?:\.|\s+))? (?P<aggregate>p\d+(?:\.\d+)?|mean|max)
    \s* (?P<comparator><=|>=|<|>) \s* (?P<number>\d+\.?\d*|\.\d+) \s* (?P<unit>[^\s|]*)
    (?P<level>\s*\|.*)?""",
    re.VERBOSE,
)
CLASS_METRICS = frozenset(
    {
        "latency_ms", "service_ms", "first_byte_ms", "ttft_ms", "ttft_service_ms", "ttfo_ms", "icl_ms", "itl_ms",
        "tpot_ms", "output_tokens", "input_tokens", "reasoning_tokens", "cached_input_share", "latency_per_token_ms",
        "user_tokens_per_s", "good_tokens_per_s", "output_tokens_per_s", "coalesced_share", "send_lag_ms", "error_rate",
        "goodput_share", "offered_per_s", "achieved_per_s", "completed_per_s", "good_per_s",
    }
)  # fmt: skip
"""Metrics that are computed for each class of requests."""
_MS_BY_UNIT = {"us": 0.001, "ms": 1.0, "s": 1000.0, "": 1.0}
_OBJECTIVE_HINT = (
    'Use metric.aggregate, comparator and value, such as "latency_ms.p95 < 50" or "error_rate < 0.1% | warn".'
)
_GATE_HINT = (
    'Use a format such as "latency_ms.p95{stage=peak} < 50", "error_rate < 0.1% | warn", "good_per_s >= 95% of '
    'offered_per_s" or "change(latency_ms.p95) < +8%".'
)


def parse_objective(text: str) -> Objective:
    """Parse one objective of an SLO, which may apply to one class of requests, as in
    `ttft_ms.p95{class=chat} < 300`. Raises UsageError if the objective is invalid; the hint for an
    unknown name suggests the closest known name."""
    text = expand_short_form(text)
    match = _match_grammar(text, _OBJECTIVE_HINT)
    if match["change"] is not None:
        raise UsageError("change(…) compares with a baseline and cannot be an SLO", hint="Define it as a gate.")
    if match["of"] is not None:
        option = f"a limit relative to {match['of']}"
        raise UsageError(f"an SLO applies to all stages and cannot have {option}", hint="Define it as a gate.")
    if match["metric"] in RUN_METRICS:
        raise UsageError(
            f"{match['metric']} is a metric of the whole run, but an SLO applies to stages", hint="Define it as a gate."
        )
    objective = _build_objective(text, match, METRICS)
    if select_stage_tags(objective):
        raise UsageError(
            f"an SLO applies to all stages and cannot have tags other than {CLASS_TAG}", hint="Define it as a gate."
        )
    return objective


def parse_gate(text: str) -> Objective:
    """Parse a gate. Raises UsageError if the gate is invalid; the hint for an unknown name suggests
    the closest known name."""
    text = expand_short_form(text)
    return _build_objective(text, _match_grammar(text, _GATE_HINT), METRICS | RUN_METRICS)


def format_objective(text: str) -> str:
    """Return the display text of an objective or a gate, such as `p95 latency < 50 ms`, or the
    unchanged `text` if it is not valid, for example because a newer version wrote it."""
    try:
        objective = parse_gate(text)
    except UsageError:
        return text
    stage_tags = select_stage_tags(objective)
    return f"{objective.label} in {', '.join(stage_tags.values())}" if stage_tags else objective.label


def expand_short_form(text: str) -> str:
    """Return an objective with the full name of its metric and its limit in ms, if it is in the
    short form such as `p95 < 50ms`. Any other text is returned unchanged. Raises
    UsageError for an unknown unit of time."""
    match = _SHORT_FORM.fullmatch(text)
    if match is None:
        return text
    metric = f"{(match['name'] or 'latency').lower()}_ms"
    if metric not in METRICS or METRICS[metric].unit != "ms":
        return text
    if match["unit"] not in _MS_BY_UNIT:
        if match["unit"] == "%":
            return text
        raise UsageError(
            f'the unit "{match["unit"]}" of the limit {match["number"]}{match["unit"]} is unknown',
            hint=f"Use us, ms or s, such as {match['aggregate']} {match['comparator']} {match['number']}ms.",
        )
    limit = float(match["number"]) * _MS_BY_UNIT[match["unit"]]
    return f"{metric}.{match['aggregate']} {match['comparator']} {limit:.12g}{match['level'] or ''}"


def _match_grammar(text: str, hint: str) -> re.Match[str]:
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise UsageError(f'"{text}" is not a valid objective', hint=hint)
    if match["level"] not in (None, "warn"):
        raise UsageError(f'"| {match["level"]}" is not a valid level', hint='Use "| warn", or remove the level.')
    return match


def _build_objective(text: str, match: re.Match[str], metrics: Mapping[str, Metric]) -> Objective:
    metric = _find_metric(match["metric"], metrics)
    return Objective(
        text=" ".join(text.split()),
        metric=metric.name,
        aggregate=_find_aggregate(metric, match["aggregate"]),
        comparator=match["comparator"],  # type: ignore[arg-type]
        limit=_parse_limit(metric, match),
        level="fail" if match["level"] is None else "warn",
        tags=_parse_tags(metric, match["tags"]),
        of=_parse_reference(metric, match),
        is_change=match["change"] is not None,
    )


def _parse_tags(metric: Metric, tags_text: str | None) -> dict[str, str]:
    if tags_text is None:
        return {}
    if metric.name in RUN_METRICS:
        raise UsageError(
            f"{metric.name} is a metric of the whole run, but tags select stages",
            hint=f"Use {metric.name} without tags.",
        )
    tags: dict[str, str] = {}
    for tag_text in tags_text.split(","):
        tag, equals, value = (text.strip() for text in tag_text.partition("="))
        if not tag or not equals or not value:
            raise UsageError(f'"{{{tags_text}}}" are not valid tags', hint="Use a format such as {stage=peak}.")
        if tag in tags:
            raise UsageError(f'tag "{tag}" is set twice', hint="Set each tag once.")
        tags[tag] = value
    return tags


def _parse_reference(metric: Metric, match: re.Match[str]) -> str | None:
    """Parse the `name.aggregate` of the metric to which a limit is relative; `None` if the limit is
    absolute."""
    if match["of"] is None:
        return None
    if match["change"] is not None or metric.name in RUN_METRICS:
        subject = "a change" if match["change"] is not None else metric.name
        raise UsageError(f"{subject} needs an absolute limit, not one relative to {match['of']}", hint=_GATE_HINT)
    reference_metric = _find_metric(match["of"], METRICS)
    aggregate = _find_aggregate(reference_metric, match["of_aggregate"])
    if reference_metric.unit != metric.unit:
        candidates = [
            name for name, candidate in METRICS.items() if candidate.unit == metric.unit and name != metric.name
        ]
        hint = f"Use a metric in {metric.unit}: {', '.join(candidates)}." if candidates else None
        raise UsageError(
            (f"{metric.name} is in {metric.unit}, but {reference_metric.name} is in {reference_metric.unit}"), hint=hint
        )
    if (reference_metric.name, aggregate) == (metric.name, _find_aggregate(metric, match["aggregate"])):
        raise UsageError(f"{metric.name} cannot have a limit relative to itself", hint='Use another metric after "of".')
    return reference_metric.name if aggregate is None else f"{reference_metric.name}.{aggregate}"


def _parse_limit(metric: Metric, match: re.Match[str]) -> float:
    number, unit = match["number"], match["unit"]
    if math.isinf(float(number)):
        raise UsageError(f"the limit of {metric.name} is too large", hint="Use a smaller limit.")
    if match["change"] is not None or match["of"] is not None:
        if unit != "%":
            subject = "a change" if match["change"] is not None else f"a limit relative to {match['of']}"
            raise UsageError(f"{subject} must be in %, but {number}{unit} is not", hint=f"Use {number}%.")
        return float(number) / 100
    if metric.unit != "share":
        if unit:
            hint = f"Use {number} without a unit (in {metric.unit})"
            hint += f", or set a limit relative to another metric: {number}% of METRIC." if unit == "%" else "."
            raise UsageError(
                f'the unit "{unit}" after {number} is not valid, because {metric.name} is in {metric.unit}', hint=hint
            )
        return float(number)
    return _parse_share(metric.name, number, unit)


def _parse_share(name: str, number: str, unit: str) -> float:
    if not unit:
        raise UsageError(f"{number} has no unit, but {name} is in %", hint=f"Use {float(number):g}%.")
    if unit != "%":
        raise UsageError(f'"{unit}" is not a unit of {name}, which is in %', hint=f"Use a value such as {number}%.")
    limit = float(number) / 100
    if not 0 <= limit <= 1:
        raise UsageError(f"{name} must be between 0% and 100% (got {number}{unit})", hint="Use a value such as 99%.")
    return limit


def _find_metric(name: str, metrics: Mapping[str, Metric]) -> Metric:
    metric = metrics.get(name)
    if metric is None:
        raise UsageError(f'the metric "{name}" is unknown', hint=_suggest_name(name, metrics))
    return metric


def _find_aggregate(metric: Metric, requested_aggregate: str | None) -> str | None:
    aggregate = None if requested_aggregate is None else requested_aggregate.replace(".", "_")
    choices_text = ", ".join(metric.aggregates).replace("_", ".")
    if aggregate is None and metric.aggregates:
        raise UsageError(
            f"{metric.name} needs an aggregate",
            hint=f"Append one of {choices_text}, as in {metric.name}.{choices_text.partition(',')[0]}.",
        )
    if aggregate is not None and not metric.aggregates:
        scope = "run" if metric.name in RUN_METRICS else "stage"
        raise UsageError(f"{metric.name} has no aggregates: it has one value per {scope}", hint=f"Use {metric.name}.")
    if aggregate is not None and aggregate not in metric.aggregates:
        raise UsageError(f'{metric.name} has no aggregate "{requested_aggregate}"', hint=f"Use one of {choices_text}.")
    return aggregate


def _suggest_name(name: str, known_names: Iterable[str]) -> str:
    names = list(known_names)
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if matches:
        return f"Did you mean {matches[0]}?"
    if len(names) <= _MAX_LISTED_NAMES:
        return f"Use one of {', '.join(names)}."
    return f"Use a metric such as {', '.join(names[:_MAX_LISTED_NAMES])}, with an aggregate, as in {names[0]}.p95."


_COMPARATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MAX_LISTED_NAMES = 8
_GAP_METRICS = ("icl_ms", "itl_ms", "message_gap_ms")
_STAGE_FIELDS = ("offered_per_s", "achieved_per_s", "good_per_s")
_GOODPUT_METRICS = ("good_per_s", "offered_per_s")
"""Metric and reference metric whose ratio is the goodput. Good requests are a subset of the offered
requests, so the goodput has a confidence interval of its own."""
_PLANNED_DEVIATIONS = 4
"""Number of standard deviations by which the planned number of arrivals exceeds the needed number."""


def select_binding_objectives(slo: Sequence[Objective]) -> tuple[Objective, ...]:
    """Return the objectives that decide whether a stage meets the SLO: those not marked `warn`.

    Latency covers successful requests only. Without a limit on the error rate or goodput, an
    endpoint could meet the SLO by failing slow requests. A limit of 1 % on the error rate is
    therefore added to such an SLO."""
    binding_slo = tuple(objective for objective in slo if objective.level == "fail")
    limited_classes = {
        objective.request_class for objective in binding_slo if objective.metric in ("error_rate", "goodput_share")
    }
    if None in limited_classes or limited_classes >= {objective.request_class for objective in binding_slo}:
        return binding_slo
    return (*binding_slo, DEFAULT_ERROR_LIMIT)


def select_stage_tags(objective: Objective) -> dict[str, str]:
    """Return the tags that select stages, without the class of requests."""
    return {tag: value for tag, value in objective.tags.items() if tag != CLASS_TAG}


def select_run_objectives(slo: Iterable[Objective]) -> tuple[Objective, ...]:
    """Return the objectives that apply to all requests together, not only to one class."""
    return tuple(objective for objective in slo if objective.request_class is None)


def count_needed_slo_samples(slo: Iterable[Objective]) -> int:
    """Return the minimum number of responses needed to estimate all percentiles of the objectives;
    0 if there are no percentiles. For an objective of a class, the number includes the responses of
    the other classes.

    Percentiles of ITL and ICL are ignored, because each stream has many gaps. A goodput of
    99 % is equivalent to a p99 within the limits, and therefore needs the same number of
    responses."""
    return max(
        (
            math.ceil(count_needed_samples(share) / (objective.request_share or 1.0))
            for objective in slo
            if (share := _get_required_share(objective)) is not None
        ),
        default=0,
    )


def count_planned_slo_samples(slo: Iterable[Objective]) -> float:
    """Return the number of responses to plan for the percentiles of the objectives: a Poisson
    process with this expected number of arrivals yields at least the needed number almost always,
    because that is four standard deviations lower."""
    needed_count = count_needed_slo_samples(slo)
    return needed_count + _PLANNED_DEVIATIONS * math.sqrt(needed_count)


def _get_required_share(objective: Objective) -> float | None:
    """Return the proportion of responses that must be within the limit of the objective; `None` if
    the objective does not require a proportion."""
    if objective.metric in _GAP_METRICS:
        return None
    if objective.metric == "goodput_share":
        return objective.limit if objective.comparator in (">", ">=") and 0 < objective.limit < 1 else None
    return PERCENTILES.get(objective.aggregate or "")


def is_met(objective: Objective, estimate: Estimate) -> bool | None:
    """Return True if the point estimate meets the limit of the objective; `None` if there is no
    value."""
    if estimate.value is None:
        return None
    return _COMPARATORS[objective.comparator](estimate.value, objective.limit)


def evaluate_objective(objective: Objective, estimate: Estimate) -> ObjectiveResult:
    """Evaluate an objective. PASS and FAIL require the whole confidence interval to be on one side
    of the limit.

    A value that never has an interval (a maximum) is evaluated by point estimate. If the interval
    is withheld (`reason` states why), the outcome is FAIL if the value violates the limit, and
    never PASS."""
    return ObjectiveResult(objective=objective, observed=estimate, outcome=_evaluate_outcome(objective, estimate))


def find_estimate(stage: Stage, objective: Objective) -> Estimate:
    """Return the estimate of the objective's metric for a stage, or for the objective's class in the
    stage, divided by the reference metric if the limit is relative. The value is withheld if the
    metric was not measured."""
    part: Stage | ClassSummary | None = stage
    if objective.request_class is not None:
        part = stage.find_class(objective.request_class)
    if part is None:
        return Estimate(None, reason=f"the stage has no class {objective.request_class}")
    estimate = _get_estimate(part, objective.metric, objective.aggregate)
    if objective.of is None:
        return estimate
    if (objective.metric, objective.of) == _GOODPUT_METRICS:
        return _get_estimate(part, "goodput_share", None)
    name, _, aggregate = objective.of.partition(".")
    return _divide_estimates(estimate, _get_estimate(part, name, aggregate or None), objective.of)


def get_unit(objective: Objective) -> str:
    """Return the unit of the objective's limit and of the values compared with it."""
    if objective.of is not None or objective.is_change:
        return "share"
    return (METRICS.get(objective.metric) or RUN_METRICS[objective.metric]).unit


def _get_estimate(part: Stage | ClassSummary, metric: str, aggregate: str | None) -> Estimate:
    if metric in _STAGE_FIELDS:
        estimate: Estimate = getattr(part, metric)
        return estimate
    stored_estimate = part.metrics.get(metric, {}).get(aggregate or "value")
    return stored_estimate or Estimate(None, reason=f"{metric_label(metric, aggregate)} was not measured")


def _divide_estimates(numerator: Estimate, denominator: Estimate, denominator_name: str) -> Estimate:
    """Divide two estimates. The interval extends from the lowest numerator over the highest
    denominator to the highest numerator over the lowest denominator.

    The coverage of the interval is at least 95 %, however the two estimates depend on each other.
    It is exactly 95 % if they are perfectly negatively correlated, and higher if they rise
    together, as rates of the same stage do. The interval is withheld if that of either estimate is
    withheld."""
    if numerator.value is None or denominator.value is None:
        return Estimate(None, n=numerator.n, reason=numerator.reason if numerator.value is None else denominator.reason)
    if denominator.value <= 0 or numerator.value < 0:
        return Estimate(
            None, n=numerator.n, reason=f"no ratio: {metric_label(denominator_name)} was {denominator.value:g}"
        )
    value, reason = numerator.value / denominator.value, numerator.reason or denominator.reason
    if reason is not None or (numerator.ci95 is None and denominator.ci95 is None):
        return Estimate(value, n=numerator.n, reason=reason)
    numerator_low, numerator_high = numerator.ci95 or (numerator.value, numerator.value)
    denominator_low, denominator_high = denominator.ci95 or (denominator.value, denominator.value)
    if denominator_low <= 0:
        return Estimate(
            value, n=numerator.n, reason=f"no interval: the interval of {metric_label(denominator_name)} includes 0"
        )
    return Estimate(value, (numerator_low / denominator_high, numerator_high / denominator_low), numerator.n)


def _evaluate_outcome(objective: Objective, estimate: Estimate) -> ObjectiveOutcome:
    meets_limit = is_met(objective, estimate)
    if meets_limit is None:
        return "INCONCLUSIVE"
    if estimate.ci95 is None:
        is_withheld = estimate.reason is not None
        return "FAIL" if not meets_limit else "INCONCLUSIVE" if is_withheld else "PASS"
    compare = _COMPARATORS[objective.comparator]
    bound_outcomes = {compare(bound, objective.limit) for bound in estimate.ci95}
    return "INCONCLUSIVE" if len(bound_outcomes) == 2 else "PASS" if True in bound_outcomes else "FAIL"


DEFAULT_ERROR_LIMIT = replace(parse_objective("error_rate <= 1%"), implied=True)
