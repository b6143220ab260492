"""Build the verdict of a report: the outcome, a headline that starts with the main number, and the
detail.

The module also formats the settings of a re-evaluation. It builds the headline of a local run,
which shows the best variant and the number of other variants that were measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.analysis.failed_requests import count_failed_requests
from app.analysis.gating import format_failure, has_undecided_search
from app.analysis.headline import find_highest_passed_stages, find_lowest_failed_stage
from app.analysis.local.call_stages import find_throughput_metric
from app.analysis.local.variants import NO_BEST_MESSAGES, find_violated_objectives
from app.analysis.max_rate import describe_failure
from app.analysis.objectives import DEFAULT_ERROR_LIMIT, format_objective
from app.errors import ExitCode
from app.records.local import VariantData
from app.records.metrics import metric_label
from app.records.result import Estimate, MaxRate, Objective, ObjectiveResult, Reevaluation, Result
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.load import build_curve_labels, find_headline_stage
from app.reporting.local import find_headline_variant, group_headline_stages_by_variant, group_stages_by_variant
from app.reporting.local_front import (
    build_throughput_quantity,
    find_fastest_valid_stage,
    format_load,
    format_max_inference_rate,
    get_max_call_rate,
    name_variants,
)
from app.reporting.quantities import build_quantity, build_stage_quantity, find_unit
from reports import formatting, model
from reports.model import Outcome


def format_reevaluated(reevaluation: Reevaluation) -> str:
    """Format the settings of a re-evaluation, such as "The run was re-evaluated with SLO p95
    latency < 30 ms, time range 10–25 s"."""
    texts = []
    if reevaluation.slo is not None:
        texts.append(f"SLO {', '.join(map(format_objective, reevaluation.slo))}" if reevaluation.slo else "no SLO")
    if reevaluation.window_s is not None:
        from_s, to_s = (formatting.format_plain(bound_s) for bound_s in reevaluation.window_s)
        texts.append(f"time range {from_s}–{to_s}{formatting.THIN_SPACE}s")
    return f"The run was re-evaluated with {', '.join(texts)}"


class Headline(msgspec.Struct, frozen=True):
    """Headline of a report without a full stop, and sentences that follow the headline."""

    text: str
    detail: str = ""
    is_first_cause: bool = False
    """True if the headline states the first cause of the exit code."""
    is_failure: bool = False
    """True if the headline states why the run failed, if it failed."""

    @property
    def sentence(self) -> str:
        """Headline and detail as one text."""
        return f"{self.text}. {self.detail}".rstrip()

    def add(self, detail: str) -> Headline:
        """Return a copy of the headline with sentences appended to its detail."""
        return msgspec.structs.replace(self, detail=f"{self.detail} {detail}".strip())


_MAX_TIED_NAMES = 3
_UNTESTED_NOTE = "No higher rate was tested, so the maximum may be higher."


def build_local_headline(result: Result) -> Headline | None:
    """Build the headline of a local run; `None` without a local model, or if nothing was
    measured."""
    local = result.local
    if local is None or not any(group_stages_by_variant(result).values()):
        return None
    return _build_best_headline(result).add(_format_counts(result))


