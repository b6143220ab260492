from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from app.records.plan import ApiTokens, Plan, SensitivityRange, ServedReplica, UnitCosts
from app.records.planning_inputs import Alternatives, AssumedModel, Precision
from app.records.traffic import TokenLengths
from app.reporting.plan import build_input_section, build_plan_report, build_plan_section
from reports.model import Limit
from reports.plan_section import PercentileRange, PlannedModelRow, PlanSection, ServedReplicaRow, SloProbabilityRow
from reports.plan_sentences import describe_api_price
from tests.fakes.language_models import MIXTRAL
from tests.fakes.whole_plan import A10G, L4, OWN, REFUSAL, T4, plan_without_feasible_offer, planning_inputs, whole_plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return whole_plan()


@pytest.fixture(scope="module")
def section(plan: Plan) -> PlanSection:
    return build_plan_section(plan)


def test_plan_offers_are_sorted_by_cost_and_rejected_offers_are_separate(section: PlanSection) -> None:
    assert [row.offer for row in section.offers] == [L4, OWN, A10G]
    assert [row.offer for row in section.rejected_offers] == [T4]
    assert (section.runner_up, section.cheapest_rejected) == (A10G, T4)


def test_recommended_fleet_has_probabilities_and_ranges(section: PlanSection) -> None:
    row = section.recommended_row
    assert row is not None
    assert row.slo_probabilities == SloProbabilityRow(one_fewer=0.412, planned=0.953, one_more=0.9998)
    assert row.instances_needed == PercentileRange(p10=3, p50=4, p90=5)
    assert row.usd_per_month_needed is not None
    assert row.usd_per_month_needed.p50 == row.usd_per_month.value
    assert (row.sizing_method, row.measured_on, row.price_kind) == ("simulated", "20260801-chat", "on-demand")
    assert [offer.price_kind for offer in section.offers if offer.offer == OWN] == ["owned"]


def test_rejected_fleet_has_its_reason_once(section: PlanSection) -> None:
    (row,) = section.rejected_offers
    assert row.rejected == REFUSAL
    assert row.sizing_method is None
    assert (row.usd_per_month.value, row.usd_per_month.reason) == (None, None)
    assert msgspec.json.encode(row).count(REFUSAL.encode()) == 1


def test_frontier_has_fleets_of_several_sizes_with_probabilities(section: PlanSection) -> None:
    assert [(point.offer, point.instances, point.frontier_probability) for point in section.frontier] == [
        (L4, 5, 0.62), (A10G, 5, 0.41), (A10G, 7, 0.74),
    ]  # fmt: skip
    assert [row.offer for row in section.offers if row.is_on_frontier] == [L4, A10G]


def test_offer_with_only_a_larger_fleet_on_the_frontier_is_not_marked(plan: Plan) -> None:
    larger = build_plan_section(replace(plan, pareto=plan.pareto[2:]))
    assert not any(row.is_on_frontier for row in larger.offers)


def test_latency_limit_is_that_of_the_objective_of_the_latency_metric(plan: Plan, section: PlanSection) -> None:
    assert section.latency_limit == Limit(comparator="<", value=500.0, unit="ms")
    assert build_plan_section(replace(plan, latency_metric="ttft_ms.p99")).latency_limit is None
    assert build_plan_section(replace(plan, latency_metric="latency_ms.p95")).latency_limit is None, (
        "the objective is only a warning"
    )
    two_objectives = replace(
        plan, slo=("latency_ms.p99.9 < 90", "latency_ms.p99 < 50"), latency_metric="latency_ms.p99"
    )
    assert build_plan_section(two_objectives).latency_limit == Limit(comparator="<", value=50.0, unit="ms")


