"""Compare two sets of runs: first their environments, then each common metric, with statistics
over the repeats.

A comparison includes notes on what limits its validity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import msgspec

from app.analysis.comparisons.environment_differences import find_differences, has_cpu_difference
from app.analysis.comparisons.metric_pairs import MetricPair, pair_metrics
from app.analysis.comparisons.repeats import (
    MIN_REPEATS,
    SIGNIFICANCE_LEVEL,
    Repeats,
    adjust_p_values,
    compute_detectable_change,
    compute_median,
    compute_noise,
    compute_p_value,
    compute_ratio,
    compute_small_sample_interval,
    estimate_more_repeats,
)
from app.analysis.number_format import format_number
from app.records.comparison import ChangeVerdict, Comparison, MetricChange
from app.records.estimate import Estimate
from app.records.metrics import display_unit, metric_label
from app.records.result import Result

MAX_NOISE = 0.10
"""Maximum coefficient of variation between repeats at which the regression of a metric can still
fail a run."""
_MAX_NOISE_NOTES = 3
NO_HEADLINE_METRIC = "no headline metric has a value in both runs"


def build_notes(comparison: Comparison, pairs: Sequence[MetricPair]) -> tuple[str, ...]:
    return tuple(_build_notes(comparison, pairs))


def is_noisy(change: MetricChange) -> bool:
    return change.noise is not None and change.noise > MAX_NOISE


def format_change(change: MetricChange) -> str:
    """Return the display name of a metric change, such as "p95 latency in steady"."""
    return f"{metric_label(change.metric, change.aggregate)} in {change.stage}"


def format_regression(change: MetricChange) -> str:
    """Describe a regression, such as "p95 latency in steady regressed: 48.2 ms vs. 40.1 ms, ratio
    1.2 (95 % CI 1.15 to 1.26)"."""
    baseline_text, candidate_text = (
        format_number(estimate.value or 0.0) for estimate in (change.baseline, change.candidate)
    )
    unit = "" if change.unit == "share" else f" {display_unit(change.unit)}"
    ratio = change.ratio
    ratio_text = "" if not ratio.value else f", ratio {format_number(ratio.value, 3)}"
    interval_text = (
        ""
        if ratio.ci95 is None
        else (f" (95 % CI {format_number(ratio.ci95[0], 3)} to {format_number(ratio.ci95[1], 3)})")
    )
    values_text = f"{candidate_text}{unit} vs. {baseline_text}{unit}"
    return f"{format_change(change)} regressed: {values_text}{ratio_text}{interval_text}"


def _build_notes(comparison: Comparison, pairs: Sequence[MetricPair]) -> Iterator[str]:
    if comparison.is_same_run:
        yield "Baseline and candidate are the same run, so there are no differences."
        return
    if comparison.is_forced:
        difference_names = ", ".join(difference.name for difference in comparison.differences if difference.forbids)
        yield (
            f"The comparison was forced despite differences in {difference_names}. A change may be caused by them and "
            "not by the candidate."
        )
    if has_cpu_difference(comparison.differences):
        yield "The machines differ or are unknown, so no change fails a gate. Run both sides on the same machine."
    if pairs:
        yield from _build_repeat_notes(comparison, pairs)
    drifts = {(pair.metric, pair.aggregate, pair.stage): pair.drift for pair in pairs if pair.drift is not None}
    if drifts:
        yield (
            "The time of the first test of a variant changed by up to "
            f"{format_number(100 * max(drifts.values()), 2)} % during a run (check drift), so changes of its tests do "
            "not fail the comparison. Run both sides again."
        )
    noisy_changes = [
        change
        for change in comparison.changes
        if change.is_headline and is_noisy(change) and (change.metric, change.aggregate, change.stage) not in drifts
    ]
    for change in noisy_changes[:_MAX_NOISE_NOTES]:
        detectable_text = (
            ""
            if change.detectable is None
            else f"; only changes above {format_number(100 * change.detectable, 2)} % are detectable"
        )
        noise_text = format_number(100 * (change.noise or 0.0), 2)
        yield (
            f"{format_change(change)} varies by {noise_text} % between repeats{detectable_text}. "
            "It does not fail the comparison."
        )
    if len(noisy_changes) > _MAX_NOISE_NOTES:
        omitted_count = len(noisy_changes) - _MAX_NOISE_NOTES
        yield "1 more metric is too noisy." if omitted_count == 1 else f"{omitted_count} more metrics are too noisy."


