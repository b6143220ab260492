"""Compute the metrics of a stage by the definitions of other tools, from the same requests, for
comparison with the metrics of Sizewise.

No code of these tools is run or copied: `tools` documents how each of them computes its metrics,
and in which version.
"""

from __future__ import annotations

from app.analysis.definitions.requests import compute_own_metrics, observe_requests
from app.analysis.definitions.tools import (
    compute_aiperf_metrics,
    compute_genai_bench_metrics,
    compute_guidellm_metrics,
    compute_inference_perf_metrics,
    compute_vllm_metrics,
)
from app.analysis.rows import StageRows
from app.records.definitions import ToolMetrics
from app.records.result import Stage

_METRIC_FUNCTIONS = (
    compute_vllm_metrics,
    compute_guidellm_metrics,
    compute_aiperf_metrics,
    compute_genai_bench_metrics,
    compute_inference_perf_metrics,
)


def compute_tool_metrics(rows: StageRows, stage: Stage) -> tuple[ToolMetrics, ...]:
    """Compute the metrics of one stage by the definitions of all tools. The first entry contains
    the metrics of Sizewise, taken from `stage`. `rows` may include the lead-in; no tool counts its
    requests."""
    window = stage.window
    requests = observe_requests(
        rows.filter((rows.scheduled_ns >= window.start_ns) & (rows.scheduled_ns < window.end_ns)), window.start_ns
    )
    return (compute_own_metrics(stage), *(compute_metrics(requests) for compute_metrics in _METRIC_FUNCTIONS))
