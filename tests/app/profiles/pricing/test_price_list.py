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


def read(**cells: object) -> PriceRow:
    return parse_price_row(KEY | cells, TODAY)


def owned(**cells: object) -> OwnedHardware:
    found = read(**(RACK | cells)).owned
    assert found is not None
    return found


def test_cells_are_numbers_texts_of_numbers_or_money() -> None:
    found = read(
        on_demand_usd_per_hour="0.9", spot_usd_per_hour="0.5 EUR/h", vcpus=8, memory_gib="", accelerator_key="l4",
        reserved_1y_usd_per_hour=None, source="karp-aws", as_of_date="2026-07-20",
    )  # fmt: skip
    assert (found.on_demand_usd_per_hour, found.vcpus, found.memory_gib) == (0.9, 8, None)
    assert found.spot_usd_per_hour == pytest.approx(0.5 * find_usd_rate("EUR"))
    assert (found.reserved_1y_usd_per_hour, found.accelerator, found.owned) == (None, "l4", None)
    assert found.as_of == datetime.date(2026, 7, 20)
    assert read().as_of == TODAY


def test_owned_hardware_as_it_is_written() -> None:
    assert owned(power_w=900, pue=1.4, tariff="0.15 USD/kWh", staff="500 USD/month", units=2) == OwnedHardware(
        capex_usd=40000, life_years=4, power_w=900, pue=1.4, tariff_usd_per_kwh=0.15, staff_usd_per_month=500, units=2
    )
    assert owned(interest="7%/year", residual="10%", support="6%/year", network="15%") == OwnedHardware(
        capex_usd=40000, life_years=4, interest_per_year=0.07, residual_usd=4000, support_usd_per_month=200,
        network_usd=6000,
    )  # fmt: skip
    assert (
        owned(residual="500 USD", support="80 USD/month", availability="99%", colo="120 USD/year").availability == 0.99
    )
    assert read(capex="1000 USD", life="36 months").owned == OwnedHardware(capex_usd=1000, life_years=3)


@pytest.mark.parametrize(
    ("cells", "cell", "says"),
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
def test_a_wrong_cell_is_named(cells: dict[str, object], cell: str, says: str) -> None:
    with pytest.raises(CellError) as caught:
        parse_price_row(KEY | cells, TODAY)
    assert caught.value.column == cell
    assert says in str(caught.value)


@pytest.mark.parametrize("column", ["currency", "on_demand_eur_per_hour", "spot_gbp_per_hour", "capex_eur"])
def test_a_column_with_a_currency_is_answered_with_the_column_to_write(column: str) -> None:
    with pytest.raises(UnknownKeyError) as caught:
        read(**{column: 1})
    (known_column,) = {word for word in re.findall(r"\w+", str(caught.value.hint)) if word in PARSERS}
    parse_cell(known_column, "2 EUR" if known_column == "capex" else "2 EUR/h")
    assert not isinstance(caught.value.hint, Suggestion)


def test_an_unknown_cell_names_the_nearest() -> None:
    with pytest.raises(UnknownKeyError) as caught:
        read(on_demand_usd_per_hr=1)
    assert "'on_demand_usd_per_hour'" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("cells", "says"), [({"provider": ""}, "provider is missing"), ({"capex_usd": 4}, "needs a lifetime")]
)
def test_what_is_missing_is_reported(cells: dict[str, Any], says: str) -> None:
    with pytest.raises(BadValueError, match=says):
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
def test_what_no_instance_has_and_no_price_is_refused(cell: str, value: object, message: str) -> None:
    with pytest.raises(BadValueError, match=re.escape(message)):
        parse_cell(cell, value)


PRICE_LIST_TODAY = datetime.date(2026, 9, 1)
CATALOGUE = load_bundled_catalog()
HEAD = "provider,instance_type,region,on_demand_usd_per_hour\n"
GOOD = HEAD + "aws,g6.2xlarge,us-east-1,0.9\n"
OWN = """
- provider: own
  instance_type: rack-a
  region: home
  accelerator_key: l4
  accelerator_count: 4
  capex_usd: 40000
  life: 4y
"""


def problems(path: Path) -> list[str]:
    reading = read_price_list(path, CATALOGUE, PRICE_LIST_TODAY)
    return [str(problem).removeprefix(str(path)) for problem in reading.problems]


