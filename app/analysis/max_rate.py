"""Compute the result of a rate search: the max rate within the SLO, its confidence interval, and
why the next higher rate failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.analysis.curve import select_curve_stages
from app.analysis.number_format import format_number
from app.analysis.objectives import evaluate_objective, find_estimate, get_unit, is_met, select_binding_objectives
from app.analysis.search import SearchOutcome
from app.analysis.spans import LIMIT_METRICS
from app.records.metrics import METRICS, PERCENTILES, display_unit, metric_label
from app.records.result import Check, Estimate, MaxRate, Objective, Stage
from app.records.stage_kinds import STAGE_KINDS

_UTILIZATION_TEXTS = (
    ("endpoint_cpu_cores", "the endpoint used {:.2f} cores"),
    ("host_cpu_percent", "host CPU utilization was {:.0f} %"),
    ("gpu_utilization_percent", "GPU utilization was {:.0f} %"),
)

_LATENESS_CHECK_IDS = ("late_sends", "send_lag_p99")
_MAX_SIGNIFICANT_DIGITS = 10


def compute_max_rate(stages: Sequence[Stage], slo: Sequence[Objective], outcome: SearchOutcome) -> MaxRate:
    """Compute the max rate with its confidence interval from the stages of a run, in any order.

    The interval is found by test inversion. Its lower bound is the highest rate at which the
    intervals of all metrics are within the SLO limits; its upper bound is the lowest rate at which
    the interval of one metric is completely outside. If a rate was tested several times, each of
    its stages must meet this condition."""
    binding_slo = select_binding_objectives(slo)
    curve_stages = select_curve_stages(stages)
    max_rate_per_s = outcome.max_rate_per_s or 0.0
    valid_stages = [stage for stage in curve_stages if is_endpoint_evidence(stage)]
    failed_stages = [
        stage for stage in valid_stages if stage.meets_slo is False and _get_scheduled_rate(stage) > max_rate_per_s
    ]
    limited_by = (
        _format_generator_limit(curve_stages, outcome)
        if outcome.is_generator_limited
        else _format_endpoint_limit(failed_stages, binding_slo)
    )
    return MaxRate(
        per_s=_estimate_max_rate(valid_stages, binding_slo, outcome),
        slo=tuple(objective.text for objective in binding_slo),
        limited_by=limited_by,
        is_lower_bound=outcome.max_rate_per_s is not None and (outcome.is_generator_limited or not failed_stages),
        sessions=any(stage.sessions for stage in curve_stages),
        is_generator_limit=outcome.is_generator_limited,
        failed_per_s=None
        if outcome.is_generator_limited
        else min(map(_get_scheduled_rate, failed_stages), default=None),
    )


def is_endpoint_evidence(stage: Stage) -> bool:
    """Return True if the stage provides information about the endpoint. An INVALID stage shows only
    the behavior of the load generator."""
    return stage.verdict.status != "INVALID"


def is_search_undecided(stages: Sequence[Stage]) -> bool:
    """Return whether a search that found no max rate ended before any rate was decided: no stage
    failed, or a probe passed and the search ended before its steps, which neither confirmed nor
    refuted it."""
    search_stages = [stage for stage in stages if STAGE_KINDS[stage.kind].is_search and is_endpoint_evidence(stage)]
    failed_stages = [stage for stage in search_stages if stage.meets_slo is False]
    if any(stage.meets_slo for stage in search_stages):
        return all(stage.kind != "step" for stage in failed_stages)
    return not failed_stages


def derive_search_outcome(stages: Sequence[Stage], *, includes_search: bool = False) -> SearchOutcome:
    """Find the highest rate at which each stage met the SLO, as if a search had chosen the rates of
    the stages. Only stages at one rate are included: those of the profile and, if
    `includes_search`, those of a search."""
    stages_by_rate: dict[float, list[Stage]] = {}
    invalid_rates = []
    for stage in stages:
        traits = STAGE_KINDS[stage.kind]
        is_included = traits.has_configured_rate or (includes_search and traits.is_search and traits.has_fixed_rate)
        if not is_included or stage.scheduled_per_s is None:
            continue
        if not is_endpoint_evidence(stage):
            invalid_rates.append(stage.scheduled_per_s)
        elif stage.meets_slo is not None:
            stages_by_rate.setdefault(stage.scheduled_per_s, []).append(stage)
    lowest_failed_rate = min(
        (rate for rate, rate_stages in stages_by_rate.items() if not all(stage.meets_slo for stage in rate_stages)),
        default=None,
    )
    highest_passed_rate = max(
        (rate for rate in stages_by_rate if lowest_failed_rate is None or rate < lowest_failed_rate), default=None
    )
    unsendable_rates = [
        rate for rate in invalid_rates if rate > max(stages_by_rate, default=0.0)
    ]  # ignore rates below one that was sent successfully
    if highest_passed_rate is not None:
        reason = None
    elif lowest_failed_rate is not None:
        reason = f"even {format_number(lowest_failed_rate)} req/s failed"
    elif unsendable_rates:
        reason = "the load generator could not sustain any of the tested rates"
    else:
        reason = "there are too few responses to decide about any tested rate"
    stage_count = len(invalid_rates) + sum(map(len, stages_by_rate.values()))
    return SearchOutcome(
        highest_passed_rate,
        reason,
        (highest_passed_rate, lowest_failed_rate),
        stage_count,
        min(unsendable_rates, default=None),
    )


def check_generator_reach(outcome: SearchOutcome) -> tuple[Check, ...]:
    """Return an INVALID check if the load generator could not generate enough load to find the max
    rate. Return no check if the search found a max rate or if the endpoint failed at all rates."""
    if outcome.max_rate_per_s is not None or not outcome.is_generator_limited:
        return ()
    reliable_per_s, unsendable_per_s = outcome.bracket[0], outcome.unsendable_per_s
    hint = "The load was too low to find the endpoint's max rate. Add workers (load.workers, `sizewise worker`), "
    hint += "or run them on a faster machine or one without other load."
    return (Check("generator_reach", reliable_per_s, unsendable_per_s, "1/s", "INVALID", hint),)


def _estimate_max_rate(stages: Sequence[Stage], binding_slo: Sequence[Objective], outcome: SearchOutcome) -> Estimate:
    max_rate_per_s = outcome.max_rate_per_s
    if max_rate_per_s is None:
        return Estimate(None, n=0, reason=outcome.reason)
    stages_by_rate: dict[float, list[Stage]] = {}
    for stage in stages:
        stages_by_rate.setdefault(_get_scheduled_rate(stage), []).append(stage)
    met_rates = [
        rate
        for rate, rate_stages in stages_by_rate.items()
        if rate <= max_rate_per_s and _are_all_clearly_met(rate_stages, binding_slo)
    ]
    violated_rates = [
        rate
        for rate, rate_stages in stages_by_rate.items()
        if rate >= max_rate_per_s and _are_all_clearly_violated(rate_stages, binding_slo)
    ]
    stages_at_max_rate = stages_by_rate.get(max_rate_per_s, [])
    n = sum(
        stage.completed
        for stage in [stage for stage in stages_at_max_rate if STAGE_KINDS[stage.kind].confirms_rate]
        or stages_at_max_rate
    )
    if not met_rates:
        return Estimate(max_rate_per_s, n=n, reason="no interval: the SLO was not clearly met at any rate")
    if not violated_rates:
        return Estimate(max_rate_per_s, n=n, reason="no interval: the SLO was not clearly violated at any rate")
    return Estimate(max_rate_per_s, (max(met_rates), min(violated_rates)), n)


def _are_all_clearly_met(stages: Iterable[Stage], binding_slo: Sequence[Objective]) -> bool:
    return all(_is_clearly_met(stage, objective) for stage in stages for objective in binding_slo)


def _are_all_clearly_violated(stages: Iterable[Stage], binding_slo: Sequence[Objective]) -> bool:
    return all(any(_is_clearly_violated(stage, objective) for objective in binding_slo) for stage in stages)


def _is_clearly_met(stage: Stage, objective: Objective) -> bool:
    """Return True if the objective is met with confidence.

    Proportions are evaluated by point estimate: to show that an error rate is below 0.1 %, each
    rate would need 3,800 responses, and errors do not depend primarily on the rate. If the interval
    of a percentile is withheld, the interval of the goodput is used instead."""
    estimate = find_estimate(stage, objective)
    if METRICS[objective.metric].unit == "share":
        return is_met(objective, estimate) is True
    if estimate.ci95 is not None:
        return evaluate_objective(objective, estimate).outcome == "PASS"
    goodput, required_share = _get_goodput(stage, objective)
    return (
        is_met(objective, estimate) is True
        and required_share is not None
        and goodput is not None
        and _get_lower_bound(goodput) > required_share
    )


def _is_clearly_violated(stage: Stage, objective: Objective) -> bool:
    """Return True if the objective is violated with confidence.

    If the interval of a percentile is withheld, the interval of the goodput is used instead. For
    example, p95 latency exceeds its limit if fewer than 95 % of responses are within the limit. The
    goodput has an interval even if a growing backlog pushes the upper rank of the percentile's
    interval beyond the number of responses."""
    estimate = find_estimate(stage, objective)
    if estimate.ci95 is not None:
        return evaluate_objective(objective, estimate).outcome == "FAIL"
    goodput, required_share = _get_goodput(stage, objective)
    return (
        is_met(objective, estimate) is False
        and required_share is not None
        and goodput is not None
        and _get_upper_bound(goodput) < required_share
    )


def _get_goodput(stage: Stage, objective: Objective) -> tuple[Estimate | None, float | None]:
    """Return the goodput as a proportion, and the proportion that the objective requires. The
    latter is `None` if the objective is not a percentile of a request duration."""
    required_share = PERCENTILES.get(objective.aggregate or "") if objective.metric in LIMIT_METRICS else None
    part = stage if objective.request_class is None else stage.find_class(objective.request_class)
    return None if part is None else part.metrics.get("goodput_share", {}).get("value"), required_share


def _get_lower_bound(estimate: Estimate) -> float:
    return 0.0 if estimate.ci95 is None else estimate.ci95[0]


def _get_upper_bound(estimate: Estimate) -> float:
    return 1.0 if estimate.ci95 is None else estimate.ci95[1]


def _format_generator_limit(curve_stages: Sequence[Stage], outcome: SearchOutcome) -> str:
    """Describe the rate that the load generator could not send, its capacity, and the remedy."""
    unsendable_per_s = outcome.unsendable_per_s or 0.0
    stages = [
        stage
        for stage in curve_stages
        if not is_endpoint_evidence(stage) and _get_scheduled_rate(stage) == unsendable_per_s
    ]
    unit = " sessions/s" if any(stage.sessions for stage in stages) else " req/s"
    reason = f" ({stages[0].verdict.reasons[0]})" if stages and stages[0].verdict.reasons else ""
    sentence = (
        f"the load generator, not the endpoint: it could not send {format_number(unsendable_per_s)}{unit}{reason}"
    )
    reliable_per_s = outcome.bracket[0]
    if reliable_per_s is not None:
        sentence += f"; it is reliable up to {format_number(reliable_per_s)}{unit}, and the endpoint may sustain more"
    return (
        f"{sentence}. Add workers (load.workers, `sizewise worker`), or run them on a faster machine or one without "
        "other load"
    )


def _format_endpoint_limit(failed_stages: Sequence[Stage], binding_slo: Sequence[Objective]) -> str:
    if not failed_stages:
        return "highest rate tested; the maximum may be higher"
    stage = min(failed_stages, key=_get_scheduled_rate)
    unit = " sessions/s" if stage.sessions else " req/s"
    sentence = f"at {format_number(_get_scheduled_rate(stage))}{unit} {describe_failure(stage, binding_slo)}"
    if any(find_estimate(stage, objective).value is None for objective in binding_slo):
        return sentence  # too few responses to decide, so utilization is no explanation
    utilization = _format_utilization(stage)
    sentence += f"; at this rate, {utilization}" if utilization else ""
    if any(check.id in _LATENESS_CHECK_IDS and check.verdict != "VALID" for check in stage.checks):
        sentence += "; the load generator sent requests late at this rate, which adds to this latency"
    return sentence


def describe_failure(stage: Stage, objectives: Sequence[Objective]) -> str:
    """Describe the first objective that a stage did not meet, such as "p95 latency was 98 ms
    (objective: p95 latency < 80 ms)". If the stage met all objectives, state that its backlog kept
    growing."""
    for objective in objectives:
        estimate = find_estimate(stage, objective)
        if is_met(objective, estimate):
            continue
        name = objective.metric if objective.aggregate is None else f"{objective.metric}.{objective.aggregate}"
        if estimate.value is None:
            return f"{metric_label(name)} is not available ({estimate.reason}), but is needed for {objective.label}"
        return (
            f"{metric_label(name)} was {format_against_limit(objective, estimate.value)} (objective: {objective.label})"
        )
    return "the backlog kept growing"


def format_against_limit(objective: Objective, value: float) -> str:
    """Format a value that is compared with the limit of an objective, with three significant
    digits, such as "48.2 ms", "2,970 ms", "3.6 %" or "71.5 req/s". More digits are used if the
    rounded value would equal the limit."""
    unit = get_unit(objective)
    scale = 100 if unit == "share" else 1
    limit = _round_to_digits(scale * objective.limit, _MAX_SIGNIFICANT_DIGITS)
    rounded_value = next(
        (
            candidate
            for digits in range(3, _MAX_SIGNIFICANT_DIGITS)
            if (candidate := _round_to_digits(scale * value, digits)) != limit
        ),
        scale * value,
    )
    return f"{rounded_value:,.10g}{' %' if unit == 'share' else f' {display_unit(unit)}'}"


def _round_to_digits(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _format_utilization(stage: Stage) -> str:
    means = ((text, stage.metrics.get(name, {}).get("mean")) for name, text in _UTILIZATION_TEXTS)
    texts = [text.format(mean.value) for text, mean in means if mean is not None and mean.value is not None]
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1] if texts else ""


def _get_scheduled_rate(stage: Stage) -> float:
    return stage.scheduled_per_s or 0.0
