from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from app.planning.offers.options import get_candidate
from app.planning.pricing.year import count_hourly_replicas, forecast_year, simulate_year
from app.records.offers import PlanLimits
from app.records.plan import AnnualForecast
from tests.fakes.offers import curve, planning_inputs, target
from tests.fakes.small_plan import sized_by_formula


def compute_backlogs(
    rates: npt.NDArray[np.float64], capacity: npt.NDArray[np.float64], bin_s: float
) -> npt.NDArray[np.float64]:
    """Return the backlog after each bin: q += (rate − min(capacity, q / bin + rate)) × bin."""
    backlog, backlogs = 0.0, []
    for rate, max_rate in zip(rates, capacity, strict=True):
        backlog += (rate - min(max_rate, backlog / bin_s + rate)) * bin_s
        backlogs.append(backlog)
    return np.array(backlogs)


def test_simulated_year_within_capacity_has_no_backlog() -> None:
    year = simulate_year(np.full(1440, 80.0), np.array([100.0, 160.0]))
    assert year.hours_over.tolist() == year.delayed_share.tolist() == [0.0, 0.0]
    assert year.worst_wait_s.tolist() == [0.0, 0.0]
    assert year.mean_utilization.tolist() == pytest.approx([0.8, 0.5])
    full = simulate_year(np.full(1440, 100.0), np.array([100.0]))
    assert (full.hours_over[0], full.delayed_share[0], full.mean_utilization[0]) == (0.0, 0.0, pytest.approx(1.0))


def test_simulated_hour_over_capacity_has_the_computed_backlog_and_waits() -> None:
    """An hour at 150 req/s with 100 req/s capacity queues 180,000 requests, which are served in an hour at 50 req/s."""
    rates = np.repeat([50.0, 150.0, 50.0, 50.0], 60)
    year = simulate_year(rates, np.array([100.0]))
    assert year.hours_over.tolist() == [1.0]
    assert year.worst_wait_s.tolist() == [pytest.approx(1_800.0)]
    assert year.delayed_share.tolist() == [pytest.approx((150 * 60 + 50 * 59) / (300 * 60))]
    assert year.mean_utilization.tolist() == [pytest.approx(0.75)]


def test_simulated_year_of_many_capacities_equals_the_backlog_recurrence() -> None:
    dice = np.random.default_rng(1)
    rates = dice.gamma(2.0, 50.0, 5 * 24 * 60)
    capacities = dice.uniform(60, 300, 25)
    year = simulate_year(rates, capacities)
    for design, capacity in enumerate(capacities):
        backlogs = compute_backlogs(rates, np.full(rates.size, capacity), 60.0)
        assert year.worst_wait_s[design] == pytest.approx(backlogs.max() / capacity, rel=1e-9, abs=1e-6)
        assert year.hours_over[design] == pytest.approx((rates > capacity).sum() / 60)
        assert year.delayed_share[design] == pytest.approx(rates[backlogs > 1e-7].sum() / rates.sum())
        served = rates.sum() * 60 - backlogs[-1]
        assert year.mean_utilization[design] == pytest.approx(served / (capacity * rates.size * 60))


def test_simulated_year_accepts_a_capacity_per_hour() -> None:
    dice = np.random.default_rng(2)
    rates = dice.gamma(2.0, 50.0, 100 * 60)
    capacities = dice.uniform(0, 250, (4, 100))
    year = simulate_year(rates, capacities)
    for design in range(4):
        by_minute = np.repeat(capacities[design], 60)
        backlogs = compute_backlogs(rates, by_minute, 60.0)
        assert year.worst_wait_s[design] == pytest.approx((backlogs / by_minute).max())
    constant = simulate_year(rates, np.full((1, 100), 120.0))
    assert constant.worst_wait_s == pytest.approx(simulate_year(rates, np.array([120.0])).worst_wait_s)
    with pytest.raises(ValueError, match="capacities cover 99 hours, but the rates cover 100"):
        simulate_year(rates, np.ones((1, 99)))


def test_simulated_year_with_capacity_0_has_infinite_wait() -> None:
    year = simulate_year(np.ones(120), np.array([0.0]))
    assert year.worst_wait_s.tolist() == [np.inf]
    assert year.mean_utilization.tolist() == [0.0]


def test_simulated_year_without_traffic_has_no_delay_and_utilization_0() -> None:
    year = simulate_year(np.zeros(120), np.array([10.0]))
    assert (year.delayed_share[0], year.worst_wait_s[0], year.mean_utilization[0]) == (0.0, 0.0, 0.0)


def test_simulated_year_accepts_other_bin_lengths_and_a_partial_last_hour() -> None:
    rates = np.full(15, 200.0)
    year = simulate_year(rates, np.array([100.0]), bin_s=300.0)
    assert year.hours_over.tolist() == [1.25]
    assert year.worst_wait_s.tolist() == [pytest.approx(15 * 300)]
    assert year.mean_utilization.tolist() == [1.0]


def test_hourly_replicas_cover_the_busiest_minute() -> None:
    rates = np.repeat([10.0, 95.0, 0.0], 60)
    rates[70] = 101.0
    assert count_hourly_replicas(rates, np.array([10.0, 50.0])).tolist() == [[1, 11, 1], [1, 3, 1]]


@pytest.mark.process
def test_planning_import_does_not_load_numba() -> None:
    code = "import sys, app.planning.fleets, app.planning.pricing.year; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


CERTAIN = PlanLimits(confidence=0.5, redundancy=0)


def build_forecast(
    peak_per_s: float, instances: int = 2, limits: PlanLimits = CERTAIN, **traffic: Any
) -> AnnualForecast:
    """Return the forecast for instances that sustain 100 req/s each."""
    inputs = planning_inputs(target(curve(100.0)), peak_per_s=peak_per_s, limits=limits, **traffic)
    (option,), demand = sized_by_formula(inputs)
    return forecast_year(replace(get_candidate(option), needed_instances=instances), demand, inputs)


def test_forecast_within_capacity_has_no_hours_over() -> None:
    forecast = build_forecast(150.0)
    assert (forecast.hours_over, forecast.delayed_share, forecast.worst_wait_s) == (0.0, 0.0, 0.0)
    assert forecast.mean_utilization == pytest.approx(0.75)


def test_forecast_over_capacity_is_over_all_year() -> None:
    forecast = build_forecast(400.0)
    assert forecast.hours_over == pytest.approx(8760)
    assert forecast.delayed_share == pytest.approx(1.0)
    # the last request waits for half of all requests
    assert forecast.worst_wait_s == pytest.approx(8760 * 3600, rel=0.01)


def test_forecast_with_growth_exceeds_capacity_during_the_year() -> None:
    # 150 req/s × 2^t = 200 req/s after 0.415 years
    forecast = build_forecast(150.0, growth_per_year=1.0)
    assert forecast.hours_over == pytest.approx((1 - 0.41504) * 8760, rel=1e-3)


def test_forecast_counts_spares_and_uses_the_capacity_at_the_confidence() -> None:
    with_spare = build_forecast(250.0, limits=PlanLimits(confidence=0.5, redundancy=1))
    assert with_spare.hours_over == 0
    assert with_spare.mean_utilization == pytest.approx(250 / 300)
    higher_confidence = build_forecast(199.0, limits=PlanLimits(confidence=0.99, redundancy=0))
    assert higher_confidence.hours_over == pytest.approx(8760)
