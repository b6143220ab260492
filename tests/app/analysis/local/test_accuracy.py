from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial

import msgspec
import numpy as np
import pytest

from app.analysis.columns import Floats
from app.analysis.estimates import estimate_proportion
from app.analysis.local.accuracy import (
    PairedCounts,
    check_chance_accuracy,
    compare_errors,
    compute_accuracy,
    compute_chance_accuracy,
    compute_difference_interval,
    compute_mcnemar_p_value,
    compute_ratio_interval,
    estimate_rows_needed,
)
from app.analysis.objectives import evaluate_objective, parse_gate
from app.errors import UsageError
from app.records.estimate import Estimate
from app.records.local import Accuracy
from tests.tiers import first_in_unit_tier


def evaluate_retained(accuracy: Accuracy, limit: float) -> str:
    """Outcome of a gate `accuracy_retained >= limit`."""
    retained = accuracy.retained or Estimate(None, reason="not known")
    return evaluate_objective(parse_gate(f"accuracy_retained >= {100 * limit:g}%"), retained).outcome


def draw_errors(rows: int, seed: int, shift: float = 0.1) -> tuple[Floats, Floats]:
    """Skewed errors with a mean of 1 + shift in the variant and 1 in the reference, with 0.9 in common."""
    rng = np.random.default_rng(seed)
    common = 0.9 * rng.exponential(1, rows)
    return common + (0.1 + shift) * rng.exponential(1, rows), common + 0.1 * rng.exponential(1, rows)


@pytest.mark.parametrize(("rows", "min_coverage"), [(20, 0.9), pytest.param(200, 0.93, marks=pytest.mark.soak)])
def test_error_difference_and_ratio_intervals_cover_truth(rows: int, min_coverage: float) -> None:
    """Skewed values reduce the coverage of 20 rows to a little below 95 %."""
    comparisons = [compare_errors(*draw_errors(rows, seed)) for seed in range(300)]
    differences = [comparison.difference for comparison in comparisons if comparison.difference]
    ratios = [comparison.ratio for comparison in comparisons if comparison.ratio]
    assert len(differences) == len(ratios) == 300
    assert min_coverage <= np.mean([low <= 0.1 <= high for low, high in differences]) <= 0.98
    assert min_coverage <= np.mean([low <= 1 / 1.1 <= high for low, high in ratios]) <= 0.98


@pytest.mark.parametrize("seeds", first_in_unit_tier([100, 400]))
def test_false_positive_rate_of_error_comparison_is_near_5_percent(seeds: int) -> None:
    p_values = [compare_errors(*draw_errors(100, seed, shift=0.0)).p_value for seed in range(seeds)]
    assert 0.02 <= np.mean([p is not None and p < 0.05 for p in p_values]) <= 0.08


def test_paired_errors_have_narrower_interval() -> None:
    variant, reference = draw_errors(1_000, 3)
    paired, unpaired = compare_errors(variant, reference), compare_errors(variant, np.sort(reference))
    assert paired.difference is not None
    assert unpaired.difference is not None
    assert np.ptp(unpaired.difference) > 3 * np.ptp(paired.difference)


def test_error_interval_of_many_rows_matches_normal_approximation() -> None:
    variant, reference = draw_errors(25_003, 4)
    difference = variant - reference
    expected = 2 * 1.96 * difference.std() / np.sqrt(difference.size)
    interval = compare_errors(variant, reference).difference
    assert interval is not None
    assert np.ptp(interval) == pytest.approx(expected, rel=0.06)
    assert np.mean(interval) == pytest.approx(difference.mean(), abs=expected / 10)


def test_error_comparison_is_deterministic() -> None:
    assert compare_errors(*draw_errors(50, 5)) == compare_errors(*draw_errors(50, 5))


def test_error_comparison_of_few_rows_has_no_interval() -> None:
    few = compare_errors(*draw_errors(19, 6))
    assert (few.difference, few.ratio, few.p_value) == (None, None, None)
    assert few.reason == "no interval: fewer than 20 rows"


def test_error_ratio_is_withheld_if_almost_no_row_has_error() -> None:
    variant, reference = np.zeros(30), np.ones(30)
    variant[0] = 1.0
    comparison = compare_errors(variant, reference)
    assert comparison.ratio is None
    assert comparison.reason == "no interval: almost no row has an error"
    assert comparison.difference is not None


AIRWAYS = PairedCounts(rows=21, both_correct=1, only_variant=1, only_reference=7)
"""Data of Bentur et al., evaluated by Fagerland, Lydersen and Laake (Statistics in Medicine 33, 2014)."""

Interval = Callable[[PairedCounts], tuple[float, float]]


