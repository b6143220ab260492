from __future__ import annotations

import datetime
import random
import re
from pathlib import Path
from typing import Any

import pytest

from app.errors import ProfileError
from app.profiles.bundled import DATA_DIRECTORY
from app.profiles.pricing.catalog import find_offer, load_bundled_catalog
from app.profiles.pricing.currencies import find_usd_rate
from app.profiles.pricing.price_cells import PARSERS, CellError, parse_cell
from app.profiles.pricing.price_list import MAX_PROBLEMS, load_offers, parse_price_row, read_price_list
from app.profiles.problems import BadValueError, Suggestion, UnknownKeyError
from app.records.offers import OwnedHardware, PriceRow

TODAY = datetime.date(2026, 8, 1)
KEY: dict[str, object] = {"provider": "own", "instance_type": "rack-a", "region": "home"}
RACK: dict[str, object] = {"capex_usd": 40000, "life": "4y"}


def parse_row(**cells: object) -> PriceRow:
    return parse_price_row(KEY | cells, TODAY)


def parse_owned(**cells: object) -> OwnedHardware:
    hardware = parse_row(**(RACK | cells)).owned
    assert hardware is not None
    return hardware


def test_price_cells_may_be_numbers_text_or_money() -> None:
    price_row = parse_row(
        on_demand_usd_per_hour="0.9", spot_usd_per_hour="0.5 EUR/h", vcpus=8, memory_gib="", accelerator_key="l4",
        reserved_1y_usd_per_hour=None, source="karp-aws", as_of_date="2026-07-20",
    )  # fmt: skip
    assert (price_row.on_demand_usd_per_hour, price_row.vcpus, price_row.memory_gib) == (0.9, 8, None)
    assert price_row.spot_usd_per_hour == pytest.approx(0.5 * find_usd_rate("EUR"))
    assert (price_row.reserved_1y_usd_per_hour, price_row.accelerator, price_row.owned) == (None, "l4", None)
    assert price_row.as_of == datetime.date(2026, 7, 20)
    assert parse_row().as_of == TODAY


def test_owned_hardware_cells_are_parsed() -> None:
    assert parse_owned(power_w=900, pue=1.4, tariff="0.15 USD/kWh", staff="500 USD/month", units=2) == OwnedHardware(
        capex_usd=40000, life_years=4, power_w=900, pue=1.4, tariff_usd_per_kwh=0.15, staff_usd_per_month=500, units=2
    )
    assert parse_owned(interest="7%/year", residual="10%", support="6%/year", network="15%") == OwnedHardware(
        capex_usd=40000, life_years=4, interest_per_year=0.07, residual_usd=4000, support_usd_per_month=200,
        network_usd=6000,
    )  # fmt: skip
    assert (
        parse_owned(residual="500 USD", support="80 USD/month", availability="99%", colo="120 USD/year").availability
        == 0.99
    )
    assert parse_row(capex="1000 USD", life="36 months").owned == OwnedHardware(capex_usd=1000, life_years=3)


