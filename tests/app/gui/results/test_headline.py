from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.gui.results.headline import based_on_text, decision_detail, decision_text, interval_text
from app.gui.results.verdict_card import list_caveats
from app.reporting import build_report
from reports.model import CheckRow, Report
from tests.fakes.results import COMMAND, SPEC, full_run


@pytest.fixture(scope="module")
def report() -> Report:
    run = full_run()
    return build_report(run.result, run.rows, run.telemetry, SPEC, COMMAND, "{}")


def test_a_run_with_a_plan_begins_with_the_fleet_its_probability_and_its_basis(report: Report) -> None:
    assert decision_text(report) == "7 × aws/c7i.large@us-east-1, $456/month"
    text = decision_detail(report)
    assert text.startswith("Serves 900\u202freq/s within SLO (p95 latency < 50 ms, error rate < 1 %). P(SLO met): ")
    assert text.endswith("The capacity is extrapolated.")


def test_an_invalid_run_and_one_without_a_plan_begin_with_the_measurement(report: Report) -> None:
    invalid = replace(report, verdict=replace(report.verdict, outcome="INVALID"))
    for other in (invalid, replace(report, plan=None)):
        assert (decision_text(other), decision_detail(other)) == ("", "")


def test_the_interval_is_that_of_the_first_number(report: Report) -> None:
    assert interval_text(report) == "Max rate: 95 % CI 218–238\u202freq/s."
    assert interval_text(replace(report, tiles=())) == ""


def test_what_was_measured_is_one_sentence(report: Report) -> None:
    stages = [row for row in report.stages if row.kind != "warmup" and not row.pooled]
    requests = sum(row.completed + row.failed for row in stages)
    assert (
        based_on_text(report) == f"Based on {requests:,} requests in {len(stages)} stages, on {report.header.hardware}."
    )
    assert based_on_text(replace(report, stages=())) == ""


def test_caveats_are_the_checks_the_worst_first_and_the_notes(report: Report) -> None:
    late = CheckRow(id="late_sends", name="late sends", value=0.04, limit=0.01, unit="share", verdict="INVALID")
    caveats = list_caveats(replace(report, checks=(*report.checks, late), notes=("A note.",)))
    assert [(caveat.name, caveat.verdict) for caveat in caveats] == [
        ("late sends", "INVALID"),
        ("step duration", "WARN"),
        ("note", ""),
    ]
    assert "(limit 1" in caveats[0].text
