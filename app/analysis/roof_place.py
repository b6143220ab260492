"""Where a call stands under the roof of the processor it ran on (Williams et al., Roofline, CACM 52, 2009)."""

from __future__ import annotations

import msgspec

from app.records.local import Peaks
from app.records.model import BatchCost


class RoofPlace(msgspec.Struct, frozen=True, kw_only=True):
    """What a call would take by arithmetic alone, and by its bytes alone, as shares of what it took.

    Bytes are a model's: at least each weight, input and output once, as if all operators were fused and the caches
    empty; at most what every operator reads and writes. What really moves is not measured.
    """

    execute_ms: float
    cost: BatchCost
    peaks: Peaks
    peak_flops_per_s: float
    peak_bytes_per_s: float
    compute_share: float
    least_share: float
    moved_share: float

    @property
    def roof_share(self) -> float:
        """By the higher roof, that of the least bytes: the achieved rate over what the roof allows."""
        return max(self.compute_share, self.least_share)

    @property
    def ridge(self) -> float:
        """FLOP/byte below which memory is the limit."""
        return self.peak_flops_per_s / self.peak_bytes_per_s


def place_of(execute_ms: float | None, cost: BatchCost | None, peaks: Peaks | None) -> RoofPlace | None:
    """None where the time, the work or a peak is not known."""
    if not execute_ms or cost is None or peaks is None or not peaks.flops_per_s or not peaks.bytes_per_s:
        return None
    execute_s = execute_ms / 1e3
    return RoofPlace(
        execute_ms=execute_ms,
        cost=cost,
        peaks=peaks,
        peak_flops_per_s=peaks.flops_per_s,
        peak_bytes_per_s=peaks.bytes_per_s,
        compute_share=cost.flops / peaks.flops_per_s / execute_s,
        least_share=cost.least_bytes / peaks.bytes_per_s / execute_s,
        moved_share=cost.moved_bytes / peaks.bytes_per_s / execute_s,
    )
