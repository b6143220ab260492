"""Build the section of a report with the results by class of requests."""

from __future__ import annotations

from app.analysis.objectives import select_binding_objectives
from app.records.result import ClassSummary, Estimate, Result, Stage
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.load import format_stage_name
from app.reporting.quantities import build_quantity, find_unit
from reports import model


def build_class_section(result: Result, headline_stage: Stage | None, latency_metric: str) -> model.ClassSection | None:
    """Build the results by class; `None` without classes. The overview shows the headline stage or,
    without one, the last stage."""
    stages = [stage for stage in result.stages if stage.classes and STAGE_KINDS[stage.kind].is_measured]
    if not stages:
        return None
    overview_number = next((number for number, stage in enumerate(stages) if stage is headline_stage), len(stages) - 1)
    objectives = select_binding_objectives([evaluation.objective for evaluation in result.slo])
    limited_classes = {objective.request_class for objective in objectives}
    names = dict.fromkeys(summary.name for stage in stages for summary in stage.classes)
    rows = [
        _build_row(stage, number, summary, latency_metric, has_slo=name in limited_classes)
        for name in names
        for number, stage in enumerate(stages)
        if (summary := stage.find_class(name)) is not None
    ]
    has_tokens = any(summary.tokens is not None for stage in stages for summary in stage.classes)
    return model.ClassSection(
        stage=format_stage_name(stages[overview_number]),
        stage_number=overview_number,
        has_tokens=has_tokens,
        rows=tuple(rows),
    )


def _build_row(
    stage: Stage, stage_number: int, summary: ClassSummary, latency_metric: str, *, has_slo: bool
) -> model.ClassRow:
    total_requests = sum(other.requests for other in stage.classes)

    def build(metric: str, aggregate: str = "value") -> model.Quantity:
        estimate = summary.metrics.get(metric, {}).get(aggregate) or Estimate(None, reason="not measured")
        return build_quantity(estimate, find_unit(metric), stage.verdict.status)

    return model.ClassRow(
        name=summary.name,
        stage=format_stage_name(stage),
        stage_number=stage_number,
        weight_share=summary.weight_share,
        share=model.Quantity(
            value=summary.requests / total_requests if total_requests else None,
            unit="share",
            reason=None if total_requests else "no requests",
        ),
        requests=summary.requests,
        failed=sum(summary.errors.values()),
        error_rate=build("error_rate"),
        throughput=build("completed_per_s"),
        goodput=build("goodput_share"),
        ttft_p50=build("ttft_ms", "p50"),
        ttft_p95=build("ttft_ms", "p95"),
        ttft_p99=build("ttft_ms", "p99"),
        tpot_p50=build("tpot_ms", "p50"),
        tpot_p95=build("tpot_ms", "p95"),
        itl_p50=build("itl_ms", "p50"),
        itl_p99=build("itl_ms", "p99"),
        latency_p50=build(latency_metric, "p50"),
        latency_p95=build(latency_metric, "p95"),
        latency_p99=build(latency_metric, "p99"),
        output_tokens_per_s=build("output_tokens_per_s"),
        cached=build("cached_input_share"),
        has_slo=has_slo,
        meets_slo=summary.meets_slo,
    )
