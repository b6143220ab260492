from __future__ import annotations

import pytest
from msgspec.structs import replace

from reports import plan_sentences
from reports.model import PlanReport, PlanSection, Quantity
from reports.plan_section import OfferRow, SavingRow


def _chosen(plan: PlanSection) -> OfferRow:
    assert plan.recommended_row is not None
    return plan.recommended_row


def test_chances_are_of_the_instances_for_the_load(plan: PlanSection) -> None:
    assert plan_sentences.slo_probability_cells(_chosen(plan)) == [
        ("3", "41.2\u202f%"),
        ("4 as planned", "95.3\u202f%"),
        ("5", "over 99.9\u202f%"),
    ]


def test_one_fewer_than_one_is_left_out(plan: PlanSection) -> None:
    alone = replace(_chosen(plan), instances=2)
    assert [count for count, _ in plan_sentences.slo_probability_cells(alone)] == ["1 as planned", "2"]


def test_the_range_is_told_beside_the_plan(plan: PlanSection) -> None:
    row = _chosen(plan)
    assert plan_sentences.describe_need(row) == "4 planned, 3–5 may be needed (10–90\u202f%)"
    assert plan_sentences.format_cost(row) == "2,577\u202fUSD/month (10–90\u202f%: 1,984–3,067)"
    before = replace(row, usd_per_month_needed=None, instances_needed=None)
    assert plan_sentences.describe_need(before) is None
    assert plan_sentences.format_cost(before) == "2,577 (2,062–3,092)\u202fUSD/month"


@pytest.mark.parametrize(
    ("settled", "words"),
    [
        ("simulated", "by simulation, requests spread least outstanding, with the service model of 20260801-chat"),
        ("formula", "by queueing formula, not simulated, requests spread least outstanding, with the service model of "
                    "20260801-chat"),
        ("measured", "by the measured max rate of 20260801-chat alone"),
        (None, None),
    ],
)  # fmt: skip
def test_how_a_fleet_was_sized(plan: PlanSection, settled: str | None, words: str | None) -> None:
    assert plan_sentences.describe_sizing(plan, replace(_chosen(plan), settled=settled)) == words


def test_a_swing_names_who_would_win_and_what_would_not_fit(plan: PlanSection) -> None:
    peak, assurance = plan.swings[:2]
    assert (
        plan_sentences.format_sensitivity(peak, plan.recommended_row)
        == "peak 72/s: 2,062 USD; 108/s: 3,608 USD (then aws/g5.xlarge@us-east-1)"
    )
    assert (
        plan_sentences.format_sensitivity(assurance, plan.recommended_row)
        == "assurance 80 %: 2,062 USD; 99 %: nothing fits"
    )


def test_the_same_cost_summed_in_another_order_moves_nothing(plan: PlanSection) -> None:
    cost = _chosen(plan).usd_per_month.value or 0.0
    noise = replace(plan.swings[-1], usd_per_month_low=cost + 1e-9, usd_per_month_high=cost - 1e-9)
    assert plan_sentences.sensitive_inputs(replace(plan, swings=(noise,))) == []
    won = replace(noise, winner_high="another")
    assert plan_sentences.sensitive_inputs(replace(plan, swings=(won,))) == [won]


def test_the_day_tells_its_worst_hour_and_its_cost(plan: PlanSection) -> None:
    assert plan_sentences.describe_peak_day(plan) == (
        "18.0 to 90.0 requests/s on 2 to 5 instances, 67.78 USD a day; p95 at most 4,800\u202fms, at 10:00"
    )


def test_energy_is_told_with_what_is_missing(plan: PlanSection, max_rate_plan_report: PlanReport) -> None:
    assert plan_sentences.describe_energy(plan) == (
        "energy 262 (190–330)\u202fkWh/month, assumed; carbon n/a, the grid of us-central1 is not known"
    )
    assert plan_sentences.describe_energy(max_rate_plan_report.plan) == "n/a, the power of a CPU instance is not known"
    assert plan_sentences.describe_energy(replace(plan, kwh_per_month=None)) is None


def test_costs_by_unit_are_told_three_ways(plan: PlanSection) -> None:
    assert plan_sentences.describe_unit_cost(plan.unit_costs[0]) == (
        "per 1k inferences: 0.0000201\u202fUSD where an instance is full, 0.00815\u202fUSD at the rate the SLO allows, "
        "0.0173\u202fUSD at this traffic's mean"
    )
    unknown = replace(plan.unit_costs[0], at_saturation=Quantity(None, "USD", reason="no model"))
    assert plan_sentences.describe_unit_cost(unknown).startswith(
        "per 1k inferences: n/a where an instance is full (no model), "
    )


def test_what_saves_nothing_is_told_in_one_breath(plan: PlanSection) -> None:
    assert plan_sentences.describe_savings(plan.savings) == (
        "Would save: a variant 1.5 × as fast: 1,031 USD a month (assumed); caching: nothing (measured); warm pool: n/a "
        "(assumed)"
    )
    nothing = SavingRow(change="caching", basis="assumed", usd_per_month=9.0, saved_usd_per_month=-1e-12)
    assert plan_sentences.describe_savings([nothing]) == "Nothing would be saved by caching (assumed)"
    dearer = SavingRow(change="warm pool", basis="assumed", usd_per_month=9.0, saved_usd_per_month=-502.0)
    assert (
        plan_sentences.describe_savings([dearer])
        == "Would save: warm pool: nothing, it costs 502 USD a month more (assumed)"
    )
    assert plan_sentences.describe_savings([]) is None
