from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from reports.html import render_plan_html
from reports.markdown import render_plan_markdown
from reports.model import PlanReport, PlanSection
from reports.plan_section import (
    AcceleratorRow,
    CapacityUncertainty,
    PercentileRange,
    PlannedModelRow,
    ServedReplicaRow,
)
from reports.plan_text import build_detail_lines, build_summary_lines
from reports.sections.evidence import NearestPointRow
from reports.text import render_plan


def test_plan_summary_has_probability_and_cost_range_of_best_two_offers(plan: PlanSection) -> None:
    lines = build_summary_lines(plan)
    assert lines[0] == "5 × gcp/g2-standard-4, $2,577/month"
    assert lines[1].endswith("with 95.3\u202f% probability.")
    assert lines[2].startswith("Evidence: high. ")
    assert lines[5].startswith("Recommended: 5 × gcp/g2-standard-4@us-central1, $2,577/month (P10–P90: ")
    assert "P(SLO met) 95.3\u202f%, measured" in lines[5]
    assert "P(SLO met) 93.1\u202f%, extrapolated" in lines[6]


def test_each_requested_accelerator_has_summary_line(plan: PlanSection) -> None:
    rows = plan.offers[0], plan.rejected_offers[0]
    offers = [rows[0].offer, rows[1].offer, None]
    requested = tuple(AcceleratorRow(accelerator=name, offer=offer) for name, offer in zip("abc", offers, strict=True))
    lines = [line for line in build_summary_lines(replace(plan, accelerators=requested)) if line.startswith("Accel")]
    assert [line.split(":")[0] for line in lines] == ["Accelerator a", "Accelerator b", "Accelerator c"]
    assert rows[0].offer in lines[0]
    assert str(rows[1].rejected) in lines[1]


def test_latency_at_peak_is_named_by_its_metric(plan: PlanSection) -> None:
    names = []
    for metric in ("ttft_ms.p95", "tpot_ms.p99", "latency_ms.mean"):
        measured, _ = dict(build_detail_lines(replace(plan, latency_metric=metric)))["Evidence"]
        names.append(measured.partition(" at peak: ")[0].rpartition("; ")[2])
    assert names == ["p95 TTFT", "p99 TPOT", "mean latency"]


def test_evidence_lines_are_grouped_by_basis_with_strongest_basis_first(plan: PlanSection) -> None:
    measured, assumed = dict(build_detail_lines(plan))["Evidence"]
    assert measured.startswith("measured: max rate of one L4: 24.0\u202freq/s; capacity per instance: ")
    assert assumed == "assumed: energy: 262\u202fkWh/month; 2 possible savings"


def test_sensitivity_lists_three_widest_inputs_and_counts_others(plan: PlanSection) -> None:
    inputs = dict(build_detail_lines(plan))["Sensitivity"]
    assert [line.split()[0] for line in inputs] == ["peak", "confidence", "spare", "…"]
    assert inputs[-1] == "… and 1 more in the report"


def test_inputs_without_effect_on_cost_are_one_sensitivity_line(max_rate_plan_report: PlanReport) -> None:
    (line,) = dict(build_detail_lines(max_rate_plan_report.plan))["Sensitivity"]
    assert line == (
        "These inputs do not change the monthly cost or the cheapest offer: router (least outstanding to random)."
    )


def test_plan_without_recommendation_has_only_assumptions(no_offer_plan_report: PlanReport) -> None:
    plan = no_offer_plan_report.plan
    assert [title for title, lines in build_detail_lines(plan) if lines] == ["Assumptions"]
    assert render_plan(plan).startswith("Decision     No offer sustains a peak of 90.0 req/s\n")


def test_uncertain_capacity_comes_first_and_service_model_error_follows_probability(plan: PlanSection) -> None:
    knowledge = CapacityUncertainty(
        state="uncertain",
        per_instance_per_s=PercentileRange(p10=2.0, p50=4.0, p90=9.0),
        headline="Unsure.",
        next_step="Measure.",
    )
    row = replace(plan.offers[0], fit_error_at_slo=0.123)
    unsure = replace(plan, capacity_knowledge=knowledge, offers=(row, *plan.offers[1:]))
    assert build_summary_lines(unsure)[:2] == ["Unsure.", "Measure."]
    assert build_summary_lines(replace(unsure, recommendation=None))[:2] == ["Unsure.", "Measure."]
    (confidence, *_) = dict(build_detail_lines(unsure))["Confidence"]
    assert confidence.endswith("; service model error 12.3\u202f% at the SLO percentile")


def test_replica_has_its_speed_for_one_user_and_for_one_accelerator(plan: PlanSection) -> None:
    assert dict(build_detail_lines(plan))["Replica"] == []
    replica = ServedReplicaRow(
        accelerators=2, engine="SGLang", weights="fp8", tokens_per_s_per_user=33.62, tokens_per_s_per_accelerator=153.4
    )
    served = replace(plan, offers=(replace(plan.offers[0], served_replica=replica), *plan.offers[1:]))
    (line,) = dict(build_detail_lines(served))["Replica"]
    assert line.startswith("2 accelerators per replica, SGLang, weights in fp8; ")
    assert "33.6 tok/s per user and 153 tok/s per accelerator" in line.replace("\u202f", " ")


def test_html_plan_has_a_table_of_replicas_only_for_a_model_without_measurements(
    whole_plan_report: PlanReport, plan: PlanSection
) -> None:
    caption = "Replica of each offer at the planned rate"
    assert caption not in render_plan_html(whole_plan_report)
    replica = ServedReplicaRow(
        accelerators=2, engine="SGLang", weights="fp8", tokens_per_s_per_user=33.62, tokens_per_s_per_accelerator=153.4
    )
    served = replace(plan, offers=(replace(plan.offers[0], served_replica=replica), *plan.offers[1:]))
    table = render_plan_html(replace(whole_plan_report, plan=served)).partition(caption)[2].partition("</table>")[0]
    assert table.count('<th scope="row">') == 1
    for text in (plan.offers[0].offer, "SGLang", "fp8", ">33.6<", ">153<"):
        assert text in table


def test_plan_of_older_version_omits_details_without_stored_data(plan: PlanSection) -> None:
    row = replace(
        plan.offers[0], slo_probabilities=None, instances_needed=None, usd_per_month_needed=None, sizing_method=None
    )
    older_plan = PlanSection(
        **{name: getattr(plan, name) for name in PlanSection.__struct_fields__[:15]} | {"offers": (row,)}  # up to notes
    )
    assert {title for title, lines in build_detail_lines(older_plan) if lines} == {
        "Evidence",
        "Why",
        "Break-even",
        "Assumptions",
    }
    assert "$2,577/month (2,062–3,092), measured, price 20" in render_plan(older_plan).replace("\n" + 15 * " ", " ")


def test_plan_text_fits_terminal_width(plan: PlanSection) -> None:
    for width in (60, 80, 100):
        assert max(map(len, render_plan(plan, width).splitlines())) <= width


@pytest.mark.parametrize("active_parameters", [None, 37.55e9])
def test_plan_from_a_shape_begins_with_the_model(
    whole_plan_report: PlanReport, active_parameters: float | None
) -> None:
    model = PlannedModelRow(
        name="large|moe",
        parameters=671.03e9,
        active_parameters=active_parameters,
        weights="fp8",
        compute="fp8",
        kv="bf16",
        input_tokens=2000.0,
        output_tokens=300.0,
        prefix_cached_share=0.6,
    )
    report = replace(whole_plan_report, plan=replace(whole_plan_report.plan, planned_model=model))
    text = render_plan(report.plan, width=1000).partition("\n")[0]
    for part in ("671 billion", "fp8", "bf16", "2,000 input (60.0 % of them cached)", "300"):
        assert part in text
    assert ("37.5 billion" in text or "37.6 billion" in text) is (active_parameters is not None)
    assert render_plan_markdown(report).startswith("large\\|moe: 671 billion")
    assert "large|moe: 671 billion" in render_plan_html(report).partition("<section")[0]


def test_published_points_are_shown_with_predictions_and_publisher(max_rate_plan_report: PlanReport) -> None:
    point = NearestPointRow(
        id="p1", source="inferencex", model="llama-3.1-70b", accelerator="h200-sxm-141gb", accelerators=2,
        tensor_parallel=2, expert_parallel=1, precision="fp8", engine="vllm", version="0.19.0", input_tokens=1024,
        output_tokens=1024, clients=8, measured_on=None, ttft_ms=154.1, tpot_ms=14.36, predicted_ttft_ms=155.8,
        predicted_tpot_ms=14.77, distance=0.5,
    )  # fmt: skip
    point = msgspec.json.decode(msgspec.json.encode(point), type=NearestPointRow)
    plan = replace(max_rate_plan_report.plan, nearest_points=(point,), attributions=("InferenceX, unofficial",))
    line, attribution = dict(build_detail_lines(plan))["Published"]
    assert all(text in line for text in ("2 × h200-sxm-141gb", "154", "156", "14.4", "14.8", "inferencex"))
    assert attribution == "InferenceX, unofficial"
    report = replace(max_rate_plan_report, plan=plan)
    for text in (render_plan_markdown(report), render_plan_html(report), render_plan(plan)):
        assert "14.8" in text
        assert "1,024" in text
        assert "InferenceX, unofficial" in text


def test_page_of_a_plan_without_sources_has_no_empty_table(max_rate_plan_report: PlanReport) -> None:
    caption = "Measured or assumed max rate within SLO"
    assert caption in render_plan_html(max_rate_plan_report)
    assert caption not in render_plan_html(replace(max_rate_plan_report, sources=()))
