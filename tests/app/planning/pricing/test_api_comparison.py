from __future__ import annotations

import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from app.planning.fleets import plan_fleets
from app.planning.offers.options import get_candidate
from app.planning.pricing.api_comparison import find_break_even_per_s
from app.planning.sizing.instances import HOURS_PER_MONTH, compute_monthly_cost
from app.records.offers import ApiTokenPrices, Offer, PlanLimits
from app.records.plan import ApiComparison
from app.records.result import Hardware
from app.records.traffic import TokenLengths
from tests.fakes.offers import catalog_of, curve, offer, planning_inputs, target
from tests.fakes.small_plan import sized_by_formula

PRICES = ApiTokenPrices(3.0, 15.0, cached_input_usd=0.3)
TOKENS = (TokenLengths(3.0, 800.0, 100.0), TokenLengths(1.0, 1600.0, 500.0))  # 1,000 in and 200 out
SMALL = offer("small", on_demand_usd_per_hour=0.5)
HERE = Hardware("acme/small", offer="acme/small", vcpus=16, architecture="x86_64")
MONTH_S = HOURS_PER_MONTH * 3600


def plan_comparison(
    prices: ApiTokenPrices = PRICES, rented: Offer = SMALL, *, cached_share: float | None = None, **traffic: Any
) -> tuple[ApiComparison | None, tuple[str, ...]]:
    measured = target(curve(100.0, max_rate_ci95=(100.0, 100.0)), HERE, cached_input_share=cached_share)
    fields: dict[str, Any] = {"peak_per_s": 250.0, "tokens": TOKENS} | traffic
    inputs = planning_inputs(measured, catalog=catalog_of(rented), limits=PlanLimits(api_prices=prices), **fields)
    plan = plan_fleets(inputs, estimate_only=True)
    return plan.api, plan.break_even


def compare(*args: Any, **fields: Any) -> ApiComparison:
    comparison, _ = plan_comparison(*args, **fields)
    assert comparison is not None
    return comparison


def test_monthly_api_cost_is_by_input_cached_and_output_tokens() -> None:
    comparison = compare(cached_share=0.6)
    requests = 250.0 * MONTH_S
    assert comparison.input.tokens_per_month == pytest.approx(400 * requests)
    assert comparison.cached_input.usd_per_month == pytest.approx(600 * requests * 0.3 / 1e6)
    assert comparison.output.usd_per_month == pytest.approx(200 * requests * 15 / 1e6)
    assert comparison.usd_per_month == pytest.approx((400 * 3 + 600 * 0.3 + 200 * 15) * requests / 1e6)
    assert (comparison.fleet_usd_per_month, comparison.cached_share_source) == (4 * 0.5 * HOURS_PER_MONTH, "measured")


def test_unknown_cached_share_is_priced_as_uncached_and_reported() -> None:
    comparison, sentences = plan_comparison()
    assert comparison is not None
    assert (comparison.cached_input.tokens_per_month, comparison.cached_share_source) == (0.0, "unknown")
    assert any("is unknown, so the API's cost assumes that none is cached" in sentence for sentence in sentences)
    declared = compare(replace(PRICES, cached_share=0.5), cached_share=0.9)
    assert (declared.cached_share, declared.cached_share_source) == (0.5, "declared")
    assert declared.usd_per_month < comparison.usd_per_month


def test_cached_input_without_its_own_price_has_the_input_price() -> None:
    prices = replace(PRICES, cached_input_usd=None, as_of=datetime.date(2026, 7, 1))
    comparison, sentences = plan_comparison(prices, cached_share=0.6)
    assert comparison is not None
    assert comparison.usd_per_month == pytest.approx(compare().usd_per_month)
    assert "at prices of 2026-07-01" in sentences[0]


def test_break_even_rate_is_where_fleet_cost_equals_api_cost() -> None:
    comparison = compare()
    break_even_per_s = comparison.break_even_per_s
    assert break_even_per_s is not None
    # two instances (one of them spare) are enough for so few requests
    assert break_even_per_s * MONTH_S * (1000 * 3 + 200 * 15) / 1e6 == pytest.approx(2 * 0.5 * HOURS_PER_MONTH)
    assert break_even_per_s < comparison.mean_per_s
    assert comparison.break_even_range_per_s is not None
    assert (
        comparison.break_even_range_per_s.p10 <= break_even_per_s <= comparison.break_even_range_per_s.p90 * (1 + 1e-9)
    )


def test_fleet_is_cheaper_than_the_api_only_above_the_break_even_rate() -> None:
    uncertain = target(curve(100.0, max_rate_ci95=(60.0, 160.0)), HERE)
    inputs = planning_inputs(
        uncertain, catalog=catalog_of(SMALL), peak_per_s=250.0, uncertainty=0.2, limits=PlanLimits(zones=3)
    )
    (option,), demand = sized_by_formula(inputs)
    candidate = get_candidate(option)
    usd_per_request = 1.7 * candidate.usd_per_hour / (3600 * candidate.capacity.rate_per_s)
    break_even_per_s = find_break_even_per_s(candidate, demand, usd_per_request, 0.0)
    assert break_even_per_s is not None

    def cost_usd(per_s: float) -> float:
        instances = next(n for n in range(1, 999) if n * candidate.capacity.rate_per_s >= per_s * (1 - 1e-12))
        return compute_monthly_cost(instances + demand.count_spares(instances), candidate.usd_per_hour)

    assert cost_usd(break_even_per_s) == pytest.approx(break_even_per_s * usd_per_request * MONTH_S)
    assert all(
        cost_usd(break_even_per_s * scale) < break_even_per_s * scale * usd_per_request * MONTH_S
        for scale in (1.001, 1.1, 1.5, 2, 5, 40)
    )
    assert cost_usd(break_even_per_s * 0.999) > break_even_per_s * 0.999 * usd_per_request * MONTH_S
    low, high = (find_break_even_per_s(candidate, demand, usd_per_request, z) for z in (-1.28, 1.28))
    assert (low or 0.0) < break_even_per_s < (high or 1e9)


def test_api_cheaper_than_a_full_instance_has_no_break_even() -> None:
    comparison, sentences = plan_comparison(ApiTokenPrices(0.0001, 0.0001))
    assert comparison is not None
    assert (comparison.break_even_per_s, comparison.break_even_range_per_s) == (None, None)
    assert "The API is cheaper than instances of this offer at any rate." in sentences
    assert "which is more" in sentences[0]
    free, _ = plan_comparison(ApiTokenPrices(0.0, 0.0))
    assert free is not None
    assert free.break_even_per_s is None


def test_no_api_comparison_without_token_lengths() -> None:
    comparison, sentences = plan_comparison(tokens=())
    assert comparison is None
    assert sentences == ("To compare with the API's prices per token, set traffic.tokens to the tokens per request.",)
