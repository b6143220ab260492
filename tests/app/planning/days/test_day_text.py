from __future__ import annotations

import functools
from typing import Any

import msgspec
import numpy as np
import pytest

from app.planning.days.day_text import format_day, format_day_notes
from app.planning.days.planned_fleet import PlannedFleet, prepare_fleet
from app.records.day import DayTotals, Range, SimulatedDay, SimulatedHour
from app.records.scaling import (
    Autoscaler,
    ColdStartModel,
    FailureModel,
    Fixed,
    Hpa,
    Keda,
    Knative,
    Operations,
    Predictive,
    RollingUpdate,
    Scheduled,
    ScheduledReplicas,
)
from tests.fakes.small_plan import cached_plan, planning_inputs

QUESTION = planning_inputs()


@functools.cache
def planned_fleet() -> PlannedFleet:
    return prepare_fleet(cached_plan(QUESTION), QUESTION, None, None)


GOOD = DayTotals(arrivals=1000, good=990, late=10, dropped=0, timed_out=0, failed=0, in_flight=0)


def build_hour(good_share: float) -> SimulatedHour:
    return SimulatedHour(0, 1.0, 1.0, 5.0, 9.0, 12.0, good_share, 1.0, ready=2.0, billed=2.0)


def build_day(totals: DayTotals = GOOD, **changes: Any) -> SimulatedDay:
    fields: dict[str, Any] = {
        "date": "2026-08-01", "offer": "acme/c2@here", "instances": 6, "replicas_per_instance": 2,
        "autoscaler": Hpa(0.6, 12), "operations": Operations(), "slo": ("latency_ms.p95 < 1000",),
        "target_share": 0.95, "attainment": totals.attainment, "totals": totals, "conservation": "", "p50_ms": 5.0,
        "p95_ms": 9.0, "p99_ms": 12.0, "ready": Range(2, 4.5, 9), "billed": Range(2, 5, 10),
        "billed_instances": Range(1, 2.5, 5), "usd": 60.0, "usd_static": 144.0, "seed": 1, "scale_divisor": 1,
        "sentences": (), "notes": (), "hours": (build_hour(0.99), build_hour(0.94)),
    }  # fmt: skip
    return SimulatedDay(**(fields | changes))


def format_notes(simulated_day: SimulatedDay, *simulation_notes: str, peak: float = 60.0) -> str:
    return "\n".join(
        format_day_notes(simulated_day, planned_fleet(), simulation_notes, 30.0, 200, np.array([peak, 6.0]))
    )


def test_day_text_has_verdict_attainment_lost_requests_and_cost() -> None:
    assert format_day(build_day(), planned_fleet()) == (
        "The SLO is met over the day.",
        "99 % of 1,000 requests met the limit of p95 latency < 1000 ms; the target of 95 % was reached in 1 of 2 "
        "hours.",
        "0 requests were dropped, 0 timed out and 0 failed.",
        "The day costs $60: 1–5 (mean 2.5) instances of 2 replicas at $1/h each; 2–9 (mean 4.5) replicas were ready.",
        "This is $84 (58.3 %) less than 6 instances without autoscaling, which would cost $144.",
        "1 of them is a spare. The autoscaler runs no spares beyond its target and autoscaler.min.",
    )


@pytest.mark.parametrize(
    ("dropped", "slo", "verdict"),
    [
        (0, "error_rate < 1%", "is met"),
        (9, "error_rate < 1%", "is met"),
        (20, "error_rate < 1%", "is missed"),
        (20, "error_rate < 3%", "is met"),
        (20, "error_rate < 1% | warn", "is met"),
        (60, "error_rate < 30%", "is missed"),
    ],
)
def test_dropped_requests_count_against_attainment_and_error_rate(dropped: int, slo: str, verdict: str) -> None:
    totals = DayTotals(1000, 1000 - dropped, 0, dropped, 0, 0, 0)
    sentences = format_day(build_day(totals, slo=("latency_ms.p95 < 1000", slo)), planned_fleet())
    assert sentences[0] == f"The SLO {verdict} over the day."
    assert sentences[2].startswith(f"{dropped} requests were dropped")