def coverage(interval: Interval, truth: float, cells: tuple[float, float, float], rows: int, runs: int) -> float:
    """Share of intervals that contain the truth. `cells` are the probabilities that both, only the variant, and only
    the reference are correct."""
    compute_interval = lru_cache(maxsize=None)(interval)
    samples = np.random.default_rng(1).multinomial(rows, [*cells, 1 - sum(cells)], runs)
    intervals = [
        compute_interval(PairedCounts(rows, *map(int, counts[:3]))) for counts in samples if counts[0] + counts[2]
    ]
    return sum(low <= truth <= high for low, high in intervals) / len(intervals)


def test_paired_intervals_and_mcnemar_match_published_example() -> None:
    assert compute_difference_interval(AIRWAYS) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert compute_ratio_interval(AIRWAYS) == pytest.approx((0.065, 0.907), abs=5e-4)
    assert compute_mcnemar_p_value(AIRWAYS) == pytest.approx(0.039, abs=5e-4)


@pytest.mark.parametrize("cells", [(0.9, 0.005, 0.01), (0.7, 0.02, 0.06), (0.5, 0.1, 0.1), (0.95, 0.001, 0.001)])
@pytest.mark.parametrize("rows", first_in_unit_tier([100, 1_000]))
def test_paired_proportion_intervals_cover_truth(cells: tuple[float, float, float], rows: int) -> None:
    both, only_variant, only_reference = cells
    truth = (both + only_variant) / (both + only_reference)
    assert coverage(compute_difference_interval, only_variant - only_reference, cells, rows, 1_000) >= 0.93
    assert coverage(compute_ratio_interval, truth, cells, rows, 1_000) >= 0.93


@pytest.mark.parametrize("rows", first_in_unit_tier([1_000, 100]))
def test_paired_proportion_intervals_are_not_too_wide(rows: int) -> None:
    cells = (0.7, 0.02, 0.06)
    assert coverage(compute_difference_interval, -0.04, cells, rows, 1_000) <= 0.97
    assert coverage(compute_ratio_interval, 0.72 / 0.76, cells, rows, 1_000) <= 0.97


def test_false_positive_rate_of_mcnemar_test_is_near_5_percent() -> None:
    samples = np.random.default_rng(2).multinomial(500, [0.8, 0.04, 0.04, 0.12], 4_000)
    rejections = [compute_mcnemar_p_value(PairedCounts(500, *map(int, counts[:3]))) < 0.05 for counts in samples]
    assert 0.035 <= np.mean(rejections) <= 0.06


@pytest.mark.parametrize("rows", [1, 10, 1_000])
def test_intervals_without_differing_rows_match_closed_form(rows: int) -> None:
    """Tango's interval is z² / (n + z²) on either side in this case."""
    counts = PairedCounts(rows=rows, both_correct=rows, only_variant=0, only_reference=0)
    z2 = 1.959964**2
    assert compute_difference_interval(counts) == pytest.approx((-z2 / (rows + z2), z2 / (rows + z2)), abs=1e-6)
    low, high = compute_ratio_interval(counts)
    assert (low, high) == pytest.approx((rows / (rows + z2), 1 + z2 / rows), rel=1e-6)
    assert compute_mcnemar_p_value(counts) == 1.0


@pytest.mark.parametrize(
    "counts",
    [
        PairedCounts(10, 0, 0, 10),
        PairedCounts(10, 0, 0, 1),
        PairedCounts(10, 0, 9, 1),
        PairedCounts(1, 0, 0, 1),
        PairedCounts(100_000, 99_000, 3, 500),
    ],
)
def test_paired_intervals_contain_estimate_and_stay_in_bounds(counts: PairedCounts) -> None:
    low, high = compute_difference_interval(counts)
    assert -1 <= low <= counts.difference <= high <= 1
    low, high = compute_ratio_interval(counts)
    assert 0 <= low <= counts.variant_correct / counts.reference_correct <= high


def test_mcnemar_p_value_is_symmetric_and_ignores_agreeing_rows() -> None:
    assert (
        compute_mcnemar_p_value(PairedCounts(100, 80, 3, 9))
        == compute_mcnemar_p_value(PairedCounts(1_000, 0, 9, 3))
        < 0.1
    )


def build_top1_accuracy(both: int, only_variant: int, only_reference: int, neither: int) -> Accuracy:
    variant = [1] * (both + only_variant) + [0] * (only_reference + neither)
    reference = [1] * both + [0] * only_variant + [1] * only_reference + [0] * neither
    return compute_accuracy(variant, reference, "top-1")


def build_error_accuracy(rows: int, factor: float) -> Accuracy:
    rng = np.random.default_rng(1)
    reference = rng.exponential(1, rows)
    return compute_accuracy(reference * factor * rng.uniform(0.99, 1.01, rows), reference, "mean absolute error")


