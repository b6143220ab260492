"""A published price catalog is one row and the module that reads it; everything else is derived from the row."""

from __future__ import annotations

import datetime
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import click
import pytest

from app.cli.main import main
from app.planning.hardware import risk
from app.profiles.pricing.catalog import load_catalog, load_imported_price_list
from app.profiles.pricing.published import reading
from app.profiles.pricing.published.files import CatalogFile, read_json
from app.profiles.pricing.published.listed import (
    KnownInstances,
    ListedPrice,
    PublishedPrices,
    UnusedRows,
    build_published_prices,
)
from app.records import price_layouts
from app.records.price_layouts import LAYOUTS, CatalogLayout
from docs.build import price_layouts as build_table

TODAY = datetime.date(2026, 11, 29)
TOY = CatalogLayout(
    id="toy", label="toy prices", description="one price", address="https://toy.example/prices", is_collected=True,
    json_key="toyPrice", next_token_key="toyToken",
)  # fmt: skip


def read(files: Sequence[CatalogFile], _instances: KnownInstances, _provider: str | None) -> list[PublishedPrices]:
    (file,) = files
    assert b"toyPrice" in read_json(file)
    price = ListedPrice(
        provider="aws", instance_type="g6.xlarge", region="us-east-1", kind="on-demand", amount=0.75
    )  # fmt: skip
    return [build_published_prices("toy", [price], UnusedRows())]


def import_again(name: str) -> ModuleType:
    """Import a second copy of a module, which derives its constants from the current rows."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("app.profiles.pricing.published.toy")
    module.__dict__["read"] = read
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(price_layouts, "LAYOUTS", (*LAYOUTS, TOY))
    monkeypatch.setattr(price_layouts, "LAYOUT_IDS", (*price_layouts.LAYOUT_IDS, TOY.id))
    monkeypatch.setattr(reading, "LAYOUTS", (*LAYOUTS, TOY))
    monkeypatch.setattr("app.cli.offers._get_today", lambda: TODAY)
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))


def test_prices_of_new_layout_are_detected_stored_and_weighted_by_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prices.json").write_text('{"toyPrice": 0.75, "toyToken": "next"}')
    assert main(["offers", "update", str(tmp_path / "prices.json"), "--date", "2026-11-20", "--yes"]) == 0
    assert "prices.json is not the last page" in capsys.readouterr().err
    price_list = load_imported_price_list()
    assert price_list is not None
    assert [(row.key, row.on_demand_usd_per_hour) for row in price_list.rows] == [("aws/g6.xlarge@us-east-1", 0.75)]
    (offer,) = (offer for offer in load_catalog().offers if offer.key == "aws/g6.xlarge@us-east-1")
    assert offer.sources[0] == "toy"
    assert import_again("app.planning.hardware.risk").compute_price_sigma(offer, TODAY) > risk.compute_price_sigma(
        offer, TODAY
    )


def test_new_price_layout_is_cli_option_and_documented() -> None:
    offers = import_again("app.cli.offers")
    options = {option.name: option for option in offers.COMMAND.commands["update"].params}
    option = options["format"]
    assert isinstance(option.type, click.Choice)
    assert "toy" in option.type.choices
    assert "toy (toy prices)" in option.help
    assert "| `toy` | one price | `https://toy.example/prices` |" in build_table().splitlines()
