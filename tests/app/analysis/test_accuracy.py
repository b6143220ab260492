from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from app.analysis.accuracy import accuracy_of, chance_check, chance_of, keeps, rows_to_settle
from app.analysis.estimates import share
from app.errors import UsageError
from app.records.local import Accuracy


def marks(both: int, only_now: int, only_reference: int, neither: int) -> Accuracy:
    now = [1] * (both + only_now) + [0] * (only_reference + neither)
    reference = [1] * both + [0] * only_now + [1] * only_reference + [0] * neither
    return accuracy_of(now, reference, "top-1")


def amounts(rows: int, factor: float) -> Accuracy:
    rng = np.random.default_rng(1)
    reference = rng.exponential(1, rows)
    return accuracy_of(reference * factor * rng.uniform(0.99, 1.01, rows), reference, "mean absolute error")


def test_shares_of_rows_that_are_right() -> None:
    found = marks(both=850, only_now=10, only_reference=30, neither=110)
    assert found.value == share(860, 1_000)
    assert found.reference == share(880, 1_000)
    assert found.change is not None
    assert found.change.value == pytest.approx(-0.02)
    assert found.kept is not None
    assert found.kept.value == pytest.approx(860 / 880)
    assert found.p_value == pytest.approx(0.0016, abs=2e-4)  # both tails of Binomial(40, 1/2) at 10, the first half
    assert found.test == "McNemar"


def test_mean_errors_have_students_interval() -> None:
    found = accuracy_of(np.arange(1.0, 22.0), None, "mean absolute error").value
    assert found.value == 11.0
    half = 2.085963 * math.sqrt(38.5 / 21)
    assert found.ci95 == pytest.approx((11 - half, 11 + half), rel=1e-6)


def test_a_file_sorted_by_label_widens_no_interval() -> None:
    errors = np.random.default_rng(2).exponential(1, 1_000)
    found = [accuracy_of(values, None, "mean absolute error").value.ci95 for values in (errors, np.sort(errors))]
    assert found[0] == pytest.approx(found[1])


def test_an_error_that_grew_keeps_the_inverse() -> None:
    found = amounts(500, 1.25)
    assert found.value.value is not None
    assert found.reference is not None
    assert found.reference.value is not None
    assert found.kept is not None
    assert found.kept.value == found.reference.value / found.value.value == pytest.approx(0.8, rel=0.01)
    assert found.change is not None
    assert found.change.value == found.value.value - found.reference.value
    assert found.p_value == pytest.approx(2 / 2_001)
    assert found.test == "paired bootstrap"


@pytest.mark.parametrize("metric", ["top-1", "mean absolute error"])
def test_without_a_reference_there_is_only_the_value(metric: str) -> None:
    found = accuracy_of([1, 0, 1], None, metric)  # type: ignore[arg-type]
    assert (found.reference, found.change, found.kept, found.p_value, found.test) == (None, None, None, None, None)
    assert found.value.value == pytest.approx(2 / 3)
    assert keeps(found, 0.5) == "INCONCLUSIVE"
    assert rows_to_settle(found, 0.5) is None


@pytest.mark.parametrize("metric", ["top-1", "mean absolute error"])
def test_no_rows_at_all(metric: str) -> None:
    found = accuracy_of([], [], metric)  # type: ignore[arg-type]
    assert found.value.value is None
    assert found.kept is None


def test_other_rows_than_the_references_are_refused() -> None:
    with pytest.raises(UsageError, match="scores of 2 rows, the variant of 3"):
        accuracy_of([1, 1, 1], [1, 1], "top-1")


