from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode

OWN_OFFERS = """
- {provider: own, instance_type: rack-a, region: home, accelerator_key: l4, accelerator_count: 4, capex_usd: 40000,
   life: 4y, power_w: 900, pue: 1.4, tariff: 0.15 USD/kWh, staff: 500 USD/month}
- {provider: aws, instance_type: g6.2xlarge, region: us-east-1, on_demand_usd_per_hour: 0.9, as_of_date: 2026-10-01}
"""
INVALID_OFFERS = (
    "provider,instance_type,region,on_demand_usd_per_hour\naws,g6.2xlarge,us-east-1,=1+1\naws,g6x,us-east-1,1\n"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("SIZEWISE_HOME", str(home))
    return home


@pytest.fixture
def own_offers(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(OWN_OFFERS)
    return path


@pytest.fixture
def invalid_offers(tmp_path: Path) -> Path:
    path = tmp_path / "bad.csv"
    path.write_text(INVALID_OFFERS)
    return path


def list_offers(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["offers", "list", "--json", *options]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert isinstance(rows, list)
    return rows


def test_offers_are_filtered_by_accelerator_region_and_provider(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list_offers(capsys)) == 293
    rows = list_offers(capsys, "--accelerator", "l4", "--region", "us-east-1", "--provider", "aws")
    assert {(row["accelerator"], row["region"], row["provider"]) for row in rows} == {("l4", "us-east-1", "aws")}
    prices = [row["on_demand_usd_per_hour"] for row in rows]
    assert prices == sorted(prices, key=str) or prices == sorted(prices)  # type: ignore[type-var]
    assert all(row["accelerator"] is None for row in list_offers(capsys, "--accelerator", "none"))
    variants = {row["accelerator"] for row in list_offers(capsys, "--accelerator", "h100")}
    assert variants == {"h100-pcie-80gb", "h100-sxm5-80gb", "h100-nvl-94gb"}
    assert all(isinstance(row["price_age_days"], int) for row in rows)


def test_offer_table_has_prices_and_their_age(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offers", "list", "--accelerator", "l4", "--provider", "aws"]) == 0
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "offer"
    assert "age (days)" in header
    assert any(row.startswith("aws/g6.2xlarge@us-east-1") and "0.978" in row for row in rows)


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        (("--accelerator", "l44"), "'l4'"),
        (("--accelerator", "h1000"), "'h100'"),
        (("--region", "us-esat-1"), "'us-east-1'"),
        (("--provider", "asw"), "'aws'"),
    ],
)
def test_unknown_filter_value_suggests_the_nearest_value(
    option: tuple[str, str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["offers", "list", *option]) == ExitCode.USAGE
    assert nearest in capsys.readouterr().err


def test_valid_price_list_passes_the_check(own_offers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offers", "check", str(own_offers)]) == 0
    assert capsys.readouterr().out == f"{own_offers} is valid (2 rows: 1 for offers of the catalog, 1 for new offers)\n"


def test_every_problem_of_a_price_list_has_its_line_number(
    invalid_offers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["offers", "check", str(invalid_offers)]) == ExitCode.USAGE
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{invalid_offers}:2: on_demand_usd_per_hour: '=1+1' must be a number of at least 0"
    assert second.startswith(f"{invalid_offers}:3: aws/g6x@us-east-1 is not in the catalog")


def test_imported_offers_are_listed_as_yours(own_offers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offers", "import", str(own_offers)]) == 0
    assert len(list_offers(capsys)) == 294
    (rack,) = list_offers(capsys, "--provider", "own")
    # 10,000 + 1,655.6 of electricity + 6,000 a year
    assert rack["on_demand_usd_per_hour"] == pytest.approx((10_000 + 0.9 * 1.4 * 8760 * 0.15 + 6000) / 8760)
    assert rack["is_yours"]
    main(["offers", "list", "--accelerator", "l4", "--region", "us-east-1"])
    yours = [line for line in capsys.readouterr().out.splitlines() if line.endswith("on-demand")]
    assert len(yours) == 1
    assert yours[0].startswith("aws/g6.2xlarge@us-east-1")
    assert "yours+karp-aws" in yours[0]


def test_second_import_reports_the_replaced_price_list(
    own_offers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["offers", "import", str(own_offers)]) == 0
    assert "replaces" not in capsys.readouterr().err
    new_list = tmp_path / "other.csv"
    new_list.write_text(
        "provider,instance_type,region,accelerator_key,vcpus,on_demand_usd_per_hour\na,c,here,none,2,0.1\n"
    )
    assert main(["offers", "import", str(new_list)]) == 0
    stderr = capsys.readouterr().err
    assert f"It replaces the list imported from {own_offers.resolve()} on " in stderr
    assert "2 of its 2 rows are not in the new list" in stderr
    assert main(["offers", "import", str(new_list)]) == 0
    assert "the new list has all of its rows" in capsys.readouterr().err


def test_invalid_price_list_leaves_imported_offers_unchanged(
    own_offers: Path, invalid_offers: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["offers", "import", str(own_offers)]) == 0
    before = (home / "offers.json").read_bytes()
    assert main(["offers", "import", str(invalid_offers)]) == ExitCode.USAGE
    assert "nothing was imported from" in capsys.readouterr().err
    assert (home / "offers.json").read_bytes() == before
    assert [path.name for path in home.iterdir()] == ["offers.json"]


def test_import_replaces_a_damaged_price_list(
    own_offers: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["offers", "import", str(own_offers)]) == 0
    (home / "offers.json").write_text("{")
    assert main(["offers", "list"]) == ExitCode.USAGE
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    assert main(["offers", "import", str(empty)]) == 0
    assert not any(row["is_yours"] for row in list_offers(capsys))


def test_import_into_a_home_that_is_a_file_is_a_usage_error(
    own_offers: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write_text("a file")
    assert main(["offers", "import", str(own_offers)]) == ExitCode.USAGE
    assert "cannot be written" in capsys.readouterr().err


def test_offers_check_reports_the_exchange_rate_of_a_converted_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("aws/g6.2xlarge@us-east-1: {on_demand_usd_per_hour: 0.8 EUR/h}")
    assert main(["offers", "check", str(path)]) == 0
    assert capsys.readouterr().err.startswith("EUR is converted at ")


def test_accelerators_named_in_help_are_accepted_as_filters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offers", "list", "--help"]) == 0
    help_text = " ".join(capsys.readouterr().out.split())
    example = re.search(r"such as (\S+) or (\S+);", help_text)
    assert example is not None
    for key in example.groups():
        assert main(["offers", "list", "--accelerator", key]) == 0


def test_offers_template_is_a_valid_price_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offers", "template"]) == 0
    path = tmp_path / "prices.csv"
    path.write_text(capsys.readouterr().out)
    assert len(path.read_text().splitlines()) == 2
    assert main(["offers", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path} is valid (1 row: 0 for offers of the catalog, 1 for new offers)\n"
