"""Planning inputs for replicas with a known service model, which are planned and simulated in a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.json import encode
from msgspec.structs import replace

from app.analysis.objectives import parse_objective
from app.planning.fleets import plan_fleets
from app.planning.offers.options import Option, list_options
from app.planning.sizing import fleet_rate, fleet_sizer
from app.planning.sizing.instances import Demand, build_demand
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.offers import PlanLimits
from app.records.plan import Plan
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.result import Hardware
from app.records.service import FittedService, RequestService, ServiceFit, ServiceModel
from app.records.traffic import Traffic
from tests.fakes.offers import TODAY, catalog_of, curve, offer

SERVICE = RequestService(slots=2, mean_s=0.2, cv=0.5)  # 10/s each
DAYTIME = tuple(0.1 if hour < 6 else 1.0 if hour in (12, 13) else 0.5 for hour in range(24))


def slow_planning_inputs(slower: float = 10.0) -> PlanningInputs:
    """Replicas slower and requests fewer by the same factor, with an equally longer SLO: the same fleet, whose day is
    simulated in a fraction of the time."""
    service, limit_ms = replace(SERVICE, mean_s=slower * SERVICE.mean_s), 1000 * slower
    fit = ServiceFit((FittedService(service, 1.0, (), ()),), (), 0.04, 1.0, 1.0 / slower, 9.0 / slower)
    (target,) = planning_inputs().measured
    return planning_inputs(
        slo=f"latency_ms.p95 < {limit_ms:g}",
        measured=(replace(target, curve=curve(8.0 / slower), fit=fit),),
        traffic=Traffic(60.0 / slower, "custom", DAYTIME),
    )


def planning_inputs(
    service: ServiceModel = SERVICE, *, slo: str = "latency_ms.p95 < 1000", **changes: Any
) -> PlanningInputs:
    """Each vCPU is a replica: c2 has two at 1 USD an hour, c4 four at 3 USD."""
    fit = ServiceFit((FittedService(service, 1.0, (), ()),), (), 0.04, 1.0, 1.0, 9.0)
    hardware = Hardware("half a c16", vcpus=8, architecture="x86_64")
    target = MeasuredTarget("measured", hardware, curve(8.0), fit)
    fields: dict[str, Any] = {
        "measured": (target,),
        "traffic": Traffic(60.0, "custom", DAYTIME),
        "slo": (parse_objective(slo),),
        "limits": PlanLimits(router="least-outstanding"),
        "catalog": catalog_of(offer("c2", vcpus=2.0), offer("c4", vcpus=4.0, on_demand_usd_per_hour=3.0)),
        "today": TODAY,
    }
    return PlanningInputs(**(fields | changes))


@contextmanager
def short_fleet_simulations() -> Iterator[None]:
    """Simulate a quarter of the requests in each step of a search for the rate of a fleet, except in soak tests."""
    from tests.tiers import is_soak_session  # a plugin, which pytest must import first

    if is_soak_session():
        yield
        return
    choose = fleet_rate.choose_request_count

    def choose_fewer(replicas: int, min_requests: int, min_requests_per_replica: int) -> int:
        return choose(replicas, min_requests // 4, min_requests_per_replica // 4)

    with pytest.MonkeyPatch.context() as patch:
        for module in (fleet_rate, fleet_sizer):
            patch.setattr(module, "choose_request_count", choose_fewer)
        yield


_plans: dict[bytes, Plan] = {}


def cached_plan(inputs: PlanningInputs) -> Plan:
    """Compute the plan of equal inputs once: many tests use the same plan."""
    key = encode(inputs, enc_hook=lambda values: values.tobytes())
    if key not in _plans:
        with short_fleet_simulations():
            _plans[key] = plan_fleets(inputs)
    return _plans[key]


def sized_by_formula(inputs: PlanningInputs) -> tuple[list[Option], Demand]:
    """Analytical estimates, in the order of the catalog."""
    demand = build_demand(inputs.traffic, inputs.limits, inputs.today)
    return list_options(inputs, demand, build_slo_objectives(inputs.slo), estimate_only=True), demand