def test_top1_accuracy_has_value_change_retained_and_p_value() -> None:
    accuracy = build_top1_accuracy(both=850, only_variant=10, only_reference=30, neither=110)
    assert accuracy.value == estimate_proportion(860, 1_000)
    assert accuracy.reference == estimate_proportion(880, 1_000)
    assert accuracy.change is not None
    assert accuracy.change.value == pytest.approx(-0.02)
    assert accuracy.retained is not None
    assert accuracy.retained.value == pytest.approx(860 / 880)
    assert accuracy.p_value == pytest.approx(0.0016, abs=2e-4)  # both tails of Binomial(40, 1/2) at 10, the first half
    assert accuracy.test == "McNemar"


def test_mean_error_has_student_interval() -> None:
    mean_error = compute_accuracy(np.arange(1.0, 22.0), None, "mean absolute error").value
    assert mean_error.value == 11.0
    half = 2.085963 * math.sqrt(38.5 / 21)
    assert mean_error.ci95 == pytest.approx((11 - half, 11 + half), rel=1e-6)


def test_row_order_does_not_change_interval_of_mean_error() -> None:
    sample = np.random.default_rng(2).exponential(1, 1_000)
    intervals = [
        compute_accuracy(values, None, "mean absolute error").value.ci95 for values in (sample, np.sort(sample))
    ]
    assert intervals[0] == pytest.approx(intervals[1])


def test_retained_accuracy_of_errors_is_inverse_ratio() -> None:
    accuracy = build_error_accuracy(500, 1.25)
    assert accuracy.value.value is not None
    assert accuracy.reference is not None
    assert accuracy.reference.value is not None
    assert accuracy.retained is not None
    assert accuracy.retained.value == accuracy.reference.value / accuracy.value.value == pytest.approx(0.8, rel=0.01)
    assert accuracy.change is not None
    assert accuracy.change.value == accuracy.value.value - accuracy.reference.value
    assert accuracy.p_value == pytest.approx(2 / 2_001)
    assert accuracy.test == "paired bootstrap"


@pytest.mark.parametrize("metric", ["top-1", "mean absolute error"])
def test_accuracy_without_reference_has_only_value(metric: str) -> None:
    accuracy = compute_accuracy([1, 0, 1], None, metric)  # type: ignore[arg-type]
    assert (accuracy.reference, accuracy.change, accuracy.retained, accuracy.p_value, accuracy.test) == (
        None,
        None,
        None,
        None,
        None,
    )
    assert accuracy.value.value == pytest.approx(2 / 3)
    assert evaluate_retained(accuracy, 0.5) == "INCONCLUSIVE"
    assert estimate_rows_needed(accuracy, 0.5) is None


@pytest.mark.parametrize("metric", ["top-1", "mean absolute error"])
def test_accuracy_without_rows_has_no_value(metric: str) -> None:
    accuracy = compute_accuracy([], [], metric)  # type: ignore[arg-type]
    assert accuracy.value.value is None
    assert accuracy.retained is None


def test_row_count_different_from_reference_is_rejected() -> None:
    with pytest.raises(UsageError, match="for 3 rows, but the reference has scores for 2"):
        compute_accuracy([1, 1, 1], [1, 1], "top-1")


def test_retained_accuracy_is_withheld_if_reference_is_never_correct() -> None:
    accuracy = build_top1_accuracy(both=0, only_variant=4, only_reference=0, neither=6)
    assert accuracy.retained is not None
    assert (accuracy.retained.value, accuracy.retained.reason) == (None, "the reference predicts no row correctly")
    assert evaluate_retained(accuracy, 0.99) == "INCONCLUSIVE"


@pytest.mark.parametrize("invalid_error", [math.nan, math.inf])
def test_row_without_finite_error_sets_retained_accuracy_to_0(invalid_error: float) -> None:
    accuracy = compute_accuracy([invalid_error, *[1.0] * 30], [1.0] * 31, "mean absolute error")
    assert (accuracy.value.value, accuracy.value.reason) == (None, "no finite error in 1 of 31 rows")
    assert accuracy.retained is not None
    assert accuracy.retained.value == 0.0
    assert evaluate_retained(accuracy, 0.5) == "FAIL"
    assert msgspec.json.decode(msgspec.json.encode(accuracy), type=Accuracy) == accuracy


