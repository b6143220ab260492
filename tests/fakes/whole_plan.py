"""A plan with all optional data, built by hand: two kinds of cards, tokens, energy, a day of an autoscaler, a mix."""

from __future__ import annotations

import datetime
from typing import Any

from msgspec.structs import replace

from app.records.estimate import Estimate
from app.records.offers import Override, PlanLimits
from app.records.plan import (
    ApiComparison,
    ApiTokens,
    Commitment,
    Fleet,
    Hour,
    Mix,
    MixPart,
    Plan,
    Recommendation,
    Saving,
    SensitivityRange,
    SloProbabilities,
    Spread,
    TokenUnitCosts,
    UnitCosts,
)
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.result import Hardware, Objective
from app.records.traffic import Traffic
from tests.fakes.offers import TODAY, catalog_of, curve, offer

L4, A10G, OWN = (
    "gcp/g2-standard-4@us-central1",
    "aws/g5.xlarge@us-east-1",
    "yours/rack <img src=x onerror=hit()>@cellar",
)
T4 = "aws/g4dn.xlarge@us-east-1"
REFUSAL = "its memory of 16 GiB does not hold the model's 17.1 GiB"
_SHARES = tuple(0.2 + 0.8 * min(1.0, max(0.0, (hour - 6) / 4)) for hour in range(24))


def whole_plan() -> Plan:
    """Recommends 5 × L4; 4 are needed for the load."""
    best = fleet(
        L4, 5, 0.706, 380.0, slo_probabilities=SloProbabilities(0.412, 0.953, 0.9998), frontier_probability=0.62
    )
    second = fleet(
        A10G, 5, 1.006, 310.0, slo_probabilities=SloProbabilities(0.5, 0.931, 0.99), frontier_probability=0.41
    )
    own = fleet(
        OWN,
        9,
        0.55,
        420.0,
        sizing_method="formula",
        price_kind="owned",
        slo_probabilities=SloProbabilities(0.7, 0.9, 0.95),
    )
    larger = replace(fleet(A10G, 7, 1.006, 240.0, frontier_probability=0.74), slo_probabilities=None)
    return Plan(
        traffic=Traffic(90.0, "office", _SHARES),
        slo=("ttft_ms.p95 < 500", "latency_ms.p95 < 9000 | warn"),
        confidence=0.95,
        redundancy=1,
        latency_metric="ttft_ms.p95",
        planned_on="2026-08-01",
        recommendation=Recommendation(
            best, f"5 × {L4} (4 for the load, 1 spare): $2,577/month", "the peak", ("It is cheapest.",), ("More.",)
        ),
        runner_up=second,
        cheapest_rejected=rejected_offer(T4),
        offers=(best, second, own, rejected_offer(T4)),
        pareto=(best, second, larger),
        notes=("Measured on one L4.",),
        router="least-outstanding",
        sensitivity=sensitivity_ranges(),
        hours=tuple(map(_hour, range(24))),
        commitment=Commitment(2, 1710.0, 2576.9, "Were 2 reserved for a year, a month would cost 1,710 USD."),
        savings=(
            Saving("a variant 1.5 × as fast", "assumed", 1546.14, 1030.76),
            Saving("caching", "measured", 2576.9, 0.0),
            Saving("warm pool", "assumed", None, None),
        ),
        mix=Mix((MixPart(L4, 3), MixPart(A10G, 1)), 2280.0, f"3 × {L4} and 1 × {A10G} together cost 297 USD less."),
        api=ApiComparison(
            input=ApiTokens(4e6, 3.0, 12.0),
            cached_input=ApiTokens(6e6, 0.3, 1.8),
            output=ApiTokens(1e6, 15.0, 15.0),
            usd_per_month=28.8,
            fleet_usd_per_month=2576.9,
            fleet_range_usd_per_month=Spread(0.77 * 2576.9, 2576.9, 1.19 * 2576.9),
            cached_share=0.6,
            cached_share_source="measured",
            mean_per_s=0.01,
            tokens_per_request=440.0,
            break_even_per_s=0.9,
            break_even_range_per_s=Spread(0.8, 0.85, 0.9),
        ),
    )


def sensitivity_ranges() -> tuple[SensitivityRange, ...]:
    return (
        SensitivityRange("peak", "72/s", "108/s", 2061.52, 3607.66, L4, A10G),
        SensitivityRange("confidence", "80 %", "99 %", 2061.52, None, L4, None),
        SensitivityRange("spare instances", "0", "2", 2061.52, 3092.28, L4, L4),
        SensitivityRange("price of the recommended offer", "−20 %", "+20 %", 2061.52, 3092.28, L4, L4),
        SensitivityRange("router", "least outstanding", "random", 2576.9, 2576.9, L4, L4),
    )


def plan_without_feasible_offer() -> Plan:
    """The plan of the same inputs where every offer is rejected."""
    plan = whole_plan()
    return Plan(
        traffic=plan.traffic,
        slo=plan.slo,
        confidence=0.95,
        redundancy=1,
        latency_metric=plan.latency_metric,
        planned_on=plan.planned_on,
        recommendation=None,
        runner_up=None,
        cheapest_rejected=rejected_offer(T4),
        offers=(rejected_offer(T4), rejected_offer(L4)),
        pareto=(),
        notes=("No instance type qualifies.",),
        router="round-robin",
    )


def plan_by_max_rate() -> Plan:
    """The plan without a service model: nothing is simulated, and there is no day."""
    plan = whole_plan()
    assert plan.recommendation is not None
    costs = UnitCosts(None, 0.00031, 0.0021)
    best = replace(plan.recommendation.fleet, sizing_method="measured", per_1k_inferences=costs, per_1m_tokens=None)
    unknown = Estimate(None, basis="assumed", reason="the power of a CPU instance is unknown")
    best = replace(best, kwh_per_month=unknown, kg_co2e_per_month=unknown)
    return replace(
        plan,
        recommendation=replace(plan.recommendation, fleet=best),
        offers=(best, *plan.offers[1:]),
        sensitivity=(plan.sensitivity[-1],),
        hours=(),
        savings=(Saving("caching", "assumed", 2576.9, 0.0),),
        mix=None,
    )


def fleet(offer: str, instances: int, usd_per_hour: float, latency_ms: float, **more: Any) -> Fleet:
    provider, rest = offer.split("/", 1)
    month = 730 * instances * usd_per_hour
    return Fleet(
        offer=offer,
        provider=provider,
        instance_type=rest.split("@")[0],
        region=rest.split("@")[1],
        accelerator="l4",
        accelerator_count=1,
        vcpus=4,
        basis="measured" if offer == L4 else "extrapolated",
        instances=instances,
        spare_instances=1,
        replicas_per_instance=1,
        capacity_per_instance_per_s=Estimate(24.0, (21.0, 27.0)),
        utilization_at_peak=Estimate(0.9375, (0.83, 1.07)),
        latency_at_peak=Estimate(latency_ms, (0.9 * latency_ms, 1.2 * latency_ms)),
        usd_per_hour_each=usd_per_hour,
        usd_per_month=Estimate(month, (0.8 * month, 1.2 * month)),
        usd_per_1k_inferences=Estimate(0.0173),
        price_date="2026-07-20",
        price_age_days=12,
        price_source="list",
        risk=1,
        risk_reasons=("measured elsewhere",),
        **{"sizing_method": "simulated", **_sureness(instances, month), **more},
    )


def _sureness(instances: int, month: float) -> dict[str, Any]:
    return {
        "measured_on": "20260801-chat",
        "instances_needed": Spread(instances - 2, instances - 1, instances),
        "usd_per_month_needed": Spread(0.77 * month, month, 1.19 * month),
        "per_1k_inferences": UnitCosts(0.0000201, 0.00815, 0.0173),
        "per_1m_tokens": TokenUnitCosts(UnitCosts(0.021, 0.031, 0.052), UnitCosts(0.21, 0.34, 0.55), None),
        "kwh_per_month": Estimate(262.0, (190.0, 330.0), basis="assumed"),
        "kg_co2e_per_month": Estimate(None, basis="assumed", reason="the grid of us-central1 is unknown"),
    }


def rejected_offer(offer: str) -> Fleet:
    missing = Estimate(None, basis="assumed", reason=REFUSAL)
    return replace(
        fleet(offer, 1, 0.526, 1.0, measured_on=None, instances_needed=None, usd_per_month_needed=None),
        instances=None,
        spare_instances=None,
        capacity_per_instance_per_s=missing,
        utilization_at_peak=missing,
        latency_at_peak=missing,
        usd_per_month=missing,
        usd_per_1k_inferences=missing,
        rejected=REFUSAL,
        sizing_method="measured",
    )


def _hour(hour: int) -> Hour:
    """There are no responses at four in the morning."""
    rate = 90.0 * _SHARES[hour]
    instances = 2.0 if hour < 8 else 5.0
    usd = 0.706 * instances
    if hour == 4:
        return Hour(hour, rate, instances, None, None, None, None, usd)
    return Hour(hour, rate, instances, 1200 + rate, 3000 + 20 * rate, 5000 + 30 * rate, 0.999, usd)


def planning_inputs() -> PlanningInputs:
    """Inputs that match the plan: one measured target and three offers, one of them the user's own."""
    plan = whole_plan()
    own = offer("rack", overrides=(Override("on_demand_usd_per_hour", 0.7, TODAY),))
    return PlanningInputs(
        measured=(MeasuredTarget("20260801-chat", Hardware("one L4", accelerator="l4"), curve(24.0)),),
        traffic=plan.traffic,
        slo=(Objective("ttft_ms.p95 < 500", "ttft_ms", "p95", "<", 500.0),),
        limits=PlanLimits(),
        catalog=catalog_of(offer(), offer("c8", as_of=datetime.date(2026, 7, 9)), own),
        today=TODAY,
    )
