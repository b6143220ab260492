from __future__ import annotations

import datetime

import pytest

from app.planning.energy import Site, energy_bill, fleet_power, power_line, power_of_inferences
from app.records.estimate import Estimate
from app.records.prices import GridIntensity
from tests.fakes.offers import accelerator

GRID = GridIntensity("DE", 400.0, datetime.date(2023, 12, 31), "codecarbon")
L4 = accelerator("l4", "L4")  # 72 W


def test_power_goes_from_idle_to_the_most() -> None:
    line = power_line(L4, idle_w=20, max_w=70)
    assert line is not None
    assert [line.at(u) for u in (-1, 0, 0.5, 1, 7)] == [20, 20, 45, 70, 70]
    assert line.basis == "measured"


def test_what_was_not_measured_is_the_tdp_and_says_so() -> None:
    line = power_line(L4)
    assert line is not None
    assert line.idle_w == pytest.approx(14.4)
    assert (line.max_w, line.basis) == (72, "assumed")
    half = power_line(L4, idle_w=10)
    assert half is not None
    assert (half.idle_w, half.basis) == (10, "assumed")
    assert power_line(None) is None
    assert fleet_power(None, 4, 0.5).reason == "neither a measured power nor a TDP is known"


def test_a_month_by_hand() -> None:
    # 4 × 50 W and a host of 300 W, PUE 1.2: 438 kWh
    power = fleet_power(power_line(L4, 30, 70), 4, 0.5, host_w=300)
    bill = energy_bill(power, Site(1.2, 0.25, GRID), mean_per_s=10)
    assert bill.mean_w.value == 500
    assert bill.kwh_per_month.value == pytest.approx(438)
    assert bill.usd_per_month.value == pytest.approx(109.5)
    assert bill.kg_co2e_per_month.value == pytest.approx(175.2)
    # 600 W over 10/s is 60 J an inference: 16.67 Wh per 1k
    assert bill.wh_per_1k_inferences.value == pytest.approx(60 / 3.6)


def test_measured_joules_count_beside_the_idling() -> None:
    power = power_of_inferences(Estimate(2.0, (1.8, 2.2)), 50, Estimate(20.0), 4, host_w=100)
    assert power.value == 280
    assert power.ci95 == pytest.approx((270, 290))
    assert power.basis == "measured"
    bill = energy_bill(power, Site(1.0), 50)
    assert bill.kwh_per_month.ci95 == pytest.approx((270 * 0.73, 290 * 0.73))
    assert power_of_inferences(Estimate(2.0, basis="assumed"), 50, Estimate(20.0), 4).basis == "assumed"


def test_what_is_missing_says_why() -> None:
    bill = energy_bill(fleet_power(power_line(L4), 1, 0.5), Site(), 0)
    assert bill.usd_per_month.value is None
    assert "tariff" in (bill.usd_per_month.reason or "")
    assert "grid" in (bill.kg_co2e_per_month.reason or "")
    assert bill.wh_per_1k_inferences.reason == "the traffic has no requests"
    unknown = power_of_inferences(Estimate(None, reason="the card tells no power"), 5, Estimate(1.0), 1)
    assert energy_bill(unknown, Site(1.0, 0.1, GRID), 5).kg_co2e_per_month.reason == "the card tells no power"
