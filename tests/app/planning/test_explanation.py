from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

from app.planning.explanation import explain_break_even
from app.planning.fleets import plan_fleets
from app.planning.sizing import HOURS_PER_MONTH
from app.records.offers import ApiPrice, Offer, OwnedHardware, PlanLimits
from app.records.result import Hardware, Recommendation
from app.records.traffic import TokenLengths
from tests.fakes.offers import catalogue, curve, gpu_offer, offer, question, target
from tests.fakes.planned import sized

SLO = ("error_rate < 0.1%", "latency_ms.p95 < 50")
MEASURED = Hardware("acme/small", offer="acme/small", vcpus=16, architecture="x86_64")


def recommended(peak_per_s: float, limits: PlanLimits, *offers: Offer) -> Recommendation:
    sure = target(curve(100.0, max_rate_ci95=(100.0, 100.0)), MEASURED)
    asked = question(sure, peak_per_s=peak_per_s, of=catalogue(*offers), limits=limits, slo=SLO)
    found = plan_fleets(asked).recommendation
    assert found is not None
    return found


SMALL = offer("small", on_demand_usd_per_hour=0.5)


def test_the_sentence_says_how_many_of_what_at_what_cost() -> None:
    found = recommended(250.0, PlanLimits(redundancy=1), SMALL)
    assert found.sentence == ("4 × acme/small in here (3 for the load, 1 spare): $1,460/month, $0.00222/1k inferences")


def test_the_peak_binds_where_it_takes_several() -> None:
    found = recommended(250.0, PlanLimits(redundancy=2), SMALL)
    assert found.binding_constraint == (
        "peak: one instance sustains 100 req/s within p95 latency < 50 ms at 90 % confidence, so the peak of 250 "
        "req/s needs 3 instances, and n+2 requires 5"
    )


def test_the_objective_that_binds_is_that_of_the_curves_own_percentile() -> None:
    sure = target(curve(100.0, latency_metric="latency_ms.p99"), MEASURED)
    slo = ("latency_ms.p99.9 < 90", "latency_ms.p99 < 50")
    found = plan_fleets(question(sure, peak_per_s=250.0, of=catalogue(SMALL), slo=slo)).recommendation
    assert found is not None
    assert "within p99 latency < 50 ms at" in found.binding_constraint


def test_redundancy_binds_where_one_would_do() -> None:
    assert recommended(60.0, PlanLimits(redundancy=1), SMALL).binding_constraint.startswith("redundancy:")


def test_the_instance_binds_where_one_is_enough() -> None:
    assert recommended(60.0, PlanLimits(redundancy=0), SMALL).binding_constraint.startswith("instance size:")


def test_a_budget_without_room_is_said() -> None:
    limits = PlanLimits(redundancy=0, budget_usd_per_month=1200.0)
    found = recommended(250.0, limits, SMALL)
    assert found.binding_constraint.endswith("the budget of $1,200/month does not cover another instance")
    assert "A budget below $1,095/month does not cover this fleet." in found.would_change_it


def test_why_names_the_runner_up_and_the_cheapest_refused() -> None:
    found = recommended(
        250.0, PlanLimits(redundancy=0), SMALL, offer("big", vcpus=64.0, on_demand_usd_per_hour=2.0),
        gpu_offer("g1", "l4", on_demand_usd_per_hour=0.1),
    )  # fmt: skip
    assert found.why[0] == "3 instances sustain the peak with a probability of over 99.9 %; the target is 90 %."
    assert found.why[1] == "The runner-up, 1 × acme/big in here, costs $365/month more (33 %)."
    assert "acme/g1@here, at $0.1/h each: the target was measured on a CPU; to size NVIDIA L4" in found.why[2]


def test_what_would_change_it() -> None:
    found = recommended(
        250.0, PlanLimits(redundancy=0), SMALL, offer("big", vcpus=64.0, on_demand_usd_per_hour=2.0)
    )  # fmt: skip
    assert "A peak above 300 req/s needs one more instance." in found.would_change_it
    assert "A peak up to 200 req/s needs one instance fewer." in found.would_change_it
    assert "acme/big in here becomes cheaper below $1.5/h; it costs $2/h." in found.would_change_it
    # 64 vCPUs carry 6,400/s, sized at 4,953/s: 50 of the small ones at 25 USD an hour against 2
    assert sum("becomes cheaper at a peak of" in sentence for sentence in found.would_change_it) == 1


