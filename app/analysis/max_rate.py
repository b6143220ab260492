"""The answer of a search: the highest rate that held, its interval, and what stopped the next higher one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.analysis.curve import on_the_curve
from app.analysis.digits import digits
from app.analysis.objectives import binding, find_estimate, is_met, judge, unit_of
from app.analysis.search import SearchOutcome
from app.analysis.spans import SPANS
from app.records.metrics import METRICS, PERCENTILES
from app.records.result import Check, Estimate, MaxRate, Objective, Stage, StageKind

_EVIDENCE = (
    ("endpoint_cpu_cores", "the endpoint kept {:.2f} cores busy"),
    ("host_cpu_percent", "the host's CPUs were {:.0f} % used"),
    ("gpu_utilisation_percent", "the GPU ran a kernel {:.0f} % of the time"),
)

_LATENESS = ("late_sends", "send_lag_p99")
_MOST_DIGITS = 10


def max_rate(stages: Sequence[Stage], slo: Sequence[Objective], outcome: SearchOutcome) -> MaxRate:
    """`stages` are the run's, in any order.

    The interval inverts the test: from the highest rate whose interval lay wholly inside every SLO to the lowest whose
    lay wholly outside one. A rate tried several times must have done so each time.
    """
    deciding = binding(slo)
    tried = on_the_curve(stages)
    found_per_s = outcome.max_rate_per_s or 0.0
    judged = [stage for stage in tried if is_of_endpoint(stage)]
    failed = [stage for stage in judged if stage.held is False and _scheduled(stage) > found_per_s]
    limited_by = _by_generator(tried, outcome) if outcome.is_generators else _limited_by(failed, deciding)
    return MaxRate(
        per_s=_estimate(judged, deciding, outcome),
        slo=tuple(objective.text for objective in deciding),
        limited_by=limited_by,
        at_least=outcome.max_rate_per_s is not None and (outcome.is_generators or not failed),
        sessions=any(stage.sessions for stage in tried),
        is_generators=outcome.is_generators,
        failed_per_s=None if outcome.is_generators else min(map(_scheduled, failed), default=None),
    )


def is_of_endpoint(stage: Stage) -> bool:
    """Whether a stage says anything of the endpoint: one that is INVALID shows what the generator did."""
    return stage.verdict.status != "INVALID"


def highest_held(stages: Sequence[Stage], kinds: Sequence[StageKind] = ("steady",)) -> SearchOutcome:
    """What stages of these kinds, at rates that another chose, tell: as a search that ended with the highest that held
    each time."""
    by_rate: dict[float, list[Stage]] = {}
    invalid = []
    for stage in stages:
        if stage.kind not in kinds or stage.scheduled_per_s is None:
            continue
        if not is_of_endpoint(stage):
            invalid.append(stage.scheduled_per_s)
        elif stage.held is not None:
            by_rate.setdefault(stage.scheduled_per_s, []).append(stage)
    failed = min((rate for rate, those in by_rate.items() if not all(one.held for one in those)), default=None)
    held = max((rate for rate in by_rate if failed is None or rate < failed), default=None)
    beyond = [rate for rate in invalid if rate > max(by_rate, default=0.0)]  # below a rate that was sent it is a mishap
    reason = None if held is not None else "no rate that was tried held the SLO"
    if held is None and failed is None and beyond:
        reason = "the generator could not send any of the rates"
    tried = len(invalid) + sum(map(len, by_rate.values()))
    return SearchOutcome(held, reason, (held, failed), tried, min(beyond, default=None))


def reach_check(outcome: SearchOutcome) -> tuple[Check, ...]:
    """None where a rate was found, or where it is the endpoint that none held on."""
    if outcome.max_rate_per_s is not None or not outcome.is_generators:
        return ()
    vouched, beyond = outcome.bracket[0], outcome.beyond_per_s
    hint = "The endpoint was not loaded enough to know what it carries: add workers (load.workers, `sizewise worker`), "
    hint += "or use a faster or quieter machine for them."
    return (Check("generator_reach", vouched, beyond, "1/s", "INVALID", hint),)


def _estimate(tried: Sequence[Stage], deciding: Sequence[Objective], outcome: SearchOutcome) -> Estimate:
    found = outcome.max_rate_per_s
    if found is None:
        return Estimate(None, n=0, reason=outcome.reason)
    by_rate: dict[float, list[Stage]] = {}
    for stage in tried:
        by_rate.setdefault(_scheduled(stage), []).append(stage)
    inside = [rate for rate, those in by_rate.items() if rate <= found and _all_inside(those, deciding)]
    outside = [rate for rate, those in by_rate.items() if rate >= found and _all_outside(those, deciding)]
    there = by_rate.get(found, [])
    n = sum(stage.completed for stage in [one for one in there if one.kind in ("hold", "steady")] or there)
    if not inside:
        return Estimate(found, n=n, reason="no interval: at no rate was the SLO met beyond doubt")
    if not outside:
        return Estimate(found, n=n, reason="no interval: at no rate was the SLO missed beyond doubt")
    return Estimate(found, (max(inside), min(outside)), n)


def _all_inside(stages: Iterable[Stage], deciding: Sequence[Objective]) -> bool:
    return all(_is_inside(stage, one) for stage in stages for one in deciding)


def _all_outside(stages: Iterable[Stage], deciding: Sequence[Objective]) -> bool:
    return all(any(_is_outside(stage, one) for one in deciding) for stage in stages)


def _is_inside(stage: Stage, objective: Objective) -> bool:
    """A share counts by its point estimate: to show an error rate below 0.1 % takes 3,800 answers at every rate, and
    errors are not what moves with the rate. A percentile whose interval is withheld counts by its goodput's."""
    estimate = find_estimate(stage, objective)
    if METRICS[objective.metric].unit == "share":
        return is_met(objective, estimate) is True
    if estimate.ci95 is not None:
        return judge(objective, estimate).judgement == "PASS"
    good, q = _goodput(stage, objective)
    return is_met(objective, estimate) is True and q is not None and good is not None and _lower(good) > q


