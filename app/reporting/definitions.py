"""Metrics of each stage as defined by other tools, compared with the definitions of Sizewise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from app.analysis.definitions import compute_tool_metrics
from app.analysis.rows import read_rows
from app.records.definitions import AGGREGATES, TOOL_METRICS, ToolMetrics
from app.records.result import Result, Stage
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.load import format_stage_name
from app.reporting.quantities import build_quantity
from reports import model

_LABELS = {
    "ttft_ms": "TTFT",
    "itl_ms": "ITL",
    "icl_ms": "ICL",
    "tpot_ms": "TPOT",
    "ntpot_ms": "NTPOT",
    "e2e_ms": "E2E",
    "requests_per_s": "req/s",
    "output_tokens_per_s": "output tok/s",
}
_NO_TOKENS_REMARK = (
    "No tokens were received, so TTFT, ITL, ICL and TPOT are not available. Only request latency and request rate are "
    "compared."
)
_NOT_STREAMED_REMARK = "No response was streamed, so TTFT, ITL, ICL and TPOT are not available."
_API_REMARKS = {
    "openai-responses": "Only GuideLLM and AIPerf support the Responses API. For the other tools, its first event "
    "counts as the first message, and each delta as one message.",
    "anthropic-messages": "The tools are compared as if they supported the Messages API: its first event counts as the "
    "first message, and each delta as one message.",
}
"""Remarks on protocols that not all tools support."""


def build_definitions(rows: pa.Table, result: Result) -> model.Definitions | None:
    """Build the metrics as each tool defines them; `None` if no requests were sent.

    All stages are included except warm-ups and pooled stages.
    """
    stages = [
        stage
        for stage in result.stages
        if stage.variant is None and STAGE_KINDS[stage.kind].is_measured and not stage.is_pooled
    ]
    stages_with_metrics = [
        (stage, tool_metrics) for stage in stages if (tool_metrics := _compute_tool_metrics(rows, stage))
    ]
    if not stages_with_metrics:
        return None
    tables = tuple(_build_table(stage, tool_metrics) for stage, tool_metrics in stages_with_metrics)
    tools, metric_labels = stages_with_metrics[0][1], {row.metric for table in tables for row in table.rows}
    return model.Definitions(
        tools=tuple(model.DefiningTool(name=tool.tool, source=tool.source, notes=tool.notes) for tool in tools),
        tables=tables,
        explanations=tuple(_list_explanations(tools, metric_labels)),
        remark=_find_remark(metric_labels, result.target.protocol),
    )


def _compute_tool_metrics(rows: pa.Table, stage: Stage) -> tuple[ToolMetrics, ...]:
    starts_ns = pc.coalesce(rows["scheduled_ns"], rows["sent_ns"])
    window = stage.window
    window_rows = rows.filter(pc.and_(pc.greater_equal(starts_ns, window.start_ns), pc.less(starts_ns, window.end_ns)))
    return compute_tool_metrics(read_rows(window_rows), stage) if window_rows.num_rows else ()


def _build_table(stage: Stage, tools: Sequence[ToolMetrics]) -> model.DefinitionTable:
    return model.DefinitionTable(
        stage=format_stage_name(stage),
        requests=tuple(tool.requests for tool in tools),
        rows=tuple(_build_rows(stage, tools)),
    )


def _build_rows(stage: Stage, tools: Sequence[ToolMetrics]) -> Iterator[model.DefinitionRow]:
    for metric, unit in TOOL_METRICS.items():
        tool_aggregates = [tool.metrics.get(metric, {}) for tool in tools]
        if not any(tool_aggregates[1:]):  # without values of other tools there is nothing to compare
            continue
        for aggregate in AGGREGATES if unit == "ms" else ("value",):
            estimates = [aggregates.get(aggregate) for aggregates in tool_aggregates]
            yield model.DefinitionRow(
                metric=_LABELS[metric],
                aggregate=None if aggregate == "value" else aggregate,
                quantities=tuple(
                    None if estimate is None else build_quantity(estimate, unit, stage.verdict.status)
                    for estimate in estimates
                ),
            )


def _list_explanations(tools: Sequence[ToolMetrics], metric_labels: set[str]) -> Iterator[model.Definition]:
    for metric, label in _LABELS.items():
        if label in metric_labels:
            yield from (
                model.Definition(metric=label, tool=tool.tool, explanation=tool.explanations[metric])
                for tool in tools
                if metric in tool.explanations
            )


def _find_remark(metric_labels: set[str], protocol: str) -> str | None:
    if _LABELS["ttft_ms"] in metric_labels:
        return _API_REMARKS.get(protocol)
    return _NOT_STREAMED_REMARK if _LABELS["output_tokens_per_s"] in metric_labels else _NO_TOKENS_REMARK
