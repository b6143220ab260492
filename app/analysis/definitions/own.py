"""Our own numbers, beside which the others' stand."""

from __future__ import annotations

from app.analysis.definitions.spread import Spread
from app.records.definitions import AGGREGATES, METRICS, ToolNumbers
from app.records.result import Stage

_OWN = {
    "ttft_ms": "ttft_ms",
    "itl_ms": "itl_ms",
    "icl_ms": "icl_ms",
    "tpot_ms": "tpot_ms",
    "e2e_ms": "latency_ms",
    "requests_per_s": "completed_per_s",
    "output_tokens_per_s": "output_tokens_per_s",
}
_WHY = {
    "ttft_ms": "from the intended time to the first delta that is not empty, reasoning included",
    "itl_ms": "the gaps between tokens, pooled: a delta of k tokens gives k gaps of a k-th",
    "icl_ms": "the gaps between deltas as they came, pooled",
    "tpot_ms": "(last − first token)/(tokens − 1), one an answer",
    "e2e_ms": "from the intended time to the last token: waiting to be sent is in it",
    "requests_per_s": "successes that ended within the stage's window, without its drain, over that window",
    "output_tokens_per_s": "tokens that came within the window, those of an answer spread evenly, over that window",
}
_NOTES = ("percentiles are values that were seen, and n/a where there are too few for an interval",)


def own_numbers(stage: Stage) -> ToolNumbers:
    return ToolNumbers(
        tool="Sizewise",
        read_from="docs/metrics.md",
        answers=stage.completed,
        metrics={name: found for name in METRICS if (found := _of(stage, name))},
        why=_WHY,
        notes=_NOTES,
    )


def _of(stage: Stage, name: str) -> Spread:
    told = stage.metrics.get(_OWN.get(name, ""), {})
    return {one: told[one] for one in (*AGGREGATES, "value") if one in told}
