"""What limits a variant: arithmetic, memory, launches or the host, copies, or nothing that stands out.

Where a call stands under the roof of the processor it ran on (Williams et al., Roofline, CACM 52,
2009).

What limits a variant, in sentences with the numbers that say so.

What a card does at the most by its data sheet: with dense matrices, at a clock and power it may not
hold.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from app.analysis.digits import digits
from app.records.local import BatchLaw, Bound, Peaks
from app.records.model import BatchCost
from app.records.offers import Accelerator


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


LEAST_MODEL = "bytes are counted from the graph, each weight, input and output once"
MOVED_MODEL = "bytes are counted from the graph, with nothing fused and nothing held in caches"


def compute_words(place: RoofPlace) -> str:
    side = _of_ridge(place, place.cost.least_bytes)
    return f"compute bound: {_arithmetic(place)}, {side} ({LEAST_MODEL}){_caveat(place.peaks)}"


def memory_words(place: RoofPlace, moved_bytes: int, model: str) -> str:
    return (
        f"memory bound: {_traffic(place, moved_bytes)}, {_of_ridge(place, moved_bytes)} ({model}){_caveat(place.peaks)}"
    )


def launch_words(place: RoofPlace, fixed_share: float, fixed_ms: float, nodes: int | None) -> str:
    each = f", {digits(fixed_ms * 1e3 / nodes, 2)} µs for each of {nodes:,} operators" if nodes else ""
    fixed = f"{_percent(fixed_share)} of a call is the same at any batch ({digits(fixed_ms, 3)} ms{each})"
    far = f"it runs at {_percent(place.roof_share)} of its roof: {_higher(place)}"
    return f"launch or host bound: {fixed}, and {far}{_caveat(place.peaks)}"


def copy_words(copies_ms: float, execute_ms: float) -> str:
    copies, execution = digits(copies_ms, 3), digits(execute_ms, 3)
    return f"copy bound: copies to and from the device take {copies} ms, execution {execution} ms"


def host_words(host_ms: float, execute_ms: float) -> str:
    return (
        f"launch or host bound: preparing inputs and reading outputs take {digits(host_ms, 3)} ms, "
        f"execution {digits(execute_ms, 3)} ms"
    )


def faster_than_peak_words(place: RoofPlace) -> str:
    return (
        f"nothing can be told: {_arithmetic(place)}, more than its peak, which is not that of the arithmetic that ran, "
        f"or too low{_caveat(place.peaks)}"
    )


def faster_than_memory_words(place: RoofPlace) -> str:
    return (
        f"nothing stands out: {_traffic(place, place.cost.least_bytes)}, more than its memory gives, so that caches "
        f"hold a part or not all is read, and {_arithmetic(place)} ({LEAST_MODEL}){_caveat(place.peaks)}"
    )


def nothing_words(place: RoofPlace, fixed_share: float | None) -> str:
    fixed = (
        "how much of a call is the same at any batch is not known: time more batches"
        if fixed_share is None
        else f"{_percent(fixed_share)} of a call is the same at any batch"
    )
    return f"nothing stands out: {_higher(place)}, and {fixed} ({LEAST_MODEL}){_caveat(place.peaks)}"


def unknown_words(missing: str, fixed_share: float | None) -> str:
    """The fixed part of the batch law alone does not tell launches from reading the weights."""
    if fixed_share is None:
        return f"nothing can be told: {missing}"
    return (
        f"nothing can be told: {missing}; {_percent(fixed_share)} of a call is the same at any batch, "
        "which launches and reading the weights both are"
    )


def _higher(place: RoofPlace) -> str:
    return _arithmetic(place) if place.compute_share >= place.least_share else _traffic(place, place.cost.least_bytes)


def _arithmetic(place: RoofPlace) -> str:
    achieved = place.cost.flops / place.execute_ms * 1e3
    peak = _peak(place.peaks, place.peak_flops_per_s, "GFLOP/s")
    return f"{_giga(achieved)} GFLOP/s are {_percent(place.compute_share)} of {peak}"


def _traffic(place: RoofPlace, moved_bytes: int) -> str:
    achieved = moved_bytes / place.execute_ms * 1e3
    peak = _peak(place.peaks, place.peak_bytes_per_s, "GB/s")
    return f"{_giga(achieved)} GB/s are {_percent(achieved / place.peak_bytes_per_s)} of {peak}"


def _peak(peaks: Peaks, per_s: float, unit: str) -> str:
    known = "measured on" if peaks.basis == "measured" else "published for"
    return f"the {_giga(per_s)} {unit} {known} {peaks.name}"


def _of_ridge(place: RoofPlace, moved_bytes: int) -> str:
    if not moved_bytes:
        return "with nothing to move"
    intensity = place.cost.flops / moved_bytes
    return f"at {digits(intensity, 2)} FLOP/byte where memory is the limit below {digits(place.ridge, 2)}"


def _caveat(peaks: Peaks) -> str:
    return "" if peaks.basis == "measured" else "; the peak is a data sheet's, not measured here"


def _giga(per_s: float) -> str:
    return digits(per_s / 1e9, 3)


def _percent(share: float) -> str:
    return f"{digits(share * 100, 2)} %"


Limit = Literal["compute", "memory", "launch or host", "copy"]

_NEAR = 0.6
"""Share of its roof from which a call is said to be limited by it, as in the Speed of Light section of NVIDIA's Nsight
Compute. Below, most of the time goes to something else."""
_FAR = 0.2
_OVER = 1.1
"""Of a peak, from which the peak is held to be wrong, and not the time."""
_UNFUSED = 0.5
_FIXED = 0.5
_COPIES = 0.5


class CallTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Medians of the parts of a call of one batch, with one call at a time; None where a part was not timed apart."""

    execute_ms: float | None
    prepare_ms: float | None = None
    copy_in_ms: float | None = None
    copy_out_ms: float | None = None
    post_ms: float | None = None


