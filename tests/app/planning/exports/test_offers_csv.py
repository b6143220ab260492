from __future__ import annotations

import csv
import io

import msgspec
import pytest

from app.planning.exports.offers_csv import build_offers_csv
from app.records.estimate import Estimate
from app.records.plan import Plan, Spread, TokenUnitCosts, UnitCosts
from tests.app.planning.exports.planned import (
    fleet_of,
    planned,
    simulated,
    with_fleet,
    without_recommendation,
)
from tests.fakes.offers import gpu_offer, offer

THREE = planned(offer("a"), offer("b", on_demand_usd_per_hour=0.5), gpu_offer("g", "l4"))


def rows_of(plan: Plan) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(build_offers_csv(plan), newline=""), strict=True))


def test_all_fleets_are_listed_those_that_fit_first() -> None:
    shuffled = msgspec.structs.replace(THREE, offers=tuple(reversed(THREE.offers)))
    rows = rows_of(shuffled)
    assert {row["offer"] for row in rows} == {fleet.offer for fleet in THREE.offers}
    assert [bool(row["rejected"]) for row in rows] == [False, False, True]
    assert [row["offer"] for row in rows_of(THREE)] == [fleet.offer for fleet in THREE.offers]
    assert [row["is_recommended"] for row in rows_of(THREE)] == ["yes", "no", "no"]


def test_numbers_come_back_as_they_are() -> None:
    plan = with_fleet(
        simulated(THREE),
        instances_needed=Spread(4, 5, 7),
        usd_per_month_needed=Spread(1.5, 2.5, 3.5),
        per_1k_inferences=UnitCosts(0.1, 0.2, 0.3),
        per_1m_tokens=TokenUnitCosts(None, UnitCosts(1.0, 2.0, None), UnitCosts(4.0, 5.0, 6.0)),
        kg_co2e_per_month=Estimate(-3.25, (-4.0, -2.0)),
        frontier_probability=0.75,
    )
    row, fleet = rows_of(plan)[0], fleet_of(plan)
    expected = {
        "instances": fleet.instances, "usd_per_hour_each": 0.5, "usd_per_month": fleet.usd_per_month.value,
        "capacity_per_instance_per_s": fleet.capacity_per_instance_per_s.value,
        "utilization_at_peak_share": fleet.utilization_at_peak.value,
        "latency_at_peak_ms": fleet.latency_at_peak.value,
        "instances_needed_p10": 4, "instances_needed_p90": 7, "usd_per_month_needed_p50": 2.5,
        "probability_slo_met_one_fewer_share": 0.61, "probability_slo_met_planned_share": 0.934,
        "probability_slo_met_one_more_share": 0.9999, "usd_per_1k_inferences_at_slo": 0.2,
        "usd_per_1m_output_tokens_at_saturation": 1.0, "usd_per_1m_tokens_at_mean": 6.0,
        "kg_co2e_per_month": -3.25, "kg_co2e_per_month_ci95_low": -4.0, "front_chance_share": 0.75,
    }  # fmt: skip
    assert {name: float(row[name]) for name in expected} == expected
    assert row["usd_per_1m_input_tokens_at_slo"] == row["usd_per_1m_output_tokens_at_mean"] == ""
    assert row["latency_metric"] == "latency_ms.p95"
    assert row["price_date"] == "2026-08-01"


def test_what_is_not_available_is_blank() -> None:
    rejected = rows_of(THREE)[-1]
    for column in ("instances", "usd_per_month", "latency_at_peak_ms", "kwh_per_month", "instances_needed_p50"):
        assert rejected[column] == ""
    endless = with_fleet(THREE, usd_per_month=Estimate(float("inf")), frontier_probability=float("nan"))
    assert rows_of(endless)[0]["usd_per_month"] == rows_of(endless)[0]["front_chance_share"] == ""


@pytest.mark.parametrize("begin", list("=+-@\t\r\n＝＋－＠"))
def test_no_cell_becomes_a_formula(begin: str) -> None:
    text = f'{begin}HYPERLINK(1,"a"),\'b'
    plan = with_fleet(planned(offer(instance_type=text, source=text)), measured_on=text, risk_reasons=(text,))
    row = rows_of(plan)[0]
    for column in ("instance_type", "price_source", "measured_on", "risk_reasons"):
        assert row[column] == f"'{text}"
    for cell in row.values():
        assert not cell.startswith(begin)


def test_what_begins_no_formula_is_left_alone() -> None:
    assert rows_of(planned(offer(instance_type="a=1+1")))[0]["instance_type"] == "a=1+1"


def test_every_row_has_every_column_once() -> None:
    header = build_offers_csv(THREE).partition("\n")[0].split(",")
    assert len(set(header)) == len(header)
    assert all(None not in row and None not in row.values() for row in rows_of(THREE))


def test_a_plan_without_a_recommendation_is_still_a_table() -> None:
    none = without_recommendation(THREE)
    assert {row["is_recommended"] for row in rows_of(none)} == {"no"}
    empty = build_offers_csv(msgspec.structs.replace(none, offers=()))
    assert empty == build_offers_csv(THREE).partition("\n")[0] + "\n"