@pytest.mark.parametrize(
    ("cells", "cell", "message"),
    [
        ({"on_demand_usd_per_hour": "=1+1"}, "on_demand_usd_per_hour", "'=1+1' must be a number of at least 0"),
        ({"on_demand_usd_per_hour": "=cmd|x"}, "on_demand_usd_per_hour", "'=cmd|x' is not"),
        ({"on_demand_usd_per_hour": "nan"}, "on_demand_usd_per_hour", "must be a number of at least 0"),
        ({"on_demand_usd_per_hour": "-inf"}, "on_demand_usd_per_hour", "must be a number of at least 0"),
        ({"on_demand_usd_per_hour": "1e999"}, "on_demand_usd_per_hour", "must be a number of at least 0"),
        ({"on_demand_usd_per_hour": "1_000"}, "on_demand_usd_per_hour", "must be a number of at least 0"),
        ({"on_demand_usd_per_hour": -1}, "on_demand_usd_per_hour", "must be a number of at least 0"),
        ({"on_demand_usd_per_hour": True}, "on_demand_usd_per_hour", "must be a number of at least 0"),
        ({"on_demand_usd_per_hour": [1]}, "on_demand_usd_per_hour", "must be a number of at least 0"),
        ({"on_demand_usd_per_hour": 10**400}, "on_demand_usd_per_hour", "must be a number of at least 0"),
        ({"on_demand_usd_per_hour": "1e10"}, "on_demand_usd_per_hour", "more than"),
        ({"on_demand_usd_per_hour": "5e-324"}, "on_demand_usd_per_hour", "less than 0.000001 USD per hour"),
        ({"on_demand_usd_per_hour": "9e-7 USD/h"}, "on_demand_usd_per_hour", "less than 0.000001 USD per hour"),
        ({"on_demand_usd_per_hour": "1 USD/month"}, "on_demand_usd_per_hour", "the unit 'USD/month' is unknown"),
        ({"on_demand_usd_per_hour": "1 EURO/h"}, "on_demand_usd_per_hour", "the currency 'EURO' is unknown"),
        ({"provider": "=HYPERLINK(1)"}, "provider", "is not a valid name"),
        ({"provider": "a\x1b[31mb"}, "provider", "'a\\x1b[31mb' is not a valid name"),
        ({"instance_type": "a/b"}, "instance_type", "is not a valid name"),
        ({"region": "x" * 101}, "region", "is not a valid name"),
        ({"as_of_date": "20.7.2026"}, "as_of_date", "is not a date"),
        ({"as_of_date": "2026-08-02"}, "as_of_date", "is in the future"),
        ({"cpu_architecture": "riscv"}, "cpu_architecture", "neither"),
        (RACK | {"life": 4}, "life", "is not a lifetime"),
        (RACK | {"life": "0y"}, "life", "is not a lifetime"),
        (RACK | {"pue": 0.9, "power_w": 1, "tariff": "1 USD/kWh"}, "pue", "between 1 and 10"),
        (RACK | {"power_w": 900}, "power_w", "power_w and tariff must be used together"),
        (RACK | {"tariff": "1 USD/kWh"}, "tariff", "power_w and tariff must be used together"),
        (RACK | {"tariff": 0.15, "power_w": 1}, "tariff", "no unit"),
        (RACK | {"residual": "50000 USD"}, "residual", "is higher than the purchase price"),
        (RACK | {"capex": "1 USD"}, "capex", "cannot be combined with capex_usd"),
        (RACK | {"availability": "0%"}, "availability", "availability must be above 0"),
        (RACK | {"units": 0}, "units", "at least 1"),
        (
            RACK | {"on_demand_usd_per_hour": 1},
            "on_demand_usd_per_hour",
            "an owned instance has no price: its cost is calculated",
        ),
        ({"life": "4y"}, "life", "requires capex_usd"),
    ],
)
def test_invalid_price_cell_is_named(cells: dict[str, object], cell: str, message: str) -> None:
    with pytest.raises(CellError) as caught:
        parse_price_row(KEY | cells, TODAY)
    assert caught.value.column == cell
    assert message in str(caught.value)


@pytest.mark.parametrize("column", ["currency", "on_demand_eur_per_hour", "spot_gbp_per_hour", "capex_eur"])
def test_column_with_a_currency_suggests_the_supported_column(column: str) -> None:
    with pytest.raises(UnknownKeyError) as caught:
        parse_row(**{column: 1})
    (known_column,) = {word for word in re.findall(r"\w+", str(caught.value.hint)) if word in PARSERS}
    parse_cell(known_column, "2 EUR" if known_column == "capex" else "2 EUR/h")
    assert not isinstance(caught.value.hint, Suggestion)


def test_unknown_price_column_suggests_the_nearest_name() -> None:
    with pytest.raises(UnknownKeyError) as caught:
        parse_row(on_demand_usd_per_hr=1)
    assert "'on_demand_usd_per_hour'" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("cells", "message"), [({"provider": ""}, "provider is missing"), ({"capex_usd": 4}, "needs a lifetime")]
)
def test_missing_required_price_cells_are_reported(cells: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValueError, match=message):
        parse_price_row(KEY | cells, TODAY)


@pytest.mark.parametrize(
    ("cell", "value", "message"),
    [
        ("vcpus", 1e9, "exceeds the maximum of any instance (10,000 vCPUs)"),
        ("accelerator_count", 1e6, "exceeds the maximum of any instance (1,000 accelerators)"),
        ("on_demand_usd_per_hour", 0, "0 is not a valid price"),
        ("spot_usd_per_hour", "0 USD/h", "0 is not a valid price"),
    ],
)
def test_impossible_hardware_sizes_and_prices_of_0_are_rejected(cell: str, value: object, message: str) -> None:
    with pytest.raises(BadValueError, match=re.escape(message)):
        parse_cell(cell, value)


