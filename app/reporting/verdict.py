"""Headline of a report: how the run ended, in one word and one sentence.

Includes the note on a report that was evaluated again, and the sentences of a local run: its best variant, and the
outcome of the others.
"""

from __future__ import annotations

from app.analysis.headline import find_heaviest_passed, find_lightest_failed
from app.analysis.local.variants import NO_BEST_TEXTS, find_missed
from app.analysis.max_rate import describe_failure
from app.errors import ExitCode
from app.records.result import Estimate, MaxRate, Objective, ObjectiveResult, Rescoring, Result, Stage
from app.reporting.local import find_shown_variant, group_headline_stages_by_variant, group_stages_by_variant
from app.reporting.local_front import find_fastest_stage, format_inferences, get_max_arrivals, name_variants
from app.reporting.quantities import build_quantity, build_stage_quantity, find_unit
from reports import formatting, model
from reports.model import Outcome


def format_rescored(stamp: Rescoring) -> str:
    """Return text such as "Re-scored: SLO latency_ms.p95 < 30; window 10–25 s of the run"."""
    parts = []
    if stamp.slo is not None:
        parts.append(f"SLO {' and '.join(stamp.slo)}" if stamp.slo else "no SLO")
    if stamp.window_s is not None:
        from_s, to_s = (formatting.format_plain(second) for second in stamp.window_s)
        parts.append(f"window {from_s}–{to_s}{formatting.THIN}s of the run")
    return f"Re-scored: {'; '.join(parts)}"


_MAX_NAMES = 3


def describe_local_result(result: Result) -> str | None:
    """Return the sentence of a local run; `None` without a local model, or where nothing was measured."""
    local = result.local
    if local is None or not any(group_stages_by_variant(result).values()):
        return None
    return f"{_best(result)} {_counts(result)}"


def _best(result: Result) -> str:
    local, slo = (
        result.local,
        " and ".join(evaluation.objective.text for evaluation in result.slo if evaluation.objective.level == "fail"),
    )
    assert local is not None
    if local.best is None:
        why = NO_BEST_TEXTS[local.best_reason] if local.best_reason else "no variant was measured to its end"
        return f"{why[:1].upper()}{why[1:]}{_nearest(result)}."
    stages = group_headline_stages_by_variant(result)[local.best]
    stage = find_fastest_stage(stages)
    name = name_variants([row.variant for row in local.variants])[local.best]
    rate = "n/a" if stage is None else formatting.format_value_unit(build_stage_quantity(stage, "throughput_per_s"))
    scenario = "" if stage is None else f" ({stage.tags['scenario']})"
    inside = f" inside {slo}" if slo else ""
    best_variant = next(row for row in local.variants if row.variant == local.best)
    arrivals, max_label = get_max_arrivals(best_variant, stages), "Most throughput"
    if arrivals is not None and arrivals.value is not None:
        rows, max_label = format_inferences(best_variant), "Most arrivals"
        rate = f"{formatting.format_value_unit(arrivals)} as they arrive"
        scenario = f" ({rows})" if rows else ""
    if len(local.variants) == 1:
        return f"{name} carries {rate}{scenario}{inside}."
    is_alone = (
        len([stages_of_variant for stages_of_variant in group_stages_by_variant(result).values() if stages_of_variant])
        == 1
    )
    prefix = "The one that was measured" if is_alone else max_label
    return f"{prefix}{inside}: {name}, {rate}{scenario}.{_equally_fast(result)}"


def _equally_fast(result: Result) -> str:
    assert result.local is not None
    names = name_variants([variant.variant for variant in result.local.variants])
    other_names = [names[variant] for variant in result.local.as_fast]
    if not other_names:
        return ""
    names_text = "; ".join(other_names[:_MAX_NAMES]) + (
        f"; and {len(other_names) - _MAX_NAMES} more" if len(other_names) > _MAX_NAMES else ""
    )
    return f" By their intervals as fast: {names_text}."


