from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.errors import UsageError
from app.profiles.pricing.published.files import CatalogFile
from app.profiles.pricing.published.reading import detect_format, find_next_page, read_catalog
from app.records.price_layouts import LAYOUT_IDS
from tests.fakes.price_catalogs import (
    INSTANCES,
    aws_csv,
    aws_json,
    aws_product,
    aws_row,
    aws_term,
    azure_item,
    azure_json,
    catalog_file,
    gcp_json,
    gcp_sku,
    gpuhunt_csv,
    gpuhunt_zip,
    sky_aws,
    skypilot_csv,
)

ROW = {"instance_name": "g6.xlarge", "location": "us-east-1", "price": 0.79}
LAYOUTS: list[tuple[str, str | bytes]] = [
    ("gpuhunt", gpuhunt_zip({"aws.csv": gpuhunt_csv(ROW)})),
    ("gpuhunt", gpuhunt_csv(ROW)),
    ("skypilot", skypilot_csv(sky_aws())),
    ("skypilot", "\ufeff" + skypilot_csv(sky_aws())),
    ("aws", aws_csv(aws_row())),
    ("aws", aws_json(aws_product("A"), aws_term("A"))),
    ("azure", azure_json(azure_item())),
    ("gcp", gcp_json(gcp_sku("Nvidia L4 GPU running in Iowa", 0.56))),
]


@pytest.mark.parametrize(("layout", "content"), LAYOUTS)
def test_catalog_format_is_detected_by_content(tmp_path: Path, layout: str, content: str | bytes) -> None:
    assert detect_format(catalog_file(tmp_path, "data", content)) == layout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "data is empty"),
        ("\n \n", "data is empty"),
        ("<!DOCTYPE html><html><body>Not found</body></html>", "data is a web page or XML"),
        ("\n<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "data is a web page or XML"),
        ('{"error": {"code": 500}}', "the layout is not known"),
        ("[]", "does not have the expected JSON"),
        ('{"Items": [', "does not have the expected JSON: Input data was truncated"),
        (b'{"Items": "\xff"}', "does not have the expected JSON"),
        ("[" * 100_000, "does not have the expected JSON"),
        ("a,b,c\n1,2,3\n", "the layout is not known"),
        ("a,b,c", "data:1: the file ends within a line"),
        (b"\xff\xfea\n", "data:1: the file is not UTF-8 text"),
        ("a" * 300_000 + "\n", "data:1: the line is longer than 256 KiB"),
    ],
)
def test_unsupported_catalog_files_are_rejected_with_the_reason(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    file = catalog_file(tmp_path, "data", content)
    with pytest.raises(UsageError) as refused:
        read_catalog([file], detect_format(file), INSTANCES, None)
    assert message in str(refused.value)


@pytest.mark.parametrize("layout", LAYOUT_IDS)
def test_content_that_does_not_match_the_requested_format_is_rejected(tmp_path: Path, layout: str) -> None:
    for content in ("<html></html>", "a,b\n1,2\n", '{"a": 1}', "PK\x03\x04", ""):
        with pytest.raises(UsageError):
            read_catalog([catalog_file(tmp_path, "data", content)], layout, INSTANCES, None)


def test_missing_catalog_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="x cannot be read: No such file"):
        detect_format(CatalogFile(tmp_path / "x", "x", "x"))


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_truncated_catalog_table_is_rejected(tmp_path: Path, cut: int) -> None:
    content = skypilot_csv(sky_aws(), sky_aws("c7i.4xlarge", 0.7))[:-cut]
    with pytest.raises(UsageError, match=r"data:\d: the file ends within a line"):
        read_catalog([catalog_file(tmp_path, "data", content)], "skypilot", INSTANCES, None)


def test_catalog_with_short_rows_or_missing_columns_is_rejected(tmp_path: Path) -> None:
    short = skypilot_csv(sky_aws()) + "g6.xlarge,L4\n"
    with pytest.raises(UsageError, match="data:3: the row has 2 of 10 cells"):
        read_catalog([catalog_file(tmp_path, "data", short)], "skypilot", INSTANCES, None)
    without_price = skypilot_csv(sky_aws()).replace("Price", "Cost", 1)
    with pytest.raises(UsageError, match="data:1: the column 'Price' is missing"):
        read_catalog([catalog_file(tmp_path, "data", without_price)], "skypilot", INSTANCES, None)


def test_catalog_files_and_price_lists_have_a_maximum_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "app.profiles.pricing.published"
    monkeypatch.setattr(f"{module}.skypilot._MAX_BYTES", 2**20)
    large = catalog_file(tmp_path, "data", skypilot_csv(*[sky_aws()] * 40_000))
    with pytest.raises(UsageError, match="data is larger than 1 MiB"):
        read_catalog([large], "skypilot", INSTANCES, None)
    monkeypatch.setattr(f"{module}.files._MAX_JSON_BYTES", 2**20)
    large = catalog_file(tmp_path, "data", json.dumps({"Items": [], "x": "y" * 2**20}))
    with pytest.raises(UsageError, match="data is larger than 1 MiB"):
        read_catalog([large], "azure", INSTANCES, None)
    monkeypatch.setattr(f"{module}.listed._MAX_PRICES", 2)
    with pytest.raises(UsageError, match="more than 2 prices"):
        read_catalog([catalog_file(tmp_path, "data", skypilot_csv(*[sky_aws()] * 3))], "skypilot", INSTANCES, None)


def test_only_the_first_100_unreadable_catalog_rows_are_described(tmp_path: Path) -> None:
    content = gpuhunt_csv(*[ROW | {"spot": "x" * 1000}] * 150)
    (published,) = read_catalog([catalog_file(tmp_path, "aws.csv", content)], "gpuhunt", INSTANCES, None)
    assert published.unreadable_rows == 150
    assert len(published.problems) == 100
    assert max(map(len, published.problems)) == 200


def test_next_catalog_page_is_a_link_or_a_token(tmp_path: Path) -> None:
    def find(content: str) -> tuple[str | None, str | None]:
        return find_next_page(catalog_file(tmp_path, "data", content))

    assert find(azure_json(next_page="https://host/next")) == ("https://host/next", None)
    assert find(azure_json()) == (None, None)
    assert find(gcp_json(next_page="token")) == (None, "token")
    assert find(gcp_json()) == (None, None)
    assert find(skypilot_csv(sky_aws())) == (None, None)
