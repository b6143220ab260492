from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.pricing.published.listed import PublishedPrices
from app.profiles.pricing.published.reading import read_catalog
from tests.fakes.price_catalogs import INSTANCES, amounts, azure_item, azure_json, catalog_file

A100 = ("Standard_NC24ads_A100_v4", "eastus", "")


def read_azure(folder: Path, content: str) -> PublishedPrices:
    (published,) = read_catalog([catalog_file(folder, "prices.json", content)], "azure", INSTANCES, None)
    return published


def test_azure_catalog_yields_only_linux_prices(tmp_path: Path) -> None:
    published = read_azure(
        tmp_path,
        azure_json(
            azure_item(3.5),
            azure_item(0.9, skuName="NC24ads A100 v4 Spot", meterName="NC24ads A100 v4 Spot"),
            azure_item(8760 * 2.2, type="Reservation", reservationTerm="1 Year"),
            azure_item(8760 * 3 * 1.5, type="Reservation", reservationTerm="3 Years"),
            azure_item(0.7, meterName="NC24ads A100 v4 Low Priority"),
            azure_item(4.6, productName="Virtual Machines NCadsA100v4 Series Windows"),
            azure_item(4.6, productName="Virtual Machines NCadsA100v4 Srs Win"),
            azure_item(4.6, productName="NCadsA100v4 Cloud Services"),
            azure_item(9.6, productName="NCadsA100v4 Series Dedicated Host"),
            azure_item(3.2, type="DevTestConsumption"),
            azure_item(1.0, armSkuName="Standard_New"),
            azure_item(1.0, armSkuName=None),
        ),
    )
    assert amounts(published.prices) == {
        (*A100, "on-demand"): 3.5,
        (*A100, "spot"): 0.9,
        (*A100, "reserved-1y"): pytest.approx(2.2),
    }
    assert published.other_rows == 9
    assert published.prices[0].effective_on == datetime.date(2026, 10, 1)
    assert published.prices[0].is_hourly


def test_azure_prices_have_every_currency_label(tmp_path: Path) -> None:
    labels = [
        read_azure(tmp_path, azure_json(azure_item(currencyCode=code), currency=billing)).prices[0].currencies
        for code, billing in (("USD", "USD"), ("EUR", "USD"), ("USD", "EUR"), ("EUR", "EUR"))
    ]
    assert labels == [("USD",), ("EUR", "USD"), ("EUR", "USD"), ("EUR",)]


def test_azure_unit_other_than_an_hour_is_not_hourly(tmp_path: Path) -> None:
    assert not read_azure(tmp_path, azure_json(azure_item(unitOfMeasure="1/Month"))).prices[0].is_hourly


def test_azure_items_of_a_wrong_type_or_without_a_price_are_counted(tmp_path: Path) -> None:
    without_price = azure_item()
    del without_price["retailPrice"]
    published = read_azure(tmp_path, azure_json(azure_item(), azure_item("3.5"), without_price))
    assert len(published.prices) == 1
    assert published.unreadable_rows == 2
    assert published.problems[0].startswith("Items[1]: Expected `float`, got `str`")
    assert "missing required field `retailPrice`" in published.problems[1]


def test_azure_error_response_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not have the expected JSON: .*missing required field `Items`"):
        read_azure(tmp_path, '{"error": {"code": 429}}')
