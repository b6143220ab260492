from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from app.planning.fleets import plan_fleets
from app.planning.sensitivity import compute_sensitivity
from app.planning.slo_objectives import build_slo_objectives
from app.records.offers import PlanLimits
from app.records.plan import SensitivityRange
from app.records.planning_inputs import PlanningInputs
from app.records.service import RequestService
from tests.fakes.offers import catalogue, curve, offer, question, target
from tests.fakes.planned import question as modelled
from tests.fakes.planned import sized

# 100/s a vCPU; a spare c4 costs four times a spare c1
OFFERS = (
    offer("c1", vcpus=1.0, on_demand_usd_per_hour=1.0),
    offer("c4", vcpus=4.0, on_demand_usd_per_hour=4.1),
)


def asked(**changes: Any) -> PlanningInputs:
    fields: dict[str, Any] = {"peak_per_s": 1500.0, "limits": PlanLimits(confidence=0.9, redundancy=1)}
    return question(target(curve(100.0)), of=catalogue(*OFFERS), **(fields | changes))


def swings(of: PlanningInputs) -> dict[str, SensitivityRange]:
    options, demand = sized(of)
    found = compute_sensitivity(options, demand, of, build_slo_objectives(of.slo))
    widths = [abs((one.usd_per_month_high or 0) - (one.usd_per_month_low or 0)) for one in found]
    assert widths == sorted(widths, reverse=True)
    return {one.input: one for one in found}


def planned(of: PlanningInputs) -> tuple[float | None, str | None]:
    best = plan_fleets(of, estimate_only=True).recommendation
    assert best is not None
    return best.fleet.usd_per_month.value, best.fleet.offer


def priced(times: float) -> PlanningInputs:
    dearer = replace(OFFERS[0], on_demand_usd_per_hour=times)
    return replace(asked(), catalog=catalogue(dearer, OFFERS[1]))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("peak", asked(peak_per_s=1200.0), asked(peak_per_s=1800.0)),
        ("price of the recommended offer", priced(0.8), priced(1.2)),
        ("confidence", asked(limits=PlanLimits(confidence=0.8)), asked(limits=PlanLimits(confidence=0.99))),
        ("spare instances", asked(limits=PlanLimits(redundancy=0)), asked(limits=PlanLimits(redundancy=2))),
    ],
)
def test_each_end_is_what_planning_it_anew_gives(name: str, low: PlanningInputs, high: PlanningInputs) -> None:
    swing = swings(asked())[name]
    assert (swing.usd_per_month_low, swing.winner_low) == pytest.approx(planned(low))
    assert (swing.usd_per_month_high, swing.winner_high) == pytest.approx(planned(high))


def test_a_flip_is_reported_by_another_winner() -> None:
    swing = swings(asked())["price of the recommended offer"]
    assert (swing.low, swing.high) == ("−20 %", "+20 %")
    assert planned(asked())[1] == swing.winner_low == "acme/c1@here"
    assert swing.winner_high == "acme/c4@here"


def test_a_peak_and_a_rate_move_by_what_is_not_sure_of_them() -> None:
    unsure = swings(asked(uncertainty=0.3))["peak"]
    # a log-normal's 80 % around 1,500/s, with a deviation of 30 %
    assert (unsure.low, unsure.high) == ("1,030 req/s", "2,185 req/s")
    sure = swings(asked())["peak"]
    assert (sure.low, sure.high) == ("1,200 req/s", "1,800 req/s")
    rate = swings(asked())["max rate of a replica"]
    assert (rate.usd_per_month_low or 0) < (planned(asked())[0] or 0) < (rate.usd_per_month_high or 0)


def test_the_slos_limits_and_the_router_are_reported_where_there_is_a_service_model() -> None:
    assert not {"SLO limits", "router"} & set(swings(asked()))
    tight = modelled(RequestService(1, 0.1, 1.0), slo="latency_ms.p95 < 600", limits=PlanLimits(router="round-robin"))
    found = swings(tight)
    slo, router = found["SLO limits"], found["router"]
    assert (slo.usd_per_month_low or 0) < (slo.usd_per_month_high or 0)
    assert (router.usd_per_month_low or 0) < (router.usd_per_month_high or 0)
    assert (router.low, router.high) == ("least-outstanding", "random")
