from __future__ import annotations

import datetime

import pytest

from app.errors import UsageError
from app.reporting.offer_rows import build_offer_row, find_offers, load_offers

TODAY = datetime.date(2026, 11, 27)


def test_offers_of_an_accelerator_are_sorted_by_price() -> None:
    rows = [build_offer_row(offer, TODAY) for offer in find_offers(load_offers(), accelerator="l4", provider="aws")]
    prices = [row.usd_per_hour for row in rows if row.usd_per_hour is not None]
    assert rows
    assert prices == sorted(prices)
    assert all(row.offer.startswith("aws/") and row.accelerator.endswith("× l4") for row in rows)
    assert all(row.age_days == (TODAY - row.as_of).days for row in rows)


def test_unknown_accelerator_suggests_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        find_offers(load_offers(), accelerator="h100-smx")
    assert "h100-sxm" in str(error.value.hint)
