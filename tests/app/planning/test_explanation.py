from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

from app.planning.explanation import explain_break_even
from app.planning.fleets import plan_fleets
from app.planning.sizing.instances import HOURS_PER_MONTH
from app.records.offers import ApiPrice, Offer, OwnedHardware, PlanLimits
from app.records.result import Hardware, Recommendation
from app.records.traffic import TokenLengths
from tests.fakes.offers import catalog_of, curve, gpu_offer, offer, planning_inputs, target
from tests.fakes.small_plan import sized_by_formula

SLO = ("error_rate < 0.1%", "latency_ms.p95 < 50")
MEASURED = Hardware("acme/small", offer="acme/small", vcpus=16, architecture="x86_64")


def recommend(peak_per_s: float, limits: PlanLimits, *offers: Offer) -> Recommendation:
    measured = target(curve(100.0, max_rate_ci95=(100.0, 100.0)), MEASURED)
    inputs = planning_inputs(measured, peak_per_s=peak_per_s, catalog=catalog_of(*offers), limits=limits, slo=SLO)
    recommendation = plan_fleets(inputs).recommendation
    assert recommendation is not None
    return recommendation


SMALL = offer("small", on_demand_usd_per_hour=0.5)


def test_recommendation_sentence_has_instances_offer_and_cost() -> None:
    recommendation = recommend(250.0, PlanLimits(redundancy=1), SMALL)
    assert recommendation.sentence == (
        "4 × acme/small in here (3 for the load, 1 spare): $1,460/month, $0.00222/1k inferences"
    )


def test_binding_constraint_is_the_peak_if_several_instances_are_needed() -> None:
    recommendation = recommend(250.0, PlanLimits(redundancy=2), SMALL)
    assert recommendation.binding_constraint == (
        "peak: one instance sustains 100 req/s within p95 latency < 50 ms at 90 % confidence, so the peak of 250 "
        "req/s needs 3 instances, and n+2 requires 5"
    )


def test_binding_constraint_names_the_objective_of_the_measured_percentile() -> None:
    measured = target(curve(100.0, latency_metric="latency_ms.p99"), MEASURED)
    slo = ("latency_ms.p99.9 < 90", "latency_ms.p99 < 50")
    recommendation = plan_fleets(
        planning_inputs(measured, peak_per_s=250.0, catalog=catalog_of(SMALL), slo=slo)
    ).recommendation
    assert recommendation is not None
    assert "within p99 latency < 50 ms at" in recommendation.binding_constraint


def test_binding_constraint_is_redundancy_if_one_instance_is_enough_for_the_load() -> None:
    assert recommend(60.0, PlanLimits(redundancy=1), SMALL).binding_constraint.startswith("redundancy:")


def test_binding_constraint_is_instance_size_without_redundancy() -> None:
    assert recommend(60.0, PlanLimits(redundancy=0), SMALL).binding_constraint.startswith("instance size:")


def test_explanation_reports_a_budget_without_room_for_another_instance() -> None:
    limits = PlanLimits(redundancy=0, budget_usd_per_month=1200.0)
    recommendation = recommend(250.0, limits, SMALL)
    assert recommendation.binding_constraint.endswith("the budget of $1,200/month does not cover another instance")
    assert "A budget below $1,095/month does not cover this fleet." in recommendation.would_change_it


def test_reasons_include_the_runner_up_and_the_cheapest_rejected_offer() -> None:
    recommendation = recommend(
        250.0, PlanLimits(redundancy=0), SMALL, offer("big", vcpus=64.0, on_demand_usd_per_hour=2.0),
        gpu_offer("g1", "l4", on_demand_usd_per_hour=0.1),
    )  # fmt: skip
    assert (
        recommendation.why[0] == "3 instances sustain the peak with a probability of over 99.9 %; the target is 90 %."
    )
    assert recommendation.why[1] == "The runner-up, 1 × acme/big in here, costs $365/month more (33 %)."
    assert "acme/g1@here, at $0.1/h each: the target was measured on a CPU; to size NVIDIA L4" in recommendation.why[2]


def test_explanation_reports_the_peaks_and_prices_that_change_the_recommendation() -> None:
    recommendation = recommend(
        250.0, PlanLimits(redundancy=0), SMALL, offer("big", vcpus=64.0, on_demand_usd_per_hour=2.0)
    )  # fmt: skip
    assert "A peak above 300 req/s needs one more instance." in recommendation.would_change_it
    assert "A peak up to 200 req/s needs one instance fewer." in recommendation.would_change_it
    assert "acme/big in here becomes cheaper below $1.5/h; it costs $2/h." in recommendation.would_change_it
    # 64 vCPUs sustain 6,400 req/s, sized at 4,953 req/s: 50 small instances cost $25/h against $2/h
    assert sum("becomes cheaper at a peak of" in sentence for sentence in recommendation.would_change_it) == 1