_SAME_TWICE = re.compile(r"(\d[\d,.]*)(?: req/s|/s)?(?:/month|/h)? (?:instead of|or of) \$?\1(?![\d,.]*\d)")


@pytest.mark.parametrize("price", [0.5, 0.51, 2.0])
def test_no_sentence_of_a_plan_is_empty_or_said_twice(price: float) -> None:
    """Version 0.1.0 said "847 USD instead of 847 USD", "none: 0 %", and "would win at a peak of" in two sentences."""
    assert _SAME_TWICE.search("would cost $847 instead of $847/month")
    assert not _SAME_TWICE.search("would cost $847 instead of $8,470/month")
    sure = target(curve(100.0, max_rate_ci95=(100.0, 100.0)), MEASURED)
    big = offer("big", vcpus=64.0, on_demand_usd_per_hour=price, reserved_1y_usd_per_hour=0.4 * price)
    for peak_per_s in (3.0, 97.0, 250.0, 1900.0):
        asked = question(sure, peak_per_s=peak_per_s, of=catalogue(SMALL, big), slo=SLO)
        plan = plan_fleets(asked)
        found = plan.recommendation
        assert found is not None
        sentences = [found.sentence, found.binding_constraint, *found.why, *found.would_change_it, *plan.notes]
        sentences += [plan.commitment.sentence] if plan.commitment is not None else []
        assert [one for one in sentences if _SAME_TWICE.search(one) or "none" in one or not one.strip()] == []
        assert len(set(sentences)) == len(sentences)
        peaks = [one for one in sentences if "becomes cheaper at a peak of" in one]
        assert len({one.partition(" becomes cheaper")[0] for one in peaks}) == len(peaks)


def test_an_only_offer_has_no_runner_up() -> None:
    assert "No other instance type qualifies." in recommended(250.0, PlanLimits(), SMALL).why


MONTH_S = HOURS_PER_MONTH * 3600


def sentences(*offers: Offer, api: ApiPrice | None = None, peak_per_s: float = 50.0, **traffic: Any) -> list[str]:
    """By the measured max rate of 100/s, on instances of which one is enough."""
    limits = PlanLimits(redundancy=0, api=api)
    asked = question(target(), of=catalogue(*offers), limits=limits, peak_per_s=peak_per_s, **traffic)
    options, demand = sized(asked)
    return list(explain_break_even(options, demand, asked))


def owned(**changes: Any) -> Offer:
    hardware = replace(OwnedHardware(capex_usd=7300.0, life_years=3.0), **changes)
    return offer("c16", provider="yours", on_demand_usd_per_hour=None, owned=hardware)


def test_nothing_is_said_where_there_is_nothing_to_compare() -> None:
    assert sentences(offer()) == []
    assert sentences(owned()) == []


def test_what_is_bought_is_paid_for_when_rent_has_cost_as_much() -> None:
    (plain,) = sentences(offer(), owned())  # 730 USD a month
    assert plain.startswith("1 × yours/c16@here (owned) pays off against 1 × acme/c16@here at $730")
    assert "after 10 months" in plain
    (running,) = sentences(offer(), owned(colo_usd_per_month=365.0))
    assert "after 20 months" in running
    (never,) = sentences(offer(), owned(colo_usd_per_month=600.0))
    assert "never pays off against 1 × acme/c16@here at $730/month within the hardware's lifetime" in never


@pytest.mark.parametrize("share", [0.25, 1.0, 2.0])
def test_an_api_is_even_where_it_costs_what_the_fleet_does(share: float) -> None:
    # at `share` of 50/s its calls cost the 730 USD of the one instance
    price = ApiPrice(730.0 / (share * 50 * MONTH_S / 1000), "1k requests")
    (reported,) = sentences(offer(), api=price)
    assert f"break-even is at {share:g} times this traffic" in reported
    assert ("which is less" in reported) == (share < 1)


def test_an_api_by_tokens_takes_the_mean_request() -> None:
    price = ApiPrice(730.0 / (50 * MONTH_S * 1000 / 1e6), "1M tokens")
    tokens = (TokenLengths(3.0, 800.0, 100.0), TokenLengths(1.0, 1000.0, 300.0))
    (reported,) = sentences(offer(), api=price, tokens=tokens)
    assert "break-even is at 1 times this traffic" in reported
    (silent,) = sentences(offer(), api=price)
    assert silent.endswith("set traffic.tokens to the tokens per request.")
