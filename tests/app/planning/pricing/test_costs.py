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
from app.planning.sizing import HOURS_PER_MONTH


def test_a_month_has_730_hours_and_a_year_8760() -> None:
    assert (HOURS_PER_MONTH, HOURS_PER_YEAR) == (730, 8760)
    assert 12 * HOURS_PER_MONTH == HOURS_PER_YEAR


def test_an_inference_costs_more_the_emptier_the_fleet() -> None:
    # 3.60 USD an hour over 100/s is 0.01 USD per 1k; half as full costs twice as much
    cost = compute_cost_per_1k_inferences(3.6, 3 * 3.6, Rates(saturation_per_s=100.0, slo_per_s=50.0, mean_per_s=30.0))
    assert cost.at_saturation == pytest.approx(0.01)
    assert cost.at_slo == pytest.approx(0.02)
    assert cost.at_mean == pytest.approx(0.1)


def test_a_rate_that_is_unknown_or_nothing_has_no_cost() -> None:
    cost = compute_request_cost(1.0, 1.0, Rates(saturation_per_s=None, slo_per_s=10.0, mean_per_s=0.0))
    assert (cost.at_saturation, cost.at_mean) == (None, None)
    assert cost.at_slo is not None


def test_the_published_example_of_tokens() -> None:
    # 4.50 USD an hour, 2,700 tokens/s: 0.46 USD per 1M, and 1.16 at 40 % use
    work = TokenWork(input_tokens=0, output_tokens=100, prefill_s=0, step_s=0.01, batch=1)
    rates = Rates(saturation_per_s=27.0, slo_per_s=None, mean_per_s=27 * 0.4)
    cost = compute_token_costs(compute_request_cost(4.5, 4.5, rates), work).per_1m_output
    assert cost is not None
    assert cost.at_saturation == pytest.approx(0.463, abs=5e-4)
    assert cost.at_mean == pytest.approx(1.157, abs=5e-4)


def test_tokens_are_split_by_the_engines_time_not_by_their_number() -> None:
    # 1,000 tokens are read in 50 ms; 100 are written in 100 steps of 20 ms shared by 10: 200 ms
    work = TokenWork(input_tokens=1000, output_tokens=100, prefill_s=0.05, step_s=0.02, batch=10)
    assert work.input_share == pytest.approx(0.2)
    costs = compute_token_costs(UnitCost(1.0, None, None), work)
    assert costs.per_1m_input is not None
    assert costs.per_1m_output is not None
    assert costs.per_1m_input.at_saturation == pytest.approx(200)
    assert costs.per_1m_output.at_saturation == pytest.approx(8000)


def test_cached_input_costs_nothing_and_the_rest_of_the_input_the_whole_prefill() -> None:
    work = TokenWork(1000, 100, prefill_s=0.05, step_s=0.02, batch=10, cached_share=0.75)
    costs = compute_token_costs(UnitCost(1.0, None, 2.0), work)
    assert costs.per_1m_input is not None
    assert costs.per_1m_uncached_input is not None
    assert costs.per_1m_uncached_input.at_saturation == pytest.approx(4 * (costs.per_1m_input.at_saturation or 0.0))
    assert costs.per_1m_cached_input == UnitCost(0.0, None, 0.0)
    whole = compute_token_costs(UnitCost(1.0, None, None), replace(work, cached_share=1.0))
    assert whole.per_1m_uncached_input is None  # there is no token to carry a cost
    unknown = compute_token_costs(UnitCost(1.0, None, None), replace(work, cached_share=None))
    assert (unknown.per_1m_uncached_input, unknown.per_1m_cached_input) == (None, None)


def test_the_parts_of_a_request_sum_to_the_whole() -> None:
    dice = random.Random(1)
    for _ in range(200):
        i, o = dice.randint(1, 5000), dice.randint(1, 2000)
        work = TokenWork(i, o, dice.uniform(0, 1), dice.uniform(0.001, 0.1), dice.randint(1, 64))
        costs = compute_token_costs(UnitCost(dice.uniform(0.001, 1), None, None), work)
        prices = [one.at_saturation for one in (costs.per_1m_input, costs.per_1m_output, costs.per_1m_all) if one]
        assert prices[0] is not None
        assert prices[1] is not None
        assert prices[2] is not None
        assert prices[0] * i + prices[1] * o == pytest.approx(prices[2] * (i + o))


def test_a_request_without_output_has_no_price_of_it() -> None:
    costs = compute_token_costs(UnitCost(1.0, 1.0, 1.0), TokenWork(512, 0, 0.01, 0.0, 1))
    assert costs.per_1m_output is None
    assert costs.per_1m_input == costs.per_1m_all


def test_spot_pays_for_what_is_lost() -> None:
    # every ten hours, six minutes: 1 %
    assert compute_effective_spot_usd_per_hour(1.0, 0.1, 360) == pytest.approx(1.01)
    assert compute_effective_spot_usd_per_hour(1.0, 0.1, 300, lost_work_s=60) == pytest.approx(1.01)
    assert compute_effective_spot_usd_per_hour(1.0, 0, 360) == 1.0
