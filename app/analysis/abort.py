"""Whether a running stage has come to what its profile gives up at."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from app.analysis.max_rate import shown_against
from app.analysis.objectives import is_met
from app.records.abort import AbortRule
from app.records.estimate import Estimate
from app.records.metrics import PERCENTILES
from app.records.result import Objective

ABORTABLE = ("error_rate", "latency_ms")
"""What is known while a stage runs."""


def reason_to_abort(
    rule: AbortRule, stage: str, elapsed_s: float, *, failed: int, completed: int, recent_ms: Collection[float]
) -> str | None:
    """The sentence that says why; None where the run may go on. Errors count from the start of the stage, latency is
    that of its recent answers. The point decides: to be stopped late is worse than to be stopped by chance."""
    if elapsed_s < rule.after_s:
        return None
    value = _seen(rule.objective, failed, completed, recent_ms)
    if is_met(rule.objective, Estimate(value)) is not True or value is None:
        return None
    return f"abort_when: {rule.text}: {shown_against(rule.objective, value)} in {stage} after {elapsed_s:.3g} s"


def _seen(objective: Objective, failed: int, completed: int, recent_ms: Collection[float]) -> float | None:
    if objective.metric == "error_rate":
        return failed / (failed + completed) if failed + completed else None
    if not recent_ms:
        return None
    values = np.fromiter(recent_ms, float)
    aggregate = objective.aggregate or ""
    if aggregate in PERCENTILES:
        return float(np.percentile(values, 100 * PERCENTILES[aggregate]))
    return float(values.mean() if aggregate == "mean" else values.max())