def test_replica_of_a_model_without_measurements_has_the_title_of_its_engine(plan: Plan) -> None:
    assert plan.recommendation is not None
    replica = ServedReplica(
        accelerators=2, engine="trtllm", weights="fp8", tokens_per_s_per_user=33.5, tokens_per_s_per_accelerator=150.0
    )
    offer = plan.recommendation.fleet.offer
    offers = tuple(replace(fleet, served_replica=replica if fleet.offer == offer else None) for fleet in plan.offers)
    rows = {row.offer: row.served_replica for row in build_plan_section(replace(plan, offers=offers)).offers}
    assert [name for name, row in rows.items() if row is not None] == [offer]
    assert rows[offer] == ServedReplicaRow(
        accelerators=2, engine="TensorRT-LLM", weights="fp8",
        tokens_per_s_per_user=33.5, tokens_per_s_per_accelerator=150.0,
    )  # fmt: skip


def test_plan_has_unit_costs_of_each_known_unit(section: PlanSection) -> None:
    assert [row.unit for row in section.unit_costs] == ["1k inferences", "1M input tokens", "1M output tokens"]
    first = section.unit_costs[0]
    values = (first.at_saturation.value, first.at_slo.value, first.at_mean.value)
    assert values == (0.0000201, 0.00815, 0.0173)
    assert {cost.basis for cost in (first.at_saturation, first.at_slo, first.at_mean)} == {"measured"}


def test_unknown_unit_cost_has_a_reason(plan: Plan) -> None:
    assert plan.recommendation is not None
    fleet = plan.recommendation.fleet
    assert fleet.per_1k_inferences is not None
    costs = replace(fleet.per_1k_inferences, at_saturation=None)
    best = replace(plan.recommendation, fleet=replace(fleet, per_1k_inferences=costs))
    at = build_plan_section(replace(plan, recommendation=best)).unit_costs[0].at_saturation
    assert at.value is None
    assert "service model" in (at.reason or "")


def test_api_prices_are_compared_with_fleet_costs_per_token_kind(plan: Plan) -> None:
    api = plan.api
    assert plan.recommendation is not None
    assert api is not None
    fleet = plan.recommendation.fleet
    assert fleet.per_1m_tokens is not None
    costs = replace(fleet.per_1m_tokens, uncached_input=UnitCosts(0.1, 0.2, 0.4), cached_input=UnitCosts(0.0, 0.0, 0.0))
    best = replace(plan.recommendation, fleet=replace(fleet, per_1m_tokens=costs))
    split = build_plan_section(replace(plan, recommendation=best))
    assert [(row.kind, row.api_usd_per_1m, row.fleet_usd_per_1m) for row in split.api_prices] == [
        ("uncached input", 3.0, 0.4), ("cached input", 0.3, 0.0), ("output", 15.0, 0.55)
    ]  # fmt: skip
    assert [row.unit for row in split.unit_costs][2:4] == ["1M uncached input tokens", "1M cached input tokens"]
    assert describe_api_price(split.api_prices[0]) == (
        "per 1M uncached input tokens: $3.00 from the API, $0.400 on the fleet at average traffic"
    )
    unknown = replace(api, cached_input=ApiTokens(0.0, 0.3, 0.0), cached_share=None, cached_share_source="unknown")
    rows = build_plan_section(replace(plan, api=unknown)).api_prices
    assert [(row.kind, row.fleet_usd_per_1m) for row in rows] == [("input", 0.052), ("output", 0.55)]


def test_energy_and_carbon_have_their_basis_and_reason(section: PlanSection) -> None:
    kwh, carbon = section.kwh_per_month, section.kg_co2e_per_month
    assert kwh is not None
    assert (kwh.value, kwh.ci95, kwh.basis, kwh.unit) == (262.0, (190.0, 330.0), "assumed", "kWh/month")
    assert carbon is not None
    assert (carbon.value, carbon.reason) == (None, "the grid of us-central1 is unknown")


def test_sensitivity_day_and_alternatives_equal_those_of_the_plan(plan: Plan, section: PlanSection) -> None:
    ranges = [msgspec.convert(msgspec.to_builtins(row), SensitivityRange) for row in section.sensitivity]
    assert ranges == list(plan.sensitivity)
    assert [msgspec.to_builtins(row) for row in section.savings] == [msgspec.to_builtins(row) for row in plan.savings]
    assert msgspec.to_builtins(section.mix) == msgspec.to_builtins(plan.mix)
    assert msgspec.to_builtins(section.commitment) == msgspec.to_builtins(plan.commitment)
    day = section.day
    assert day is not None
    assert day.hours == tuple(range(24))
    for name in ("arrivals_per_s", "instances", "p50_ms", "p95_ms", "p99_ms", "good_share", "usd"):
        assert getattr(day, name) == tuple(getattr(hour, name) for hour in plan.hours), name