def bound_of(
    times: CallTimes, cost: BatchCost | None, peaks: Peaks | None, law: BatchLaw | None, nodes: int | None
) -> Bound:
    """`cost` is of the batch that was timed, None where some of its work is not known; `peaks` are of the arithmetic
    and the threads that ran; `law` is of the execution over batches; `nodes` is how many operators a call runs.

    Rates and intensity of the answer are by the least bytes, or, where the sentence says that nothing is fused, by all
    that operators read and write.
    """
    place = place_of(times.execute_ms, cost, peaks)
    limit, sentence = _outside(times) or _inside(times, cost, peaks, place, law, nodes)
    execute_s = times.execute_ms / 1e3 if times.execute_ms else None
    is_moved = place is not None and limit == "memory" and not _reads_much(place)
    moved = None if cost is None else cost.moved_bytes if is_moved else cost.least_bytes
    return Bound(
        limit=limit,
        sentence=sentence,
        flops_per_s=cost.flops / execute_s if cost is not None and execute_s else None,
        bytes_per_s=moved / execute_s if moved is not None and execute_s else None,
        flops_per_byte=cost.flops / moved if cost is not None and moved else None,
        roof_share=None if place is None else place.moved_share if is_moved else place.roof_share,
        peaks=peaks,
    )


def _outside(times: CallTimes) -> tuple[Limit, str] | None:
    """What goes on beside the execution, where it is much of a call."""
    if not times.execute_ms:
        return None
    copies_ms = (times.copy_in_ms or 0.0) + (times.copy_out_ms or 0.0)
    host_ms = (times.prepare_ms or 0.0) + (times.post_ms or 0.0)
    if host_ms > times.execute_ms and host_ms >= copies_ms:
        return "launch or host", host_words(host_ms, times.execute_ms)
    if copies_ms > _COPIES * times.execute_ms:
        return "copy", copy_words(copies_ms, times.execute_ms)
    return None


def _inside(
    times: CallTimes,
    cost: BatchCost | None,
    peaks: Peaks | None,
    place: RoofPlace | None,
    law: BatchLaw | None,
    nodes: int | None,
) -> tuple[Limit | None, str]:
    fixed_ms, fixed_share = _fixed(law, cost)
    if place is None:
        return None, unknown_words(_missing(times, cost, peaks), fixed_share)
    if place.compute_share > _OVER:
        return None, faster_than_peak_words(place)
    if fixed_share is not None and fixed_ms is not None and place.roof_share <= _FAR and fixed_share > _FIXED:
        return "launch or host", launch_words(place, fixed_share, fixed_ms, nodes)
    if place.compute_share >= _NEAR and (place.compute_share > place.least_share or place.least_share > _OVER):
        return "compute", compute_words(place)
    if place.least_share > _OVER:
        return None, faster_than_memory_words(place)
    if _reads_much(place):
        return "memory", memory_words(place, place.cost.least_bytes, LEAST_MODEL)
    if _UNFUSED <= place.moved_share <= _OVER:
        return "memory", memory_words(place, place.cost.moved_bytes, MOVED_MODEL)
    return None, nothing_words(place, fixed_share)


def _reads_much(place: RoofPlace) -> bool:
    return _NEAR <= place.least_share <= _OVER


def _fixed(law: BatchLaw | None, cost: BatchCost | None) -> tuple[float | None, float | None]:
    """t0, and its share of a call of the batch. A law that does not hold, as of a line that breaks, still tells that a
    large part is fixed where t0's interval stays above 0."""
    if law is None or cost is None:
        return None, None
    if law.reason is not None and not (law.t0_ms.ci95 and law.t0_ms.ci95[0] > 0):
        return None, None
    t0_ms, t1_ms = law.t0_ms.value, law.t1_ms.value
    if t0_ms is None or t1_ms is None or t0_ms + t1_ms * cost.batch <= 0:
        return None, None
    return t0_ms, t0_ms / (t0_ms + t1_ms * cost.batch)


def _missing(times: CallTimes, cost: BatchCost | None, peaks: Peaks | None) -> str:
    if not times.execute_ms:
        return "the execution was not timed"
    if cost is None:
        return "not all the work of a call is known"
    if peaks is None:
        return "no peaks are known of the processor it ran on"
    return f"no peak of this arithmetic, or of memory, is known of {peaks.name}"


Arithmetic = Literal["fp32", "fp16", "int8"]


def card_peaks(accelerator: Accelerator, arithmetic: Arithmetic) -> Peaks:
    """Of fp32 without tensor cores, which a runtime that rounds its factors to TF32 exceeds."""
    tera_per_s = {"fp32": accelerator.fp32_tflops, "fp16": accelerator.fp16_tflops, "int8": accelerator.int8_tops}
    peak, bandwidth_gb_s = tera_per_s[arithmetic], accelerator.memory_bandwidth_gb_s
    return Peaks(
        name=f"{accelerator.vendor} {accelerator.name}",
        flops_per_s=None if peak is None else peak * 1e12,
        bytes_per_s=None if bandwidth_gb_s is None else bandwidth_gb_s * 1e9,
        basis="assumed",
        source=accelerator.source,
    )