def test_retained_accuracy_gate_is_inconclusive_without_finite_reference_errors() -> None:
    accuracy = compute_accuracy([1.0] * 30, [math.nan] * 30, "mean absolute error")
    assert accuracy.value.value == 1.0
    assert evaluate_retained(accuracy, 0.5) == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("measure", "expected_outcome"),
    [
        (partial(build_top1_accuracy, both=9_000, only_variant=20, only_reference=20, neither=960), "PASS"),
        (partial(build_top1_accuracy, both=900, only_variant=2, only_reference=2, neither=96), "PASS"),
        (
            partial(build_top1_accuracy, both=90, only_variant=0, only_reference=0, neither=10),
            "INCONCLUSIVE",
        ),  # equal, but too few rows
        (partial(build_top1_accuracy, both=890, only_variant=3, only_reference=10, neither=97), "INCONCLUSIVE"),
        (partial(build_top1_accuracy, both=850, only_variant=5, only_reference=50, neither=95), "FAIL"),
        (partial(build_error_accuracy, 500, 1.0), "PASS"),
        (partial(build_error_accuracy, 500, 1.05), "FAIL"),
        (partial(build_error_accuracy, 19, 1.0), "INCONCLUSIVE"),
    ],
)
def test_retained_accuracy_gate_is_evaluated_by_whole_interval(
    measure: Callable[[], Accuracy], expected_outcome: str
) -> None:
    assert evaluate_retained(measure(), 0.99) == expected_outcome


def test_needed_rows_match_sample_size_formula() -> None:
    """A drop of 0.005 among 2 % of differing rows: (1.96 + 0.84)² 0.02 / 0.005² is 6,272."""
    needed_rows = estimate_rows_needed(
        build_top1_accuracy(both=97_500, only_variant=750, only_reference=1_250, neither=500), 1.0
    )
    assert needed_rows == pytest.approx(6_272, rel=0.04)
    needed_rows_from_few = estimate_rows_needed(
        build_top1_accuracy(both=1_950, only_variant=15, only_reference=25, neither=10), 1.0
    )
    assert needed_rows_from_few == pytest.approx(6_272, rel=0.1)


@pytest.mark.parametrize("rows", [30, 450, 10_000])
def test_needed_rows_without_differing_rows_match_closed_form(rows: int) -> None:
    """The lower end of Tang's interval of n correct rows is n / (n + z²), which is 0.999 for 3,838 rows."""
    needed_rows = estimate_rows_needed(
        build_top1_accuracy(both=rows, only_variant=0, only_reference=0, neither=0), 0.999
    )
    assert needed_rows == pytest.approx(3_838, rel=0.15)


@pytest.mark.parametrize(
    "measure", [partial(build_top1_accuracy, 890, 3, 10, 97), partial(build_error_accuracy, 100, 1.009)]
)
def test_needed_rows_make_interval_exclude_limit(measure: Callable[[], Accuracy]) -> None:
    """The half-width of the interval, scaled to the estimated number of rows, excludes the limit."""
    accuracy = measure()
    needed_rows = estimate_rows_needed(accuracy, 0.99)
    assert needed_rows is not None
    assert accuracy.retained is not None
    assert accuracy.retained.n is not None
    assert accuracy.retained.ci95 is not None
    assert accuracy.retained.value is not None
    half = np.ptp(accuracy.retained.ci95) / 2 * math.sqrt(accuracy.retained.n / needed_rows)
    assert half == pytest.approx(abs(accuracy.retained.value - 0.99) / 1.43, rel=0.15)


def test_needed_rows_are_none_if_accuracy_equals_limit() -> None:
    assert estimate_rows_needed(build_top1_accuracy(900, 5, 5, 90), 1.0) is None


@pytest.mark.parametrize(
    ("correct", "rows", "chance_accuracy", "verdict"),
    [
        (973, 1_000, 0.103, "VALID"),
        (99, 995, 0.103, "WARN"),  # a constant prediction of one of ten classes
        (110, 1_000, 0.103, "WARN"),
        (150, 1_000, 0.103, "VALID"),
        (2, 3, 0.5, "WARN"),  # too few rows to decide
        (0, 1_000, 0.103, "WARN"),
    ],
)
def test_accuracy_at_chance_level_is_warning(correct: int, rows: int, chance_accuracy: float, verdict: str) -> None:
    check = check_chance_accuracy(estimate_proportion(correct, rows), chance_accuracy)
    assert check is not None
    assert check.verdict == verdict
    assert (check.hint is not None and "workload.output" in check.hint) is (verdict == "WARN")


def test_chance_accuracy_check_is_none_without_chance_accuracy() -> None:
    assert check_chance_accuracy(estimate_proportion(9, 10), None) is None
    assert check_chance_accuracy(None, 0.1) is None
    assert compute_chance_accuracy(np.array([3, 3, 3])) is None
    assert compute_chance_accuracy(np.array([0.5, 1.5])) is None
    assert compute_chance_accuracy(np.array([1, 2, 2, 7])) == 0.5