def test_day_without_responses_or_objectives_has_no_verdict() -> None:
    empty = format_day(build_day(DayTotals(0, 0, 0, 0, 0, 0, 0), hours=()), planned_fleet())
    assert empty[0] == "There are no responses: there were no requests, or all are still in flight."
    assert format_day(build_day(target_share=None, slo=()), planned_fleet())[0] == (
        "The SLO has no objective that a simulated day can evaluate."
    )


def test_day_text_compares_the_cost_with_a_fleet_without_autoscaling() -> None:
    assert "This is $6 (4.2 %) more than" in format_day(build_day(usd=150.0), planned_fleet())[4]
    assert "about the same as" in format_day(build_day(usd=144.1), planned_fleet())[4]
    assert len(format_day(build_day(autoscaler=Fixed(12)), planned_fleet())) == 4
    one_instance = build_day(billed_instances=Range(1, 1, 1), replicas_per_instance=1, ready=Range(1, 1, 1))
    assert "1 instance at $1/h each; 1 replica was ready." in format_day(one_instance, planned_fleet())[3]


@pytest.mark.parametrize(
    ("autoscaler", "text"),
    [
        (Fixed(12), "No autoscaler is used; 12 replicas run all day."),
        (
            Hpa(0.6, 12),
            "The autoscaler is an HPA with a target of 60 % utilization per replica, from 1 to 12 replicas.",
        ),
        (Keda(9.0, 12, "rate"), "The autoscaler is KEDA with a target of 9 req/s per replica, from 0 to 12 replicas."),
        (Knative(10.0, max=12), "target of 7 requests in flight per replica (70 % of a target of 10), from 0 to 12"),
        (
            Scheduled((ScheduledReplicas(0, 2), ScheduledReplicas(3600, 2), ScheduledReplicas(30_600, 12))),
            "The replicas follow a schedule: 2 from 00:00, 12 from 08:30.",
        ),
        (
            Predictive(9.0, 120.0, 12),
            "the highest rate of the next 120 s at 9 req/s per replica, from 1 to 12 replicas.",
        ),
    ],
)
def test_first_note_describes_the_autoscaler_and_its_target(autoscaler: Autoscaler, text: str) -> None:
    assert text in format_notes(build_day(autoscaler=autoscaler)).splitlines()[0]


def test_notes_report_cold_starts_failures_updates_and_limits() -> None:
    operations = Operations(
        ColdStartModel(node_s=90.0, engine_s=15.0, warm_nodes=2), FailureModel(48.0), (RollingUpdate(36_000.0, 0.1),)
    )
    notes_text = format_notes(build_day(operations=operations))
    assert "The median cold start takes 105 s (node 90 s, engine build 15 s). This is an assumption" in notes_text
    assert "A replica fails every 48 hours on average and loses its requests" in notes_text
    assert "A rolling update of all replicas starts at 10:00 (maxSurge 10%, maxUnavailable 25%)." in notes_text
    assert "Warm, empty nodes for 2 replicas are always ready and are billed." in notes_text
    assert "A request times out after waiting 30 s, and a request is dropped if 200 requests are queued" in notes_text
    static = format_notes(build_day(autoscaler=Fixed(12)))
    assert "cold start" not in static
    assert "An instance runs" not in static
    assert "cold start" in format_notes(
        build_day(autoscaler=Fixed(12), operations=Operations(failures=FailureModel(48.0)))
    )


def test_notes_report_cell_simulation_and_overload() -> None:
    cell = "The day is simulated for one of 5 equal cells."
    assert cell in format_notes(build_day(scale_divisor=5), cell)
    assert "cannot handle the busiest minute" not in format_notes(build_day())
    assert "All 12 planned replicas together cannot handle the busiest minute." in format_notes(build_day(), peak=121.0)


def test_notes_report_objectives_that_are_not_evaluated() -> None:
    inputs = msgspec.structs.replace(QUESTION, slo=planning_inputs(slo="latency_ms.mean < 900").slo)
    fleet = prepare_fleet(cached_plan(QUESTION), inputs, None, None)
    notes = format_day_notes(build_day(), fleet, (), 30.0, 200, np.array([1.0]))
    assert "mean latency < 900 ms is not evaluated over a day." in notes
