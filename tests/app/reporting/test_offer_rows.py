from __future__ import annotations

import datetime

import pytest

from app.errors import UsageError
from app.reporting.offer_rows import build_offer_row, find_offers, load_offers

TODAY = datetime.date(2026, 11, 27)


def test_offers_come_by_accelerator_then_price() -> None:
    rows = [build_offer_row(one, TODAY) for one in find_offers(load_offers(), accelerator="l4", provider="aws")]
    prices = [row.usd_per_hour for row in rows if row.usd_per_hour is not None]
    assert rows
    assert prices == sorted(prices)
    assert all(row.offer.startswith("aws/") and row.accelerator.endswith("× l4") for row in rows)
    assert all(row.age_days == (TODAY - row.as_of).days for row in rows)


def test_a_name_that_is_nowhere_has_its_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find_offers(load_offers(), accelerator="h100-smx")
    assert "h100-sxm" in str(caught.value.hint)