PRICE_LIST_TODAY = datetime.date(2026, 9, 1)
CATALOGUE = load_bundled_catalog()
HEADER = "provider,instance_type,region,on_demand_usd_per_hour\n"
GOOD = HEADER + "aws,g6.2xlarge,us-east-1,0.9\n"
OWN = """
- provider: own
  instance_type: rack-a
  region: home
  accelerator_key: l4
  accelerator_count: 4
  capex_usd: 40000
  life: 4y
"""


def list_problems(path: Path) -> list[str]:
    reading = read_price_list(path, CATALOGUE, PRICE_LIST_TODAY)
    return [str(find_only_problem).removeprefix(str(path)) for find_only_problem in reading.problems]


def find_only_problem(tmp_path: Path, content: str | bytes, name: str = "p.csv") -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (only_problem,) = list_problems(path)
    return only_problem


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", GOOD),
        ("p.CSV", "\ufeff" + GOOD.replace("\n", "\r\n")),
        ("p.csv", "region, provider ,instance_type,spot_usd_per_hour,on_demand_usd_per_hour\n"
                  "us-east-1,aws,g6.2xlarge, ,0.9"),
        ("p.yaml", "aws/g6.2xlarge@us-east-1: {on_demand_usd_per_hour: 0.9}"),
        ("p.yml", "{provider: aws, instance_type: g6.2xlarge, region: us-east-1, on_demand_usd_per_hour: 0.9 USD/h}"),
        ("p.json", '[{"provider": "aws", "instance_type": "g6.2xlarge", "region": "us-east-1", '
                   '"on_demand_usd_per_hour": 0.9}]'),
    ],
)  # fmt: skip
def test_all_price_list_formats_yield_the_same_price(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    offer = find_offer(load_offers([path], PRICE_LIST_TODAY, CATALOGUE), "aws/g6.2xlarge")
    assert (offer.on_demand_usd_per_hour, offer.as_of, offer.vcpus) == (0.9, PRICE_LIST_TODAY, 8)
    assert [override.column for override in offer.overrides] == ["on_demand_usd_per_hour"]


def test_later_price_lists_override_earlier_price_lists(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(OWN + "- {provider: aws, instance_type: g6.2xlarge, region: us-east-1, vcpus: 4}")
    merged_catalog = load_offers([tmp_path / "a.csv", tmp_path / "b.yaml"], PRICE_LIST_TODAY, CATALOGUE)
    assert len(merged_catalog.offers) == len(CATALOGUE.offers) + 1
    changed, own = find_offer(merged_catalog, "aws/g6.2xlarge"), find_offer(merged_catalog, "own/rack-a@home")
    assert (changed.on_demand_usd_per_hour, changed.vcpus) == (0.9, 4)
    assert own.owned is not None
    assert own.accelerator_count == 4


def test_bundled_offers_table_is_a_valid_price_list(tmp_path: Path) -> None:
    path = tmp_path / "offers.csv"
    path.write_bytes((DATA_DIRECTORY / "hardware" / "offers.csv").read_bytes())
    reading = read_price_list(path, CATALOGUE, PRICE_LIST_TODAY)
    assert reading.problems == ()
    assert len(reading.rows) == 293


def test_invalid_price_list_is_rejected_for_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(GOOD + "aws,g6.xlarge,us-east-1,free\n")
    with pytest.raises(ProfileError, match=r"p\.csv:3: on_demand_usd_per_hour: 'free'"):
        load_offers([path], PRICE_LIST_TODAY, CATALOGUE)


def test_every_price_list_problem_is_reported_and_valid_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "aws/g6.2xlarge@us-east-1: {vcpus: 4}\n"
        "aws/g6.xlarge@us-east-1:\n  vcpus: 4\n  on_demand_usd_per_hour: .nan\n"
        "aws/g6.4xlarge@us-east-1: {vpcus: 4}\n"
        "own/rack@home: {capex_usd: 4, life: 1y,\n  accelerator_key: l44}\n"
    )
    reading = read_price_list(path, CATALOGUE, PRICE_LIST_TODAY)
    assert [row.key for row in reading.rows] == ["aws/g6.2xlarge@us-east-1"]
    assert list_problems(path) == [
        ":4: on_demand_usd_per_hour: '.nan' must be a number of at least 0",
        ":5: the key 'vpcus' is unknown",
        ":7: accelerator_key: 'l44' is not in the catalog",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ":1: the column provider is missing"),
        ("provider;instance_type;region\naws;g6;x\n", ":1: the column provider is missing"),
        ("provider,instance_type\n", ":1: the column region is missing"),
        ("provider,provider,instance_type,region\n", ":1: the column 'provider' is duplicated"),
        ("provider,instance_type,region,price\na,b,c,1\n", ":2: the key 'price' is unknown"),
        (GOOD + "aws,g6.xlarge\n", ":3: the number of cells does not match the number of columns"),
        (GOOD + "aws,g6.xlarge,us-east-1,1,2\n", ":3: the number of cells does not match the number of columns"),
        (GOOD + 'aws,"g6\n', ": the file is not valid CSV"),
        (GOOD + GOOD.splitlines()[1] + "\n", ":3: the row aws/g6.2xlarge@us-east-1 is duplicated"),
        (b"\xff\xfe\x00", ":1: the file is not UTF-8 text"),
        (GOOD.encode() + b"\0", ":3"),
        (GOOD.encode() + b"\x80", ":3: the file is not UTF-8 text"),
        (b"a" * (1 << 20) + b"b", ": the file is larger than 1 MiB"),
        (HEADER + "a" * 200_000 + ",b,c,1\n", ": the file is not valid CSV"),
    ],
)
def test_malformed_csv_price_list_is_reported_as_a_problem(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in find_only_problem(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: &a [1]\nb: [*a, *a]\n", ":1: anchors and aliases are not supported"),
        ("!!python/object/apply:os.system ['true']", ":1: tags are not supported"),
        ("[" * 5000, ": "),
        ("just text", ": a price list must be a list of rows"),
        ("- 5", ":1: a row must be a mapping"),
        ("aws/g6.2xlarge@us-east-1: 0.9", ":1: a row must be a mapping"),
        ("g6.2xlarge: {vcpus: 1}", ":1: 'g6.2xlarge' does not have the form provider/instance@region"),
        ("aws/x@y: {provider: b}", ":1: provider is already in the key"),
        ("a: {b: 1}\na: {b: 2}", ":2: the key 'a' is duplicated"),
        ("a: [", ":"),
        ("- {provider: a, instance_type: b, region: c, vcpus: {x: 1}}", ":1: vcpus: "),
        (b"\x00\x01\x02", ":"),
        (
            "aws/g6.2xlarge@us-east-1: {vcpus: '" + "1" * 999_000 + "'}",
            ":1: vcpus: the value is longer than 200 characters",
        ),
    ],
)
def test_malformed_yaml_price_list_is_reported_as_a_problem(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in find_only_problem(tmp_path, content, "p.yaml")


def test_number_of_reported_price_list_problems_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(HEADER + "aws,g6.2xlarge,us-east-1,x\n" * 5000)
    assert len(list_problems(path)) == MAX_PROBLEMS


def test_unreadable_price_list_paths_are_reported(tmp_path: Path) -> None:
    assert list_problems(tmp_path) == [": the path is not a file"]
    assert list_problems(tmp_path / "no.csv") == [": No such file or directory"]
    (tmp_path / "p.xlsx").write_text("x")
    assert list_problems(tmp_path / "p.xlsx") == [": a price list must be a .csv or .yaml file"]


def test_empty_price_list_has_no_rows(tmp_path: Path) -> None:
    for name, text in (("p.yaml", ""), ("p.csv", HEADER)):
        (tmp_path / name).write_text(text)
        reading = read_price_list(tmp_path / name, CATALOGUE, PRICE_LIST_TODAY)
        assert (reading.rows, reading.problems) == ((), ())


@pytest.mark.parametrize("name", ["p.csv", "p.yaml"])
def test_random_bytes_never_crash_the_price_list_reader(tmp_path: Path, name: str) -> None:
    dice = random.Random(7)
    seed = (GOOD if name == "p.csv" else OWN).encode()
    path = tmp_path / name
    for _ in range(300):
        content = bytearray(seed)
        for _ in range(dice.randint(1, 6)):
            content[dice.randrange(len(content))] = dice.choice(b"\x00\xff{}[]&*!\",\n:-=@1e\t\r'#|>%")
        path.write_bytes(bytes(content))
        read_price_list(path, CATALOGUE, PRICE_LIST_TODAY)
