from __future__ import annotations

import pytest

from reports import formatting
from reports.model import CheckRow, Limit, Quantity


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (237.6, "238"), (12.345, "12.3"), (0.04119, "0.0412"), (12345.0, "12,300"), (0.0, "0"),
        (999.7, "1,000"),
        (9.999, "10.0"), (-3.14159, "-3.14"), (1e-9, "<0.000001"), (float("inf"), "n/a"), (float("nan"), "n/a"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert formatting.format_number(value) == text


@pytest.mark.parametrize(("number_of", "text"), [(0, "0 stages"), (1, "1 stage"), (1200, "1,200 stages")])
def test_counted_nouns_have_plural(number_of: int, text: str) -> None:
    assert formatting.format_count_noun(number_of, "stage") == text


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (Quantity(237.6, "1/s", (231.2, 243.9)), "238 (231–244)\u202freq/s"),
        (Quantity(12.34, "ms", (11.9, 12.8)), "12.3 (11.9–12.8)\u202fms"),
        (Quantity(0.0, "share", (0.0, 0.0012)), "0 (0–0.120)\u202f%"),
        (Quantity(0.984, "share"), "98.4\u202f%"),
        (Quantity(0.9996, "share", (0.998, 0.9999)), "99.96 (99.80–99.99)\u202f%"),
        (Quantity(1.0, "share", (0.9959, 1.0)), "100 (99.6–100)\u202f%"),
        (Quantity(1.0, "share"), "100\u202f%"),
        (Quantity(3382.0, "ms"), "3,380\u202fms"),
        (Quantity(1236.4, "USD/month", (1000.0, 1500.2)), "$1,236/month (1,000–1,500)"),
        (Quantity(None, "ms", reason="90 of 368 required samples"), "n/a"),
        (Quantity(1.03, ""), "1.03"),
    ],
)
def test_quantities_have_interval_and_unit(quantity: Quantity, text: str) -> None:
    assert formatting.format_quantity(quantity) == text


@pytest.mark.parametrize(("value", "text"), [(50.0, "50"), (0.1, "0.1"), (1200.0, "1,200"), (0.0, "0")])
def test_configured_numbers_have_no_trailing_zeros(value: float, text: str) -> None:
    assert formatting.format_plain(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1236.6, "1,237"), (12.345, "12.35"), (0.0412, "0.0412"), (0.5, "0.500"), (9.146e-5, "0.0000915")],
)
def test_money_is_rounded_by_magnitude(value: float, text: str) -> None:
    assert formatting.format_money(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.34, "340\u202fms"), (12.3, "12.3\u202fs"), (125.4, "2\u202fmin 5\u202fs")]
)
def test_durations_have_unit_by_magnitude(value: float, text: str) -> None:
    assert formatting.format_duration(value) == text


def test_share_limits_are_percent() -> None:
    assert formatting.format_limit(Limit(comparator="<", value=0.001, unit="share")) == "< 0.1\u202f%"
    assert formatting.format_limit(Limit(comparator="<=", value=50.0, unit="ms")) == "<= 50\u202fms"


@pytest.mark.parametrize(
    ("quantity", "with_unit", "alone"),
    [
        (Quantity(None, "ms", n=57, undersampled=54.43), "54.4\u202fms (n = 57)", "54.4 (n = 57)"),
        (Quantity(None, "ms", n=1200, undersampled=0.0412), "0.0412\u202fms (n = 1,200)", "0.0412 (n = 1,200)"),
        (Quantity(54.43, "ms", n=57), "54.4\u202fms", "54.4"),
        (Quantity(None, "ms", n=0), "n/a", "n/a"),
    ],
)
def test_undersampled_percentile_has_sample_count(quantity: Quantity, with_unit: str, alone: str) -> None:
    assert formatting.format_value_unit(quantity) == formatting.format_quantity(quantity) == with_unit
    assert formatting.format_value(quantity) == alone


def test_check_values_and_limits_have_units_or_placeholders() -> None:
    missing = CheckRow(id="ceiling", name="ceiling", value=None, limit=0.7, unit="share", verdict="INVALID")
    few = CheckRow(id="samples", name="samples", value=0, limit=1, unit="responses", verdict="WARN")
    assert (formatting.format_check_value(few), formatting.format_check_limit(few)) == (
        "0\u202fresponses",
        "1\u202fresponse",
    )
    words = CheckRow(id="provider", name="provider", value="CPU", limit=None, unit=None, verdict="VALID")
    assert (formatting.format_check_value(missing), formatting.format_check_limit(missing)) == ("n/a", "70\u202f%")
    assert (formatting.format_check_value(words), formatting.format_check_limit(words)) == ("CPU", "–")
    measured = CheckRow(id="ceiling", name="ceiling", value=9430.1, limit=9555.557715, unit="req/s", verdict="INVALID")
    assert formatting.format_check_limit(measured) == "9,556\u202freq/s"


@pytest.mark.parametrize(
    ("value", "text"), [(385, "385 bytes"), (385_357, "385 kB"), (1_474_781, "1.47 MB"), (12_300_000_000, "12.3 GB")]
)
def test_byte_sizes_have_unit_by_magnitude(value: int, text: str) -> None:
    assert formatting.format_size(value).replace(formatting.THIN_SPACE, " ") == text


@pytest.mark.parametrize(("value", "text"), [(1.0, "1.000"), (0.0618, "0.062"), (0.0004, "<0.001")])
def test_p_values_have_three_decimals(value: float, text: str) -> None:
    assert formatting.format_p_value(value) == text


def test_negative_interval_uses_to_instead_of_dash() -> None:
    assert formatting.format_interval(Quantity(-0.5, "ms", (-2.0, -0.1))) == "-2.000 to -0.100"
    assert formatting.format_interval(Quantity(0.5, "ms", (0.2, 0.8))) == "0.200–0.800"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "under 0.1"), (0.00001, "under 0.1"), (0.905, "90.5"), (0.9, "90"), (0.99862, "99.9"),
        (0.99996, "over 99.9"), (1.0, "over 99.9"),
    ],
)  # fmt: skip
def test_probability_is_never_rounded_to_0_or_1(value: float, text: str) -> None:
    assert formatting.format_probability(value) == f"{text}\u202f%"


def test_limit_is_marked_in_value_and_quantity() -> None:
    limit = Quantity(812.0, "ms", is_limit=True)
    assert formatting.format_value(limit) == "≤\u202f812"
    assert formatting.format_quantity(limit) == "≤\u202f812\u202fms"
    assert formatting.format_value(Quantity(None, "ms", is_limit=True)) == "n/a"
