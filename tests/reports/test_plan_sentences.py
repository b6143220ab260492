from __future__ import annotations

import pytest
from msgspec.structs import replace

from reports import plan_sentences
from reports.model import PlanReport, PlanSection, Quantity
from reports.plan_section import OfferRow, SavingRow


def _recommended(plan: PlanSection) -> OfferRow:
    assert plan.recommended_row is not None
    return plan.recommended_row


def test_slo_probability_cells_count_instances_for_load(plan: PlanSection) -> None:
    assert plan_sentences.build_slo_probability_cells(_recommended(plan)) == [
        ("3", "41.2\u202f%"),
        ("4 (planned)", "95.3\u202f%"),
        ("5", "over 99.9\u202f%"),
    ]


def test_slo_probability_cells_have_no_zero_instances(plan: PlanSection) -> None:
    row = replace(_recommended(plan), instances=2)
    assert [count for count, _ in plan_sentences.build_slo_probability_cells(row)] == ["1 (planned)", "2"]


def test_instance_count_and_cost_have_percentile_range(plan: PlanSection) -> None:
    row = _recommended(plan)
    assert plan_sentences.describe_need(row) == "4 planned (need P10–P90: 3–5)"
    assert plan_sentences.format_cost(row) == "$2,577/month (P10–P90: 1,984–3,067)"
    older_row = replace(row, usd_per_month_needed=None, instances_needed=None)
    assert plan_sentences.describe_need(older_row) is None
    assert plan_sentences.format_cost(older_row) == "$2,577/month (2,062–3,092)"


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
def test_sizing_names_method_router_and_run(plan: PlanSection, simulated: str | None, words: str | None) -> None:
    assert plan_sentences.describe_sizing(plan, replace(_recommended(plan), sizing_method=simulated)) == words


def test_sensitivity_names_new_cheapest_offer_or_lack_of_offers(plan: PlanSection) -> None:
    peak, confidence = plan.sensitivity[:2]
    assert (
        plan_sentences.format_sensitivity(peak, plan.recommended_row)
        == "peak 72/s: $2,062/month; 108/s: $3,608/month (cheapest: aws/g5.xlarge@us-east-1)"
    )
    assert (
        plan_sentences.format_sensitivity(confidence, plan.recommended_row)
        == "confidence 80 %: $2,062/month; 99 %: no offer fits"
    )


def test_rounding_error_in_cost_is_no_sensitivity(plan: PlanSection) -> None:
    cost = _recommended(plan).usd_per_month.value or 0.0
    noise = replace(plan.sensitivity[-1], usd_per_month_low=cost + 1e-9, usd_per_month_high=cost - 1e-9)
    assert plan_sentences.select_sensitive_inputs(replace(plan, sensitivity=(noise,))) == []
    changed_winner = replace(noise, winner_high="another")
    assert plan_sentences.select_sensitive_inputs(replace(plan, sensitivity=(changed_winner,))) == [changed_winner]


def test_peak_day_names_worst_hour_and_cost(plan: PlanSection) -> None:
    assert plan_sentences.describe_peak_day(plan) == (
        "18.0 to 90.0 req/s on 2 to 5 instances cost $67.78/day; the highest p95 latency is 4,800\u202fms at 10:00"
    )


def test_energy_has_range_and_reason_of_missing_values(plan: PlanSection, max_rate_plan_report: PlanReport) -> None:
    assert plan_sentences.describe_energy(plan) == (
        "energy 262 (190–330) kWh/month, assumed; carbon n/a, the grid of us-central1 is unknown"
    )
    assert plan_sentences.describe_energy(max_rate_plan_report.plan) == "n/a, the power of a CPU instance is unknown"
    assert plan_sentences.describe_energy(replace(plan, kwh_per_month=None)) is None


def test_unit_cost_is_reported_at_three_utilizations(plan: PlanSection) -> None:
    assert plan_sentences.describe_unit_cost(plan.unit_costs[0]) == (
        "per 1k inferences: $0.0000201 at 100\u202f% utilization, $0.00815 at max rate within SLO, "
        "$0.0173 at average traffic"
    )
    unknown = replace(plan.unit_costs[0], at_saturation=Quantity(None, "USD", reason="no model"))
    assert plan_sentences.describe_unit_cost(unknown).startswith(
        "per 1k inferences: n/a at 100\u202f% utilization (no model), "
    )


def test_savings_are_reported_with_sign_and_basis(plan: PlanSection) -> None:
    assert plan_sentences.describe_savings(plan.savings) == (
        "Savings: a variant 1.5 × as fast: $1,031/month (assumed); caching: none (measured); warm pool: n/a (assumed)"
    )
    no_saving = SavingRow(change="caching", basis="assumed", usd_per_month=9.0, saved_usd_per_month=-1e-12)
    assert plan_sentences.describe_savings([no_saving]) == "No savings from caching (assumed)"
    dearer = SavingRow(change="warm pool", basis="assumed", usd_per_month=9.0, saved_usd_per_month=-502.0)
    assert plan_sentences.describe_savings([dearer]) == "Savings: warm pool: $502/month more (assumed)"
    assert plan_sentences.describe_savings([]) is None
