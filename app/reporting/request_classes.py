"""Build the section of a report with the results by class of requests."""

from __future__ import annotations

from app.analysis.objectives import select_binding_objectives
from app.records.result import ClassSummary, Result, Stage
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.metric_sections import read_metrics
from reports import model
from reports.sections.classes import CLASSES


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
        stage=stages[overview_number].label,
        stage_number=overview_number,
        has_tokens=has_tokens,
        rows=tuple(rows),
    )


def _build_row(
    stage: Stage, stage_number: int, summary: ClassSummary, latency_metric: str, *, has_slo: bool
) -> model.ClassRow:
    total_requests = sum(other.requests for other in stage.classes)

    return model.ClassRow(
        name=summary.name,
        stage=stage.label,
        stage_number=stage_number,
        weight_share=summary.weight_share,
        share=model.Quantity(
            value=summary.requests / total_requests if total_requests else None,
            unit="share",
            reason=None if total_requests else "no requests",
        ),
        requests=summary.requests,
        failed=sum(summary.errors.values()),
        **read_metrics(CLASSES.columns, summary.metrics, latency_metric, stage.verdict.status),
        has_slo=has_slo,
        meets_slo=summary.meets_slo,
    )