def test_a_reference_that_is_never_right_leaves_nothing_to_keep() -> None:
    found = marks(both=0, only_now=4, only_reference=0, neither=6)
    assert found.kept is not None
    assert (found.kept.value, found.kept.reason) == (None, "the reference has no row right")
    assert keeps(found, 0.99) == "INCONCLUSIVE"


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_a_row_without_a_finite_error_keeps_nothing(lost: float) -> None:
    found = accuracy_of([lost, *[1.0] * 30], [1.0] * 31, "mean absolute error")
    assert (found.value.value, found.value.reason) == (None, "1 of 31 rows have no finite error")
    assert found.kept is not None
    assert found.kept.value == 0.0
    assert keeps(found, 0.5) == "FAIL"
    assert msgspec.json.decode(msgspec.json.encode(found), type=Accuracy) == found


def test_a_reference_without_a_mean_judges_nothing() -> None:
    found = accuracy_of([1.0] * 30, [math.nan] * 30, "mean absolute error")
    assert found.value.value == 1.0
    assert keeps(found, 0.5) == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("accuracy", "judgement"),
    [
        (marks(both=9_000, only_now=20, only_reference=20, neither=960), "PASS"),
        (marks(both=900, only_now=2, only_reference=2, neither=96), "PASS"),
        (marks(both=90, only_now=0, only_reference=0, neither=10), "INCONCLUSIVE"),  # alike, and far too few
        (marks(both=890, only_now=3, only_reference=10, neither=97), "INCONCLUSIVE"),
        (marks(both=850, only_now=5, only_reference=50, neither=95), "FAIL"),
        (amounts(500, 1.0), "PASS"),
        (amounts(500, 1.05), "FAIL"),
        (amounts(19, 1.0), "INCONCLUSIVE"),
    ],
)
def test_a_gate_at_99_percent_needs_the_whole_interval(accuracy: Accuracy, judgement: str) -> None:
    assert keeps(accuracy, 0.99) == judgement


def test_as_many_rows_as_the_rule_says() -> None:
    """A drop of 0.005 among 2 % of differing rows: (1.96 + 0.84)² 0.02 / 0.005² is 6,272."""
    found = rows_to_settle(marks(both=97_500, only_now=750, only_reference=1_250, neither=500), 1.0)
    assert found == pytest.approx(6_272, rel=0.04)
    few = rows_to_settle(marks(both=1_950, only_now=15, only_reference=25, neither=10), 1.0)
    assert few == pytest.approx(6_272, rel=0.1)


@pytest.mark.parametrize("rows", [30, 450, 10_000])
def test_rows_that_never_differ_settle_a_gate_in_thousands(rows: int) -> None:
    """Tang's interval of n rows all right reaches down to n / (n + z²), and so to 0.999 with 3,838."""
    found = rows_to_settle(marks(both=rows, only_now=0, only_reference=0, neither=0), 0.999)
    assert found == pytest.approx(3_838, rel=0.15)


@pytest.mark.parametrize("accuracy", [marks(890, 3, 10, 97), amounts(100, 1.009)])
def test_that_many_rows_settle_it(accuracy: Accuracy) -> None:
    """The interval's half-width, shrunk to so many, leaves the limit out."""
    found = rows_to_settle(accuracy, 0.99)
    assert found is not None
    assert accuracy.kept is not None
    assert accuracy.kept.n is not None
    assert accuracy.kept.ci95 is not None
    assert accuracy.kept.value is not None
    half = np.ptp(accuracy.kept.ci95) / 2 * math.sqrt(accuracy.kept.n / found)
    assert half == pytest.approx(abs(accuracy.kept.value - 0.99) / 1.43, rel=0.15)


def test_no_number_of_rows_tells_equal_things_apart() -> None:
    assert rows_to_settle(marks(900, 5, 5, 90), 1.0) is None


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
    check = chance_check(share(right, rows), chance)
    assert check is not None
    assert check.verdict == verdict
    assert (check.hint is not None and "workload.output" in check.hint) is (verdict == "WARN")


def test_where_there_is_no_chance_there_is_no_check() -> None:
    assert chance_check(share(9, 10), None) is None
    assert chance_check(None, 0.1) is None
    assert chance_of(np.array([3, 3, 3])) is None
    assert chance_of(np.array([0.5, 1.5])) is None
    assert chance_of(np.array([1, 2, 2, 7])) == 0.5
