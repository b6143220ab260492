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
from tests.fakes.offers import catalog_of, gpu_offer, offer

RACK = OwnedHardware(
    capex_usd=40_000, life_years=4, power_w=1000, pue=1.5, tariff_usd_per_kwh=0.1, staff_usd_per_month=100,
    colo_usd_per_month=50, support_usd_per_month=150, network_usd=4000,
)  # fmt: skip


def test_capital_recovery_factor_repays_the_loan() -> None:
    assert compute_capital_recovery_factor(0, 4) == 0.25
    assert compute_capital_recovery_factor(0.08, 4) == pytest.approx(0.30192, abs=1e-5)
    debt = 1.0
    for _ in range(4):
        debt = debt * 1.08 - compute_capital_recovery_factor(0.08, 4)
    assert debt == pytest.approx(0, abs=1e-12)
    assert compute_capital_recovery_factor(1e-9, 4) == pytest.approx(0.25, rel=1e-6)


def test_sinking_fund_factor_saves_the_sum() -> None:
    saved = 0.0
    for _ in range(5):
        saved = saved * 1.06 + compute_sinking_fund_factor(0.06, 5)
    assert saved == pytest.approx(1.0)


def test_owned_cost_is_the_sum_of_its_parts() -> None:
    cost = compute_owned_cost(RACK)
    # hardware, network, electricity, colocation, support, staff
    assert cost.usd_per_year == pytest.approx(10_000 + 1000 + 1314 + 600 + 1800 + 1200)
    assert cost.usd_per_hour == pytest.approx(15_914 / 8760)


def test_interest_raises_and_residual_value_lowers_the_owned_cost() -> None:
    usd_per_year = compute_owned_cost(RACK).usd_per_year
    assert compute_owned_cost(msgspec.structs.replace(RACK, interest_per_year=0.07)).usd_per_year > usd_per_year
    resold = compute_owned_cost(msgspec.structs.replace(RACK, residual_usd=8000)).usd_per_year
    assert resold == pytest.approx(usd_per_year - 2000)


def test_owned_offers_are_priced_and_rented_offers_unchanged() -> None:
    owned_offer = gpu_offer("rack-a", "l4", 4, on_demand_usd_per_hour=None, owned=RACK)
    rented = offer()
    offers = price_catalog(catalog_of(owned_offer, rented)).offers
    assert offers[0].on_demand_usd_per_hour == pytest.approx(15_914 / 8760)
    assert offers[1] == price_owned_offer(rented) == rented


def test_owned_hardware_breaks_even_when_saved_rent_equals_capex() -> None:
    assert compute_break_even_months(12_000, 200, 1200) == 12
    assert compute_break_even_months(12_000, 1200, 1200) is None
    running = 1314 / 12 + 300
    assert compute_owned_break_even_months(RACK, running + 4400) == pytest.approx(10)
    assert compute_owned_break_even_months(RACK, running + 100) is None  # 440 months, but the lifetime is 48


def test_hosting_break_even_volume_is_monthly_cost_over_saved_token_price() -> None:
    # $730/month against $0.50/1M tokens, with own costs of $0.10/1M tokens: 1,825 M
    assert compute_break_even_volume(730, 0.5, 0.1) == pytest.approx(1825)
    assert compute_break_even_volume(730, 0.1, 0.1) is None
