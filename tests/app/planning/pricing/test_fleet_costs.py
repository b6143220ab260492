from __future__ import annotations

import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from app.planning.offers.candidates import build_fleet
from app.planning.offers.options import get_candidate
from app.planning.pricing.fleet_costs import (
    Site,
    add_costs,
    build_power_model,
    compute_energy_bill,
    compute_fleet_power,
    compute_power_from_inferences,
)
from app.planning.pricing.ownership import compute_running_usd_per_month
from app.planning.sizing.instances import HOURS_PER_MONTH
from app.records.estimate import Estimate
from app.records.offers import GridCarbonIntensity, OwnedHardware, PlanLimits
from app.records.plan import Fleet
from app.records.planning_inputs import MeasuredTarget
from app.records.result import Hardware
from app.records.service import BatchService, TokenService
from app.records.traffic import TokenLengths
from tests.fakes.offers import TODAY, accelerator, catalog_of, curve, gpu_offer, planning_inputs, target
from tests.fakes.services import fit_of, fitted_service
from tests.fakes.small_plan import sized_by_formula

GRID = GridCarbonIntensity("DE", 400.0, datetime.date(2023, 12, 31), "codecarbon")
L4 = accelerator("l4", "L4")  # 72 W


def test_power_is_linear_from_idle_to_max() -> None:
    line = build_power_model(L4, idle_w=20, max_w=70)
    assert line is not None
    assert [line.compute_power_w(u) for u in (-1, 0, 0.5, 1, 7)] == [20, 20, 45, 70, 70]
    assert line.basis == "measured"


def test_power_without_measurement_is_assumed_from_the_tdp() -> None:
    line = build_power_model(L4)
    assert line is not None
    assert line.idle_w == pytest.approx(14.4)
    assert (line.max_w, line.basis) == (72, "assumed")
    with_idle_power = build_power_model(L4, idle_w=10)
    assert with_idle_power is not None
    assert (with_idle_power.idle_w, with_idle_power.basis) == (10, "assumed")
    assert build_power_model(None) is None
    assert compute_fleet_power(None, 4, 0.5).reason == "neither measured power nor TDP is known"


def test_monthly_energy_bill_is_from_power_pue_tariff_and_grid() -> None:
    # 4 × 50 W and a host of 300 W, PUE 1.2: 438 kWh
    power = compute_fleet_power(build_power_model(L4, 30, 70), 4, 0.5, host_w=300)
    bill = compute_energy_bill(power, Site(1.2, 0.25, GRID))
    assert power.value == 500
    assert bill.kwh_per_month.value == pytest.approx(438)
    assert bill.usd_per_month.value == pytest.approx(109.5)
    assert bill.kg_co2e_per_month.value == pytest.approx(175.2)


def test_power_is_idle_power_plus_joules_per_inference() -> None:
    power = compute_power_from_inferences(Estimate(2.0, (1.8, 2.2)), 50, Estimate(20.0), 4, host_w=100)
    assert power.value == 280
    assert power.ci95 == pytest.approx((270, 290))
    assert power.basis == "measured"
    bill = compute_energy_bill(power, Site(1.0))
    assert bill.kwh_per_month.ci95 == pytest.approx((270 * 0.73, 290 * 0.73))
    assert compute_power_from_inferences(Estimate(2.0, basis="assumed"), 50, Estimate(20.0), 4).basis == "assumed"


def test_missing_energy_figures_have_a_reason() -> None:
    bill = compute_energy_bill(compute_fleet_power(build_power_model(L4), 1, 0.5), Site())
    assert bill.usd_per_month.value is None
    assert "tariff" in (bill.usd_per_month.reason or "")
    assert "grid" in (bill.kg_co2e_per_month.reason or "")
    unknown = compute_power_from_inferences(Estimate(None, reason="the card reports no power"), 5, Estimate(1.0), 1)
    assert compute_energy_bill(unknown, Site(1.0, 0.1, GRID)).kg_co2e_per_month.reason == "the card reports no power"


GPU = Hardware("g", offer="acme/g", accelerator="l4", accelerator_count=2, vcpus=16)
MONTH_S = HOURS_PER_MONTH * 3600
FLEET_COSTS_GRID = GridCarbonIntensity("ZZ", 250.0, TODAY, "a table")


def build_costed_fleet(measured: MeasuredTarget, peak_per_s: float = 500.0, **traffic: Any) -> Fleet:
    """Return the fleet of instances with two L4 of 72 W each, with its costs."""
    catalog = replace(catalog_of(gpu_offer("g", "l4", 2.0)), grid={"acme/here": FLEET_COSTS_GRID})
    limits = PlanLimits(confidence=0.5, redundancy=0)
    inputs = planning_inputs(
        measured, catalog=catalog, limits=limits, peak_per_s=peak_per_s, slo=("latency_ms.p95 < 20000",), **traffic
    )
    (option,), demand = sized_by_formula(inputs)
    candidate = get_candidate(option)
    return add_costs(
        build_fleet(candidate, candidate.instances, demand, option.latency_curve, TODAY), option, demand, inputs
    )