def test_sensitivity_winners_have_short_names_that_differ(plan: Plan) -> None:
    elsewhere = replace(plan.offers[0], offer="gcp/g2-standard-4@europe-west4", region="europe-west4")
    unknown = replace(plan.sensitivity[0], winner_low="acme/gone@here", winner_high=elsewhere.offer)
    moved = replace(plan, offers=(*plan.offers, elsewhere), sensitivity=(*plan.sensitivity, unknown))
    rows = build_plan_section(moved).sensitivity
    assert (rows[0].winner_low_name, rows[0].winner_high_name) == ("us-central1", "aws/g5.xlarge")
    assert (rows[-1].winner_low_name, rows[-1].winner_high_name) == (None, "europe-west4")


def test_plan_without_a_feasible_offer_has_no_fleet_values() -> None:
    section = build_plan_section(plan_without_feasible_offer())
    assert section.recommended_row is None
    assert (section.unit_costs, section.kwh_per_month, section.day, section.frontier) == ((), None, None, ())
    assert len(section.rejected_offers) == 2


def test_plan_without_optional_results_has_empty_sections() -> None:
    plan = whole_plan()
    section = build_plan_section(
        replace(plan, sensitivity=(), hours=(), commitment=None, savings=(), mix=None, router=None)
    )
    assert (section.sensitivity, section.day, section.commitment, section.savings, section.mix) == (
        (),
        None,
        None,
        (),
        None,
    )


def test_plan_report_has_its_sources_offers_and_price_dates(plan: Plan) -> None:
    report = build_plan_report(plan, planning_inputs(), "sizewise 1", "sizewise plan p.yaml")
    (source,) = report.sources
    assert (source.name, source.hardware, source.max_rate.value, source.max_rate.basis) == (
        "20260801-chat", "one L4", 24.0, "measured",
    )  # fmt: skip
    assert (report.offers, report.own_offers) == (3, 1)
    assert (report.oldest_price, report.newest_price) == ("2026-07-09", "2026-08-01")
    assert report.plan == build_plan_section(plan, report.sources)
    assert report.plan.source == source


def test_max_rate_of_an_assumed_source_is_assumed() -> None:
    plan_question = planning_inputs()
    assumed = replace(plan_question, measured=(replace(plan_question.measured[0], is_assumed=True),))
    assert build_plan_report(whole_plan(), assumed, "t", "c").sources[0].max_rate.basis == "assumed"


def test_plan_from_a_shape_has_the_model_with_its_mean_lengths() -> None:
    inputs = planning_inputs()
    tokens = (TokenLengths(0.75, 1000.0, 100.0), TokenLengths(0.25, 3000.0, 500.0))
    inputs = replace(inputs, traffic=replace(inputs.traffic, tokens=tokens, prefix_cached_share=0.6))
    assert build_input_section(whole_plan(), inputs).planned_model is None
    assumed_model = AssumedModel("mixtral", MIXTRAL, Precision("fp8", "bf16", "fp8"))
    assert build_input_section(whole_plan(), replace(inputs, assumed_model=assumed_model)).planned_model == (
        PlannedModelRow(
            name="mixtral",
            parameters=46.7e9,
            active_parameters=12.9e9,
            weights="fp8",
            compute="bf16",
            kv="fp8",
            input_tokens=1500.0,
            output_tokens=200.0,
            prefix_cached_share=0.6,
        )
    )
    several = replace(assumed_model, alternatives=Alternatives(("int4", "fp16"), ("sglang",)))
    row = build_input_section(whole_plan(), replace(inputs, assumed_model=several)).planned_model
    assert row is not None
    assert (row.weights, row.compute) == ("fp8 or int4 or fp16", "bf16 or fp16")
