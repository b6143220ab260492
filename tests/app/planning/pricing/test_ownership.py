from __future__ import annotations

import msgspec
import pytest

from app.planning.pricing.ownership import (
    compute_break_even_months,
    compute_break_even_volume,
    compute_capital_recovery_factor,
    compute_owned_break_even_months,
    compute_owned_cost,
    compute_sinking_fund_factor,
    price_catalog,
    price_owned_offer,
)
from app.records.offers import OwnedHardware
from tests.fakes.offers import catalogue, gpu_offer, offer

RACK = OwnedHardware(
    capex_usd=40_000, life_years=4, power_w=1000, pue=1.5, tariff_usd_per_kwh=0.1, staff_usd_per_month=100,
    colo_usd_per_month=50, support_usd_per_month=150, network_usd=4000,
)  # fmt: skip


def test_the_recovery_factor_pays_the_loan_off() -> None:
    assert compute_capital_recovery_factor(0, 4) == 0.25
    assert compute_capital_recovery_factor(0.08, 4) == pytest.approx(0.30192, abs=1e-5)
    debt = 1.0
    for _ in range(4):
        debt = debt * 1.08 - compute_capital_recovery_factor(0.08, 4)
    assert debt == pytest.approx(0, abs=1e-12)
    assert compute_capital_recovery_factor(1e-9, 4) == pytest.approx(0.25, rel=1e-6)


def test_the_sinking_fund_makes_up_the_sum() -> None:
    saved = 0.0
    for _ in range(5):
        saved = saved * 1.06 + compute_sinking_fund_factor(0.06, 5)
    assert saved == pytest.approx(1.0)


def test_a_rack_by_hand() -> None:
    cost = compute_owned_cost(RACK, 4, utilization=0.5)
    assert cost.parts_usd_per_year == pytest.approx(
        {"hardware": 10_000, "network": 1000, "electricity": 1314, "colo": 600, "support": 1800, "staff": 1200}
    )
    assert cost.usd_per_year == pytest.approx(15_914)
    assert cost.usd_per_hour == pytest.approx(15_914 / 8760)
    assert cost.usd_per_accelerator_hour_available == pytest.approx(15_914 / 8760 / 4)
    assert cost.usd_per_accelerator_hour_useful == pytest.approx(15_914 / 8760 / 2)


def test_hours_it_is_down_are_paid_for_by_the_others() -> None:
    down = msgspec.structs.replace(RACK, availability=0.8)
    there, whole = compute_owned_cost(down, 4), compute_owned_cost(RACK, 4)
    assert there.usd_per_hour == whole.usd_per_hour
    assert there.usd_per_accelerator_hour_available == pytest.approx(
        (whole.usd_per_accelerator_hour_available or 0) / 0.8
    )
    assert there.usd_per_accelerator_hour_useful is None


def test_interest_costs_and_a_residual_value_saves() -> None:
    plain = compute_owned_cost(RACK, 4).usd_per_year
    assert compute_owned_cost(msgspec.structs.replace(RACK, interest_per_year=0.07), 4).usd_per_year > plain
    resold = compute_owned_cost(msgspec.structs.replace(RACK, residual_usd=8000), 4).usd_per_year
    assert resold == pytest.approx(plain - 2000)


def test_a_cpu_server_has_no_hour_of_an_accelerator() -> None:
    assert compute_owned_cost(RACK, 0).usd_per_accelerator_hour_available is None


def test_an_owned_offer_gets_its_price_and_others_keep_theirs() -> None:
    mine = gpu_offer("rack-a", "l4", 4, on_demand_usd_per_hour=None, owned=RACK)
    rented = offer()
    found = price_catalog(catalogue(mine, rented)).offers
    assert found[0].on_demand_usd_per_hour == pytest.approx(15_914 / 8760)
    assert found[1] == price_owned_offer(rented) == rented


def test_owning_breaks_even_when_the_rent_saved_has_paid_it() -> None:
    assert compute_break_even_months(12_000, 200, 1200) == 12
    assert compute_break_even_months(12_000, 1200, 1200) is None
    running = 1314 / 12 + 300
    assert compute_owned_break_even_months(RACK, running + 4400) == pytest.approx(10)
    assert compute_owned_break_even_months(RACK, running + 100) is None  # 440 months, and it lives 48


def test_hosting_breaks_even_at_a_volume() -> None:
    # 730 USD a month against 0.50 USD per 1M tokens, of which 0.10 is one's own: 1,825 M
    assert compute_break_even_volume(730, 0.5, 0.1) == pytest.approx(1825)
    assert compute_break_even_volume(730, 0.1, 0.1) is None
