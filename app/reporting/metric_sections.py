"""Fill the records of the sections whose columns are metrics of the stages.

A section declares the metric of each column, so it needs no code of its own here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.records.result import Estimate, Stage, Validity
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.quantities import build_quantity, find_unit
from reports.model import Report
from reports.quantity import Quantity
from reports.sections.section import LATENCY, Column, Section

_NOT_MEASURED = Estimate(None, reason="not measured")


def fill_metric_sections(report: Report, stages: Sequence[Stage]) -> Report:
    """Return the report with the rows of these sections."""
    sections = [section for section in report.sections if section.needs_metrics]
    rows = {section.name: build_metric_rows(section, stages, report.times) for section in sections}
    return msgspec.structs.replace(report, **rows)


def build_metric_rows(section: Section[Any], stages: Sequence[Stage], latency_metric: str) -> tuple[Any, ...]:
    """Build a row for each stage that has a metric of the section, except warm-ups and batches."""
    record = section.record
    assert record is not None, f"the section {section.name} has no record"
    measured_stages = [stage for stage in stages if STAGE_KINDS[stage.kind].is_measured and stage.kind != "batch"]
    return tuple(
        record(
            stage=stage.label,
            **read_metrics(section.columns, stage.metrics, latency_metric, stage.verdict.status),
        )
        for stage in measured_stages
        if section.needs_metrics & stage.metrics.keys()
    )


def read_metrics(
    columns: Sequence[Column[Any]],
    metrics: Mapping[str, Mapping[str, Estimate]],
    latency_metric: str,
    validity: Validity,
) -> dict[str, Quantity]:
    """Return the quantities of the columns that are metrics, by their field. A quantity without a
    value was not measured."""
    quantities = {}
    for column in columns:
        metric, _, aggregate = column.metric.replace(LATENCY, latency_metric).partition(".")
        if metric:
            estimate = metrics.get(metric, {}).get(aggregate or "value") or _NOT_MEASURED
            quantities[column.key] = build_quantity(estimate, find_unit(metric), validity)
    return quantities
