from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.pricing.published.listed import ListedPrice, PublishedPrices
from app.profiles.pricing.published.reading import read_catalog
from tests.fakes.price_catalogs import (
    AWS_COLUMNS,
    AWS_METADATA,
    INSTANCES,
    amounts,
    aws_csv,
    aws_json,
    aws_product,
    aws_reserved,
    aws_row,
    aws_term,
    catalog_file,
    to_csv,
)

LEASE = {"LeaseContractLength": "1yr", "PurchaseOption": "No Upfront", "OfferingClass": "standard"}
EXPECTED = {
    ("g6.xlarge", "us-east-1", "", "on-demand"): 0.79,
    ("g6.xlarge", "us-east-1", "", "reserved-1y"): 0.5,
}


def read_aws(folder: Path, content: str, name: str = "index.csv") -> PublishedPrices:
    (published,) = read_catalog([catalog_file(folder, name, content)], "aws", INSTANCES, None)
    return published


def test_aws_csv_yields_only_plain_linux_prices(tmp_path: Path) -> None:
    published = read_aws(
        tmp_path,
        aws_csv(
            aws_row(GPU="1"),
            aws_reserved(),
            aws_row(price="1.5", **{"Operating System": "Windows"}),
            aws_row(price="1.6", Tenancy="Dedicated"),
            aws_row(price="1.7", **{"Pre Installed S/W": "SQL Web"}),
            aws_row(price="0", CapacityStatus="AllocatedCapacityReservation"),
            aws_row(price="1.8", MarketOption="CapacityBlock"),
            aws_reserved(price="0.3", LeaseContractLength="3yr"),
            aws_reserved(price="0.6", OfferingClass="convertible"),
            aws_reserved(price="4000", PurchaseOption="All Upfront", Unit="Quantity"),
            aws_row("x1.big"),
        ),
    )
    assert amounts(published.prices) == EXPECTED
    assert published.as_of == datetime.date(2026, 11, 20)
    assert published.other_rows == 9
    first = published.prices[0]
    assert (first.accelerator_count, first.currencies, first.is_hourly) == (1, ("USD",), True)
    assert first.effective_on == datetime.date(2026, 11, 1)


def test_aws_json_yields_the_same_prices_as_the_csv(tmp_path: Path) -> None:
    published = read_aws(
        tmp_path,
        aws_json(
            aws_product("A", gpu="1") | aws_product("B", operatingSystem="Windows") | aws_product("C", "x1.big"),
            aws_term("A") | aws_term("B", "1.5") | aws_term("C", "9"),
            aws_term("A", "0.5", termAttributes=LEASE) | aws_term("B", "0.4", termAttributes=LEASE),
        ),
        "index.json",
    )
    assert amounts(published.prices) == EXPECTED
    assert published.as_of == datetime.date(2026, 11, 20)
    assert published.prices[0].accelerator_count == 1
    assert published.other_rows == 2


def _only(prices: PublishedPrices) -> ListedPrice:
    (price,) = prices.prices
    return price


def test_aws_prices_have_the_currency_and_unit_of_their_row(tmp_path: Path) -> None:
    in_csv = _only(read_aws(tmp_path, aws_csv(aws_row(Currency="CNY", Unit="Mo"))))
    in_json = _only(read_aws(tmp_path, aws_json(aws_product("A"), aws_term("A", currency="CNY")), "index.json"))
    assert in_csv.currencies == in_json.currencies == ("CNY",)
    assert (in_csv.is_hourly, in_json.is_hourly) == (False, True)


@pytest.mark.parametrize("column", ["Region Code", "PricePerUnit", "Currency"])
def test_missing_aws_column_is_named(tmp_path: Path, column: str) -> None:
    content = AWS_METADATA + to_csv([], [name for name in AWS_COLUMNS if name != column])
    with pytest.raises(UsageError, match=f"index.csv:6: the column '{column}' is missing"):
        read_aws(tmp_path, content)


def test_aws_metadata_without_a_table_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the column 'SKU' is missing"):
        read_aws(tmp_path, '"FormatVersion","v1.0"\n' * 20)
    with pytest.raises(UsageError, match="the column 'TermType' is missing"):
        read_aws(tmp_path, '"FormatVersion","v1.0"\n')


def test_aws_products_and_terms_of_a_wrong_type_are_counted(tmp_path: Path) -> None:
    wrong_product = {"B": {"sku": "B", "attributes": {"instanceType": 3}}}
    published = read_aws(
        tmp_path,
        aws_json(aws_product("A") | wrong_product | aws_product("D"), aws_term("A") | aws_term("D", 0.79)),
        "index.json",
    )
    assert amounts(published.prices) == {("g6.xlarge", "us-east-1", "", "on-demand"): 0.79}
    assert published.unreadable_rows == 2
    assert published.problems[0].startswith("products.B: Expected `str`, got `int`")
    assert published.problems[1].startswith("terms.OnDemand.D: Expected `str`, got `float`")