_SAME_VALUE_TWICE = re.compile(r"(\d[\d,.]*)(?: req/s|/s)?(?:/month|/h)? (?:instead of|or of) \$?\1(?![\d,.]*\d)")


@pytest.mark.parametrize("price", [0.5, 0.51, 2.0])
def test_no_sentence_of_a_plan_is_empty_or_repeated(price: float) -> None:
    """No sentence compares a value with itself ("$847 instead of $847"), says "none", or repeats another one."""
    assert _SAME_VALUE_TWICE.search("would cost $847 instead of $847/month")
    assert not _SAME_VALUE_TWICE.search("would cost $847 instead of $8,470/month")
    measured = target(curve(100.0, max_rate_ci95=(100.0, 100.0)), MEASURED)
    big = offer("big", vcpus=64.0, on_demand_usd_per_hour=price, reserved_1y_usd_per_hour=0.4 * price)
    for peak_per_s in (3.0, 97.0, 250.0, 1900.0):
        inputs = planning_inputs(measured, peak_per_s=peak_per_s, catalog=catalog_of(SMALL, big), slo=SLO)
        plan = plan_fleets(inputs)
        recommendation = plan.recommendation
        assert recommendation is not None
        sentences = [
            recommendation.sentence,
            recommendation.binding_constraint,
            *recommendation.why,
            *recommendation.would_change_it,
            *plan.notes,
        ]
        sentences += [plan.commitment.sentence] if plan.commitment is not None else []
        assert [
            sentence
            for sentence in sentences
            if _SAME_VALUE_TWICE.search(sentence) or "none" in sentence or not sentence.strip()
        ] == []
        assert len(set(sentences)) == len(sentences)
        peaks = [sentence for sentence in sentences if "becomes cheaper at a peak of" in sentence]
        assert len({sentence.partition(" becomes cheaper")[0] for sentence in peaks}) == len(peaks)


def test_single_offer_has_no_runner_up() -> None:
    assert "No other instance type qualifies." in recommend(250.0, PlanLimits(), SMALL).why


MONTH_S = HOURS_PER_MONTH * 3600


def list_break_even_sentences(
    *offers: Offer, api: ApiPrice | None = None, peak_per_s: float = 50.0, **traffic: Any
) -> list[str]:
    """Return the break-even sentences for a max rate of 100 req/s, where one instance is enough."""
    limits = PlanLimits(redundancy=0, api=api)
    inputs = planning_inputs(target(), catalog=catalog_of(*offers), limits=limits, peak_per_s=peak_per_s, **traffic)
    options, demand = sized_by_formula(inputs)
    return list(explain_break_even(options, demand, inputs))


def build_owned_offer(**changes: Any) -> Offer:
    hardware = replace(OwnedHardware(capex_usd=7300.0, life_years=3.0), **changes)
    return offer("c16", provider="yours", on_demand_usd_per_hour=None, owned=hardware)


def test_single_offer_has_no_break_even() -> None:
    assert list_break_even_sentences(offer()) == []
    assert list_break_even_sentences(build_owned_offer()) == []


def test_owned_hardware_breaks_even_when_rent_equals_its_cost() -> None:
    (without_colo,) = list_break_even_sentences(offer(), build_owned_offer())  # $730/month
    assert without_colo.startswith("1 × yours/c16@here (owned) pays off against 1 × acme/c16@here at $730")
    assert "after 10 months" in without_colo
    (with_colo,) = list_break_even_sentences(offer(), build_owned_offer(colo_usd_per_month=365.0))
    assert "after 20 months" in with_colo
    (expensive_colo,) = list_break_even_sentences(offer(), build_owned_offer(colo_usd_per_month=600.0))
    assert "never pays off against 1 × acme/c16@here at $730/month within the hardware's lifetime" in expensive_colo


@pytest.mark.parametrize("share", [0.25, 1.0, 2.0])
def test_api_breaks_even_where_its_cost_equals_the_fleet_cost(share: float) -> None:
    # at `share` of 50 req/s, the API costs $730, as does the one instance
    price = ApiPrice(730.0 / (share * 50 * MONTH_S / 1000), "1k requests")
    (sentence,) = list_break_even_sentences(offer(), api=price)
    assert f"break-even is at {share:g} times this traffic" in sentence
    assert ("which is less" in sentence) == (share < 1)


def test_api_price_per_token_is_applied_to_the_mean_request() -> None:
    price = ApiPrice(730.0 / (50 * MONTH_S * 1000 / 1e6), "1M tokens")
    tokens = (TokenLengths(3.0, 800.0, 100.0), TokenLengths(1.0, 1000.0, 300.0))
    (sentence,) = list_break_even_sentences(offer(), api=price, tokens=tokens)
    assert "break-even is at 1 times this traffic" in sentence
    (without_tokens,) = list_break_even_sentences(offer(), api=price)
    assert without_tokens.endswith("set traffic.tokens to the tokens per request.")