def test_cost_per_1k_inferences_at_mean_is_monthly_cost_over_requests() -> None:
    fleet = build_costed_fleet(target(curve(100.0), GPU), peak_per_s=450.0)
    assert fleet.per_1k_inferences is not None
    assert fleet.per_1k_inferences.at_mean == pytest.approx(5 * HOURS_PER_MONTH / (450 * MONTH_S / 1000))
    assert fleet.per_1k_inferences.at_slo == pytest.approx(1 / (100 * 3600 / 1000))
    assert fleet.per_1k_inferences.at_saturation is None  # without a service model


def test_cost_per_inference_is_lowest_at_saturation() -> None:
    service = BatchService(0.05, 0.005, 16)  # 123 req/s at most
    unit_costs = build_costed_fleet(target(curve(100.0), GPU, fit_of(fitted_service(service)))).per_1k_inferences
    assert unit_costs is not None
    assert unit_costs.at_saturation == pytest.approx(1 / (service.max_throughput_per_s * 3.6))
    assert (unit_costs.at_saturation or 9.0) < (unit_costs.at_slo or 0.0) < (unit_costs.at_mean or 0.0)


def test_input_and_output_token_costs_sum_to_the_request_cost() -> None:
    service = TokenService(0.02, 0.0002, 1e-5, max_sequences=64, kv_tokens=200_000)
    tokens = (TokenLengths(3.0, 800.0, 100.0), TokenLengths(1.0, 1600.0, 500.0))  # 1,000 in and 200 out
    fleet = build_costed_fleet(
        target(curve(8.0), GPU, fit_of(fitted_service(service), highest_per_s=9.0)), peak_per_s=40.0, tokens=tokens
    )
    assert fleet.per_1k_inferences is not None
    assert fleet.per_1m_tokens is not None
    assert fleet.per_1m_tokens.input is not None
    assert fleet.per_1m_tokens.output is not None
    by_token = (fleet.per_1m_tokens.input.at_mean or 0.0) * 1000 + (fleet.per_1m_tokens.output.at_mean or 0.0) * 200
    assert by_token / 1e6 == pytest.approx((fleet.per_1k_inferences.at_mean or 0.0) / 1000)
    assert (fleet.per_1m_tokens.output.at_mean or 0.0) > 5 * (fleet.per_1m_tokens.input.at_mean or 0.0)
    assert fleet.per_1k_inferences.at_saturation == pytest.approx(1000 / (9.0 * 3600))


def test_fleet_energy_is_gpu_power_times_pue() -> None:
    # 4 instances, 8 GPUs, fully utilized at the rate within the SLO
    fleet = build_costed_fleet(target(curve(100.0), GPU), peak_per_s=400.0)
    assert fleet.kwh_per_month is not None
    assert fleet.kwh_per_month.value == pytest.approx(8 * 72 * 1.2 * HOURS_PER_MONTH / 1000)
    assert fleet.kg_co2e_per_month is not None
    assert fleet.kg_co2e_per_month.value == pytest.approx(0.25 * (fleet.kwh_per_month.value or 0.0))
    assert fleet.kwh_per_month.basis == "assumed"


def test_fleet_energy_with_measured_joules_adds_idle_power() -> None:
    fleet = build_costed_fleet(target(curve(100.0), GPU, joules_per_inference=0.5), peak_per_s=400.0)
    assert fleet.kwh_per_month is not None
    assert fleet.kwh_per_month.value == pytest.approx((8 * 14.4 + 400 * 0.5) * 1.2 * HOURS_PER_MONTH / 1000)


def test_energy_of_a_cpu_instance_is_unknown() -> None:
    inputs = planning_inputs()
    (option,), demand = sized_by_formula(inputs)
    fleet = build_fleet(get_candidate(option), 3, demand, option.latency_curve, TODAY)
    with_costs = add_costs(fleet, option, demand, inputs)
    assert with_costs.kwh_per_month is not None
    assert with_costs.kwh_per_month.value is None
    assert with_costs.kwh_per_month.reason == "the power of a CPU instance is unknown"


def test_energy_of_owned_instances_matches_their_electricity_cost() -> None:
    owned = OwnedHardware(capex_usd=10_000.0, life_years=4.0, power_w=900.0, pue=1.4, tariff_usd_per_kwh=0.15)
    catalog = replace(catalog_of(gpu_offer("g", "l4", 2.0, owned=owned, on_demand_usd_per_hour=None)), grid={})
    inputs = planning_inputs(
        target(curve(100.0), GPU), catalog=catalog, limits=PlanLimits(confidence=0.5, redundancy=0), peak_per_s=500.0
    )
    (option,), demand = sized_by_formula(inputs)
    candidate = get_candidate(option)
    fleet = build_fleet(candidate, candidate.instances, demand, option.latency_curve, TODAY)
    with_costs = add_costs(fleet, option, demand, inputs)
    paid_kwh = compute_running_usd_per_month(owned)["electricity"] / 0.15
    assert with_costs.kwh_per_month is not None
    assert with_costs.kwh_per_month.value == pytest.approx(candidate.instances * paid_kwh)
