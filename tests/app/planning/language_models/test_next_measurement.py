from __future__ import annotations

import re
import shlex

import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.cli.evidence import COMMAND
from app.planning.fleets import plan_fleets
from app.planning.language_models.assumed_model import OTHER_VENDOR_SPEED, expect_measurement
from app.planning.language_models.next_measurement import MIN_NARROWING
from app.planning.step_times.nearest import PlannedLoad
from app.profiles.pricing.catalog import load_catalog
from app.records.evidence import PublishedServer
from app.records.offers import Catalog
from app.records.plan import Plan, ProposedMeasurement
from app.records.planning_inputs import AssumedModel, OwnEvidence, PlanningInputs, Precision
from app.records.traffic import TokenLengths
from tests.fakes.offers import gpu_offer, planning_inputs

GPUS = load_catalog().accelerators
SHAPE = load_language_models()["llama-3.1-8b"].shape
NEW, KNOWN = gpu_offer("new", "l40s", on_demand_usd_per_hour=0.8), gpu_offer("known", "h100-sxm5-80gb")


def inputs_of(*offers: object, peak_per_s: float = 40.0, **precision: str) -> PlanningInputs:
    """Llama 3.1 8B on offers, with requests of 1,000 + 200 tokens and a limit on TPOT."""
    plain = planning_inputs(
        peak_per_s=peak_per_s,
        catalog=Catalog(GPUS, offers),  # type: ignore[arg-type]
        slo=("tpot_ms.p95 < 60",),
        tokens=(TokenLengths(1.0, 1000.0, 200.0),),
    )
    return replace(plain, measured=(), assumed_model=AssumedModel("llama-3.1-8b", SHAPE, Precision(**precision)))


def propose(inputs: PlanningInputs) -> tuple[Plan, ProposedMeasurement]:
    plan = plan_fleets(inputs, estimate_only=True)
    assert plan.proposed_measurement is not None
    return plan, plan.proposed_measurement


def with_expected(inputs: PlanningInputs, proposed: ProposedMeasurement) -> PlanningInputs:
    served = PublishedServer(
        model=proposed.model,
        accelerator=proposed.accelerator,
        precision="bf16",
        engine="vllm",
        version="current",
        accelerators=proposed.accelerators,
    )
    load = PlannedLoad(served, SHAPE, GPUS[proposed.accelerator], 1000.0, 200.0, 8.0)
    return replace(inputs, own_evidence=(*inputs.own_evidence, expect(load, proposed, inputs)))


def expect(load: PlannedLoad, proposed: ProposedMeasurement, inputs: PlanningInputs) -> OwnEvidence:
    model = inputs.assumed_model
    assert model is not None
    replica_model = replace(model, engine=replace(model.engine, tensor_parallel=proposed.accelerators))
    return expect_measurement(load, proposed.clients, replica_model, inputs)


def test_expected_cost_equals_that_of_a_plan_with_the_expected_measurement() -> None:
    inputs = inputs_of(NEW)
    plan, proposed = propose(inputs)
    assert plan.recommendation is not None
    before, expected = proposed.usd_per_month_needed, proposed.expected_usd_per_month_needed
    assert (proposed.offer, before) == (plan.offers[0].offer, plan.recommendation.fleet.usd_per_month_needed)
    assert before.p90 - before.p10 > (1 + MIN_NARROWING) * (expected.p90 - expected.p10)
    measured = plan_fleets(with_expected(inputs, proposed), estimate_only=True)
    assert measured.recommendation is not None
    assert measured.recommendation.fleet.usd_per_month_needed == expected
    assert measured.own_points == len(proposed.clients) == 1


def test_at_most_two_measurements_of_an_offer_are_proposed() -> None:
    inputs = inputs_of(NEW)
    _, first = propose(inputs)
    inputs = with_expected(inputs, first)
    second = plan_fleets(inputs, estimate_only=True).proposed_measurement
    if second is not None:
        assert second.clients != first.clients
        assert second.usd_per_month_needed == first.expected_usd_per_month_needed
        inputs = with_expected(inputs, second)
    assert plan_fleets(inputs, estimate_only=True).proposed_measurement is None


def test_expected_measurement_changes_the_median_cost_by_at_most_15_percent() -> None:
    _, proposed = propose(inputs_of(NEW))
    before, expected = proposed.usd_per_month_needed, proposed.expected_usd_per_month_needed
    assert expected.p50 == pytest.approx(before.p50, rel=0.15)


def test_expected_measurement_on_another_vendor_has_the_relative_speed_of_that_vendor() -> None:
    inputs = inputs_of(gpu_offer("amd", "mi300x"), peak_per_s=400.0)
    _, proposed = propose(inputs)
    evidence = with_expected(inputs, proposed).own_evidence[0]
    expected = evidence.points[0]
    nvidia = replace(GPUS["mi300x"], vendor="NVIDIA")
    load = PlannedLoad(evidence.served, SHAPE, nvidia, 1000.0, 200.0, 8.0)
    promised = expect(load, proposed, inputs).points[0]
    assert promised.tpot_ms is not None
    assert expected.tpot_ms == pytest.approx(promised.tpot_ms / OTHER_VENDOR_SPEED)


def test_offer_with_an_overlapping_interval_is_proposed_if_it_narrows_the_cost_more() -> None:
    rival = replace(NEW, on_demand_usd_per_hour=0.9)
    known = replace(KNOWN, on_demand_usd_per_hour=3.0)
    plan, proposed = propose(inputs_of(rival, known, peak_per_s=100.0))
    assert (plan.offers[0].accelerator, proposed.accelerator) == ("h100-sxm5-80gb", "l40s")
    far = replace(rival, on_demand_usd_per_hour=90.0)
    plan = plan_fleets(inputs_of(far, known, peak_per_s=100.0), estimate_only=True)
    assert plan.proposed_measurement is None or plan.proposed_measurement.accelerator == "h100-sxm5-80gb"


def test_measured_and_certain_plans_propose_no_measurement() -> None:
    assert plan_fleets(planning_inputs(), estimate_only=True).proposed_measurement is None
    assert plan_fleets(inputs_of(NEW, peak_per_s=0.1), estimate_only=True).proposed_measurement is None


def test_proposed_measurement_is_either_a_note_or_the_next_step() -> None:
    plan, proposed = propose(inputs_of(NEW))
    knowledge = plan.capacity_knowledge
    assert knowledge is not None
    assert (proposed.sentence in plan.notes) is (knowledge.state == "known")
    assert (proposed.sentence == knowledge.next_step) is (knowledge.state != "known")


def test_command_of_the_proposed_measurement_is_accepted_by_evidence_add() -> None:
    _, proposed = propose(inputs_of(NEW, kv="fp8"))
    arguments = shlex.split(re.findall(r"`sizewise evidence add (.*?)`", proposed.sentence)[0])
    add = COMMAND.commands["add"]
    parsed = add.make_context("add", arguments).params
    assert (parsed["accelerator"], parsed["tensor_parallel"]) == (proposed.accelerator, proposed.accelerators)
    assert (parsed["model"], parsed["kv_cache"], parsed["engine"]) == ("llama-3.1-8b", "fp8", "vllm")
