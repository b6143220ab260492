from __future__ import annotations

import msgspec
import pytest

from reports.model import PlanReport, Report, read_report


def test_report_survives_json_round_trip(full_report: Report) -> None:
    assert read_report(msgspec.json.encode(full_report)) == full_report


def test_plan_report_survives_json_round_trip(whole_plan_report: PlanReport) -> None:
    assert read_report(msgspec.json.encode(whole_plan_report)) == whole_plan_report


def test_report_of_version_without_plan_probabilities_is_read(full_report: Report) -> None:
    document = msgspec.json.decode(msgspec.json.encode(full_report))
    newer_fields = {
        "latency_limit", "router", "frontier", "unit_costs", "kwh_per_month", "kg_co2e_per_month", "sensitivity",
        "day", "commitment", "savings", "mix",
    }  # fmt: skip
    document["plan"] = {name: value for name, value in document["plan"].items() if name not in newer_fields}
    for row in document["plan"]["offers"]:
        for name in (
            "slo_probabilities",
            "instances_needed",
            "usd_per_month_needed",
            "sizing_method",
            "price_kind",
            "measured_on",
        ):
            row.pop(name, None)
    read = read_report(msgspec.json.encode(document))
    assert isinstance(read, Report)
    assert read.plan is not None
    assert (read.plan.day, read.plan.offers[0].slo_probabilities) == (None, None)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"schema": 2}', b"[]", b'{"kind": "plan"}'])
def test_invalid_report_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a report of schema 2"):
        read_report(text)
