"""Accuracy of a model variant on labeled rows, compared with the reference variant on the same
rows.

Rows are assumed to be independent samples of the model's real inputs. Mean errors are compared by a
paired bootstrap, so that variation common to both errors of a row cancels out.

Proportions are compared by the numbers of rows that only the variant or only the reference
predicted correctly. The intervals are score intervals: Tango's for the difference (Statistics in
Medicine 17, 1998) and Tang, Tang and Chan's for the ratio (ibid. 22, 2003), as recommended by
Fagerland, Lydersen and Laake (ibid. 33, 2014). A score interval has a positive width even if no row
differs, so ten rows without a difference count for less than ten thousand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import special

from app.analysis.columns import Floats
from app.analysis.estimates import estimate_proportion
from app.analysis.sample_size import ALPHA
from app.errors import UsageError
from app.records.local import Accuracy
from app.records.result import Check, Estimate

_MIN_ROWS = 20
"""Minimum number of rows for a bootstrap interval. With fewer rows, the bootstrap samples are too
similar to each other."""
_RESAMPLE_COUNT = 2_000
_SEED = 7
_MAX_BOOTSTRAP_ROWS = 10_000
_ROWS_PER_BLOCK = 2**21


class PairedErrors(msgspec.Struct, frozen=True):
    """Comparison of the errors of a variant and the reference: the 95 % confidence intervals of the
    difference (variant minus reference) and of the ratio (reference over variant), and the
    two-sided p-value. A withheld value is `None`, and `reason` states why."""

    difference: tuple[float, float] | None
    ratio: tuple[float, float] | None
    p_value: float | None
    reason: str | None = None


def compare_errors(variant_errors: Floats, reference_errors: Floats) -> PairedErrors:
    """Compare the errors of a variant and the reference, row by row, by a percentile bootstrap with
    2,000 seeded resamples.

    With few rows, the interval is widened by Student's factor (Hesterberg, The American
    Statistician 69, 2015): a plain percentile interval of 20 rows is as narrow as if the standard
    deviation were known. More than 10,000 rows are first combined into random groups, which does
    not change the spread of the mean."""
    if variant_errors.size < _MIN_ROWS:
        return PairedErrors(None, None, None, f"no interval: fewer than {_MIN_ROWS} rows")
    rng = np.random.default_rng(_SEED)
    variant_means, reference_means = _bootstrap_means(_group_rows(variant_errors, reference_errors, rng), rng)
    differences = variant_means - reference_means
    count_below, count_above = np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0)
    has_ratio = bool(variant_means.min() > 0)
    return PairedErrors(
        difference=_compute_interval(differences, variant_errors.size),
        ratio=_compute_interval(reference_means / variant_means, variant_errors.size) if has_ratio else None,
        p_value=float(min(1.0, 2 * (1 + min(count_below, count_above)) / (1 + _RESAMPLE_COUNT))),
        reason=None if has_ratio else "no interval: almost no row has an error",
    )


def _group_rows(variant_errors: Floats, reference_errors: Floats, rng: np.random.Generator) -> Floats:
    """Return a table with the columns error of the variant, error of the reference, and number of
    rows. If there are too many rows, they are combined into random groups."""
    table: Floats = np.column_stack([variant_errors, reference_errors, np.ones(variant_errors.size)])
    if variant_errors.size <= _MAX_BOOTSTRAP_ROWS:
        return table
    starts = np.arange(_MAX_BOOTSTRAP_ROWS // 2) * variant_errors.size // (_MAX_BOOTSTRAP_ROWS // 2)
    return np.asarray(np.add.reduceat(rng.permutation(table), starts))


def _bootstrap_means(table: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    size, columns = len(table), table.T.copy()
    block_size = max(1, _ROWS_PER_BLOCK // size)
    blocks = []
    for draw_count in range(0, _RESAMPLE_COUNT, block_size):
        draws = rng.integers(0, size, (min(block_size, _RESAMPLE_COUNT - draw_count), size))
        indices = draws.T.copy()  # one resample per column, because a sum over rows is much faster
        blocks.append([column[indices].sum(axis=0) for column in columns])
    variant_totals, reference_totals, row_counts = np.concatenate(blocks, axis=1)
    return variant_totals / row_counts, reference_totals / row_counts


def _compute_interval(samples: Floats, row_count: int) -> tuple[float, float]:
    t = float(special.stdtrit(row_count - 1, 1 - ALPHA / 2))
    level = float(special.ndtr(-t * math.sqrt(row_count / (row_count - 1))))
    lower_bound, upper_bound = np.quantile(samples, (level, 1 - level))
    return float(lower_bound), float(upper_bound)


_Z = float(special.ndtri(1 - ALPHA / 2))
_BISECTION_COUNT = 60


class PairedCounts(msgspec.Struct, frozen=True):
    """Numbers of rows that both the variant and the reference, only the variant, or only the
    reference predicted correctly."""

    rows: int
    both_correct: int
    only_variant: int
    only_reference: int

    @property
    def variant_correct(self) -> int:
        return self.both_correct + self.only_variant

    @property
    def reference_correct(self) -> int:
        return self.both_correct + self.only_reference

    @property
    def difference(self) -> float:
        return (self.only_variant - self.only_reference) / self.rows


def compute_difference_interval(counts: PairedCounts) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the variant's accuracy minus the reference's
    accuracy."""

    def is_within(difference: float) -> bool:
        distance = counts.only_variant - counts.only_reference - counts.rows * difference
        return distance**2 <= _Z**2 * _compute_difference_score_variance(counts, difference)

    return _find_boundary(is_within, counts.difference, -1.0), _find_boundary(is_within, counts.difference, 1.0)