def _nearest(result: Result) -> str:
    """Return what the nearest variant missed."""
    variant, local = find_shown_variant(result), result.local
    if variant is None or local is None:
        return ""
    stages = group_stages_by_variant(result)
    missed = find_missed(
        [evaluation.objective for evaluation in result.slo], group_headline_stages_by_variant(result)[variant]
    )
    missed_text = ", ".join(f"{objective.text} {_observed_text(objective, estimate)}" for objective, estimate in missed)
    name = name_variants([row.variant for row in local.variants])[variant]
    nearest = " came nearest, and" if sum(map(bool, stages.values())) > 1 else ""
    return f"; {name}{nearest} missed {missed_text}" if missed_text else ""


def _observed_text(objective: Objective, estimate: Estimate) -> str:
    if estimate.value is None:
        return f"(n/a: {estimate.reason or 'not measured'})"
    return f"with {formatting.format_value_unit(build_quantity(estimate, find_unit(objective.metric)))}"


def _counts(result: Result) -> str:
    assert result.local is not None
    variants = result.local.variants
    left_out = sum(variant.is_left_out for variant in variants)
    early = sum(variant.failure is not None and not variant.is_left_out for variant in variants)
    completed = len(variants) - left_out - early
    parts = [f"{completed} {'variant' if completed == 1 else 'variants'} measured"]
    parts += [f"{early} ended early"] if early else []
    parts += [f"{left_out} left out"] if left_out else []
    objective_note = "" if result.slo or result.gates else "; no objective was set"
    return f"{', '.join(parts)}{objective_note}."


_STOPPED_CODES = (ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.LIMIT)


def build_verdict(result: Result) -> model.ReportVerdict:
    outcome = _outcome(result)
    reasons = result.verdict.unchecked if outcome == "INVALID" and result.verdict.reasons else result.exit.texts
    sentence = _sentence(result, outcome)
    stamp = None if result.rescored is None else f"{format_rescored(result.rescored)}; not the run's own verdict."
    return model.ReportVerdict(
        outcome=outcome,
        trust=result.verdict.status,
        sentence=sentence if stamp is None else f"{stamp} {sentence}",
        finding=sentence,
        stamp=stamp,
        reasons=tuple(reason for reason in reasons if _capitalized(reason) != sentence),
        exit_code=result.exit.code,
    )


def _outcome(result: Result) -> Outcome:
    evaluated = [
        judged_objective
        for judged_objective in (*result.slo, *result.gates)
        if judged_objective.objective.level == "fail"
    ]
    judgements = {judged_objective.judgement for judged_objective in evaluated}
    code = result.exit.code
    if result.verdict.status == "INVALID":
        return "INVALID"
    if code in (ExitCode.GATE_FAILED, ExitCode.REGRESSION) or "FAIL" in judgements:
        return "FAIL"
    if code in (*_STOPPED_CODES, ExitCode.INCONCLUSIVE) or "INCONCLUSIVE" in judgements:
        return "INCONCLUSIVE"
    return "PASS" if evaluated else "MEASURED"


def _sentence(result: Result, outcome: Outcome) -> str:
    measured = sum(stage.kind != "warmup" for stage in result.stages)
    local = describe_local_result(result)
    if outcome == "INVALID":
        warning = "The numbers below are not to be relied on." if measured else "Nothing was measured."
        has_best = result.local is not None and result.local.best is not None
        return f"What is marked INVALID is not to be relied on. {local}" if has_best else warning
    if result.exit.code in _STOPPED_CODES:
        return (
            "The run was stopped before it was done; what was measured until then is below."
            if measured
            else "The run was stopped before anything was measured."
        )
    if local is not None:
        return f"{local}{_inconclusive_note(result, outcome)}"
    if result.max_rate is not None:
        return f"{_max_rate_sentence(result.max_rate, outcome)}{_inconclusive_note(result, outcome)}"
    if outcome == "FAIL" and result.exit.causes:
        return _capitalized(result.exit.causes[0].text)
    if any(stage.concurrency for stage in find_heaviest_passed(result.stages)):
        return f"{_clients_sentence(result)}{_inconclusive_note(result, outcome)}"
    return _objectives_sentence((*result.slo, *result.gates), measured)


