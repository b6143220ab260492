"""The first lines of a report: how it ended, in one word and one sentence.

That a report is not of the run's own verdict, in words.

How a local run ended, in sentences: which variant is best, and what became of the others.
"""

from __future__ import annotations

from app.analysis.answering import heaviest_held, lightest_failed
from app.analysis.local.variants import NO_BEST_TEXTS, missed_of
from app.analysis.max_rate import failure_of
from app.errors import ExitCode
from app.records.result import Estimate, Judged, MaxRate, Objective, Rescored, Result, Stage
from app.reporting.local import answering_by_variant, shown_variant, stages_by_variant
from app.reporting.local_front import arrivals_of, fastest_stage, inferences_words, names_of
from app.reporting.quantities import quantity, stage_quantity, unit_of
from reports import formatting, model
from reports.model import Outcome


def rescored_words(stamp: Rescored) -> str:
    """As in "Re-scored: SLO latency_ms.p95 < 30; window 10–25 s of the run"."""
    parts = []
    if stamp.slo is not None:
        parts.append(f"SLO {' and '.join(stamp.slo)}" if stamp.slo else "no SLO")
    if stamp.window_s is not None:
        from_s, to_s = (formatting.plain(at) for at in stamp.window_s)
        parts.append(f"window {from_s}–{to_s}{formatting.THIN}s of the run")
    return f"Re-scored: {'; '.join(parts)}"


_FEW = 3


def local_sentence(result: Result) -> str | None:
    """None where no local model was the target, or nothing of it was measured."""
    local = result.local
    if local is None or not any(stages_by_variant(result).values()):
        return None
    return f"{_best(result)} {_counts(result)}"


def _best(result: Result) -> str:
    local, slo = result.local, " and ".join(one.objective.text for one in result.slo if one.objective.level == "fail")
    assert local is not None
    if local.best is None:
        why = NO_BEST_TEXTS[local.best_reason] if local.best_reason else "no variant was measured to its end"
        return f"{why[:1].upper()}{why[1:]}{_nearest(result)}."
    stages = answering_by_variant(result)[local.best]
    stage = fastest_stage(stages)
    name = names_of([one.variant for one in local.variants])[local.best]
    rate = "n/a" if stage is None else formatting.value_unit(stage_quantity(stage, "throughput_per_s"))
    scenario = "" if stage is None else f" ({stage.tags['scenario']})"
    inside = f" inside {slo}" if slo else ""
    facts = next(one for one in local.variants if one.variant == local.best)
    arrivals, most = arrivals_of(facts, stages), "Most throughput"
    if arrivals is not None and arrivals.value is not None:
        rows, most = inferences_words(facts), "Most arrivals"
        rate = f"{formatting.value_unit(arrivals)} as they arrive"
        scenario = f" ({rows})" if rows else ""
    if len(local.variants) == 1:
        return f"{name} carries {rate}{scenario}{inside}."
    is_alone = len([one for one in stages_by_variant(result).values() if one]) == 1
    which = "The one that was measured" if is_alone else most
    return f"{which}{inside}: {name}, {rate}{scenario}.{_as_fast(result)}"


def _as_fast(result: Result) -> str:
    assert result.local is not None
    names = names_of([one.variant for one in result.local.variants])
    others = [names[one] for one in result.local.as_fast]
    if not others:
        return ""
    told = "; ".join(others[:_FEW]) + (f"; and {len(others) - _FEW} more" if len(others) > _FEW else "")
    return f" By their intervals as fast: {told}."


def _nearest(result: Result) -> str:
    """What the variant that came nearest missed."""
    shown, local = shown_variant(result), result.local
    if shown is None or local is None:
        return ""
    stages = stages_by_variant(result)
    missed = missed_of([one.objective for one in result.slo], answering_by_variant(result)[shown])
    told = ", ".join(f"{objective.text} {_seen(objective, estimate)}" for objective, estimate in missed)
    name = names_of([one.variant for one in local.variants])[shown]
    nearest = " came nearest, and" if sum(map(bool, stages.values())) > 1 else ""
    return f"; {name}{nearest} missed {told}" if told else ""


def _seen(objective: Objective, estimate: Estimate) -> str:
    if estimate.value is None:
        return f"(n/a: {estimate.reason or 'not measured'})"
    return f"with {formatting.value_unit(quantity(estimate, unit_of(objective.metric)))}"


def _counts(result: Result) -> str:
    assert result.local is not None
    facts = result.local.variants
    left_out = sum(one.is_left_out for one in facts)
    early = sum(one.failure is not None and not one.is_left_out for one in facts)
    whole = len(facts) - left_out - early
    parts = [f"{whole} {'variant' if whole == 1 else 'variants'} measured"]
    parts += [f"{early} ended early"] if early else []
    parts += [f"{left_out} left out"] if left_out else []
    aim = "" if result.slo or result.gates else "; no objective was set"
    return f"{', '.join(parts)}{aim}."


_STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.LIMIT)


def verdict_of(result: Result) -> model.ReportVerdict:
    outcome = _outcome(result)
    reasons = result.verdict.unchecked if outcome == "INVALID" and result.verdict.reasons else result.exit.texts
    sentence = _sentence(result, outcome)
    stamp = None if result.rescored is None else f"{rescored_words(result.rescored)}; not the run's own verdict."
    return model.ReportVerdict(
        outcome=outcome,
        trust=result.verdict.status,
        sentence=sentence if stamp is None else f"{stamp} {sentence}",
        finding=sentence,
        stamp=stamp,
        reasons=tuple(reason for reason in reasons if _capitalised(reason) != sentence),
        exit_code=result.exit.code,
    )


def _outcome(result: Result) -> Outcome:
    judged = [one for one in (*result.slo, *result.gates) if one.objective.level == "fail"]
    judgements = {one.judgement for one in judged}
    code = result.exit.code
    if result.verdict.status == "INVALID":
        return "INVALID"
    if code in (ExitCode.GATE_FAILED, ExitCode.REGRESSION) or "FAIL" in judgements:
        return "FAIL"
    if code in (*_STOPPED, ExitCode.INCONCLUSIVE) or "INCONCLUSIVE" in judgements:
        return "INCONCLUSIVE"
    return "PASS" if judged else "MEASURED"


def _sentence(result: Result, outcome: Outcome) -> str:
    measured = sum(stage.kind != "warmup" for stage in result.stages)
    local = local_sentence(result)
    if outcome == "INVALID":
        doubt = "The numbers below are not to be relied on." if measured else "Nothing was measured."
        has_best = result.local is not None and result.local.best is not None
        return f"What is marked INVALID is not to be relied on. {local}" if has_best else doubt
    if result.exit.code in _STOPPED:
        return (
            "The run was stopped before it was done; what was measured until then is below."
            if measured
            else "The run was stopped before anything was measured."
        )
    if local is not None:
        return f"{local}{_not_settled(result, outcome)}"
    if result.max_rate is not None:
        return f"{_max_rate_sentence(result.max_rate, outcome)}{_not_settled(result, outcome)}"
    if outcome == "FAIL" and result.exit.causes:
        return _capitalised(result.exit.causes[0].text)
    if any(stage.concurrency for stage in heaviest_held(result.stages)):
        return f"{_clients_sentence(result)}{_not_settled(result, outcome)}"
    return _judged_sentence((*result.slo, *result.gates), measured)


def _max_rate_sentence(found: MaxRate, outcome: Outcome) -> str:
    slo = " and ".join(found.slo)
    estimate = found.per_s
    if estimate.value is None:
        why = found.limited_by if found.failed_per_s is not None else estimate.reason or "the search found none"
        held = "could be shown to hold" if outcome == "INCONCLUSIVE" else "held"
        return f"No rate that was tried {held} {slo}: {why}."
    rate = formatting.with_unit(formatting.number(estimate.value), "sessions/s" if found.sessions else "/s")
    if found.at_least and found.is_generators:
        return f"Carried {rate} inside {slo}. What ended there is {found.limited_by}."
    if found.at_least:
        return f"Carried {rate} inside {slo}. No higher rate was tried, so it may carry more."
    return f"Carries {rate} inside {slo}; what limits it: {found.limited_by}."


def _clients_sentence(result: Result) -> str:
    """Of a sweep over clients."""
    held, failed = heaviest_held(result.stages)[0], lightest_failed(result.stages)
    slo = [one.objective for one in result.slo]
    texts = " and ".join(one.text for one in slo)
    answered = held.metrics["completed_per_s"]["value"].value or 0.0
    rate = formatting.with_unit(formatting.number(answered), "/s")
    beyond = "no more were tried" if failed is None else f"with {_clients(failed)} {failure_of(failed, slo)}"
    return f"With {_clients(held)}, who got {rate}, {texts} held; {beyond}."


def _clients(stage: Stage) -> str:
    return f"{stage.concurrency:,} client{'' if stage.concurrency == 1 else 's'}"


def _not_settled(result: Result, outcome: Outcome) -> str:
    """Point estimates decide whether a load held, intervals whether an objective passed."""
    open_ones = [one for one in (*result.slo, *result.gates) if one.judgement == "INCONCLUSIVE"]
    is_found = result.max_rate is None or result.max_rate.per_s.value is not None
    if outcome != "INCONCLUSIVE" or not open_ones or not is_found:
        return ""
    return f" Not settled by its interval: {_texts(open_ones)}."


def _judged_sentence(judged: tuple[Judged, ...], stages: int) -> str:
    if not judged:
        return f"Measured in {stages} {'stage' if stages == 1 else 'stages'}; no objective was set."
    missed = [one for one in judged if one.judgement == "FAIL"]
    open_ones = [one for one in judged if one.judgement == "INCONCLUSIVE"]
    if missed:
        return f"{len(missed)} of {len(judged)} objectives missed: {_texts(missed)}."
    if open_ones:
        return f"{len(open_ones)} of {len(judged)} objectives could not be settled: {_texts(open_ones)}."
    return f"All {len(judged)} objectives are met." if len(judged) > 1 else f"The objective is met: {_texts(judged)}."


def _texts(judged: list[Judged] | tuple[Judged, ...]) -> str:
    return ", ".join(one.objective.text for one in judged)


def _capitalised(cause: str) -> str:
    return f"{cause[:1].upper()}{cause[1:]}."
