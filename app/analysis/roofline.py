"""What limits a variant: arithmetic, memory, launches or the host, copies, or nothing that stands out."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.analysis import bound_words as words
from app.analysis.roof_place import RoofPlace, place_of
from app.records.local import BatchLaw, Bound, Peaks
from app.records.model import BatchCost

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
        return "launch or host", words.host_words(host_ms, times.execute_ms)
    if copies_ms > _COPIES * times.execute_ms:
        return "copy", words.copy_words(copies_ms, times.execute_ms)
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
        return None, words.unknown_words(_missing(times, cost, peaks), fixed_share)
    if place.compute_share > _OVER:
        return None, words.faster_than_peak_words(place)
    if fixed_share is not None and fixed_ms is not None and place.roof_share <= _FAR and fixed_share > _FIXED:
        return "launch or host", words.launch_words(place, fixed_share, fixed_ms, nodes)
    if place.compute_share >= _NEAR and (place.compute_share > place.least_share or place.least_share > _OVER):
        return "compute", words.compute_words(place)
    if place.least_share > _OVER:
        return None, words.faster_than_memory_words(place)
    if _reads_much(place):
        return "memory", words.memory_words(place, place.cost.least_bytes, words.LEAST_MODEL)
    if _UNFUSED <= place.moved_share <= _OVER:
        return "memory", words.memory_words(place, place.cost.moved_bytes, words.MOVED_MODEL)
    return None, words.nothing_words(place, fixed_share)


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
