"""When each request of a stage should start: pure functions of the plan, seed included."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from loadgen.records import StagePlan

Offsets = npt.NDArray[np.int64]


def offsets_ns(plan: StagePlan) -> Offsets:
    """Intended starts counted from the stage's start, ascending, all inside its duration."""
    duration_ns = round(plan.duration_s * 1e9)
    gap_ns = 1e9 / plan.rate_per_s
    if plan.arrivals == "constant":
        offsets = _constant(gap_ns, duration_ns)
    else:
        offsets = _poisson(gap_ns, duration_ns, np.random.default_rng(plan.seed))
    return offsets[offsets < duration_ns][: plan.max_requests]


def _constant(gap_ns: float, duration_ns: int) -> Offsets:
    return (np.arange(int(duration_ns / gap_ns) + 1) * gap_ns).astype(np.int64)


def _poisson(mean_gap_ns: float, duration_ns: int, rng: np.random.Generator) -> Offsets:
    expected = duration_ns / mean_gap_ns
    size = int(expected + 5 * expected**0.5) + 16
    blocks = [np.cumsum(rng.exponential(mean_gap_ns, size))]
    while blocks[-1][-1] < duration_ns:
        blocks.append(blocks[-1][-1] + np.cumsum(rng.exponential(mean_gap_ns, size)))
    return np.concatenate(blocks).astype(np.int64)
