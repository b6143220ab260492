"""What limits a variant, in sentences with the numbers that say so."""

from __future__ import annotations

from app.analysis.digits import digits
from app.analysis.roof_place import RoofPlace
from app.records.local import Peaks

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