def _build_repeat_notes(comparison: Comparison, pairs: Sequence[MetricPair]) -> Iterator[str]:
    run_count = min(len(comparison.baseline), len(comparison.candidate))
    min_repeats = (
        min(pair.repeats.min_count for pair in pairs if pair.is_headline)
        if any(map(_is_headline, pairs))
        else run_count
    )
    if run_count == 1:
        interval_note = (
            "intervals are those of the individual runs" if min_repeats == 1 else "repeats are those within a run"
        )
        yield f"There is only one run per side: {interval_note}, and run-to-run variation is not included."
    if 1 < min_repeats < MIN_REPEATS:
        yield (
            f"With {min_repeats} repeats, no rank test can reach a significance level of 1 %, so the interval of the "
            f"ratio decides. Use at least {MIN_REPEATS} repeats per side; the two-stage rule requires 7."
        )


def _is_headline(pair: MetricPair) -> bool:
    return pair.is_headline


TOLERANCE = 0.05
_MAX_SUSPECTED_P_VALUE = 0.05


def compare_runs(
    baseline: Sequence[Result], candidate: Sequence[Result], *, tolerance: float = TOLERANCE, is_forced: bool = False
) -> Comparison:
    """Compare two sets of runs.

    The result has no changes if the runs have no metric in common, or if an environment difference
    makes the runs incomparable and the comparison is not forced."""
    differences = find_differences(baseline, candidate)
    is_incomparable = any(difference.forbids for difference in differences)
    pairs = () if is_incomparable and not is_forced else pair_metrics(baseline, candidate)
    changes = evaluate_changes(pairs, tolerance)
    noises = [change.noise for change in changes if change.is_headline and change.noise is not None]
    has_only_noisy_headlines = bool(noises) and all(is_noisy(change) for change in changes if change.is_headline)
    comparison = Comparison(
        baseline=tuple(run.run_id for run in baseline),
        candidate=tuple(run.run_id for run in candidate),
        tolerance=tolerance,
        changes=changes,
        differences=differences,
        is_forced=is_incomparable and is_forced,
        noise=max(noises, default=None),
        is_advisory=has_only_noisy_headlines or has_cpu_difference(differences),
        is_same_run=_sort_by_id(baseline) == _sort_by_id(candidate),
    )
    if comparison.is_same_run:
        unchanged = tuple(msgspec.structs.replace(change, verdict="same", more_repeats=None) for change in changes)
        comparison = msgspec.structs.replace(comparison, changes=unchanged)
    return msgspec.structs.replace(comparison, notes=build_notes(comparison, pairs))


def _sort_by_id(runs: Sequence[Result]) -> list[Result]:
    return sorted(runs, key=lambda run: run.run_id)


def evaluate_changes(pairs: Sequence[MetricPair], tolerance: float) -> tuple[MetricChange, ...]:
    """Evaluate the change of each metric, headline metrics first. P-values are adjusted for
    multiple testing, separately for the headline metrics and for the remaining metrics."""
    headline_pairs = [pair for pair in pairs if pair.is_headline]
    detail_pairs = [pair for pair in pairs if not pair.is_headline]
    return (*_evaluate_pairs(headline_pairs, tolerance), *_evaluate_pairs(detail_pairs, tolerance))


def find_regressions(comparison: Comparison) -> tuple[MetricChange, ...]:
    """Return the headline metrics whose regression can fail the run; empty if the comparison is
    only advisory."""
    if comparison.is_advisory:
        return ()
    return tuple(change for change in comparison.changes if change.verdict == "worse" and can_fail_run(change))


def find_inconclusive_changes(comparison: Comparison) -> tuple[MetricChange, ...]:
    """Return the headline metrics whose comparison is inconclusive, except metrics that are too
    noisy to fail the run."""
    return tuple(change for change in comparison.changes if change.verdict == "inconclusive" and can_fail_run(change))


def has_no_headline_metric(comparison: Comparison) -> bool:
    """Return True if the runs have metrics in common, but no headline metric, so that neither a
    regression nor its absence can be found. An example is two searches that tested other rates."""
    has_headline_metric = any(change.is_headline for change in comparison.changes)
    return bool(comparison.changes) and not has_headline_metric and not comparison.is_same_run


def has_suspected_change(changes: Sequence[MetricChange], tolerance: float) -> bool:
    """Return True if a headline metric changed by more than the tolerance with an unadjusted p <
    0.05.

    This condition is the first part of the two-stage rule. If it is met, the same number of repeats
    must be added before a decision."""
    return any(
        change.is_headline
        and change.unadjusted_p_value is not None
        and change.unadjusted_p_value < _MAX_SUSPECTED_P_VALUE
        and change.ratio.value is not None
        and abs(_log(change.ratio.value)) > math.log1p(tolerance)
        for change in changes
    )


