"""Whether something got worse: environment first, then each metric that both have, by the rules of repeats.

What a reader of a comparison must know of how far it can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import msgspec

from app.analysis.comparisons.comparable import Comparable, comparables
from app.analysis.comparisons.environment_differences import differences_of, is_other_cpu
from app.analysis.comparisons.repeats import (
    ERROR,
    FEWEST,
    Repeats,
    detectable,
    few_interval,
    holm,
    median_of,
    more_repeats,
    noise_of,
    p_of_shift,
    ratio_of,
)
from app.analysis.digits import digits
from app.records.comparison import ChangeVerdict, Comparison, MetricChange
from app.records.estimate import Estimate
from app.records.metrics import format_metric
from app.records.result import Result

NOISY = 0.10
"""From this coefficient of variation between repeats on, a metric fails nothing."""
_MOST_TOLD = 3


def notes_of(comparison: Comparison, found: Sequence[Comparable]) -> tuple[str, ...]:
    return tuple(_notes(comparison, found))


def is_noisy(change: MetricChange) -> bool:
    return change.noise is not None and change.noise > NOISY


def in_words(change: MetricChange) -> str:
    """As in "latency_ms.p95 in steady"."""
    return f"{format_metric(change.metric, change.aggregate)} in {change.stage}"


def regression_in_words(change: MetricChange) -> str:
    """As in "latency_ms.p95 in steady got worse: 48.2 ms against 40.1 ms, 1.2 times (1.15 to 1.26)"."""
    before, now = (digits(one.value or 0.0) for one in (change.base, change.candidate))
    unit = "" if change.unit == "share" else f" {change.unit}"
    ratio = change.ratio
    times = "" if not ratio.value else f", {digits(ratio.value, 3)} times"
    between = "" if ratio.ci95 is None else f" ({digits(ratio.ci95[0], 3)} to {digits(ratio.ci95[1], 3)})"
    return f"{in_words(change)} got worse: {now}{unit} against {before}{unit}{times}{between}"


def _notes(comparison: Comparison, found: Sequence[Comparable]) -> Iterator[str]:
    if comparison.is_same_run:
        yield "Base and candidate are the same run, so there is no difference to find."
        return
    if comparison.is_forced:
        forbidding = ", ".join(one.name for one in comparison.differences if one.forbids)
        yield f"Forced: {forbidding} differ, so that a change may be theirs and not the candidate's."
    if is_other_cpu(comparison.differences):
        yield "The machines differ, or are not known, so that no change fails anything: compare on one machine."
    if found:
        yield from _repeats_note(comparison, found)
    noisy = [one for one in comparison.changes if one.is_headline and is_noisy(one)]
    for one in noisy[:_MOST_TOLD]:
        least = "" if one.detectable is None else f": only changes above {digits(100 * one.detectable, 2)} % show there"
        yield (
            f"{in_words(one)} varies by {digits(100 * (one.noise or 0.0), 2)} % from repeat to repeat{least}, and it "
            "fails nothing."
        )
    if len(noisy) > _MOST_TOLD:
        yield f"So do {len(noisy) - _MOST_TOLD} more."


def _repeats_note(comparison: Comparison, found: Sequence[Comparable]) -> Iterator[str]:
    runs = min(len(comparison.base), len(comparison.candidate))
    fewest = min(one.repeats.fewer for one in found if one.is_headline) if any(map(_is_headline, found)) else runs
    if runs == 1:
        what = "intervals are those of the runs themselves" if fewest == 1 else "repeats are those inside a run"
        yield f"One run of a kind: {what}, and what differs from run to run is not in them."
    if 1 < fewest < FEWEST:
        yield (
            f"With {fewest} repeats no test by ranks can tell at 1 %, so that the ratio's interval decides: "
            f"{FEWEST} of each are the fewest, and the two-stage rule begins with 7."
        )


def _is_headline(one: Comparable) -> bool:
    return one.is_headline


TOLERANCE = 0.05
_SUSPICION = 0.05


def compare_runs(
    base: Sequence[Result], candidate: Sequence[Result], *, tolerance: float = TOLERANCE, is_forced: bool = False
) -> Comparison:
    """Without changes where a difference forbids it and nobody insists, or where the two have no metric in common."""
    differences = differences_of(base, candidate)
    is_forbidden = any(one.forbids for one in differences)
    found = () if is_forbidden and not is_forced else comparables(base, candidate)
    changes = judge_changes(found, tolerance)
    noises = [one.noise for one in changes if one.is_headline and one.noise is not None]
    has_no_quiet = bool(noises) and all(is_noisy(one) for one in changes if one.is_headline)
    comparison = Comparison(
        base=tuple(run.run_id for run in base),
        candidate=tuple(run.run_id for run in candidate),
        tolerance=tolerance,
        changes=changes,
        differences=differences,
        is_forced=is_forbidden and is_forced,
        noise=max(noises, default=None),
        is_advisory=has_no_quiet or is_other_cpu(differences),
        is_same_run=_by_id(base) == _by_id(candidate),
    )
    if comparison.is_same_run:
        same = tuple(msgspec.structs.replace(one, verdict="same", more_repeats=None) for one in changes)
        comparison = msgspec.structs.replace(comparison, changes=same)
    return msgspec.structs.replace(comparison, notes=notes_of(comparison, found))


def _by_id(runs: Sequence[Result]) -> list[Result]:
    return sorted(runs, key=lambda run: run.run_id)


def judge_changes(found: Sequence[Comparable], tolerance: float) -> tuple[MetricChange, ...]:
    """Headlines are judged together, so that there being many of them makes no false alarm; all others likewise."""
    headlines = [one for one in found if one.is_headline]
    others = [one for one in found if not one.is_headline]
    return (*_judged_together(headlines, tolerance), *_judged_together(others, tolerance))


def regressions(comparison: Comparison) -> tuple[MetricChange, ...]:
    """Headlines that got worse, where that is to fail a run."""
    if comparison.is_advisory:
        return ()
    return tuple(one for one in comparison.changes if one.verdict == "worse" and may_fail(one))


def undecided(comparison: Comparison) -> tuple[MetricChange, ...]:
    """Headlines that may have got worse for all that is known."""
    return tuple(one for one in comparison.changes if one.verdict == "inconclusive" and may_fail(one))


def is_suspected(changes: Sequence[MetricChange], tolerance: float) -> bool:
    """The two-stage rule's first look: a headline is beyond the tolerance with p < 0.05, so that as many repeats again
    have to tell."""
    return any(
        one.is_headline
        and one.p_alone is not None
        and one.p_alone < _SUSPICION
        and one.ratio.value is not None
        and abs(_log(one.ratio.value)) > math.log1p(tolerance)
        for one in changes
    )


def may_fail(change: MetricChange) -> bool:
    return change.is_headline and not is_noisy(change)


def _judged_together(found: Sequence[Comparable], tolerance: float) -> list[MetricChange]:
    alone = [p_of_shift(one.repeats) if one.repeats.has_test else None for one in found]
    adjusted = holm([1.0 if p is None else p for p in alone])
    return [
        _change(one, tolerance, len(found), p_alone, None if p_alone is None else p_value)
        for one, p_alone, p_value in zip(found, alone, adjusted, strict=True)
    ]


def _change(
    one: Comparable, tolerance: float, judged: int, p_alone: float | None, p_value: float | None
) -> MetricChange:
    ratio = ratio_of(one.repeats)
    verdict = _verdict(one, ratio, tolerance, judged, p_value)
    return MetricChange(
        metric=one.metric,
        aggregate=one.aggregate,
        unit=one.unit,
        better=one.better,
        stage=one.stage,
        base=median_of(one.repeats.base),
        candidate=median_of(one.repeats.candidate),
        ratio=ratio,
        p_value=p_value,
        verdict=verdict,
        detectable=detectable(one.repeats, tolerance, judged),
        more_repeats=more_repeats(one.repeats, tolerance, judged) if verdict == "inconclusive" else None,
        is_headline=one.is_headline,
        noise=noise_of(one.repeats),
        p_alone=p_alone,
    )


def _verdict(one: Comparable, ratio: Estimate, tolerance: float, judged: int, p_value: float | None) -> ChangeVerdict:
    upwards: ChangeVerdict = "worse" if one.better == "lower" else "better"
    downwards: ChangeVerdict = "better" if one.better == "lower" else "worse"
    limit = math.log1p(tolerance)
    if not ratio.value:
        return _verdict_of_zeros(one.repeats, upwards, downwards, p_value)
    shift = math.log(ratio.value)
    if p_value is not None:
        if p_value < ERROR and abs(shift) > limit:
            return upwards if shift > 0 else downwards
    elif (bounds := few_interval(one.repeats, 1 - ERROR / judged)) is not None:
        if bounds[0] > limit:
            return upwards
        if bounds[1] < -limit:
            return downwards
    is_same = ratio.ci95 is not None and all(abs(_log(end)) <= limit for end in ratio.ci95)
    return "same" if is_same else "inconclusive"


def _verdict_of_zeros(
    repeats: Repeats, upwards: ChangeVerdict, downwards: ChangeVerdict, p_value: float | None
) -> ChangeVerdict:
    """One median is 0, as of errors there are none: the two must be apart by their own intervals."""
    base, candidate = median_of(repeats.base).value or 0.0, median_of(repeats.candidate).value or 0.0
    if base == candidate:
        return "same"
    if p_value is not None and p_value >= ERROR:
        return "inconclusive"
    low, high = (repeats.base, repeats.candidate) if candidate > base else (repeats.candidate, repeats.base)
    is_apart = _end(low, max) < (max(base, candidate) if p_value is not None else _end(high, min))
    return "inconclusive" if not is_apart else upwards if candidate > base else downwards


def _end(side: Sequence[Estimate], outermost: Callable[[list[float]], float]) -> float:
    return outermost([end for one in side for end in (one.ci95 or (one.value or 0.0,))])


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf
