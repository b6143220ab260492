from __future__ import annotations

import datetime
import functools
import json
import math
import random

import msgspec
import numpy as np
import pytest
import yaml

from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.planning.days.planned_fleet import (
    compute_day_rates_per_s,
    find_busiest_date,
    get_target_share,
    is_saturated,
    prepare_fleet,
    prepare_replica,
    select_day_objectives,
)
from app.planning.exports.autoscaling import build_hpa, build_keda_by_rate
from app.planning.exports.kserve import build_kserve_manifest
from app.planning.exports.scale import compute_scale, format_rounded_down
from app.planning.exports.settings import ExportSettings
from app.planning.exports.terraform import build_terraform_values
from app.planning.fleets import plan_fleets
from app.planning.formatting import format_number
from app.planning.sizing.instances import build_demand
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.profiles.pricing.catalog import load_catalog
from app.records.offers import PlanLimits, UnmeasuredGpus
from app.records.plan import Plan, Spread
from app.records.planning_inputs import Alternatives, AssumedModel
from app.records.result import Hardware
from app.records.service import RequestService, TokenService
from app.records.traffic import Campaign, TokenLengths, Traffic
from tests.app.planning.test_fleets_invariants import question as any_question
from tests.fakes.language_models import LLAMA_8B
from tests.fakes.offers import TODAY, catalog_of, gpu_offer
from tests.fakes.small_plan import DAYTIME, SERVICE, cached_plan, planning_inputs
from tests.tiers import first_in_unit_tier

QUESTION = planning_inputs()


@functools.cache
def plan_of_question() -> Plan:
    return cached_plan(QUESTION)


def test_prepared_fleet_is_the_recommendation_unless_an_offer_is_requested() -> None:
    fleet = prepare_fleet(plan_of_question(), QUESTION, None, None)
    assert fleet.fleet.offer == "acme/c2@here"
    assert (fleet.replicas_per_instance, fleet.usd_per_hour_each, fleet.service) == (2, 1.0, SERVICE)
    assert fleet.instances == fleet.fleet.instances
    named = prepare_fleet(plan_of_question(), QUESTION, "acme/c4@here", 7)
    assert (named.instances, named.replicas_per_instance, named.replicas) == (7, 4, 28)


def test_planned_rate_per_replica_matches_the_needed_instances() -> None:
    fleet = prepare_fleet(plan_of_question(), QUESTION, None, None)
    needed = fleet.instances - (fleet.fleet.spare_instances or 0)
    assert 60 / needed / 2 <= fleet.planned_rate_per_s < 60 / (needed - 1) / 2


@pytest.mark.parametrize("seeds", first_in_unit_tier([range(20, 35), range(107)]), ids=len)
def test_capacity_of_random_plans_is_equal_in_plan_simulation_and_exports(seeds: range) -> None:
    bounded, checked = 0, 0
    for seed in seeds:
        inputs = any_question(random.Random(seed))
        plan = plan_fleets(inputs, estimate_only=True)
        if plan.recommendation is None:
            continue
        fleet = plan.recommendation.fleet
        rate = fleet.planned_rate_per_replica_per_s
        assert rate is not None
        assert fleet.instances is not None
        assert fleet.replicas_per_instance is not None
        needed = fleet.instances - (fleet.spare_instances or 0)
        peak_per_s = build_demand(inputs.traffic, inputs.limits, inputs.today).peak_per_s
        assert needed == max(1, math.ceil(peak_per_s / (rate * fleet.replicas_per_instance) - 1e-9)), seed
        per_instance = format_number(rate * fleet.replicas_per_instance)
        assert f"one instance sustains {per_instance} req/s" in plan.recommendation.binding_constraint, seed
        assert prepare_fleet(plan, inputs, None, None).planned_rate_per_s == rate, seed
        scale = compute_scale(plan)
        (metric,) = build_hpa("x", scale, ExportSettings())["spec"]["metrics"]
        (trigger,) = build_keda_by_rate("x", scale, ExportSettings())["spec"]["triggers"]
        target = metric["pods"]["target"]["averageValue"]
        assert target == trigger["metadata"]["threshold"] == format_rounded_down(rate), seed
        if seed % 20 == 0 and rate >= 1:
            (service,) = yaml.load_all(
                build_kserve_manifest(plan, ExportSettings(autoscaler="hpa")), Loader=yaml.CSafeLoader
            )
            assert service["spec"]["predictor"]["scaleTarget"] == math.floor(rate), seed
        assert json.loads(build_terraform_values(plan, ExportSettings()))["rate_per_replica"] == rate, seed
        bounded += (fleet.instances_needed or Spread(0, 0, 0)).p10 < needed
        checked += 1
    assert checked / len(seeds) >= 100 / 107
    assert bounded / len(seeds) >= 10 / 107


def test_plan_file_of_0_1_0_has_the_peak_per_needed_replica_as_planned_rate() -> None:
    plan = plan_of_question()
    assert plan.recommendation is not None
    fleet = msgspec.structs.replace(plan.recommendation.fleet, planned_rate_per_replica_per_s=None)
    older = msgspec.structs.replace(plan, recommendation=msgspec.structs.replace(plan.recommendation, fleet=fleet))
    needed = (fleet.instances or 0) - (fleet.spare_instances or 0)
    assert prepare_fleet(older, QUESTION, None, None).planned_rate_per_s == pytest.approx(60 / needed / 2)