def problem(tmp_path: Path, content: str | bytes, name: str = "p.csv") -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (found,) = problems(path)
    return found


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
def test_the_same_price_in_every_form(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    offer = find_offer(load_offers([path], PRICE_LIST_TODAY, CATALOGUE), "aws/g6.2xlarge")
    assert (offer.on_demand_usd_per_hour, offer.as_of, offer.vcpus) == (0.9, PRICE_LIST_TODAY, 8)
    assert [one.column for one in offer.overrides] == ["on_demand_usd_per_hour"]


def test_lists_go_over_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(OWN + "- {provider: aws, instance_type: g6.2xlarge, region: us-east-1, vcpus: 4}")
    both = load_offers([tmp_path / "a.csv", tmp_path / "b.yaml"], PRICE_LIST_TODAY, CATALOGUE)
    assert len(both.offers) == len(CATALOGUE.offers) + 1
    changed, own = find_offer(both, "aws/g6.2xlarge"), find_offer(both, "own/rack-a@home")
    assert (changed.on_demand_usd_per_hour, changed.vcpus) == (0.9, 4)
    assert own.owned is not None
    assert own.accelerator_count == 4


def test_our_own_table_is_a_price_list(tmp_path: Path) -> None:
    path = tmp_path / "offers.csv"
    path.write_bytes((DATA_DIRECTORY / "hardware" / "offers.csv").read_bytes())
    reading = read_price_list(path, CATALOGUE, PRICE_LIST_TODAY)
    assert reading.problems == ()
    assert len(reading.rows) == 293


def test_a_plan_does_not_start_on_a_wrong_list(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(GOOD + "aws,g6.xlarge,us-east-1,free\n")
    with pytest.raises(ProfileError, match=r"p\.csv:3: on_demand_usd_per_hour: 'free'"):
        load_offers([path], PRICE_LIST_TODAY, CATALOGUE)


def test_every_problem_is_reported_and_good_rows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "aws/g6.2xlarge@us-east-1: {vcpus: 4}\n"
        "aws/g6.xlarge@us-east-1:\n  vcpus: 4\n  on_demand_usd_per_hour: .nan\n"
        "aws/g6.4xlarge@us-east-1: {vpcus: 4}\n"
        "own/rack@home: {capex_usd: 4, life: 1y,\n  accelerator_key: l44}\n"
    )
    reading = read_price_list(path, CATALOGUE, PRICE_LIST_TODAY)
    assert [row.key for row in reading.rows] == ["aws/g6.2xlarge@us-east-1"]
    assert problems(path) == [
        ":4: on_demand_usd_per_hour: '.nan' must be a number of at least 0",
        ":5: the key 'vpcus' is unknown",
        ":7: accelerator_key: 'l44' is not in the catalog",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
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
        (HEAD + "a" * 200_000 + ",b,c,1\n", ": the file is not valid CSV"),
    ],
)
def test_a_hostile_csv_is_a_problem_not_a_crash(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert says in problem(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "says"),
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
def test_a_hostile_yaml_is_a_problem_not_a_crash(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert says in problem(tmp_path, content, "p.yaml")


def test_no_more_problems_than_one_reads(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(HEAD + "aws,g6.2xlarge,us-east-1,x\n" * 5000)
    assert len(problems(path)) == MAX_PROBLEMS


def test_what_is_no_file_is_reported(tmp_path: Path) -> None:
    assert problems(tmp_path) == [": the path is not a file"]
    assert problems(tmp_path / "no.csv") == [": No such file or directory"]
    (tmp_path / "p.xlsx").write_text("x")
    assert problems(tmp_path / "p.xlsx") == [": a price list must be a .csv or .yaml file"]


def test_an_empty_list_has_no_rows(tmp_path: Path) -> None:
    for name, text in (("p.yaml", ""), ("p.csv", HEAD)):
        (tmp_path / name).write_text(text)
        reading = read_price_list(tmp_path / name, CATALOGUE, PRICE_LIST_TODAY)
        assert (reading.rows, reading.problems) == ((), ())


@pytest.mark.parametrize("name", ["p.csv", "p.yaml"])
def test_no_bytes_make_it_crash(tmp_path: Path, name: str) -> None:
    dice = random.Random(7)
    seed = (GOOD if name == "p.csv" else OWN).encode()
    path = tmp_path / name
    for _ in range(300):
        content = bytearray(seed)
        for _ in range(dice.randint(1, 6)):
            content[dice.randrange(len(content))] = dice.choice(b"\x00\xff{}[]&*!\",\n:-=@1e\t\r'#|>%")
        path.write_bytes(bytes(content))
        read_price_list(path, CATALOGUE, PRICE_LIST_TODAY)
