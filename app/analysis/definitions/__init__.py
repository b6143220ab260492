"""The same requests by the definitions of other tools, side by side with ours.

None of their code runs, nor is any copied: each module says what its tool was read to do, and in which version.
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
    """Ours first, from the stage's own numbers. `rows` may hold those of its lead-in, which count for no tool."""
    window = stage.window
    of = seen(rows.where((rows.intended_ns >= window.start_ns) & (rows.intended_ns < window.end_ns)), window.start_ns)
    return (own_numbers(stage), *(tool(of) for tool in _TOOLS))