def _is_outside(stage: Stage, objective: Objective) -> bool:
    """A p95 over its limit is a share below 95 % of answers inside it: that share has an interval even where a growing
    backlog pushes the percentile's past the largest value."""
    estimate = find_estimate(stage, objective)
    if estimate.ci95 is not None:
        return judge(objective, estimate).judgement == "FAIL"
    good, q = _goodput(stage, objective)
    return is_met(objective, estimate) is False and q is not None and good is not None and _upper(good) < q


def _goodput(stage: Stage, objective: Objective) -> tuple[Estimate | None, float | None]:
    """The share of answers inside the limits, and the share the objective asks for; None where it is not on a time of
    whole requests."""
    q = PERCENTILES.get(objective.aggregate or "") if objective.metric in SPANS else None
    return stage.metrics.get("goodput_share", {}).get("value"), q


def _lower(estimate: Estimate) -> float:
    return 0.0 if estimate.ci95 is None else estimate.ci95[0]


def _upper(estimate: Estimate) -> float:
    return 1.0 if estimate.ci95 is None else estimate.ci95[1]


def _by_generator(tried: Sequence[Stage], outcome: SearchOutcome) -> str:
    """With the rate it can vouch for, and what to do."""
    beyond = outcome.beyond_per_s or 0.0
    stages = [stage for stage in tried if not is_of_endpoint(stage) and _scheduled(stage) == beyond]
    unit = " sessions/s" if any(stage.sessions for stage in stages) else "/s"
    why = f" ({stages[0].verdict.reasons[0]})" if stages and stages[0].verdict.reasons else ""
    sentence = f"the generator, not the endpoint, which it could not load with {digits(beyond)}{unit}{why}"
    vouched = outcome.bracket[0]
    if vouched is not None:
        sentence += f"; it can vouch for {digits(vouched)}{unit}, and the endpoint may carry more"
    return f"{sentence}: add workers (load.workers, `sizewise worker`), or use a faster or quieter machine for them"


def _limited_by(failed: Sequence[Stage], deciding: Sequence[Objective]) -> str:
    if not failed:
        return "nothing failed: no higher rate was tried"
    stage = min(failed, key=_scheduled)
    unit = " sessions/s" if stage.sessions else "/s"
    sentence = f"at {digits(_scheduled(stage))}{unit} {failure_of(stage, deciding)}"
    if any(find_estimate(stage, one).value is None for one in deciding):
        return sentence  # too few answers to judge: what was busy then limits nothing that is known
    busy = _evidence(stage)
    sentence += f"; there {busy}" if busy else ""
    if any(check.id in _LATENESS and check.verdict != "VALID" for check in stage.checks):
        sentence += "; the generator was late itself there, so part of this latency is its own"
    return sentence


def failure_of(stage: Stage, deciding: Sequence[Objective]) -> str:
    """The first objective that a stage did not meet, as in "latency_ms.p95 was 98 ms against latency_ms.p95 < 80"."""
    for objective in deciding:
        estimate = find_estimate(stage, objective)
        if is_met(objective, estimate):
            continue
        name = objective.metric if objective.aggregate is None else f"{objective.metric}.{objective.aggregate}"
        if estimate.value is None:
            return f"{name} could not be had ({estimate.reason}), and {objective.text} needs it"
        return f"{name} was {shown_against(objective, estimate.value)} against {objective.text}"
    return "the backlog kept growing"


def shown_against(objective: Objective, value: float) -> str:
    """A number in a sentence beside the objective it missed, to three digits: "48.2 ms", "2,970 ms", "3.6 %", "71.5/s".

    More digits where three would make it the limit itself.
    """
    unit = unit_of(objective)
    scale = 100 if unit == "share" else 1
    limit = _rounded(scale * objective.limit, _MOST_DIGITS)
    shown = next(
        (near for digits in range(3, _MOST_DIGITS) if (near := _rounded(scale * value, digits)) != limit), scale * value
    )
    return f"{shown:,.10g}{'/s' if unit == '1/s' else ' %' if unit == 'share' else f' {unit}'}"


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _evidence(stage: Stage) -> str:
    means = ((text, stage.metrics.get(name, {}).get("mean")) for name, text in _EVIDENCE)
    seen = [text.format(mean.value) for text, mean in means if mean is not None and mean.value is not None]
    return seen[0] if len(seen) == 1 else ", ".join(seen[:-1]) + " and " + seen[-1] if seen else ""


def _scheduled(stage: Stage) -> float:
    return stage.scheduled_per_s or 0.0
