from __future__ import annotations

import datetime
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from app.cli.main import main
from app.cli.offers import COMMAND
from app.errors import ExitCode
from app.profiles.pricing.catalog import load_imported_price_list
from app.records.offers import PriceRow
from app.records.price_layouts import LAYOUT_IDS
from tests.fakes.price_catalogs import (
    aws_csv,
    aws_row,
    azure_item,
    azure_json,
    gcp_json,
    gcp_sku,
    gpuhunt_csv,
    gpuhunt_zip,
    sky_aws,
    skypilot_csv,
)

TODAY = datetime.date(2026, 11, 29)
L4, L4X4 = "aws/g6.xlarge@us-east-1", "aws/g6.12xlarge@us-east-1"
"""Offers with prices of 0.8048 and 4.6016 USD/h in the bundled catalog."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("app.cli.offers._get_today", lambda: TODAY)
    return tmp_path / "home"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        changed_at = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC).timestamp()
        os.utime(path, (changed_at, changed_at))
        return str(path)

    return write


Write = Callable[[str, str | bytes], str]


def load_stored_prices() -> dict[str, PriceRow]:
    price_list = load_imported_price_list()
    return {} if price_list is None else {row.key: row for row in price_list.rows}


def read_output_words(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_offers_update_without_yes_shows_changes_and_stores_nothing(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("vms.csv", skypilot_csv(sky_aws(price=0.79), sky_aws("g6.12xlarge", 4.6016)))
    assert main(["offers", "update", path]) == ExitCode.OK
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["skypilot:vms.csv,", "prices", "of", "2026-11-25"]
    assert ["offer", "price", "old", "USD/h", "new", "USD/h", "change"] in rows
    assert [L4, "on-demand", "0.8048", "0.79", "-1.8", "%"] in rows
    assert ["aws/g5.xlarge@us-east-1", "on-demand", "1.006", "not", "found"] in rows
    assert "1 changed, 0 new, 1 confirmed, " in out
    assert "Nothing was stored. Add --yes" in err
    assert load_stored_prices() == {}


def test_offers_update_with_yes_stores_prices_with_date_and_source(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("vms.csv", skypilot_csv(sky_aws(price=0.79, spot=0.3)))
    assert main(["offers", "update", path, "--yes"]) == ExitCode.OK
    assert "The prices were stored in" in capsys.readouterr().out
    row = load_stored_prices()[L4]
    assert (row.on_demand_usd_per_hour, row.spot_usd_per_hour) == (0.79, 0.3)
    assert (row.as_of, row.source) == (datetime.date(2026, 11, 25), "skypilot:vms.csv")
    assert main(["offers", "list", "--json", "--accelerator", "l4"]) == ExitCode.OK
    listed = {offer["key"]: offer for offer in json.loads(capsys.readouterr().out)}[L4]
    assert (listed["on_demand_usd_per_hour"], listed["price_age_days"], listed["is_yours"]) == (0.79, 4, False)
    assert main(["offers", "update", path, "--yes"]) == ExitCode.OK
    assert "0 changed, 0 new, 2 confirmed" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "is_stored"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False)])
def test_offers_update_at_a_terminal_requires_confirmation(
    write: Write, monkeypatch: pytest.MonkeyPatch, answer: str, is_stored: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert main(["offers", "update", write("vms.csv", skypilot_csv(sky_aws()))]) == ExitCode.OK
    assert "Store these prices? [y/N]" in terminal.getvalue()
    assert (L4 in load_stored_prices()) is is_stored


def test_rejected_prices_are_listed_and_the_others_stored(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("g6.xlarge", "g6.2xlarge", "g6.4xlarge", "g6.8xlarge")
    usual = [sky_aws(name, price) for name, price in zip(names, (0.79, 0.97, 1.3, 2.0), strict=True)]
    path = write("vms.csv", skypilot_csv(*usual, sky_aws("g6.12xlarge", 1.1504)))
    assert main(["offers", "update", path, "--yes"]) == ExitCode.OK
    assert [L4X4, "on-demand", "4.6016", "1.1504", "the", "price", "is", "1/4"] in [
        line[:8] for line in read_output_words(capsys)
    ]
    assert len(load_stored_prices()) == 4
    assert main(["offers", "update", path, "--yes", "--accept", L4X4]) == ExitCode.OK
    assert load_stored_prices()[L4X4].on_demand_usd_per_hour == 1.1504


def test_too_many_rejected_prices_store_nothing(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offers", "update", write("a.csv", skypilot_csv(sky_aws(price=0.79))), "--yes"]) == ExitCode.OK
    before = load_stored_prices()
    path = write("vms.csv", skypilot_csv(sky_aws(price=0.7), sky_aws("g6.12xlarge", 0)))
    capsys.readouterr()
    assert main(["offers", "update", path, "--yes"]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert "the price is not above 0" in out
    assert "50% of the prices were refused, more than 20%: nothing was stored" in err
    assert load_stored_prices() == before


def test_offers_update_does_not_replace_prices_of_the_user(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_prices = write("own.csv", "provider,instance_type,region,on_demand_usd_per_hour\naws,g6.xlarge,us-east-1,0.6\n")
    assert main(["offers", "import", own_prices]) == ExitCode.OK
    path = write("vms.csv", skypilot_csv(sky_aws(price=0.79), sky_aws("g6.12xlarge", 4.5)))
    assert main(["offers", "update", path, "--yes"]) == ExitCode.OK
    assert "Kept, because they are of your own price list: 1" in capsys.readouterr().out
    assert (load_stored_prices()[L4].on_demand_usd_per_hour, load_stored_prices()[L4].source) == (0.6, None)
    assert load_stored_prices()[L4X4].on_demand_usd_per_hour == 4.5


def test_price_date_can_be_set_but_not_in_the_future(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("vms.csv", skypilot_csv(sky_aws()))
    assert main(["offers", "update", path, "--yes", "--date", "2026-11-01"]) == ExitCode.OK
    assert load_stored_prices()[L4].as_of == datetime.date(2026, 11, 1)
    assert main(["offers", "update", path, "--date", "2026-11-30"]) == ExitCode.USAGE
    assert "the date of the prices, 2026-11-30, is in the future (today is 2026-11-29)" in capsys.readouterr().err
    assert main(["offers", "update", path, "--date", "soon"]) == ExitCode.USAGE
    assert main(["offers", "update", path, "--date", "2026-07-01"]) == ExitCode.OK
    assert "Kept, because the current price is newer: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "key", "as_of"),
    [
        (
            "catalog.zip",
            gpuhunt_zip(
                {"aws.csv": gpuhunt_csv({"instance_name": "g6.xlarge", "location": "us-east-1", "price": 0.7})}
            ),
            L4,
            datetime.date(2026, 8, 19),
        ),
        ("index.csv", aws_csv(aws_row()), L4, datetime.date(2026, 11, 20)),
        (
            "prices.json",
            azure_json(azure_item()),
            "azure/Standard_NC24ads_A100_v4@eastus",
            datetime.date(2026, 11, 25),
        ),
        (
            "skus.json",
            gcp_json(
                gcp_sku("G2 Instance Core running in Iowa", 0.025),
                gcp_sku("G2 Instance Ram running in Iowa", 0.003),
                gcp_sku("Nvidia L4 GPU running in Iowa", 0.56),
            ),
            "gcp/g2-standard-4@us-central1",
            datetime.date(2026, 11, 25),
        ),
    ],
)
def test_prices_of_every_catalog_format_are_stored_with_their_date(
    write: Write, name: str, content: str | bytes, key: str, as_of: datetime.date
) -> None:
    assert main(["offers", "update", write(name, content), "--yes"]) == ExitCode.OK
    assert load_stored_prices()[key].as_of == as_of


def test_pages_of_one_price_catalog_are_read_together(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    first = gcp_json(
        gcp_sku("G2 Instance Core running in Iowa", 0.025),
        gcp_sku("Nvidia L4 GPU running in Iowa", 0.56),
        next_page="x",
    )
    pages = [write("1.json", first), write("2.json", gcp_json(gcp_sku("G2 Instance Ram running in Iowa", 0.003)))]
    assert main(["offers", "update", *pages, "--yes"]) == ExitCode.OK
    assert "gcp/g2-standard-4@us-central1" in load_stored_prices()
    assert "is not the last page" not in capsys.readouterr().err
    assert main(["offers", "update", pages[0]]) == ExitCode.OK
    assert "1.json is not the last page. The following pages were not read." in capsys.readouterr().err


def test_unreadable_price_rows_are_reported(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("prices.json", azure_json(azure_item("free"), *[azure_item()] * 2))
    assert main(["offers", "update", path, "--yes"]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert "Items[0]: Expected `float`, got `str`" in out
    assert "50% of the prices were refused" in err


def test_price_catalog_of_unknown_instances_stores_nothing(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offers", "update", write("vms.csv", skypilot_csv(sky_aws("x1.big"))), "--yes"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert "Rows of other products or instance types: 1" in out
    assert err == "There is nothing to store.\n"
    assert load_stored_prices() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--provider", "asw"], "the provider 'asw' is unknown"),
        (["--region", "a b"], "--region: 'a b' is not a valid name"),
        (["--accept", "aws/g6.xlarg@us-east-1"], "Did you mean 'aws/g6.xlarge@us-east-1'?"),
        (["--max-change", "1"], "'1' is not a factor above 1 and up to 1,000"),
        (["--max-change", "nan"], "'nan' is not a factor"),
        (["--max-change", "inf"], "'inf' is not a factor"),
        (["--max-change", "1000.1"], "'1000.1' is not a factor"),
        (["--max-change", "two"], "'two' is not a factor"),
        (["--format", "csv"], "'csv' is not one of"),
    ],
)
def test_invalid_update_options_are_usage_errors(
    write: Write, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    path = write("vms.csv", skypilot_csv(sky_aws()))
    assert main(["offers", "update", path, *arguments]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.csv", "missing.csv cannot be read: No such file or directory"),
        (".", ". is not a file"),
        ("ftp://host/a", "ftp:// is not supported"),
        ("https://user:word@host/a", "the URL contains a user or a password"),
        ("https://[x", "the URL is not valid"),
    ],
)
def test_invalid_price_sources_are_usage_errors(capsys: pytest.CaptureFixture[str], source: str, message: str) -> None:
    assert main(["offers", "update", source]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_downloaded_price_catalog_is_stored_without_its_url_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from app.profiles.pricing.published.files import CatalogFile
    from app.wiring.price_download import DownloadedFile, format_location

    def download(url: str, directory: Path) -> list[DownloadedFile]:
        path = directory / "page-0"
        path.write_text(skypilot_csv(sky_aws()))
        return [DownloadedFile(CatalogFile(path, format_location(url), "vms.csv"), None)]

    monkeypatch.setattr("app.wiring.price_download.download_catalog", download)
    assert main(["offers", "update", "https://host/vms.csv?key=AIzaSecret", "--yes"]) == ExitCode.OK
    row = load_stored_prices()[L4]
    assert (row.source, row.as_of) == ("skypilot:https://host/vms.csv", TODAY)
    captured = capsys.readouterr()
    assert "AIzaSecret" not in captured.out + captured.err


def test_imported_price_list_replaces_updated_prices(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("vms.csv", skypilot_csv(sky_aws()))
    assert main(["offers", "update", path, "--yes"]) == ExitCode.OK
    assert main(["offers", "import", write("none.yaml", "")]) == ExitCode.OK
    assert "It replaces the list imported from skypilot:vms.csv" in capsys.readouterr().err
    assert load_stored_prices() == {}


def test_update_options_offer_all_formats_and_the_default_max_change() -> None:
    options = {parameter.name: parameter for parameter in COMMAND.commands["update"].params}
    layouts = options["format"].type
    assert isinstance(layouts, click.Choice)
    assert tuple(layouts.choices) == LAYOUT_IDS
    max_change = options["max_change"]
    assert isinstance(max_change, click.Option)
    assert "(default: 2)" in (max_change.help or "")
    assert max_change.type.convert(max_change.default, max_change, None) == 2
