from __future__ import annotations

import pytest

from app.planning.formatting import format_number, format_service_model, format_share, format_usd
from app.records.service import RequestService


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (1270.4, "1,270"),
        (99.96, "100"),
        (12.345, "12.3"),
        (4.0, "4"),
        (0.00061, "0.00061"),
        (1e-7, "0.0000001"),
    ],
)
def test_numbers_have_three_significant_digits_and_no_exponent(number: float, text: str) -> None:
    assert format_number(number) == text
    assert format_usd(number) == f"${text}"


def test_service_model_text_distinguishes_processor_sharing_from_slots() -> None:
    service = RequestService(4, 0.012, 0.5, 0.003, discipline="processor sharing")
    assert (
        format_service_model(service)
        == "processor sharing on 4 cores, 12 ms each without contention, CV 0.5, and 3 ms overhead"
    )
    service = RequestService(1, 0.012, 0.5, 0.003)
    assert format_service_model(service) == "1 request at a time, 12 ms each, CV 0.5, and 3 ms overhead"


@pytest.mark.parametrize(
    ("number", "text"), [(0.9, "90 %"), (0.9694, "96.9 %"), (0.99999, "over 99.9 %"), (1.0, "100 %")]
)
def test_shares_below_1_do_not_round_up_to_100_percent(number: float, text: str) -> None:
    assert format_share(number) == text