def can_fail_run(change: MetricChange) -> bool:
    return change.is_headline and not is_noisy(change)


def _evaluate_pairs(pairs: Sequence[MetricPair], tolerance: float) -> list[MetricChange]:
    unadjusted_p_values = [
        compute_p_value(pair.repeats) if pair.repeats.has_enough_for_test else None for pair in pairs
    ]
    adjusted_p_values = adjust_p_values([1.0 if p is None else p for p in unadjusted_p_values])
    return [
        _build_change(
            pair, tolerance, len(pairs), unadjusted_p_value, None if unadjusted_p_value is None else adjusted_p_value
        )
        for pair, unadjusted_p_value, adjusted_p_value in zip(
            pairs, unadjusted_p_values, adjusted_p_values, strict=True
        )
    ]


def _build_change(
    pair: MetricPair, tolerance: float, test_count: int, unadjusted_p_value: float | None, p_value: float | None
) -> MetricChange:
    ratio = compute_ratio(pair.repeats)
    verdict = _evaluate_change(pair, ratio, tolerance, test_count, p_value)
    return MetricChange(
        metric=pair.metric,
        aggregate=pair.aggregate,
        unit=pair.unit,
        better=pair.better,
        stage=pair.stage,
        baseline=compute_median(pair.repeats.baseline),
        candidate=compute_median(pair.repeats.candidate),
        ratio=ratio,
        p_value=p_value,
        verdict=verdict,
        detectable=compute_detectable_change(pair.repeats, tolerance, test_count),
        more_repeats=estimate_more_repeats(pair.repeats, tolerance, test_count) if verdict == "inconclusive" else None,
        is_headline=pair.is_headline,
        noise=pair.drift if pair.drift is not None else compute_noise(pair.repeats),
        unadjusted_p_value=unadjusted_p_value,
    )


def _evaluate_change(
    pair: MetricPair, ratio: Estimate, tolerance: float, test_count: int, p_value: float | None
) -> ChangeVerdict:
    verdict_if_higher: ChangeVerdict = "worse" if pair.better == "lower" else "better"
    verdict_if_lower: ChangeVerdict = "better" if pair.better == "lower" else "worse"
    log_tolerance = math.log1p(tolerance)
    if not ratio.value:
        return _evaluate_zero_median(pair.repeats, verdict_if_higher, verdict_if_lower, p_value)
    log_ratio = math.log(ratio.value)
    if p_value is not None:
        if p_value < SIGNIFICANCE_LEVEL and abs(log_ratio) > log_tolerance:
            return verdict_if_higher if log_ratio > 0 else verdict_if_lower
    elif (bounds := compute_small_sample_interval(pair.repeats, 1 - SIGNIFICANCE_LEVEL / test_count)) is not None:
        if bounds[0] > log_tolerance:
            return verdict_if_higher
        if bounds[1] < -log_tolerance:
            return verdict_if_lower
    is_same = ratio.ci95 is not None and all(abs(_log(bound)) <= log_tolerance for bound in ratio.ci95)
    return "same" if is_same else "inconclusive"


def _evaluate_zero_median(
    repeats: Repeats, verdict_if_higher: ChangeVerdict, verdict_if_lower: ChangeVerdict, p_value: float | None
) -> ChangeVerdict:
    """Return the verdict for a metric with a median of 0 on one side, such as an error rate without
    errors. A verdict other than "inconclusive" requires that the confidence intervals of both sides
    do not overlap."""
    baseline_median, candidate_median = (
        compute_median(repeats.baseline).value or 0.0,
        compute_median(repeats.candidate).value or 0.0,
    )
    if baseline_median == candidate_median:
        return "same"
    if p_value is not None and p_value >= SIGNIFICANCE_LEVEL:
        return "inconclusive"
    low_side, high_side = (
        (repeats.baseline, repeats.candidate)
        if candidate_median > baseline_median
        else (repeats.candidate, repeats.baseline)
    )
    is_separated = _find_outermost_bound(low_side, max) < (
        max(baseline_median, candidate_median) if p_value is not None else _find_outermost_bound(high_side, min)
    )
    return (
        "inconclusive"
        if not is_separated
        else verdict_if_higher
        if candidate_median > baseline_median
        else verdict_if_lower
    )


def _find_outermost_bound(side: Sequence[Estimate], select_bound: Callable[[list[float]], float]) -> float:
    return select_bound([bound for estimate in side for bound in (estimate.ci95 or (estimate.value or 0.0,))])


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf
