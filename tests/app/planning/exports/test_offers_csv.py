from __future__ import annotations

import csv
import io

import msgspec
import pytest

from app.planning.exports.offers_csv import build_offers_csv
from app.records.estimate import Estimate
from app.records.plan import Plan, ServedReplica, Spread, TokenUnitCosts, UnitCosts
from tests.app.planning.exports.planned import (
    add_simulation,
    build_plan,
    get_fleet,
    with_fleet,
    without_recommendation,
)
from tests.fakes.offers import gpu_offer, offer

PLAN = build_plan(offer("a"), offer("b", on_demand_usd_per_hour=0.5), gpu_offer("g", "l4"))


def export_rows(plan: Plan) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(build_offers_csv(plan), newline=""), strict=True))


def test_csv_lists_all_offers_with_feasible_ones_first() -> None:
    shuffled = msgspec.structs.replace(PLAN, offers=tuple(reversed(PLAN.offers)))
    rows = export_rows(shuffled)
    assert {row["offer"] for row in rows} == {fleet.offer for fleet in PLAN.offers}
    assert [bool(row["rejected"]) for row in rows] == [False, False, True]
    assert [row["offer"] for row in export_rows(PLAN)] == [fleet.offer for fleet in PLAN.offers]
    assert [row["is_recommended"] for row in export_rows(PLAN)] == ["yes", "no", "no"]


def test_csv_numbers_match_the_plan() -> None:
    plan = with_fleet(
        add_simulation(PLAN),
        instances_needed=Spread(4, 5, 7),
        usd_per_month_needed=Spread(1.5, 2.5, 3.5),
        per_1k_inferences=UnitCosts(0.1, 0.2, 0.3),
        per_1m_tokens=TokenUnitCosts(None, UnitCosts(1.0, 2.0, None), UnitCosts(4.0, 5.0, 6.0)),
        kg_co2e_per_month=Estimate(-3.25, (-4.0, -2.0)),
        frontier_probability=0.75,
    )
    first_row, fleet = export_rows(plan)[0], get_fleet(plan)
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
    assert {name: float(first_row[name]) for name in expected} == expected
    assert first_row["usd_per_1m_input_tokens_at_slo"] == first_row["usd_per_1m_output_tokens_at_mean"] == ""
    assert first_row["latency_metric"] == "latency_ms.p95"
    assert first_row["price_date"] == "2026-08-01"


def test_csv_has_the_replica_of_a_model_without_measurements() -> None:
    replica = ServedReplica(
        accelerators=2, engine="sglang", weights="fp8", tokens_per_s_per_user=33.5, tokens_per_s_per_accelerator=150.25
    )
    row, *others = export_rows(with_fleet(PLAN, served_replica=replica))
    columns = ("replica_accelerators", "replica_engine", "replica_weights", "tokens_per_s_per_user",
               "tokens_per_s_per_accelerator")  # fmt: skip
    assert [row[column] for column in columns] == ["2", "sglang", "fp8", "33.5", "150.25"]
    assert {other[column] for other in others for column in columns} == {""}


def test_unavailable_values_are_empty_csv_cells() -> None:
    rejected = export_rows(PLAN)[-1]
    for column in ("instances", "usd_per_month", "latency_at_peak_ms", "kwh_per_month", "instances_needed_p50"):
        assert rejected[column] == ""
    infinite = with_fleet(PLAN, usd_per_month=Estimate(float("inf")), frontier_probability=float("nan"))
    assert export_rows(infinite)[0]["usd_per_month"] == export_rows(infinite)[0]["front_chance_share"] == ""


@pytest.mark.parametrize("first_character", list("=+-@\t\r\n＝＋－＠"))
def test_csv_cells_are_protected_against_formula_injection(first_character: str) -> None:
    text = f'{first_character}HYPERLINK(1,"a"),\'b'
    plan = with_fleet(build_plan(offer(instance_type=text, source=text)), measured_on=text, risk_reasons=(text,))
    row = export_rows(plan)[0]
    for column in ("instance_type", "price_source", "measured_on", "risk_reasons"):
        assert row[column] == f"'{text}"
    for cell in row.values():
        assert not cell.startswith(first_character)


def test_csv_text_without_a_formula_prefix_is_unchanged() -> None:
    assert export_rows(build_plan(offer(instance_type="a=1+1")))[0]["instance_type"] == "a=1+1"


def test_csv_rows_have_every_column_once() -> None:
    header = build_offers_csv(PLAN).partition("\n")[0].split(",")
    assert len(set(header)) == len(header)
    assert all(None not in row and None not in row.values() for row in export_rows(PLAN))


def test_csv_without_recommendation_or_offers_is_valid() -> None:
    plan = without_recommendation(PLAN)
    assert {row["is_recommended"] for row in export_rows(plan)} == {"no"}
    empty = build_offers_csv(msgspec.structs.replace(plan, offers=()))
    assert empty == build_offers_csv(PLAN).partition("\n")[0] + "\n"
