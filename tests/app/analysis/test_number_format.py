from __future__ import annotations

import pytest

from app.analysis.number_format import format_number


@pytest.mark.parametrize(
    ("value", "text"),
    [(71.523, "71.52"), (3.5, "3.5"), (1600.0, "1,600"), (16_000.0, "16,000"), (234_567.0, "234,600"), (0.0, "0")],
)
def test_numbers_are_formatted_without_powers_of_ten(value: float, text: str) -> None:
    assert format_number(value) == text


def test_number_of_digits_can_be_set() -> None:
    assert format_number(12_345.6, 3) == "12,300"
