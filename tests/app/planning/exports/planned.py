"""Plans to export: made by the planner, and changed where a test needs it."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import yaml

from app.analysis.objectives import parse_objective
from app.planning.fleets import plan_fleets
from app.records.estimate import Estimate
from app.records.offers import Offer, PlanLimits
from app.records.plan import Fleet, Plan, SloProbabilities
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.result import Hardware, Traffic
from tests.fakes.offers import TODAY, catalog_of, curve, gpu_offer, offer

WORKDAY = (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.6, 0.9, 1.0, 1.0, 1.0, 0.8, 0.9, 1.0, 1.0, 0.9, 0.7, 0.5, 0.4, 0.3,
           0.2, 0.2, 0.1)  # fmt: skip
HERE = Hardware("this machine (2 vCPUs)", vcpus=2, architecture="x86_64", is_this_machine=True)
ONE_L4 = Hardware("one L4", offer="acme/g1@here", accelerator="l4", accelerator_count=1, vcpus=8)


@functools.cache
def build_plan(
    *offers: Offer, measured_on: Hardware = HERE, redundancy: int = 1, max_unavailable: int = 0, **traffic: Any
) -> Plan:
    traffic_fields: dict[str, Any] = {"peak_per_s": 5000.0, "shape": "workday", "hourly_share": WORKDAY} | traffic
    catalog = catalog_of(*(offers or (offer(provider="aws", instance_type="c7i.4xlarge", region="us-east-1"),)))
    target = MeasuredTarget("a run", measured_on, curve(100.0), no_fit_reason="its rates are too few")
    slo = (parse_objective("latency_ms.p95 < 50"),)
    limits = PlanLimits(redundancy=redundancy, max_unavailable=max_unavailable)
    return plan_fleets(PlanningInputs((target,), Traffic(**traffic_fields), slo, limits, catalog, TODAY))


def build_gpu_plan(count: float = 1.0, replicas: int = 1, **changes: Any) -> Plan:
    """Return a plan for GPU instances, measured with `replicas` replicas on one GPU."""
    measured_on = msgspec.structs.replace(ONE_L4, replicas=replicas)
    return build_plan(gpu_offer("g1", "l4", count, **changes), measured_on=measured_on)


def with_fleet(plan: Plan, **changes: Any) -> Plan:
    assert plan.recommendation is not None
    fleet = msgspec.structs.replace(plan.recommendation.fleet, **changes)
    return msgspec.structs.replace(
        plan, recommendation=msgspec.structs.replace(plan.recommendation, fleet=fleet), offers=(fleet, *plan.offers[1:])
    )


def add_simulation(plan: Plan) -> Plan:
    return with_fleet(
        plan, sizing_method="simulated", slo_probabilities=SloProbabilities(0.61, 0.934, 0.9999), measured_on="a bench"
    )


def without_recommendation(plan: Plan) -> Plan:
    rejected = tuple(msgspec.structs.replace(fleet, rejected="too dear", rejected_by="budget") for fleet in plan.offers)
    return msgspec.structs.replace(plan, recommendation=None, offers=rejected)


def get_fleet(plan: Plan) -> Fleet:
    assert plan.recommendation is not None
    return plan.recommendation.fleet


def count_pods(plan: Plan) -> int:
    fleet = get_fleet(plan)
    return (fleet.instances or 0) * (fleet.replicas_per_instance or 0)


def parse_documents(text: str) -> dict[str, Any]:
    """Return the YAML documents of `text` by kind."""
    return {document["kind"]: document for document in yaml.load_all(text, Loader=yaml.CSafeLoader)}


def get_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("#"))


UNKNOWN = Estimate(None, reason="not measured")
