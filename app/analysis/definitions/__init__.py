"""Evaluates the same requests by the metric definitions of other tools, side by side with those of Sizewise.

None of their code is run or copied: each module documents how its tool computes its numbers, and in which version.
"""

from __future__ import annotations

from app.analysis.definitions.aiperf import as_aiperf
from app.analysis.definitions.genai_bench import as_genai_bench
from app.analysis.definitions.guidellm import as_guidellm
from app.analysis.definitions.inference_perf import as_inference_perf
from app.analysis.definitions.seen import own_numbers, seen
from app.analysis.definitions.vllm import as_vllm
from app.analysis.rows import StageRows
from app.records.definitions import ToolNumbers
from app.records.result import Stage

_TOOLS = (as_vllm, as_guidellm, as_aiperf, as_genai_bench, as_inference_perf)


def by_definitions(rows: StageRows, stage: Stage) -> tuple[ToolNumbers, ...]:
    """Compute the numbers of all tools, those of Sizewise first, from the stage's own numbers. `rows` may include the
    lead-in, which no tool counts."""
    window = stage.window
    requests = seen(
        rows.where((rows.intended_ns >= window.start_ns) & (rows.intended_ns < window.end_ns)), window.start_ns
    )
    return (own_numbers(stage), *(tool(requests) for tool in _TOOLS))
