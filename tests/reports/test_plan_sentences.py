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
    assert plan_sentences.build_slo_probability_cells(_chosen(plan)) == [
        ("3", "41.2\u202f%"),
        ("4 (planned)", "95.3\u202f%"),
        ("5", "over 99.9\u202f%"),
    ]


def test_one_fewer_than_one_is_left_out(plan: PlanSection) -> None:
    alone = replace(_chosen(plan), instances=2)
    assert [count for count, _ in plan_sentences.build_slo_probability_cells(alone)] == ["1 (planned)", "2"]


def test_the_range_is_reported_beside_the_plan(plan: PlanSection) -> None:
    row = _chosen(plan)
    assert plan_sentences.describe_need(row) == "4 planned (need P10–P90: 3–5)"
    assert plan_sentences.format_cost(row) == "$2,577/month (P10–P90: 1,984–3,067)"
    before = replace(row, usd_per_month_needed=None, instances_needed=None)
    assert plan_sentences.describe_need(before) is None
    assert plan_sentences.format_cost(before) == "$2,577/month (2,062–3,092)"


@pytest.mark.parametrize(
    ("simulated", "words"),
    [
        ("simulated", "simulation, least-outstanding load balancing, service model of 20260801-chat"),
        ("formula", "queueing formula, not simulated, least-outstanding load balancing, service model of "
                    "20260801-chat"),
        ("measured", "measured max rate of 20260801-chat only"),
        (None, None),
    ],
)  # fmt: skip
def test_how_a_fleet_was_sized(plan: PlanSection, simulated: str | None, words: str | None) -> None:
    assert plan_sentences.describe_sizing(plan, replace(_chosen(plan), sizing_method=simulated)) == words


def test_a_swing_names_who_would_win_and_what_would_not_fit(plan: PlanSection) -> None:
    peak, assurance = plan.sensitivity[:2]
    assert (
        plan_sentences.format_sensitivity(peak, plan.recommended_row)
        == "peak 72/s: $2,062/month; 108/s: $3,608/month (cheapest: aws/g5.xlarge@us-east-1)"
    )
    assert (
        plan_sentences.format_sensitivity(assurance, plan.recommended_row)
        == "confidence 80 %: $2,062/month; 99 %: no offer fits"
    )


def test_the_same_cost_summed_in_another_order_moves_nothing(plan: PlanSection) -> None:
    cost = _chosen(plan).usd_per_month.value or 0.0
    noise = replace(plan.sensitivity[-1], usd_per_month_low=cost + 1e-9, usd_per_month_high=cost - 1e-9)
    assert plan_sentences.select_sensitive_inputs(replace(plan, sensitivity=(noise,))) == []
    won = replace(noise, winner_high="another")
    assert plan_sentences.select_sensitive_inputs(replace(plan, sensitivity=(won,))) == [won]


def test_the_day_reports_its_worst_hour_and_its_cost(plan: PlanSection) -> None:
    assert plan_sentences.describe_peak_day(plan) == (
        "18.0 to 90.0 req/s on 2 to 5 instances cost $67.78/day; the highest p95 latency is 4,800\u202fms at 10:00"
    )


def test_energy_is_reported_with_what_is_missing(plan: PlanSection, max_rate_plan_report: PlanReport) -> None:
    assert plan_sentences.describe_energy(plan) == (
        "energy 262 (190–330) kWh/month, assumed; carbon n/a, the grid of us-central1 is unknown"
    )
    assert plan_sentences.describe_energy(max_rate_plan_report.plan) == "n/a, the power of a CPU instance is unknown"
    assert plan_sentences.describe_energy(replace(plan, kwh_per_month=None)) is None


def test_costs_by_unit_are_reported_three_ways(plan: PlanSection) -> None:
    assert plan_sentences.describe_unit_cost(plan.unit_costs[0]) == (
        "per 1k inferences: $0.0000201 at 100\u202f% utilization, $0.00815 at max rate within SLO, "
        "$0.0173 at average traffic"
    )
    unknown = replace(plan.unit_costs[0], at_saturation=Quantity(None, "USD", reason="no model"))
    assert plan_sentences.describe_unit_cost(unknown).startswith(
        "per 1k inferences: n/a at 100\u202f% utilization (no model), "
    )


def test_what_saves_nothing_is_reported_in_one_breath(plan: PlanSection) -> None:
    assert plan_sentences.describe_savings(plan.savings) == (
        "Savings: a variant 1.5 × as fast: $1,031/month (assumed); caching: none (measured); warm pool: n/a (assumed)"
    )
    nothing = SavingRow(change="caching", basis="assumed", usd_per_month=9.0, saved_usd_per_month=-1e-12)
    assert plan_sentences.describe_savings([nothing]) == "No savings from caching (assumed)"
    dearer = SavingRow(change="warm pool", basis="assumed", usd_per_month=9.0, saved_usd_per_month=-502.0)
    assert plan_sentences.describe_savings([dearer]) == "Savings: warm pool: $502/month more (assumed)"
    assert plan_sentences.describe_savings([]) is None