def compute_ratio_interval(counts: PairedCounts) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the variant's accuracy divided by the reference's
    accuracy. The reference must have predicted at least one row correctly."""
    ratio = counts.variant_correct / counts.reference_correct

    def is_within(assumed_ratio: float) -> bool:
        distance = counts.variant_correct - assumed_ratio * counts.reference_correct
        return distance**2 <= _Z**2 * _compute_ratio_score_variance(counts, assumed_ratio)

    upper_bound = max(1.0, 2 * ratio)
    while is_within(upper_bound):
        upper_bound *= 2
    return _find_boundary(is_within, ratio, 0.0), _find_boundary(is_within, ratio, upper_bound)


def compute_mcnemar_p_value(counts: PairedCounts) -> float:
    """Compute the two-sided mid-p value of McNemar's test: the exact binomial test on the rows that
    only the variant or only the reference predicted correctly.

    The exact p-value is conservative and so has less power; the mid-p value has the nominal level
    (Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13, 2013)."""
    min_count, discordant_count = (
        min(counts.only_variant, counts.only_reference),
        counts.only_variant + counts.only_reference,
    )
    p_at_most = float(special.bdtr(min_count, discordant_count, 0.5))
    p_below = float(special.bdtr(min_count - 1, discordant_count, 0.5)) if min_count else 0.0
    return p_at_most + p_below


def _compute_difference_score_variance(counts: PairedCounts, difference: float) -> float:
    """Compute the variance of the sum of all row differences, under the maximum-likelihood
    proportions for the given difference in accuracy."""
    rows, only_variant, only_reference = counts.rows, counts.only_variant, counts.only_reference
    linear_coefficient = -only_variant - only_reference + (2 * rows - only_variant + only_reference) * difference
    constant_term = -only_reference * difference * (1 - difference)
    ml_proportion = _compute_upper_root(2 * rows, linear_coefficient, constant_term)
    return max(0.0, rows * (2 * ml_proportion + difference * (1 - difference)))


def _compute_ratio_score_variance(counts: PairedCounts, ratio: float) -> float:
    """Compute the variance of x − `ratio` · y, where x and y are the numbers of rows that the
    variant and the reference predicted correctly. The proportions are the maximum-likelihood
    proportions for the given ratio."""
    correct_count = counts.both_correct + counts.only_variant + counts.only_reference
    linear_coefficient = counts.reference_correct * ratio**2 - (counts.variant_correct + 2 * counts.only_reference)
    constant_term = counts.only_reference * (1 - ratio) * correct_count / counts.rows
    ml_proportion = _compute_upper_root(counts.rows * (1 + ratio), linear_coefficient, constant_term)
    return max(0.0, counts.rows * (1 + ratio) * ml_proportion + correct_count * (ratio - 1))


def _compute_upper_root(square_coefficient: float, linear_coefficient: float, constant_term: float) -> float:
    return (
        math.sqrt(max(0.0, linear_coefficient**2 - 4 * square_coefficient * constant_term)) - linear_coefficient
    ) / (2 * square_coefficient)


def _find_boundary(is_within: Callable[[float], bool], inner_value: float, outer_value: float) -> float:
    """Find the boundary of `is_within` between `inner_value` and `outer_value` by bisection; return
    `outer_value` if `is_within` is still true there."""
    if is_within(outer_value):
        return outer_value
    for _ in range(_BISECTION_COUNT):
        middle_value = (inner_value + outer_value) / 2
        inner_value, outer_value = (
            (middle_value, outer_value) if is_within(middle_value) else (inner_value, middle_value)
        )
    return inner_value


AccuracyMetric = Literal["top-1", "mean absolute error"]

_POWER_Z = float(special.ndtri(0.8))


def compute_accuracy(scores: npt.ArrayLike, reference: npt.ArrayLike | None, metric: AccuracyMetric) -> Accuracy:
    """Compute the accuracy from one score per row: 1 or 0 for `top-1`, otherwise the absolute
    error. Raises UsageError if the number of rows differs from that of the reference.

    For `top-1`, the accuracy has Wilson's interval, the change in accuracy Tango's interval, and
    the retained accuracy Tang's interval; the test is McNemar's with mid-p. A mean error has
    Student's t interval; its change and ratio have bootstrap intervals. If a row has no finite
    error, there is no mean, and the retained accuracy is 0."""
    variant_scores = np.asarray(scores, dtype=np.float64)
    reference_scores = None if reference is None else np.asarray(reference, dtype=np.float64)
    if reference_scores is not None and reference_scores.shape != variant_scores.shape:
        raise UsageError(
            f"the variant has scores for {variant_scores.size} rows, but the reference has scores for "
            f"{reference_scores.size} rows"
        )
    return (
        _compare_proportions(variant_scores, reference_scores)
        if metric == "top-1"
        else _compare_errors(variant_scores, reference_scores)
    )


def compute_chance_accuracy(labels: npt.NDArray[Any]) -> float | None:
    """Compute the accuracy of a model that always predicts the most frequent class; `None` if the
    labels are not integers or have only one class."""
    if labels.dtype.kind not in "iu":
        return None
    _, counts = np.unique(labels, return_counts=True)
    return float(counts.max() / counts.sum()) if len(counts) > 1 else None


def check_chance_accuracy(
    accuracy: Estimate | None, chance_accuracy: float | None, hint_prefix: str = ""
) -> Check | None:
    """Return a check that the accuracy is better than always predicting the most frequent class
    (otherwise WARN); `None` if the accuracy is unknown.

    A wrong output or wrong labels would also lead to the accuracy of that prediction."""
    if accuracy is None or accuracy.value is None or chance_accuracy is None:
        return None
    lower_bound = accuracy.value if accuracy.ci95 is None else accuracy.ci95[0]
    if lower_bound > chance_accuracy:
        return Check("accuracy_above_chance", accuracy.value, chance_accuracy, "share", "VALID", None)
    hint = (
        f"{hint_prefix}Accuracy is no better than always predicting the most frequent class. Check that "
        "workload.labels belong to the model and that workload.output names the right output."
    )
    return Check("accuracy_above_chance", accuracy.value, chance_accuracy, "share", "WARN", hint)


def estimate_rows_needed(accuracy: Accuracy, limit: float) -> int | None:
    """Estimate the total number of rows needed to decide with 80 % power whether the retained
    accuracy meets the limit. Return `None` if the number is unknown or no number of rows would
    suffice.

    Further rows are assumed to be like the measured ones. The number is (1.96 + 0.84)² p / d²,
    where p is the discordance of the rows and d the distance from the limit. If hardly any row
    differs, a second term dominates: the width of a score interval without a difference, which is
    inversely proportional to the number of rows instead of its square root."""
    retained = accuracy.retained
    if (
        retained is None
        or retained.value is None
        or retained.ci95 is None
        or retained.n is None
        or retained.value == limit
    ):
        return None
    half_width = retained.value - retained.ci95[0] if retained.value > limit else retained.ci95[1] - retained.value
    reference_accuracy = (
        accuracy.reference.value if accuracy.metric == "top-1" and accuracy.reference is not None else None
    )
    score_width_term = 0.0 if reference_accuracy is None else (_Z**2 / reference_accuracy) ** 2
    variance = max(0.0, retained.n * half_width**2 - score_width_term / retained.n) / _Z**2
    scaled_variance, distance = (_Z + _POWER_Z) ** 2 * variance, abs(retained.value - limit)
    return math.ceil(
        (scaled_variance + math.sqrt(scaled_variance**2 + 4 * distance**2 * score_width_term)) / (2 * distance**2)
    )


def _compare_proportions(variant_scores: Floats, reference_scores: Floats | None) -> Accuracy:
    """Compare the share of correct rows with that of the reference on the same rows, by paired intervals and
    McNemar's test. A score above 0 is correct. Without a reference, only the share is estimated."""
    value = estimate_proportion(round(float(variant_scores.sum())), variant_scores.size)
    if reference_scores is None or not variant_scores.size:
        return _build_accuracy_without_reference("top-1", value)
    is_variant_correct, is_reference_correct = variant_scores > 0, reference_scores > 0
    counts = PairedCounts(
        rows=variant_scores.size,
        both_correct=int(np.count_nonzero(is_variant_correct & is_reference_correct)),
        only_variant=int(np.count_nonzero(is_variant_correct & ~is_reference_correct)),
        only_reference=int(np.count_nonzero(~is_variant_correct & is_reference_correct)),
    )
    undefined_ratio = Estimate(None, n=variant_scores.size, reason="the reference predicts no row correctly")
    return Accuracy(
        metric="top-1",
        value=value,
        reference=estimate_proportion(counts.reference_correct, variant_scores.size),
        change=Estimate(counts.difference, compute_difference_interval(counts), variant_scores.size),
        retained=Estimate(
            counts.variant_correct / counts.reference_correct, compute_ratio_interval(counts), variant_scores.size
        )
        if counts.reference_correct
        else undefined_ratio,
        p_value=compute_mcnemar_p_value(counts),
        test="McNemar",
    )