def _build_best_headline(result: Result) -> Headline:
    local = result.local
    slo_labels = [evaluation.objective.label for evaluation in result.slo if evaluation.objective.level == "fail"]
    assert local is not None
    if local.best is None:
        reason = NO_BEST_MESSAGES[local.best_reason] if local.best_reason else "no variant was measured to its end"
        return Headline(_capitalize(reason), _describe_closest_variant(result), is_failure=True)
    stages = group_headline_stages_by_variant(result)[local.best]
    fastest_stage = find_fastest_valid_stage(stages)
    name = name_variants([variant_data.variant for variant_data in local.variants])[local.best]
    best_variant = next(variant_data for variant_data in local.variants if variant_data.variant == local.best)
    max_call_rate = get_max_call_rate(best_variant, stages)
    bound_note = ""
    if max_call_rate is not None and max_call_rate.value is not None:
        bound_note = _format_bound_note(best_variant)
        label, rate_text, load_text = (
            "Max rate at least" if bound_note else "Max rate",
            formatting.format_value_unit(max_call_rate),
            format_max_inference_rate(best_variant),
        )
    else:
        label, rate_text = "Max throughput", formatting.NOT_AVAILABLE
        if fastest_stage is not None:
            label = f"Max {metric_label(find_throughput_metric(fastest_stage))}"
            rate_text = formatting.format_inference_rate(build_throughput_quantity(fastest_stage))
        load_text = "" if fastest_stage is None else format_load(fastest_stage)
    load_note = f" ({load_text})" if load_text else ""
    headline = Headline(f"{label} {rate_text}{load_note}{_format_slo(slo_labels)}: {name}", bound_note)
    if len(local.variants) == 1:
        return headline
    measured_variants = [
        variant for variant, variant_stages in group_stages_by_variant(result).items() if variant_stages
    ]
    return headline.add("Only this variant was measured." if len(measured_variants) == 1 else "").add(
        _format_ties(result)
    )


def _format_bound_note(variant_data: VariantData) -> str:
    """Return the reason why the max rate of a variant is only a lower bound; empty if it is not."""
    if not variant_data.is_server_rate_lower_bound:
        return ""
    return (
        "The load generator could not start calls on time at a higher rate, so the maximum may be higher."
        if variant_data.is_server_rate_generator_limit
        else _UNTESTED_NOTE
    )


def _format_slo(objectives: Sequence[str]) -> str:
    """Format the SLO as the end of a headline, such as " within SLO (p95 latency < 50 ms)"; empty
    without objectives."""
    return f" within SLO ({', '.join(objectives)})" if objectives else ""


def _format_ties(result: Result) -> str:
    assert result.local is not None
    names = name_variants([variant_data.variant for variant_data in result.local.variants])
    tied_names = [names[variant] for variant in result.local.equally_fast]
    if not tied_names:
        return ""
    names_text = "; ".join(tied_names[:_MAX_TIED_NAMES]) + (
        f"; and {len(tied_names) - _MAX_TIED_NAMES} more" if len(tied_names) > _MAX_TIED_NAMES else ""
    )
    return f"This variant is statistically tied with {names_text}."


def _describe_closest_variant(result: Result) -> str:
    """Return a sentence about the objectives that were missed by the variant closest to the SLO;
    empty if there are none."""
    variant, local = find_headline_variant(result), result.local
    if variant is None or local is None:
        return ""
    stages = group_stages_by_variant(result)
    violations = find_violated_objectives(
        [evaluation.objective for evaluation in result.slo], group_headline_stages_by_variant(result)[variant]
    )
    violations_text = ", ".join(
        f"{objective.label} ({_format_observed(objective, estimate)})" for objective, estimate in violations
    )
    name = name_variants([variant_data.variant for variant_data in local.variants])[variant]
    variant_text = f"The closest variant, {name}," if sum(map(bool, stages.values())) > 1 else f"The variant {name}"
    return f"{variant_text} missed {violations_text}." if violations_text else ""


def _format_observed(objective: Objective, estimate: Estimate) -> str:
    if estimate.value is None:
        return f"n/a: {estimate.reason or 'not measured'}"
    return f"measured {formatting.format_value_unit(build_quantity(estimate, find_unit(objective.metric)))}"


def _format_counts(result: Result) -> str:
    assert result.local is not None
    variants = result.local.variants
    skipped_count = sum(variant.is_excluded for variant in variants)
    ended_early_count = sum(variant.failure is not None and not variant.is_excluded for variant in variants)
    measured_count = len(variants) - skipped_count - ended_early_count
    texts = [f"{measured_count} {'variant was' if measured_count == 1 else 'variants were'} measured"]
    texts += [f"{ended_early_count} ended early"] if ended_early_count else []
    texts += [f"{skipped_count} {'was' if skipped_count == 1 else 'were'} skipped"] if skipped_count else []
    objective_note = "" if result.slo or result.gates else " No SLO is set."
    *first_texts, last_text = texts
    counts_text = f"{', '.join(first_texts)} and {last_text}" if first_texts else last_text
    return f"{counts_text}.{objective_note}"


_FAILURE_EXIT_CODES = (ExitCode.GATE_FAILED, ExitCode.REGRESSION)
_STOPPED_EXIT_CODES = (ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.LIMIT)


def build_verdict(result: Result) -> model.ReportVerdict:
    outcome = _find_outcome(result)
    reasons = result.verdict.unchecked if outcome == "INVALID" and result.verdict.reasons else result.exit.texts
    headline = _build_headline(result, outcome)
    sentence = headline.sentence
    stamp = (
        None
        if result.reevaluation is None
        else f"{format_reevaluated(result.reevaluation)}. This is not the run's own verdict."
    )
    return model.ReportVerdict(
        outcome=outcome,
        validity=result.verdict.status,
        sentence=sentence if stamp is None else f"{stamp} {sentence}",
        finding=sentence,
        headline=headline.text,
        detail=headline.detail,
        stamp=stamp,
        reasons=reasons[1:] if headline.is_first_cause else reasons,
        exit_code=result.exit.code,
    )


def _find_outcome(result: Result) -> Outcome:
    enforced_evaluations = [
        evaluation for evaluation in (*result.slo, *result.gates) if evaluation.objective.level == "fail"
    ]
    outcomes = {evaluation.outcome for evaluation in enforced_evaluations}
    code = result.exit.first_code
    if _has_lost_target(result):
        return "FAIL"
    if result.verdict.status == "INVALID":
        return "INVALID"
    if code in _FAILURE_EXIT_CODES or "FAIL" in outcomes:
        return "FAIL"
    if code == ExitCode.INCONCLUSIVE or "INCONCLUSIVE" in outcomes:
        return "INCONCLUSIVE"
    if code in _STOPPED_EXIT_CODES and (enforced_evaluations or not _count_measured_stages(result)):
        return "INCONCLUSIVE"
    if has_undecided_search(result):
        return "INCONCLUSIVE"
    return "PASS" if enforced_evaluations else "MEASURED"


def _has_lost_target(result: Result) -> bool:
    """Return whether the run ended because its target died, whatever else that has caused."""
    return bool(result.exit.causes) and result.exit.causes[0].id == "target_lost"


def _count_measured_stages(result: Result) -> int:
    return sum(STAGE_KINDS[stage.kind].is_measured and not stage.is_pooled for stage in result.stages)


def _build_headline(result: Result, outcome: Outcome) -> Headline:
    measured_count = _count_measured_stages(result)
    local_headline = build_local_headline(result)
    if _has_lost_target(result):
        return Headline(_capitalize(result.exit.causes[0].text), is_first_cause=True)
    if outcome == "INVALID":
        has_best = result.local is not None and result.local.best is not None
        if local_headline is not None and has_best:
            return local_headline.add("Do not use the numbers that are marked INVALID.")
        return Headline("Measurement invalid: do not use these results" if measured_count else "Nothing was measured")
    if result.exit.code in _STOPPED_EXIT_CODES:
        return Headline("Stopped early: partial results" if measured_count else "Stopped before anything was measured")
    finding = _build_finding(result, outcome, local_headline)
    if outcome != "FAIL" or finding.is_failure:
        return finding
    failure = _build_failure_headline(result)
    is_target_failure = failure.is_first_cause and result.exit.causes[0].id == "target_failed"
    return failure if is_target_failure else failure.add(finding.sentence)