def _max_rate_sentence(max_rate: MaxRate, outcome: Outcome) -> str:
    slo = " and ".join(max_rate.slo)
    estimate = max_rate.per_s
    if estimate.value is None:
        reason = (
            max_rate.limited_by if max_rate.failed_per_s is not None else estimate.reason or "the search found none"
        )
        met_text = "could be shown to hold" if outcome == "INCONCLUSIVE" else "held"
        return f"No rate that was tried {met_text} {slo}: {reason}."
    rate = formatting.with_unit(formatting.format_number(estimate.value), "sessions/s" if max_rate.sessions else "/s")
    if max_rate.at_least and max_rate.is_generators:
        return f"Carried {rate} inside {slo}. What ended there is {max_rate.limited_by}."
    if max_rate.at_least:
        return f"Carried {rate} inside {slo}. No higher rate was tried, so it may carry more."
    return f"Carries {rate} inside {slo}; what limits it: {max_rate.limited_by}."


def _clients_sentence(result: Result) -> str:
    """Return the sentence of a sweep over clients."""
    met_stage, failed_stage = find_heaviest_passed(result.stages)[0], find_lightest_failed(result.stages)
    slo = [objective_of_slo.objective for objective_of_slo in result.slo]
    texts = " and ".join(objective_of_slo.text for objective_of_slo in slo)
    rate_per_s = met_stage.metrics["completed_per_s"]["value"].value or 0.0
    rate = formatting.with_unit(formatting.format_number(rate_per_s), "/s")
    next_text = (
        "no more were tried"
        if failed_stage is None
        else f"with {_clients(failed_stage)} {describe_failure(failed_stage, slo)}"
    )
    return f"With {_clients(met_stage)}, who got {rate}, {texts} held; {next_text}."


def _clients(stage: Stage) -> str:
    return f"{stage.concurrency:,} client{'' if stage.concurrency == 1 else 's'}"


def _inconclusive_note(result: Result, outcome: Outcome) -> str:
    """Return the objectives that their intervals leave inconclusive.

    Point estimates decide whether a load met the SLO, intervals whether an objective passed.
    """
    open_ones = [objective for objective in (*result.slo, *result.gates) if objective.judgement == "INCONCLUSIVE"]
    is_found = result.max_rate is None or result.max_rate.per_s.value is not None
    if outcome != "INCONCLUSIVE" or not open_ones or not is_found:
        return ""
    return f" Not settled by its interval: {_texts(open_ones)}."


def _objectives_sentence(evaluations: tuple[ObjectiveResult, ...], stages: int) -> str:
    if not evaluations:
        return f"Measured in {stages} {'stage' if stages == 1 else 'stages'}; no objective was set."
    missed = [objective for objective in evaluations if objective.judgement == "FAIL"]
    open_ones = [objective for objective in evaluations if objective.judgement == "INCONCLUSIVE"]
    if missed:
        return f"{len(missed)} of {len(evaluations)} objectives missed: {_texts(missed)}."
    if open_ones:
        return f"{len(open_ones)} of {len(evaluations)} objectives could not be settled: {_texts(open_ones)}."
    return (
        f"All {len(evaluations)} objectives are met."
        if len(evaluations) > 1
        else f"The objective is met: {_texts(evaluations)}."
    )


def _texts(evaluations: list[ObjectiveResult] | tuple[ObjectiveResult, ...]) -> str:
    return ", ".join(objective.objective.text for objective in evaluations)


def _capitalized(cause: str) -> str:
    return f"{cause[:1].upper()}{cause[1:]}."
