"""Find the bottleneck of a variant: compute, memory, kernel launches or host, copies, or no single
bottleneck.

The module compares a call with the roofline of the processor that ran it (Williams et al.,
Roofline, CACM 52, 2009), and describes the bottleneck with numbers. The peaks of a GPU are from its
data sheet: for dense matrices, at a clock rate and power that the GPU may not sustain."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.analysis.number_format import format_number
from app.records.local import BatchModel, Bottleneck, Peaks
from app.records.model import BatchCost
from app.records.offers import Accelerator


class RooflinePosition(msgspec.Struct, frozen=True, kw_only=True):
    """Position of a call under the roofline. `compute_share` is the minimum time for the FLOPs, and
    `min_bytes_share` and `unfused_bytes_share` are the minimum times for the bytes, each as a
    proportion of the measured execution time.

    Memory traffic is modeled, not measured. The minimum traffic (`min_bytes_share`) counts each
    weight, input and output once, as if all operators were fused and the caches empty. The maximum
    traffic (`unfused_bytes_share`) counts all bytes that each operator reads and writes."""

    execute_ms: float
    cost: BatchCost
    peaks: Peaks
    peak_flops_per_s: float
    peak_bytes_per_s: float
    compute_share: float
    min_bytes_share: float
    unfused_bytes_share: float

    @property
    def roofline_share(self) -> float:
        """Achieved rate as a proportion of the roofline limit, assuming the minimum memory
        traffic."""
        return max(self.compute_share, self.min_bytes_share)

    @property
    def ridge_flops_per_byte(self) -> float:
        """Arithmetic intensity in FLOP/byte below which a call is memory bound."""
        return self.peak_flops_per_s / self.peak_bytes_per_s


def locate_on_roofline(
    execute_ms: float | None, cost: BatchCost | None, peaks: Peaks | None
) -> RooflinePosition | None:
    """Locate a call under the roofline; `None` if the execution time, the cost or a peak is
    unknown."""
    if not execute_ms or cost is None or peaks is None or not peaks.flops_per_s or not peaks.bytes_per_s:
        return None
    execute_s = execute_ms / 1e3
    return RooflinePosition(
        execute_ms=execute_ms,
        cost=cost,
        peaks=peaks,
        peak_flops_per_s=peaks.flops_per_s,
        peak_bytes_per_s=peaks.bytes_per_s,
        compute_share=cost.flops / peaks.flops_per_s / execute_s,
        min_bytes_share=cost.min_bytes / peaks.bytes_per_s / execute_s,
        unfused_bytes_share=cost.moved_bytes / peaks.bytes_per_s / execute_s,
    )


MIN_BYTES_NOTE = "bytes from the graph: each weight, input and output counted once"
MOVED_BYTES_NOTE = "bytes from the graph, without fusion or caching"


def format_compute_bound(position: RooflinePosition) -> str:
    intensity_text = _format_intensity(position, position.cost.min_bytes)
    arithmetic_text = _format_arithmetic(position)
    return f"compute bound: {arithmetic_text}, {intensity_text} ({MIN_BYTES_NOTE}){_format_caveat(position.peaks)}"


def format_memory_bound(position: RooflinePosition, moved_bytes: int, bytes_note: str) -> str:
    intensity_text = _format_intensity(position, moved_bytes)
    traffic_text, caveat = _format_traffic(position, moved_bytes), _format_caveat(position.peaks)
    return f"memory bound: {traffic_text}, {intensity_text} ({bytes_note}){caveat}"


def format_launch_bound(position: RooflinePosition, fixed_share: float, fixed_ms: float, node_count: int | None) -> str:
    node_overhead_text = (
        (f", {format_number(fixed_ms * 1e3 / node_count, 2)} µs per operator for {node_count:,} operators")
        if node_count
        else ""
    )
    fixed_text = (
        f"{_format_percent(fixed_share)} of the call time does not depend on the batch size "
        f"({format_number(fixed_ms, 3)} ms{node_overhead_text})"
    )
    roofline_text = (
        f"it reaches {_format_percent(position.roofline_share)} of the roofline: {_format_dominant_limit(position)}"
    )
    return f"launch or host bound: {fixed_text}, and {roofline_text}{_format_caveat(position.peaks)}"


def format_copy_bound(copies_ms: float, execute_ms: float) -> str:
    copies_text, execution_text = format_number(copies_ms, 3), format_number(execute_ms, 3)
    return f"copy bound: copies to and from the device take {copies_text} ms, execution {execution_text} ms"


def format_host_bound(host_ms: float, execute_ms: float) -> str:
    return (
        f"launch or host bound: preparing inputs and reading outputs take {format_number(host_ms, 3)} ms, "
        f"execution {format_number(execute_ms, 3)} ms"
    )


def format_faster_than_peak(position: RooflinePosition) -> str:
    return (
        f"unknown: {_format_arithmetic(position)}, which is above the peak; the peak is too low, or refers to another "
        f"data type{_format_caveat(position.peaks)}"
    )


def format_faster_than_memory(position: RooflinePosition) -> str:
    return (
        f"no single bottleneck: {_format_traffic(position, position.cost.min_bytes)}, which is above the memory "
        f"bandwidth, so caches serve part of the data or not all of it is read; {_format_arithmetic(position)} "
        f"({MIN_BYTES_NOTE}){_format_caveat(position.peaks)}"
    )


def format_no_bottleneck(position: RooflinePosition, fixed_share: float | None) -> str:
    fixed_text = (
        "the fraction of call time that does not depend on the batch size is unknown (measure more batch sizes)"
        if fixed_share is None
        else f"{_format_percent(fixed_share)} of the call time does not depend on the batch size"
    )
    caveat = _format_caveat(position.peaks)
    return f"no single bottleneck: {_format_dominant_limit(position)}; {fixed_text} ({MIN_BYTES_NOTE}){caveat}"


def format_unknown_bottleneck(reason: str, fixed_share: float | None) -> str:
    """Describe why the bottleneck is unknown. The fixed part of the batch latency model includes
    both kernel launches and reading the weights, so it does not identify the bottleneck."""
    if fixed_share is None:
        return f"unknown: {reason}"
    return (
        f"unknown: {reason}; {_format_percent(fixed_share)} of the call time does not depend on the batch size, which "
        "includes both launches and reading the weights"
    )


def _format_dominant_limit(position: RooflinePosition) -> str:
    return (
        _format_arithmetic(position)
        if position.compute_share >= position.min_bytes_share
        else _format_traffic(position, position.cost.min_bytes)
    )


def _format_arithmetic(position: RooflinePosition) -> str:
    achieved_per_s = position.cost.flops / position.execute_ms * 1e3
    peak_text = _format_peak(position.peaks, position.peak_flops_per_s, "GFLOP/s")
    return f"{_format_giga(achieved_per_s)} GFLOP/s are {_format_percent(position.compute_share)} of {peak_text}"


def _format_traffic(position: RooflinePosition, moved_bytes: int) -> str:
    achieved_per_s = moved_bytes / position.execute_ms * 1e3
    peak_text = _format_peak(position.peaks, position.peak_bytes_per_s, "GB/s")
    percent_text = _format_percent(achieved_per_s / position.peak_bytes_per_s)
    return f"{_format_giga(achieved_per_s)} GB/s are {percent_text} of {peak_text}"


def _format_peak(peaks: Peaks, rate_per_s: float, unit: str) -> str:
    origin = "measured on" if peaks.basis == "measured" else "published for"
    return f"the {_format_giga(rate_per_s)} {unit} {origin} {peaks.name}"


def _format_intensity(position: RooflinePosition, moved_bytes: int) -> str:
    if not moved_bytes:
        return "with no memory traffic"
    intensity = position.cost.flops / moved_bytes
    return (
        f"at {format_number(intensity, 2)} FLOP/byte (memory bound below "
        f"{format_number(position.ridge_flops_per_byte, 2)})"
    )


def _format_caveat(peaks: Peaks) -> str:
    return "" if peaks.basis == "measured" else "; the peak is from a data sheet, not measured here"


def _format_giga(rate_per_s: float) -> str:
    return format_number(rate_per_s / 1e9, 3)


def _format_percent(share: float) -> str:
    return f"{format_number(share * 100, 2)} %"


BottleneckKind = Literal["compute", "memory", "launch or host", "copy"]

_MIN_BOUND_SHARE = 0.6
"""Minimum proportion of the roofline limit at which a call is considered bound by that limit, as in
the Speed of Light section of NVIDIA Nsight Compute. Below this proportion, the call spends much of
its time on something else."""
_MAX_LAUNCH_BOUND_SHARE = 0.2
_MAX_PEAK_SHARE = 1.1
"""Maximum plausible ratio of achieved to peak hardware performance. Above it, the peak value is
assumed to be wrong, not the measured execution time."""
_MIN_UNFUSED_SHARE = 0.5
_MIN_FIXED_SHARE = 0.5
_MAX_COPY_RATIO = 0.5


class CallDurations(msgspec.Struct, frozen=True, kw_only=True):
    """Median durations in ms of the parts of a call at one batch size, with one call at a time;
    `None` for a part that was not measured separately."""

    execute_ms: float | None
    prepare_ms: float | None = None
    copy_in_ms: float | None = None
    copy_out_ms: float | None = None
    post_ms: float | None = None


def find_bottleneck(
    call_durations: CallDurations,
    cost: BatchCost | None,
    peaks: Peaks | None,
    batch_model: BatchModel | None,
    node_count: int | None,
) -> Bottleneck:
    """Determine the bottleneck of a variant.

    `cost` is the cost of the measured batch, `None` if the cost of an operator is unknown; `peaks`
    belong to the data type and the threads that were used; `batch_model` is the batch latency model
    of the execution; `node_count` is the number of operators in a call.

    Rates and arithmetic intensity of the result assume the minimum memory traffic. If the
    bottleneck is unfused memory traffic, both include all bytes that operators read and write."""
    position = locate_on_roofline(call_durations.execute_ms, cost, peaks)
    limit, sentence = _find_bottleneck_outside_execution(call_durations) or _find_bottleneck_of_execution(
        call_durations, cost, peaks, position, batch_model, node_count
    )
    execute_s = call_durations.execute_ms / 1e3 if call_durations.execute_ms else None
    is_bound_by_unfused_traffic = position is not None and limit == "memory" and not _is_near_memory_roof(position)
    moved_bytes = None if cost is None else cost.moved_bytes if is_bound_by_unfused_traffic else cost.min_bytes
    return Bottleneck(
        limit=limit,
        sentence=sentence,
        flops_per_s=cost.flops / execute_s if cost is not None and execute_s else None,
        bytes_per_s=moved_bytes / execute_s if moved_bytes is not None and execute_s else None,
        flops_per_byte=cost.flops / moved_bytes if cost is not None and moved_bytes else None,
        roof_share=None
        if position is None
        else position.unfused_bytes_share
        if is_bound_by_unfused_traffic
        else position.roofline_share,
        peaks=peaks,
    )


def _find_bottleneck_outside_execution(call_durations: CallDurations) -> tuple[BottleneckKind, str] | None:
    """Return a bottleneck outside the execution (copies or host) if copies or host work take long
    compared with the execution; otherwise `None`."""
    if not call_durations.execute_ms:
        return None
    copies_ms = (call_durations.copy_in_ms or 0.0) + (call_durations.copy_out_ms or 0.0)
    host_ms = (call_durations.prepare_ms or 0.0) + (call_durations.post_ms or 0.0)
    if host_ms > call_durations.execute_ms and host_ms >= copies_ms:
        return "launch or host", format_host_bound(host_ms, call_durations.execute_ms)
    if copies_ms > _MAX_COPY_RATIO * call_durations.execute_ms:
        return "copy", format_copy_bound(copies_ms, call_durations.execute_ms)
    return None


def _find_bottleneck_of_execution(
    call_durations: CallDurations,
    cost: BatchCost | None,
    peaks: Peaks | None,
    position: RooflinePosition | None,
    batch_model: BatchModel | None,
    node_count: int | None,
) -> tuple[BottleneckKind | None, str]:
    fixed_ms, fixed_share = _compute_fixed_part(batch_model, cost)
    if position is None:
        return None, format_unknown_bottleneck(_format_missing_reason(call_durations, cost, peaks), fixed_share)
    if position.compute_share > _MAX_PEAK_SHARE:
        return None, format_faster_than_peak(position)
    if (
        fixed_share is not None
        and fixed_ms is not None
        and position.roofline_share <= _MAX_LAUNCH_BOUND_SHARE
        and fixed_share > _MIN_FIXED_SHARE
    ):
        return "launch or host", format_launch_bound(position, fixed_share, fixed_ms, node_count)
    if position.compute_share >= _MIN_BOUND_SHARE and (
        position.compute_share > position.min_bytes_share or position.min_bytes_share > _MAX_PEAK_SHARE
    ):
        return "compute", format_compute_bound(position)
    if position.min_bytes_share > _MAX_PEAK_SHARE:
        return None, format_faster_than_memory(position)
    if _is_near_memory_roof(position):
        return "memory", format_memory_bound(position, position.cost.min_bytes, MIN_BYTES_NOTE)
    has_unfused_traffic = position.cost.moved_bytes > position.cost.min_bytes
    if has_unfused_traffic and _MIN_UNFUSED_SHARE <= position.unfused_bytes_share <= _MAX_PEAK_SHARE:
        return "memory", format_memory_bound(position, position.cost.moved_bytes, MOVED_BYTES_NOTE)
    return None, format_no_bottleneck(position, fixed_share)


def _is_near_memory_roof(position: RooflinePosition) -> bool:
    return _MIN_BOUND_SHARE <= position.min_bytes_share <= _MAX_PEAK_SHARE


def _compute_fixed_part(batch_model: BatchModel | None, cost: BatchCost | None) -> tuple[float | None, float | None]:
    """Return t0 in ms, and t0 as a proportion of the service time of a batch; both are `None` if
    unknown. A batch model that does not fit (for example because its slope changes) is still used
    if the whole confidence interval of t0 is above 0."""
    if batch_model is None or cost is None:
        return None, None
    if batch_model.reason is not None and not (batch_model.t0_ms.ci95 and batch_model.t0_ms.ci95[0] > 0):
        return None, None
    t0_ms, t1_ms = batch_model.t0_ms.value, batch_model.t1_ms.value
    if t0_ms is None or t1_ms is None or t0_ms + t1_ms * cost.batch <= 0:
        return None, None
    return t0_ms, t0_ms / (t0_ms + t1_ms * cost.batch)


def _format_missing_reason(call_durations: CallDurations, cost: BatchCost | None, peaks: Peaks | None) -> str:
    if not call_durations.execute_ms:
        return "execution time was not measured"
    if cost is None:
        return "the cost of some operators is unknown"
    if peaks is None:
        return "the peak FLOP/s and memory bandwidth of the processor are unknown"
    return f"the peak FLOP/s for this data type or the peak memory bandwidth of {peaks.name} is unknown"


DataType = Literal["fp32", "fp16", "int8"]


def get_published_peaks(accelerator: Accelerator, data_type: DataType) -> Peaks:
    """Return the published peaks of a GPU. The fp32 peak excludes tensor cores, so a runtime that
    rounds inputs to TF32 can exceed the peak."""
    tera_per_s_by_type = {
        "fp32": accelerator.fp32_tflops,
        "fp16": accelerator.fp16_tflops,
        "int8": accelerator.int8_tops,
    }
    peak_tera_per_s, bandwidth_gb_s = tera_per_s_by_type[data_type], accelerator.memory_bandwidth_gb_s
    return Peaks(
        name=f"{accelerator.vendor} {accelerator.name}",
        flops_per_s=None if peak_tera_per_s is None else peak_tera_per_s * 1e12,
        bytes_per_s=None if bandwidth_gb_s is None else bandwidth_gb_s * 1e9,
        basis="assumed",
        source=accelerator.source,
    )
