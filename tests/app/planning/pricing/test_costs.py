from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from app.planning.pricing.costs import (
    HOURS_PER_YEAR,
    Rates,
    TokenWork,
    UnitCost,
    compute_cost_per_1k_inferences,
    compute_effective_spot_usd_per_hour,
    compute_request_cost,
    compute_token_costs,
)
from app.planning.sizing.instances import HOURS_PER_MONTH


def test_month_has_730_hours_and_year_8760() -> None:
    assert (HOURS_PER_MONTH, HOURS_PER_YEAR) == (730, 8760)
    assert 12 * HOURS_PER_MONTH == HOURS_PER_YEAR


def test_cost_per_inference_grows_with_lower_utilization() -> None:
    # $3.60/h at 100 req/s is $0.01/1k; half the utilization costs twice as much
    cost = compute_cost_per_1k_inferences(3.6, 3 * 3.6, Rates(saturation_per_s=100.0, slo_per_s=50.0, mean_per_s=30.0))
    assert cost.at_saturation == pytest.approx(0.01)
    assert cost.at_slo == pytest.approx(0.02)
    assert cost.at_mean == pytest.approx(0.1)


def test_request_cost_at_an_unknown_or_zero_rate_is_none() -> None:
    cost = compute_request_cost(1.0, 1.0, Rates(saturation_per_s=None, slo_per_s=10.0, mean_per_s=0.0))
    assert (cost.at_saturation, cost.at_mean) == (None, None)
    assert cost.at_slo is not None


def test_token_cost_equals_a_published_example() -> None:
    # $4.50/h at 2,700 tok/s: $0.46/1M tokens, and $1.16 at 40 % utilization
    work = TokenWork(input_tokens=0, output_tokens=100, prefill_s=0, step_s=0.01, batch=1)
    rates = Rates(saturation_per_s=27.0, slo_per_s=None, mean_per_s=27 * 0.4)
    cost = compute_token_costs(compute_request_cost(4.5, 4.5, rates), work).per_1m_output
    assert cost is not None
    assert cost.at_saturation == pytest.approx(0.463, abs=5e-4)
    assert cost.at_mean == pytest.approx(1.157, abs=5e-4)


def test_token_costs_are_split_by_engine_time() -> None:
    # prefill of 1,000 tokens takes 50 ms; 100 decode steps of 20 ms shared by 10 sequences take 200 ms
    work = TokenWork(input_tokens=1000, output_tokens=100, prefill_s=0.05, step_s=0.02, batch=10)
    assert work.input_share == pytest.approx(0.2)
    costs = compute_token_costs(UnitCost(1.0, None, None), work)
    assert costs.per_1m_input is not None
    assert costs.per_1m_output is not None
    assert costs.per_1m_input.at_saturation == pytest.approx(200)
    assert costs.per_1m_output.at_saturation == pytest.approx(8000)


def test_cached_input_is_free_and_uncached_input_has_the_whole_prefill_cost() -> None:
    work = TokenWork(1000, 100, prefill_s=0.05, step_s=0.02, batch=10, cached_share=0.75)
    costs = compute_token_costs(UnitCost(1.0, None, 2.0), work)
    assert costs.per_1m_input is not None
    assert costs.per_1m_uncached_input is not None
    assert costs.per_1m_uncached_input.at_saturation == pytest.approx(4 * (costs.per_1m_input.at_saturation or 0.0))
    assert costs.per_1m_cached_input == UnitCost(0.0, None, 0.0)
    all_cached = compute_token_costs(UnitCost(1.0, None, None), replace(work, cached_share=1.0))
    assert all_cached.per_1m_uncached_input is None  # there is no uncached token
    unknown = compute_token_costs(UnitCost(1.0, None, None), replace(work, cached_share=None))
    assert (unknown.per_1m_uncached_input, unknown.per_1m_cached_input) == (None, None)


def test_input_and_output_token_costs_sum_to_the_total() -> None:
    dice = random.Random(1)
    for _ in range(200):
        inputs, outputs = dice.randint(1, 5000), dice.randint(1, 2000)
        work = TokenWork(inputs, outputs, dice.uniform(0, 1), dice.uniform(0.001, 0.1), dice.randint(1, 64))
        costs = compute_token_costs(UnitCost(dice.uniform(0.001, 1), None, None), work)
        prices = [
            unit_cost.at_saturation
            for unit_cost in (costs.per_1m_input, costs.per_1m_output, costs.per_1m_all)
            if unit_cost
        ]
        assert prices[0] is not None
        assert prices[1] is not None
        assert prices[2] is not None
        assert prices[0] * inputs + prices[1] * outputs == pytest.approx(prices[2] * (inputs + outputs))


def test_request_without_output_has_no_output_token_cost() -> None:
    costs = compute_token_costs(UnitCost(1.0, 1.0, 1.0), TokenWork(512, 0, 0.01, 0.0, 1))
    assert costs.per_1m_output is None
    assert costs.per_1m_input == costs.per_1m_all


def test_effective_spot_price_includes_lost_time() -> None:
    # six minutes every ten hours: 1 %
    assert compute_effective_spot_usd_per_hour(1.0, 0.1, 360) == pytest.approx(1.01)
    assert compute_effective_spot_usd_per_hour(1.0, 0.1, 300, lost_work_s=60) == pytest.approx(1.01)
    assert compute_effective_spot_usd_per_hour(1.0, 0, 360) == 1.0
