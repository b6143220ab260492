"""What a stage cost the GPUs it ran on: energy by item, shares of the time, and whether they were held back."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from msgspec.structs import replace

from app.analysis.energy import energy_in_all, energy_per_item, energy_use
from app.analysis.gpu_readings import readings_of, whole_gpus
from app.analysis.gpu_shares import gpu_shares
from app.analysis.grading import grade_high
from app.analysis.validity import verdict_of
from app.records.estimate import Estimate
from app.records.gpu import THROTTLING, throttle_names
from app.records.result import Check, Stage, Window

Metrics = dict[str, dict[str, Estimate]]

_THROTTLED = 0.01


def gpu_use(
    telemetry: pd.DataFrame,
    window: Window,
    idle: Window | None,
    *,
    inferences: int,
    tokens: int = 0,
    sources: Sequence[str] | None = None,
) -> Metrics:
    """Of all of this machine's GPUs, or of those named; empty where there is none. `idle`: when they had nothing to
    do."""
    gpus = whole_gpus(telemetry) if sources is None else tuple(one for one in sources if one in whole_gpus(telemetry))
    if not gpus:
        return {}
    use = energy_in_all([energy_use(telemetry, one, window, idle) for one in gpus])
    inference, token = energy_per_item(use, inferences), energy_per_item(use, tokens)
    shares = [gpu_shares(telemetry, one, window) for one in gpus]
    metrics = {
        "energy_j": use.total_j,
        "idle_power_w": use.idle_w,
        "energy_j_per_inference": inference.total_j,
        "energy_above_idle_j_per_inference": inference.above_idle_j,
        "gpu_busy_share": _mean([one.busy for one in shares]),
        "gpu_idle_share": _mean([one.idle for one in shares]),
        "gpu_throttled_share": _mean([one.throttled for one in shares]),
    }
    if tokens:
        metrics |= {
            "energy_j_per_output_token": token.total_j,
            "energy_above_idle_j_per_output_token": token.above_idle_j,
        }
    return {name: {"value": estimate} for name, estimate in metrics.items()}


def with_gpu_use(stage: Stage, telemetry: pd.DataFrame, idle: Window | None) -> Stage:
    """An endpoint's stage with what its answers, and their tokens, took of this machine's GPUs."""
    tokens = stage.metrics.get("output_tokens", {}).get("mean", Estimate(None)).value
    written = 0 if tokens is None else round(tokens * stage.completed)
    use = gpu_use(telemetry, stage.window, idle, inferences=stage.completed, tokens=written)
    held_back = throttling_check(telemetry, stage.window)
    checks = stage.checks if held_back is None else (*stage.checks, held_back)
    return replace(stage, metrics={**stage.metrics, **use}, checks=checks, verdict=verdict_of(checks))


def throttling_check(telemetry: pd.DataFrame, window: Window, sources: Sequence[str] | None = None) -> Check | None:
    """None where no GPU tells of it."""
    worst: float | None = None
    reasons: set[str] = set()
    for source in whole_gpus(telemetry) if sources is None else sources:
        share = gpu_shares(telemetry, source, window).throttled
        if share is None:
            continue
        worst = share if worst is None else max(worst, share)
        bits = readings_of(telemetry, source, "gpu_throttle_reasons").known()
        inside = bits.values[(bits.at_ns >= window.start_ns) & (bits.at_ns < window.end_ns)]
        reasons |= {name for value in set(inside.tolist()) if int(value) & THROTTLING for name in throttle_names(value)}
    if worst is None:
        return None
    hint = f"The GPU's clocks were held back ({', '.join(sorted(reasons))}): cool it, or raise its power limit."
    return grade_high("gpu_throttled", worst, unit="share", warn=_THROTTLED, hint=hint)


def _mean(values: Sequence[float | None]) -> Estimate:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Estimate(None, reason="the GPU does not tell")
    return Estimate(sum(known) / len(known), n=len(known))