def test_prepared_replica_has_utilization_concurrency_and_hourly_counts_of_the_plan() -> None:
    fleet = prepare_fleet(plan_of_question(), QUESTION, None, None)
    replica = prepare_replica(fleet, compute_day_rates_per_s(QUESTION, TODAY))
    assert replica.utilization == pytest.approx(fleet.planned_rate_per_s / SERVICE.max_throughput_per_s, rel=0.03)
    assert 0.2 * fleet.planned_rate_per_s < replica.in_flight < 0.3 * fleet.planned_rate_per_s
    assert all(count % 2 == 0 and count <= fleet.replicas for count in replica.by_hour)
    assert replica.by_hour[3] * fleet.planned_rate_per_s >= 6
    assert (replica.by_hour[3] - 2) * fleet.planned_rate_per_s < 6
    assert replica.by_hour[12] * fleet.planned_rate_per_s >= 60


def test_busiest_date_includes_campaigns_and_growth_of_the_next_year() -> None:
    assert find_busiest_date(QUESTION) == TODAY
    sale = Campaign(datetime.date(2026, 11, 27), datetime.date(2026, 11, 30), 3.0)
    assert find_busiest_date(planning_inputs(traffic=Traffic(60.0, "custom", DAYTIME, campaigns=(sale,)))) == sale.first
    grown = planning_inputs(traffic=Traffic(60.0, "custom", DAYTIME, 0.2))
    assert find_busiest_date(grown) == TODAY + datetime.timedelta(days=364)
    assert compute_day_rates_per_s(grown, find_busiest_date(grown)).max() == pytest.approx(72, rel=0.01)


def test_day_is_evaluated_by_the_highest_percentile_of_each_latency() -> None:
    texts = ("latency_ms.p50 < 10", "latency_ms.p99 < 100", "latency_ms.mean < 20", "ttft_ms.p95 < 5")
    objectives = select_day_objectives(build_slo_objectives([parse_objective(text) for text in texts]))
    assert [objective.text for objective in objectives.latency_objectives] == [
        "p99 latency < 100 ms",
        "p95 TTFT < 5 ms",
    ]
    assert get_target_share(objectives) == 0.99
    assert [note for note in objectives.notes if note.endswith("is not evaluated over a day.")] == [
        "p50 latency < 10 ms is not evaluated over a day.",
        "mean latency < 20 ms is not evaluated over a day.",
    ]
    assert get_target_share(build_slo_objectives([parse_objective("goodput_share > 90%")])) == 0.9
    assert get_target_share(build_slo_objectives([])) is None


def test_fleet_is_saturated_above_its_max_throughput() -> None:
    fleet = prepare_fleet(plan_of_question(), QUESTION, None, 2)  # 40 req/s at most
    assert not is_saturated(fleet, np.array([39.0]))
    assert is_saturated(fleet, np.array([39.0, 41.0]))


def test_day_without_offer_service_model_or_recommendation_is_refused() -> None:
    with pytest.raises(UsageError, match="no offer 'acme/c2x@here'") as caught:
        prepare_fleet(plan_of_question(), QUESTION, "acme/c2x@here", None)
    assert caught.value.hint == "Did you mean 'acme/c2@here'?"
    unfitted = msgspec.structs.replace(QUESTION.measured[0], fit=None, no_fit_reason="it has one rate only")
    with pytest.raises(UsageError, match="no service model, so a day cannot be simulated: it has one rate only"):
        prepare_fleet(plan_of_question(), msgspec.structs.replace(QUESTION, measured=(unfitted,)), None, None)
    with pytest.raises(UsageError, match="recommends no fleet"):
        prepare_fleet(msgspec.structs.replace(plan_of_question(), recommendation=None), QUESTION, None, None)


def test_unmeasured_gpu_is_simulated_at_its_extrapolated_speed() -> None:
    measured = msgspec.structs.replace(
        QUESTION.measured[0], hardware=Hardware("an l4", accelerator="l4", accelerator_count=1.0)
    )
    offers = catalog_of(gpu_offer("g1", "l40s"))
    faster_gpu = msgspec.structs.replace(offers.accelerators["l40s"], fp16_tflops=480.0, tdp_w=288.0)
    inputs = planning_inputs(
        measured=(measured,),
        catalog=msgspec.structs.replace(offers, accelerators={**offers.accelerators, "l40s": faster_gpu}),
        limits=PlanLimits(unmeasured_gpus=UnmeasuredGpus("fp16", "saturated")),
    )
    fleet = prepare_fleet(cached_plan(inputs), inputs, None, None)
    assert isinstance(fleet.service, RequestService)
    assert 0.04 < fleet.service.mean_s < 0.1


def test_fleet_of_an_assumed_model_is_simulated_with_a_token_service() -> None:
    gpus = load_catalog().accelerators
    offers = msgspec.structs.replace(catalog_of(gpu_offer("h", "h100-sxm5-80gb")), accelerators=gpus)
    inputs = planning_inputs(
        measured=(),
        catalog=offers,
        slo="ttft_ms.p95 < 2000",
        assumed_model=AssumedModel("llama", LLAMA_8B, alternatives=Alternatives(("fp8",), ("sglang",))),
        traffic=Traffic(20.0, "flat", (1.0,) * 24, tokens=(TokenLengths(1.0, 1000.0, 200.0),)),
    )
    plan = plan_fleets(inputs, estimate_only=True)
    assert plan.recommendation is not None
    fleet = prepare_fleet(plan, inputs, None, None)
    assert isinstance(fleet.service, TokenService)
    assert fleet.planned_rate_per_s == plan.recommendation.fleet.planned_rate_per_replica_per_s
    assert plan.nearest_points[0].point.served.model == "llama-3.1-8b"
    replica = plan.recommendation.fleet.served_replica
    assert replica is not None
    assert replica.weights == "fp8", "it costs less than bf16"
