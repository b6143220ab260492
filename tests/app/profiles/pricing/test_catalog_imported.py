from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.pricing.catalog import (
    encode_price_list,
    find_offer,
    get_price_list_path,
    load_bundled_catalog,
    load_catalog,
    load_imported_price_list,
    load_imported_rows,
)
from app.records.offers import OwnedHardware, PriceList, PriceRow
from app.storage.run_directory import runs_home

DAY = datetime.date(2026, 8, 1)
ROW = PriceRow(
    provider="own", instance_type="rack", region="home", as_of=DAY, accelerator="l4",
    owned=OwnedHardware(capex_usd=1000, life_years=4, units=2),
)  # fmt: skip
DEARER = PriceRow(provider="aws", instance_type="g6.2xlarge", region="us-east-1", as_of=DAY, on_demand_usd_per_hour=9.0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    return tmp_path


def test_price_list_is_stored_beside_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_price_list_path().parent == runs_home().parent
    monkeypatch.delenv("SIZEWISE_HOME")
    assert get_price_list_path().parent == runs_home().parent


def test_imported_price_list_overrides_the_bundled_catalog(home: Path) -> None:
    assert load_imported_price_list() is None
    prices = PriceList((ROW, DEARER), "/f.yaml", DAY)
    get_price_list_path().write_bytes(encode_price_list(prices))
    assert load_imported_price_list() == prices
    assert load_imported_rows() == (ROW, DEARER)
    catalogue = load_catalog()
    assert find_offer(catalogue, "own/rack").owned == ROW.owned
    assert find_offer(catalogue, "aws/g6.2xlarge").on_demand_usd_per_hour == 9.0
    assert not any(offer.is_customized for offer in load_bundled_catalog().offers)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read"),
        (b"\xff\x00", "cannot be read"),
        (b'{"rows": [], "imported_from": "f", "imported_on": "2026-08-01", "version": 2}', "has version 2"),
    ],
)
def test_damaged_price_list_is_reported_with_a_hint(content: bytes, message: str) -> None:
    get_price_list_path().write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_catalog()
    assert message in str(caught.value)
    assert caught.value.hint


def test_imported_row_that_no_longer_matches_the_catalog_is_named() -> None:
    unmatched_row = PriceRow(provider="aws", instance_type="gone", region="us-east-1", as_of=DAY, vcpus=3)
    get_price_list_path().write_bytes(encode_price_list(PriceList((unmatched_row,), "f", DAY)))
    with pytest.raises(UsageError, match=r"your price of aws/gone@us-east-1: "):
        load_catalog()
