from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from reports.decision import build_plan_decision, build_run_decision, list_warnings, summarize_caveats
from reports.html import render_html
from reports.markdown import render_markdown
from reports.model import CheckRow, PlanReport, PlanSection, Report
from reports.plan_section import CapacityUncertainty, PercentileRange
from reports.quantity import Quantity
from reports.text import render_text


def _with_row(plan: PlanSection, **changes: object) -> PlanSection:
    assert plan.recommended_row is not None
    row = replace(plan.recommended_row, **changes)
    return replace(plan, offers=tuple(row if other.offer == row.offer else other for other in plan.offers))


def test_plan_decision_has_offer_cost_probability_and_evidence(plan: PlanSection) -> None:
    decision = build_plan_decision(plan)
    assert decision.headline == "5 × gcp/g2-standard-4, $2,577/month"
    assert decision.sentence == (
        "Serves 90.0\u202freq/s within p95 TTFT <\u202f500\u202fms, p95 latency <\u202f9000\u202fms "
        "with 95.3\u202f% probability."
    )
    assert decision.evidence == "Evidence: high. The capacity was measured on one L4."
    assert decision.details == (
        "gcp, us-central1", "4 instances for the load, 1 spare", "$1,984–3,067/month (P10–P90)",
        "$0.0173 per 1k inferences",
    )  # fmt: skip


def test_extrapolated_evidence_names_measured_machine_and_unmeasured_instance_type(plan: PlanSection) -> None:
    assert plan.source is not None
    source = replace(plan.source, hardware="this machine", validity="WARN")
    decision = build_plan_decision(replace(_with_row(plan, basis="extrapolated"), source=source))
    assert decision.evidence == (
        "Evidence: medium. The capacity was extrapolated from this machine, not measured on "
        "gcp/g2-standard-4. The measurement has warnings."
    )


def test_uncertain_capacity_is_low_evidence_even_if_measured(plan: PlanSection) -> None:
    spread = PercentileRange(p10=2.0, p50=4.0, p90=9.0)
    unsure = CapacityUncertainty(state="uncertain", per_instance_per_s=spread, headline="Not known.", next_step="Go.")
    decision = build_plan_decision(replace(plan, capacity_knowledge=unsure))
    assert decision.level == "low"
    assert decision.basis_text.endswith("The capacity is too uncertain to size a fleet with confidence.")


@pytest.mark.parametrize("text", ["high", "low", "measured"])
def test_evidence_level_does_not_depend_on_names_of_run_and_hardware(plan: PlanSection, text: str) -> None:
    assert plan.source is not None
    source = replace(plan.source, hardware=text, name=text)
    assert build_plan_decision(replace(_with_row(plan, basis="extrapolated"), source=source)).level == "medium"


def test_decision_of_older_plan_omits_probability_and_source(plan: PlanSection) -> None:
    old = _with_row(plan, slo_probabilities=None, usd_per_month_needed=None, provider="", instance_type="", region="")
    decision = build_plan_decision(replace(old, source=None))
    assert decision.headline == "5 × gcp/g2-standard-4@us-central1, $2,577/month"
    assert decision.sentence.endswith("; P(SLO met) is n/a.")
    assert decision.details[:2] == ("4 instances for the load, 1 spare", "$2,062–3,092/month (95\u202f% CI)")


def test_plan_without_feasible_offer_has_no_evidence(no_offer_plan_report: PlanReport) -> None:
    decision = build_plan_decision(no_offer_plan_report.plan)
    assert decision.headline == "No offer sustains a peak of 90.0\u202freq/s"
    assert decision.evidence == ""


def test_run_decision_has_confidence_interval_and_basis(full_report: Report) -> None:
    result = build_run_decision(full_report)
    assert result.headline.startswith("Max rate 218\u202freq/s within SLO")
    assert result.sentence == "The 95\u202f% CI is 218–238\u202freq/s."
    assert result.basis_text == (
        "The result is measured on this machine, 2 vCPU, with 11 stages and 6,504 requests. The measurement has "
        "warnings."
    )


def test_run_without_measurement_has_no_evidence(empty_report: Report) -> None:
    assert build_run_decision(empty_report).evidence == ""


def test_undersampled_latencies_lower_evidence_unless_one_has_enough_samples(
    full_report: Report,
) -> None:
    latencies = [tile for tile in full_report.tiles if tile.quantity.unit == "ms"]
    assert latencies
    few = tuple(
        replace(tile, quantity=Quantity(None, "ms", n=10, undersampled=5.0)) if tile in latencies else tile
        for tile in full_report.tiles
    )
    assert build_run_decision(replace(full_report, tiles=few)).level == "low"
    assert build_run_decision(replace(full_report, tiles=(*few, latencies[0]))).level == "medium"


@pytest.mark.parametrize("render", [render_text, render_markdown, render_html])
def test_failed_run_shows_finding_before_plan(full_report: Report, render: Callable[[Report], str]) -> None:
    assert full_report.plan is not None
    verdict = replace(full_report.verdict, outcome="FAIL", headline="FINDING", sentence="FINDING.", exit_code=11)
    document = render(replace(full_report, verdict=verdict))
    decision = build_plan_decision(full_report.plan).headline
    assert "FINDING" in document
    assert decision not in document or document.index("FINDING") < document.index(decision)


def test_caveats_are_counted_and_each_check_is_named_once(full_report: Report) -> None:
    price = CheckRow(id="price_age", name="price age", value=132, limit=90, unit="d", verdict="WARN")
    assert full_report.plan is not None
    report = replace(full_report, plan=replace(full_report.plan, checks=(price,)))
    assert [check.id for check in list_warnings(report)] == ["step_duration", "price_age"]
    assert summarize_caveats(list_warnings(report), 2) == "4 caveats: step duration, price age, 2 notes"
    assert summarize_caveats([price, price]) == "2 caveats: price age"
    assert summarize_caveats([], 1) == "1 note"
    assert summarize_caveats([]) == ""


@pytest.mark.parametrize("render", [render_text, render_markdown, render_html])
def test_run_without_numbers_shows_its_reason_once(render: Callable[[Report], str], searched_report: Report) -> None:
    verdict = replace(searched_report.verdict, detail="Nothing was fast enough.")
    report = replace(searched_report, tiles=(), verdict=verdict)
    text = re.sub("<script.*?</script>", "", render(report), flags=re.DOTALL)  # a page embeds the report
    assert text.count("Nothing was fast enough.") == 1