def _compare_errors(variant_errors: Floats, reference_errors: Floats | None) -> Accuracy:
    value = _estimate_mean_error(variant_errors)
    if reference_errors is None or not variant_errors.size:
        return _build_accuracy_without_reference("mean absolute error", value)
    reference = _estimate_mean_error(reference_errors)
    if value.value is None or reference.value is None:
        return _build_accuracy_without_mean(value, reference)
    paired_errors, row_count = compare_errors(variant_errors, reference_errors), variant_errors.size
    return Accuracy(
        metric="mean absolute error",
        value=value,
        reference=reference,
        change=Estimate(
            value.value - reference.value,
            paired_errors.difference,
            row_count,
            reason=None if paired_errors.difference else paired_errors.reason,
        ),
        retained=Estimate(reference.value / value.value, paired_errors.ratio, row_count, reason=paired_errors.reason)
        if value.value
        else Estimate(None, n=row_count, reason="no row has an error"),
        p_value=paired_errors.p_value,
        test=None if paired_errors.p_value is None else "paired bootstrap",
    )


def _build_accuracy_without_mean(value: Estimate, reference: Estimate) -> Accuracy:
    reason = value.reason or reference.reason
    has_lost_accuracy = value.value is None and reference.value is not None
    return Accuracy(
        metric="mean absolute error",
        value=value,
        reference=reference,
        change=Estimate(None, n=value.n, reason=reason),
        retained=Estimate(
            0.0 if has_lost_accuracy else None, (0.0, 0.0) if has_lost_accuracy else None, value.n, reason=reason
        ),
        p_value=None,
        test=None,
    )


def _build_accuracy_without_reference(metric: AccuracyMetric, value: Estimate) -> Accuracy:
    return Accuracy(metric=metric, value=value, reference=None, change=None, retained=None, p_value=None, test=None)


def _estimate_mean_error(errors: Floats) -> Estimate:
    """Estimate the mean error with Student's t interval. The interval is not widened for
    autocorrelation, because rows may be sorted by label."""
    row_count = errors.size
    nonfinite_count = row_count - int(np.count_nonzero(np.isfinite(errors)))
    if not row_count or nonfinite_count:
        return Estimate(
            None,
            n=row_count,
            reason=f"no finite error in {nonfinite_count} of {row_count} rows" if nonfinite_count else "no values",
        )
    value = float(errors.mean())
    if row_count == 1:
        return Estimate(value, n=1, reason="no interval: only one value")
    half_width = float(special.stdtrit(row_count - 1, 1 - ALPHA / 2)) * float(errors.std(ddof=1)) / math.sqrt(row_count)
    return Estimate(value, (max(0.0, value - half_width), value + half_width), row_count)