def _build_failure_headline(result: Result) -> Headline:
    """Build the headline of a failed run from the cause that failed it: a regression, a violated
    objective, or failed requests. Objectives that do not affect the exit code have no cause."""
    causes = result.exit.causes
    cause = next((cause for cause in causes if cause.code in _FAILURE_EXIT_CODES), None)
    if cause is not None:
        return Headline(_capitalize(cause.text), is_first_cause=cause is causes[0])
    evaluations = [
        evaluation
        for evaluation in (*result.slo, *result.gates)
        if evaluation.outcome == "FAIL" and evaluation.objective.level == "fail"
    ]
    return Headline(_capitalize(format_failure(evaluations[0])))


def _build_finding(result: Result, outcome: Outcome, local_headline: Headline | None) -> Headline:
    """Build the headline from what was measured, whether or not the run failed."""
    if local_headline is not None:
        return local_headline.add(_format_inconclusive_note(result, outcome))
    if result.max_rate is not None:
        has_no_rate = bool(result.exit.causes) and result.exit.causes[0].id in ("no_rate", "rate_undecided")
        is_undecided = has_undecided_search(result)
        headline = (
            _build_undecided_headline(result.max_rate)
            if is_undecided
            else _build_max_rate_headline(result.max_rate, outcome)
        )
        has_stages = _count_measured_stages(result) > 0
        is_failure = has_no_rate or (result.max_rate.per_s.value is None and not (is_undecided and has_stages))
        return msgspec.structs.replace(headline, is_first_cause=has_no_rate, is_failure=is_failure).add(
            _format_inconclusive_note(result, outcome)
        )
    if any(stage.concurrency for stage in find_highest_passed_stages(result.stages)):
        return _build_concurrency_headline(result).add(_format_inconclusive_note(result, outcome))
    failed_requests = count_failed_requests(result.stages)
    if not result.slo and failed_requests.share > DEFAULT_ERROR_LIMIT.limit and failed_requests.share < 1:
        is_first_cause = bool(result.exit.causes) and result.exit.causes[0].id == "requests_failed"
        headline = Headline(failed_requests.text, "", is_first_cause, is_failure=is_first_cause)
        return headline.add(_build_numbers_headline(result).sentence)
    if outcome == "FAIL" or not (result.slo or result.gates):
        return _build_numbers_headline(result)
    return _build_objectives_headline((*result.slo, *result.gates))


def _build_numbers_headline(result: Result) -> Headline:
    """Build a headline from the throughput and the latency of the headline stage. Instead of a
    percentile that needs more samples, it has the p50 or mean latency."""
    stage_count = _count_measured_stages(result)
    count_text = f"{formatting.format_count_noun(stage_count, 'stage')} measured"
    verdict_note = "" if result.slo or result.gates else "No SLO is set, so there is no verdict."
    curve = build_curve_labels(result)
    stage = find_headline_stage(result, curve)
    if stage is None:
        return Headline(count_text, verdict_note)
    latencies = {
        aggregate: build_stage_quantity(stage, curve.metric, aggregate)
        for aggregate in (curve.percentile, "p50", "mean")
    }
    rate = build_stage_quantity(stage, "completed_per_s")
    texts = [] if rate.value is None else [formatting.format_value_unit(rate)]
    texts += [
        f"{formatting.format_metric_label(curve.metric, aggregate)} {formatting.format_value_unit(latency)}"
        for aggregate, latency in latencies.items()
        if latency.value is not None
    ][:1]
    if not texts:
        return Headline(count_text, verdict_note)
    stage_text = f" in {stage.name}" if stage_count > 1 else ""
    return Headline(f"{', '.join(texts)}{stage_text}", f"{count_text}." if stage_count > 1 else "").add(verdict_note)


def _build_undecided_headline(max_rate: MaxRate) -> Headline:
    """Build the headline of a search that ended before any rate was decided."""
    slo_labels = [format_objective(text) for text in max_rate.slo]
    reason = max_rate.per_s.reason or "the search ended before its first probe"
    return Headline(f"No rate was decided{_format_slo(slo_labels)}", f"{_capitalize(reason)}.")


def _build_max_rate_headline(max_rate: MaxRate, outcome: Outcome) -> Headline:
    slo_labels = [format_objective(text) for text in max_rate.slo]
    estimate = max_rate.per_s
    if estimate.value is None:
        reason = (
            max_rate.limited_by
            if max_rate.failed_per_s is not None
            else estimate.reason or "the search ended before any rate was confirmed"
        )
        met_text = "was shown to meet" if outcome == "INCONCLUSIVE" else "met"
        return Headline(f"No tested rate {met_text} the SLO ({', '.join(slo_labels)})", f"{_capitalize(reason)}.")
    unit = "sessions/s" if max_rate.sessions else "req/s"
    rate_text = formatting.with_unit(formatting.format_number(estimate.value), unit)
    if max_rate.is_lower_bound:
        detail = (
            f"The max rate was limited by {max_rate.limited_by}." if max_rate.is_generator_limit else _UNTESTED_NOTE
        )
        return Headline(f"Max rate at least {rate_text}{_format_slo(slo_labels)}", detail)
    return Headline(f"Max rate {rate_text}{_format_slo(slo_labels)}", f"{_capitalize(max_rate.limited_by)}.")


def _build_concurrency_headline(result: Result) -> Headline:
    """Build the headline of a sweep over numbers of concurrent clients."""
    passed_stages, failed_stage = find_highest_passed_stages(result.stages), find_lowest_failed_stage(result.stages)
    passed_stage = next((stage for stage in passed_stages if stage.is_pooled), passed_stages[0])
    objectives = [evaluation.objective for evaluation in result.slo]
    rate_per_s = passed_stage.metrics["completed_per_s"]["value"].value or 0.0
    rate_text = formatting.with_unit(formatting.format_number(rate_per_s), "req/s")
    detail = (
        "No higher concurrency was tested."
        if failed_stage is None
        else f"At concurrency {failed_stage.concurrency:,}, {describe_failure(failed_stage, objectives)}."
    )
    slo_text = _format_slo([objective.label for objective in objectives])
    return Headline(f"Max throughput {rate_text} at concurrency {passed_stage.concurrency:,}{slo_text}", detail)


def _format_inconclusive_note(result: Result, outcome: Outcome) -> str:
    """Return a sentence that lists the inconclusive objectives; empty if the run is conclusive.

    Point estimates decide whether a load meets the SLO, while confidence intervals decide whether
    an objective passes. An objective can therefore be inconclusive although a max rate was found.
    """
    inconclusive_evaluations = [
        evaluation for evaluation in (*result.slo, *result.gates) if evaluation.outcome == "INCONCLUSIVE"
    ]
    has_max_rate = result.max_rate is None or result.max_rate.per_s.value is not None
    if outcome != "INCONCLUSIVE" or not inconclusive_evaluations or not has_max_rate:
        return ""
    return f"The result is inconclusive for {_format_labels(inconclusive_evaluations)}."


def _build_objectives_headline(evaluations: tuple[ObjectiveResult, ...]) -> Headline:
    inconclusive_evaluations = [evaluation for evaluation in evaluations if evaluation.outcome == "INCONCLUSIVE"]
    total_text = f"of {formatting.format_count_noun(len(evaluations), 'objective')}"
    if inconclusive_evaluations:
        return Headline(
            f"{len(inconclusive_evaluations)} {total_text} inconclusive",
            f"The result is inconclusive for {_format_labels(inconclusive_evaluations)}.",
        )
    if len(evaluations) > 1:
        return Headline(f"All {len(evaluations)} objectives met")
    return Headline(f"Objective met: {_format_labels(evaluations)}")


def _format_labels(evaluations: list[ObjectiveResult] | tuple[ObjectiveResult, ...]) -> str:
    return ", ".join(evaluation.objective.label for evaluation in evaluations)


def _capitalize(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
