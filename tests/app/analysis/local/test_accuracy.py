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


def keeps(accuracy: Accuracy, limit: float) -> str:
    """The judgement of a gate `accuracy_retained >= limit`."""
    kept = accuracy.retained or Estimate(None, reason="not known")
    return evaluate_objective(parse_gate(f"accuracy_retained >= {100 * limit:g}%"), kept).outcome


def errors(rows: int, seed: int, shift: float = 0.1) -> tuple[Floats, Floats]:
    """Skewed errors of mean 1 + shift now and 1 in the reference, with 0.9 in common."""
    rng = np.random.default_rng(seed)
    common = 0.9 * rng.exponential(1, rows)
    return common + (0.1 + shift) * rng.exponential(1, rows), common + 0.1 * rng.exponential(1, rows)


@pytest.mark.parametrize(("rows", "least"), [(20, 0.9), pytest.param(200, 0.93, marks=pytest.mark.soak)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(rows: int, least: float) -> None:
    """Skewed values of 20 rows leave it a little under 95 %."""
    found = [compare_errors(*errors(rows, seed)) for seed in range(300)]
    differences = [each.difference for each in found if each.difference]
    ratios = [each.ratio for each in found if each.ratio]
    assert len(differences) == len(ratios) == 300
    assert least <= np.mean([low <= 0.1 <= high for low, high in differences]) <= 0.98
    assert least <= np.mean([low <= 1 / 1.1 <= high for low, high in ratios]) <= 0.98


@pytest.mark.parametrize("seeds", first_in_unit_tier([100, 400]))
def test_no_difference_is_found_one_time_in_twenty(seeds: int) -> None:
    found = [compare_errors(*errors(100, seed, shift=0.0)).p_value for seed in range(seeds)]
    assert 0.02 <= np.mean([p is not None and p < 0.05 for p in found]) <= 0.08


def test_pairing_cancels_what_the_errors_share() -> None:
    now, reference = errors(1_000, 3)
    paired, strangers = compare_errors(now, reference), compare_errors(now, np.sort(reference))
    assert paired.difference is not None
    assert strangers.difference is not None
    assert np.ptp(strangers.difference) > 3 * np.ptp(paired.difference)


def test_groups_of_many_rows_leave_the_spread_as_it_is() -> None:
    now, reference = errors(25_003, 4)
    difference = now - reference
    expected = 2 * 1.96 * difference.std() / np.sqrt(difference.size)
    found = compare_errors(now, reference).difference
    assert found is not None
    assert np.ptp(found) == pytest.approx(expected, rel=0.06)
    assert np.mean(found) == pytest.approx(difference.mean(), abs=expected / 10)


def test_the_same_rows_give_the_same_answer() -> None:
    assert compare_errors(*errors(50, 5)) == compare_errors(*errors(50, 5))


def test_few_rows_have_no_interval() -> None:
    few = compare_errors(*errors(19, 6))
    assert (few.difference, few.ratio, few.p_value) == (None, None, None)
    assert few.reason == "no interval: fewer than 20 rows"


def test_a_ratio_to_hardly_any_error_is_withheld() -> None:
    now, reference = np.zeros(30), np.ones(30)
    now[0] = 1.0
    found = compare_errors(now, reference)
    assert found.ratio is None
    assert found.reason == "no interval: almost no row has an error"
    assert found.difference is not None


AIRWAYS = PairedCounts(rows=21, both_correct=1, only_variant=1, only_reference=7)
"""Bentur and others, as Fagerland, Lydersen and Laake (Statistics in Medicine 33, 2014) work it out."""

Interval = Callable[[PairedCounts], tuple[float, float]]


def coverage(interval: Interval, truth: float, cells: tuple[float, float, float], rows: int, runs: int) -> float:
    """Share of intervals that hold the truth; `cells` are the chances of both, only now, only the reference."""
    found = lru_cache(maxsize=None)(interval)
    drawn = np.random.default_rng(1).multinomial(rows, [*cells, 1 - sum(cells)], runs)
    given = [found(PairedCounts(rows, *map(int, counts[:3]))) for counts in drawn if counts[0] + counts[2]]
    return sum(low <= truth <= high for low, high in given) / len(given)


def test_published_example() -> None:
    assert compute_difference_interval(AIRWAYS) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert compute_ratio_interval(AIRWAYS) == pytest.approx((0.065, 0.907), abs=5e-4)
    assert compute_mcnemar_p_value(AIRWAYS) == pytest.approx(0.039, abs=5e-4)


@pytest.mark.parametrize("cells", [(0.9, 0.005, 0.01), (0.7, 0.02, 0.06), (0.5, 0.1, 0.1), (0.95, 0.001, 0.001)])
@pytest.mark.parametrize("rows", first_in_unit_tier([100, 1_000]))
def test_intervals_hold_the_truth_as_often_as_they_say(cells: tuple[float, float, float], rows: int) -> None:
    both, only_now, only_reference = cells
    truth = (both + only_now) / (both + only_reference)
    assert coverage(compute_difference_interval, only_now - only_reference, cells, rows, 1_000) >= 0.93
    assert coverage(compute_ratio_interval, truth, cells, rows, 1_000) >= 0.93


@pytest.mark.parametrize("rows", first_in_unit_tier([1_000, 100]))
def test_intervals_are_no_wider_than_they_need_be(rows: int) -> None:
    cells = (0.7, 0.02, 0.06)
    assert coverage(compute_difference_interval, -0.04, cells, rows, 1_000) <= 0.97
    assert coverage(compute_ratio_interval, 0.72 / 0.76, cells, rows, 1_000) <= 0.97


def test_mcnemar_errs_as_often_as_it_may_and_hardly_less() -> None:
    drawn = np.random.default_rng(2).multinomial(500, [0.8, 0.04, 0.04, 0.12], 4_000)
    errors = [compute_mcnemar_p_value(PairedCounts(500, *map(int, counts[:3]))) < 0.05 for counts in drawn]
    assert 0.035 <= np.mean(errors) <= 0.06


@pytest.mark.parametrize("rows", [1, 10, 1_000])
def test_rows_without_a_difference_leave_room_for_one(rows: int) -> None:
    """Tango's interval is then z² / (n + z²) to either side."""
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
def test_intervals_hold_what_was_seen_and_stay_in_bounds(counts: PairedCounts) -> None:
    low, high = compute_difference_interval(counts)
    assert -1 <= low <= counts.difference <= high <= 1
    low, high = compute_ratio_interval(counts)
    assert 0 <= low <= counts.variant_correct / counts.reference_correct <= high


def test_mcnemar_looks_at_neither_the_agreement_nor_the_side() -> None:
    assert (
        compute_mcnemar_p_value(PairedCounts(100, 80, 3, 9))
        == compute_mcnemar_p_value(PairedCounts(1_000, 0, 9, 3))
        < 0.1
    )


def marks(both: int, only_now: int, only_reference: int, neither: int) -> Accuracy:
    now = [1] * (both + only_now) + [0] * (only_reference + neither)
    reference = [1] * both + [0] * only_now + [1] * only_reference + [0] * neither
    return compute_accuracy(now, reference, "top-1")


def amounts(rows: int, factor: float) -> Accuracy:
    rng = np.random.default_rng(1)
    reference = rng.exponential(1, rows)
    return compute_accuracy(reference * factor * rng.uniform(0.99, 1.01, rows), reference, "mean absolute error")


def test_shares_of_rows_that_are_right() -> None:
    found = marks(both=850, only_now=10, only_reference=30, neither=110)
    assert found.value == estimate_proportion(860, 1_000)
    assert found.reference == estimate_proportion(880, 1_000)
    assert found.change is not None
    assert found.change.value == pytest.approx(-0.02)
    assert found.retained is not None
    assert found.retained.value == pytest.approx(860 / 880)
    assert found.p_value == pytest.approx(0.0016, abs=2e-4)  # both tails of Binomial(40, 1/2) at 10, the first half
    assert found.test == "McNemar"


def test_mean_errors_have_students_interval() -> None:
    found = compute_accuracy(np.arange(1.0, 22.0), None, "mean absolute error").value
    assert found.value == 11.0
    half = 2.085963 * math.sqrt(38.5 / 21)
    assert found.ci95 == pytest.approx((11 - half, 11 + half), rel=1e-6)


def test_a_file_sorted_by_label_widens_no_interval() -> None:
    errors = np.random.default_rng(2).exponential(1, 1_000)
    found = [compute_accuracy(values, None, "mean absolute error").value.ci95 for values in (errors, np.sort(errors))]
    assert found[0] == pytest.approx(found[1])


def test_an_error_that_grew_keeps_the_inverse() -> None:
    found = amounts(500, 1.25)
    assert found.value.value is not None
    assert found.reference is not None
    assert found.reference.value is not None
    assert found.retained is not None
    assert found.retained.value == found.reference.value / found.value.value == pytest.approx(0.8, rel=0.01)
    assert found.change is not None
    assert found.change.value == found.value.value - found.reference.value
    assert found.p_value == pytest.approx(2 / 2_001)
    assert found.test == "paired bootstrap"


@pytest.mark.parametrize("metric", ["top-1", "mean absolute error"])
def test_without_a_reference_there_is_only_the_value(metric: str) -> None:
    found = compute_accuracy([1, 0, 1], None, metric)  # type: ignore[arg-type]
    assert (found.reference, found.change, found.retained, found.p_value, found.test) == (None, None, None, None, None)
    assert found.value.value == pytest.approx(2 / 3)
    assert keeps(found, 0.5) == "INCONCLUSIVE"
    assert estimate_rows_needed(found, 0.5) is None


@pytest.mark.parametrize("metric", ["top-1", "mean absolute error"])
def test_no_rows_at_all(metric: str) -> None:
    found = compute_accuracy([], [], metric)  # type: ignore[arg-type]
    assert found.value.value is None
    assert found.retained is None


def test_other_rows_than_the_references_are_refused() -> None:
    with pytest.raises(UsageError, match="for 3 rows, but the reference has scores for 2"):
        compute_accuracy([1, 1, 1], [1, 1], "top-1")


def test_a_reference_that_is_never_right_leaves_nothing_to_keep() -> None:
    found = marks(both=0, only_now=4, only_reference=0, neither=6)
    assert found.retained is not None
    assert (found.retained.value, found.retained.reason) == (None, "the reference predicts no row correctly")
    assert keeps(found, 0.99) == "INCONCLUSIVE"


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_a_row_without_a_finite_error_keeps_nothing(lost: float) -> None:
    found = compute_accuracy([lost, *[1.0] * 30], [1.0] * 31, "mean absolute error")
    assert (found.value.value, found.value.reason) == (None, "no finite error in 1 of 31 rows")
    assert found.retained is not None
    assert found.retained.value == 0.0
    assert keeps(found, 0.5) == "FAIL"
    assert msgspec.json.decode(msgspec.json.encode(found), type=Accuracy) == found


def test_a_reference_without_a_mean_evaluates_nothing() -> None:
    found = compute_accuracy([1.0] * 30, [math.nan] * 30, "mean absolute error")
    assert found.value.value == 1.0
    assert keeps(found, 0.5) == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("measure", "judgement"),
    [
        (partial(marks, both=9_000, only_now=20, only_reference=20, neither=960), "PASS"),
        (partial(marks, both=900, only_now=2, only_reference=2, neither=96), "PASS"),
        (partial(marks, both=90, only_now=0, only_reference=0, neither=10), "INCONCLUSIVE"),  # alike, and far too few
        (partial(marks, both=890, only_now=3, only_reference=10, neither=97), "INCONCLUSIVE"),
        (partial(marks, both=850, only_now=5, only_reference=50, neither=95), "FAIL"),
        (partial(amounts, 500, 1.0), "PASS"),
        (partial(amounts, 500, 1.05), "FAIL"),
        (partial(amounts, 19, 1.0), "INCONCLUSIVE"),
    ],
)
def test_a_gate_at_99_percent_needs_the_whole_interval(measure: Callable[[], Accuracy], judgement: str) -> None:
    assert keeps(measure(), 0.99) == judgement


def test_as_many_rows_as_the_rule_says() -> None:
    """A drop of 0.005 among 2 % of differing rows: (1.96 + 0.84)² 0.02 / 0.005² is 6,272."""
    found = estimate_rows_needed(marks(both=97_500, only_now=750, only_reference=1_250, neither=500), 1.0)
    assert found == pytest.approx(6_272, rel=0.04)
    few = estimate_rows_needed(marks(both=1_950, only_now=15, only_reference=25, neither=10), 1.0)
    assert few == pytest.approx(6_272, rel=0.1)


@pytest.mark.parametrize("rows", [30, 450, 10_000])
def test_rows_that_never_differ_settle_a_gate_in_thousands(rows: int) -> None:
    """Tang's interval of n rows all right reaches down to n / (n + z²), and so to 0.999 with 3,838."""
    found = estimate_rows_needed(marks(both=rows, only_now=0, only_reference=0, neither=0), 0.999)
    assert found == pytest.approx(3_838, rel=0.15)


@pytest.mark.parametrize("measure", [partial(marks, 890, 3, 10, 97), partial(amounts, 100, 1.009)])
def test_that_many_rows_settle_it(measure: Callable[[], Accuracy]) -> None:
    """The interval's half-width, shrunk to so many, leaves the limit out."""
    accuracy = measure()
    found = estimate_rows_needed(accuracy, 0.99)
    assert found is not None
    assert accuracy.retained is not None
    assert accuracy.retained.n is not None
    assert accuracy.retained.ci95 is not None
    assert accuracy.retained.value is not None
    half = np.ptp(accuracy.retained.ci95) / 2 * math.sqrt(accuracy.retained.n / found)
    assert half == pytest.approx(abs(accuracy.retained.value - 0.99) / 1.43, rel=0.15)


def test_no_number_of_rows_reports_equal_things_apart() -> None:
    assert estimate_rows_needed(marks(900, 5, 5, 90), 1.0) is None


@pytest.mark.parametrize(
    ("right", "rows", "chance", "verdict"),
    [
        (973, 1_000, 0.103, "VALID"),
        (99, 995, 0.103, "WARN"),  # one class of ten for every row, whatever it is
        (110, 1_000, 0.103, "WARN"),
        (150, 1_000, 0.103, "VALID"),
        (2, 3, 0.5, "WARN"),  # too few rows to tell
        (0, 1_000, 0.103, "WARN"),
    ],
)
def test_an_accuracy_no_better_than_one_class_for_every_row_is_a_warning(
    right: int, rows: int, chance: float, verdict: str
) -> None:
    check = check_chance_accuracy(estimate_proportion(right, rows), chance)
    assert check is not None
    assert check.verdict == verdict
    assert (check.hint is not None and "workload.output" in check.hint) is (verdict == "WARN")


def test_where_there_is_no_chance_there_is_no_check() -> None:
    assert check_chance_accuracy(estimate_proportion(9, 10), None) is None
    assert check_chance_accuracy(None, 0.1) is None
    assert compute_chance_accuracy(np.array([3, 3, 3])) is None
    assert compute_chance_accuracy(np.array([0.5, 1.5])) is None
    assert compute_chance_accuracy(np.array([1, 2, 2, 7])) == 0.5
