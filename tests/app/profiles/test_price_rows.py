from __future__ import annotations

import datetime
import re
from typing import Any

import pytest

from app.profiles.currencies import usd_of
from app.profiles.price_cells import CellError, read_cell
from app.profiles.price_rows import price_row
from app.profiles.problems import BadValueError, UnknownKeyError
from app.records.prices import OwnedHardware, PriceRow

TODAY = datetime.date(2026, 8, 1)
KEY: dict[str, object] = {"provider": "own", "instance_type": "rack-a", "region": "home"}
RACK: dict[str, object] = {"capex_usd": 40000, "life": "4y"}


def read(**cells: object) -> PriceRow:
    return price_row(KEY | cells, TODAY)


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
    assert found.spot_usd_per_hour == pytest.approx(0.5 * usd_of("EUR"))
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
        ({"on_demand_usd_per_hour": "=1+1"}, "on_demand_usd_per_hour", "'=1+1' is not a number of at least 0"),
        ({"on_demand_usd_per_hour": "=cmd|x"}, "on_demand_usd_per_hour", "'=cmd|x' is not"),
        ({"on_demand_usd_per_hour": "nan"}, "on_demand_usd_per_hour", "is not a number"),
        ({"on_demand_usd_per_hour": "-inf"}, "on_demand_usd_per_hour", "is not a number"),
        ({"on_demand_usd_per_hour": "1e999"}, "on_demand_usd_per_hour", "is not a number"),
        ({"on_demand_usd_per_hour": "1_000"}, "on_demand_usd_per_hour", "is not a number"),
        ({"on_demand_usd_per_hour": -1}, "on_demand_usd_per_hour", "is not a number"),
        ({"on_demand_usd_per_hour": True}, "on_demand_usd_per_hour", "is not a number"),
        ({"on_demand_usd_per_hour": [1]}, "on_demand_usd_per_hour", "is not a number"),
        ({"on_demand_usd_per_hour": 10**400}, "on_demand_usd_per_hour", "is not a number"),
        ({"on_demand_usd_per_hour": "1e10"}, "on_demand_usd_per_hour", "more than"),
        ({"on_demand_usd_per_hour": "1 USD/month"}, "on_demand_usd_per_hour", "unknown unit"),
        ({"on_demand_usd_per_hour": "1 EURO/h"}, "on_demand_usd_per_hour", "unknown currency"),
        ({"provider": "=HYPERLINK(1)"}, "provider", "is not a name"),
        ({"provider": "a\x1b[31mb"}, "provider", r"'a\x1b[31mb' is not a name"),
        ({"instance_type": "a/b"}, "instance_type", "is not a name"),
        ({"region": "x" * 101}, "region", "is not a name"),
        ({"as_of_date": "20.7.2026"}, "as_of_date", "is not a date"),
        ({"as_of_date": "2026-08-02"}, "as_of_date", "is after today"),
        ({"cpu_architecture": "riscv"}, "cpu_architecture", "neither"),
        (RACK | {"life": 4}, "life", "is not a life"),
        (RACK | {"life": "0y"}, "life", "is not a life"),
        (RACK | {"pue": 0.9, "power_w": 1, "tariff": "1 USD/kWh"}, "pue", "between 1 and 10"),
        (RACK | {"power_w": 900}, "power_w", "go together"),
        (RACK | {"tariff": "1 USD/kWh"}, "tariff", "go together"),
        (RACK | {"tariff": 0.15, "power_w": 1}, "tariff", "no unit"),
        (RACK | {"residual": "50000 USD"}, "residual", "worth more"),
        (RACK | {"capex": "1 USD"}, "capex", "beside capex_usd"),
        (RACK | {"availability": "0%"}, "availability", "never there"),
        (RACK | {"units": 0}, "units", "at least 1"),
        (RACK | {"on_demand_usd_per_hour": 1}, "on_demand_usd_per_hour", "worked out"),
        ({"life": "4y"}, "life", "capex_usd is missing"),
    ],
)
def test_a_wrong_cell_is_named(cells: dict[str, object], cell: str, says: str) -> None:
    with pytest.raises(CellError) as caught:
        price_row(KEY | cells, TODAY)
    assert caught.value.cell == cell
    assert says in str(caught.value)


def test_an_unknown_cell_names_the_nearest() -> None:
    with pytest.raises(UnknownKeyError) as caught:
        read(on_demand_usd_per_hr=1)
    assert "'on_demand_usd_per_hour'" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("cells", "says"), [({"provider": ""}, "provider is missing"), ({"capex_usd": 4}, "needs its life")]
)
def test_what_is_missing_is_told(cells: dict[str, Any], says: str) -> None:
    with pytest.raises(BadValueError, match=says):
        price_row(KEY | cells, TODAY)


@pytest.mark.parametrize(
    ("cell", "value", "message"),
    [
        ("vcpus", 1e9, "is more than any instance has (10,000 vCPUs)"),
        ("accelerator_count", 1e6, "is more than any instance has (1,000 accelerators)"),
        ("on_demand_usd_per_hour", 0, "0 is not a price"),
        ("spot_usd_per_hour", "0 USD/h", "0 is not a price"),
    ],
)
def test_what_no_instance_has_and_no_price_is_refused(cell: str, value: object, message: str) -> None:
    with pytest.raises(BadValueError, match=re.escape(message)):
        read_cell(cell, value)
