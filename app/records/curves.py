"""Measured load points, ours and other tools', as the planner reads them."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.token_sample import TokenSample

Precision = Literal["requests", "aggregates", "rounded", "typed"]
"""What percentiles were made of: every request, the tool's own aggregates, rounded ones, or a person's word."""
Gaps = Literal["random", "even", "other"]
"""Between arrivals of an open loop: as Poisson's, all alike, or neither of them."""


class Rung(msgspec.Struct, frozen=True):
    """One load point. `latencies_s` is by metric ("latency", "ttft", "tpot", "itl"), then by aggregate ("mean", "p50",
    "p95", "p99_9", "max"); what the file does not have is absent.

    `offered_per_s` is None in a closed loop, which has `clients` instead; both are None where the file does not tell
    the load, or all was sent at once. `achieved_per_s` counts completions that succeeded. Counts are None where the
    file has none.
    """

    offered_per_s: float | None
    clients: float | None
    achieved_per_s: float
    duration_s: float | None
    completed: int | None
    failed: int | None
    latencies_s: dict[str, dict[str, float]]
    input_tokens_mean: float | None = None
    output_tokens_mean: float | None = None
    gaps: Gaps = "random"
    lengths: TokenSample | None = None
    """Joint input and output lengths of the requests at this load; None where the source reports means at most."""


class ForeignCurve(msgspec.Struct, frozen=True):
    """Another tool's load points, by rising load, and what a reader must know of them. `source` names files without
    their folders."""

    tool: str
    version: str | None
    model: str | None
    source: str
    precision: Precision
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...] = ()
