"""Roofline of a processor of 100 GFLOP/s and 10 GB/s, on which work below 10 FLOP/byte is memory bound."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.analysis.local.batch_model import BatchPoint, fit_batch_model
from app.analysis.local.roofline import CallDurations, find_bottleneck, get_published_peaks
from app.profiles.pricing.catalog import find_accelerator, load_catalog
from app.records.estimate import Estimate, Variant
from app.records.local import BatchModel, Bottleneck, Peaks
from app.records.model import BatchCost
from tests.fakes.offers import accelerator

PEAKS = Peaks(name="this CPU with 1 thread in fp32", flops_per_s=1e11, bytes_per_s=1e10, basis="measured", source="")
VARIANT = Variant("m", "cpu", "as-is", 1, 1)


def build_cost(mflop: float, min_mb: float, moved_mb: float | None = None, batch: int = 1) -> BatchCost:
    """Cost of a call. For a call of 1 ms, 1 MFLOP is 1 % of the peak, and 0.1 MB is 1 % of the bandwidth."""
    moved_bytes = round((min_mb if moved_mb is None else moved_mb) * 1e6)
    return BatchCost(
        batch=batch,
        flops=round(mflop * 1e6),
        moved_bytes=moved_bytes,
        min_bytes=round(min_mb * 1e6),
        memory_bytes=0,
        flops_per_byte=mflop * 1e6 / moved_bytes if moved_bytes else None,
    )


def fit_linear_model(t0_ms: float, t1_ms: float) -> BatchModel:
    points = [BatchPoint(batch, Estimate(t0_ms + t1_ms * batch)) for batch in (1, 4, 16, 64)]
    return fit_batch_model(points, VARIANT)


def find_bound(
    work: BatchCost | None, fit_linear_model: BatchModel | None = None, peaks: Peaks | None = PEAKS, **times: Any
) -> Bottleneck:
    return find_bottleneck(CallDurations(**{"execute_ms": 1.0, **times}), work, peaks, fit_linear_model, 20)


def test_work_near_peak_flops_is_compute_bound() -> None:
    bottleneck = find_bound(build_cost(71, 2))
    assert bottleneck.limit == "compute"
    assert bottleneck.sentence == (
        "compute bound: 71 GFLOP/s are 71 % of the 100 GFLOP/s measured on this CPU with 1 thread in fp32, at 36 "
        "FLOP/byte (memory bound below 10) (bytes from the graph: each weight, input and output counted once)"
    )
    assert (bottleneck.flops_per_s, bottleneck.bytes_per_s) == pytest.approx((71e9, 2e9))
    assert bottleneck.peaks == PEAKS
    assert (bottleneck.flops_per_byte, bottleneck.roof_share) == pytest.approx((35.5, 0.71))


@pytest.mark.parametrize(("work", "share"), [(build_cost(32, 2), "32 %"), (build_cost(4, 3.2), "32 %")])
def test_a_third_of_peak_is_not_bottleneck(work: BatchCost, share: str) -> None:
    bottleneck = find_bound(work)
    assert bottleneck.limit is None
    assert "no single bottleneck" in bottleneck.sentence
    assert share in bottleneck.sentence


def test_work_with_low_flops_per_byte_is_memory_bound() -> None:
    bottleneck = find_bound(build_cost(4, 8))
    assert bottleneck.limit == "memory"
    assert bottleneck.sentence.startswith(
        "memory bound: 8 GB/s are 80 % of the 10 GB/s measured on this CPU with 1 thread in fp32, at 0.5 FLOP/byte "
        "(memory bound below 10) ("
    )
    assert (bottleneck.roof_share, bottleneck.bytes_per_s) == pytest.approx((0.8, 8e9))


def test_model_without_flops_can_be_memory_bound() -> None:
    bottleneck = find_bound(build_cost(0, 8))
    assert (bottleneck.limit, bottleneck.flops_per_s, bottleneck.flops_per_byte) == ("memory", 0.0, 0.0)


def test_unfused_traffic_near_bandwidth_is_memory_bound() -> None:
    bottleneck = find_bound(build_cost(5, 1, moved_mb=8))
    assert bottleneck.limit == "memory"
    assert "without fusion or caching" in bottleneck.sentence
    assert (bottleneck.roof_share, bottleneck.bytes_per_s, bottleneck.flops_per_byte) == pytest.approx(
        (0.8, 8e9, 0.625)
    )


def test_fixed_call_time_far_below_roofline_is_launch_bound() -> None:
    bottleneck = find_bound(build_cost(5, 1), fit_linear_model(0.9, 0.1))
    assert bottleneck.limit == "launch or host"
    assert bottleneck.sentence == (
        "launch or host bound: 90 % of the call time does not depend on the batch size (0.9 ms, 45 µs per operator "
        "for 20 operators), and it reaches 10 % of the roofline: 1 GB/s are 10 % of the 10 GB/s measured on this "
        "CPU with 1 thread in fp32"
    )


def test_fixed_call_time_near_roofline_is_memory_bound() -> None:
    assert find_bound(build_cost(5, 8), fit_linear_model(0.9, 0.1)).limit == "memory"


def test_work_far_below_roofline_without_fixed_time_has_no_single_bottleneck() -> None:
    """With slow kernels, every row takes time, so launches do not explain it. At batch 64, t0 is small as well."""
    bottleneck = find_bound(build_cost(5, 1), fit_linear_model(0.05, 0.95))
    assert bottleneck.limit is None
    assert bottleneck.sentence.startswith("no single bottleneck: 1 GB/s are 10 % of the 10 GB/s")
    assert "5 % of the call time does not depend on the batch size" in bottleneck.sentence
    assert find_bound(build_cost(5, 1, batch=64), fit_linear_model(0.9, 0.1)).limit is None


def test_bottleneck_text_without_batch_model_advises_more_batch_sizes() -> None:
    bottleneck = find_bound(build_cost(5, 1))
    assert bottleneck.limit is None
    assert bottleneck.roof_share == pytest.approx(0.1)
    assert "measure more batch sizes" in bottleneck.sentence


def test_nonlinear_batch_model_with_large_fixed_time_is_launch_bound() -> None:
    """Constant up to batch 8, then 0.1 ms per row: launch bound, then compute bound."""
    points = [BatchPoint(batch, Estimate(1 + 0.1 * max(0, batch - 8))) for batch in (1, 2, 4, 8, 16, 32, 64)]
    broken = fit_batch_model(points, VARIANT)
    assert "the slope changes near batch" in str(broken.reason)
    assert find_bound(build_cost(5, 1), broken).limit == "launch or host"
    unsure = msgspec.structs.replace(broken, t0_ms=Estimate(0.9, (0.0, 1.8)))
    assert find_bound(build_cost(5, 1), unsure).limit is None


def test_copies_longer_than_half_of_execution_are_bottleneck() -> None:
    bottleneck = find_bound(build_cost(71, 2), copy_in_ms=0.3, copy_out_ms=0.25)
    assert bottleneck.limit == "copy"
    assert bottleneck.sentence == "copy bound: copies to and from the device take 0.55 ms, execution 1 ms"
    assert find_bound(build_cost(71, 2), copy_in_ms=0.3, copy_out_ms=0.15).limit == "compute"


def test_host_work_longer_than_execution_is_bottleneck() -> None:
    bottleneck = find_bound(build_cost(71, 2), prepare_ms=0.8, post_ms=0.3, copy_in_ms=0.6)
    assert bottleneck.limit == "launch or host"
    assert "preparing inputs and reading outputs take 1.1 ms, execution 1 ms" in bottleneck.sentence
    assert find_bound(build_cost(71, 2), prepare_ms=0.8).limit == "compute"
    assert find_bound(build_cost(71, 2), prepare_ms=1.1, copy_in_ms=3.0).limit == "copy"


def test_flops_above_peak_are_not_evaluated_by_peak() -> None:
    """For example fp32 on tensor cores, compared with the fp32 peak without them."""
    bottleneck = find_bound(build_cost(200, 2))
    assert bottleneck.limit is None
    assert "200 GFLOP/s are 200 % of the 100 GFLOP/s" in bottleneck.sentence
    assert "refers to another data type" in bottleneck.sentence


def test_bytes_above_peak_bandwidth_are_not_memory_bound() -> None:
    assert find_bound(build_cost(10, 20)).limit is None
    assert "caches serve part of the data or not all of it is read" in find_bound(build_cost(10, 20)).sentence
    assert find_bound(build_cost(60, 20)).limit == "compute"


def test_bottleneck_text_marks_data_sheet_peak() -> None:
    card = Peaks(name="NVIDIA L4", flops_per_s=1e11, bytes_per_s=1e10, basis="assumed", source="nv-ds")
    for work in (build_cost(71, 2), build_cost(4, 8), build_cost(5, 1), build_cost(200, 1)):
        sentence = find_bound(work, peaks=card).sentence
        assert "published for NVIDIA L4" in sentence
        assert sentence.endswith("; the peak is from a data sheet, not measured here")


def test_unknown_bottleneck_names_missing_input() -> None:
    nameless = msgspec.structs.replace(PEAKS, flops_per_s=None)
    sentences = {
        "execution time was not measured": find_bound(build_cost(1, 1), execute_ms=None),
        "the cost of some operators is unknown": find_bound(None),
        "the peak FLOP/s and memory bandwidth of the processor are unknown": find_bound(build_cost(1, 1), peaks=None),
        (
            "the peak FLOP/s for this data type or the peak memory bandwidth of this CPU with 1 thread in fp32 is "
            "unknown"
        ): find_bound(build_cost(1, 1), peaks=nameless),
    }
    for missing, bottleneck in sentences.items():
        assert (bottleneck.limit, bottleneck.roof_share) == (None, None)
        assert bottleneck.sentence == f"unknown: {missing}"
    assert find_bound(build_cost(1, 1), peaks=None).flops_per_s == pytest.approx(1e9)
    assert (
        "90 % of the call time does not depend"
        in find_bound(build_cost(1, 1), fit_linear_model(0.9, 0.1), peaks=None).sentence
    )


CARD = accelerator("l4", "L4")


def test_published_peaks_match_data_sheet() -> None:
    assert get_published_peaks(CARD, "fp16") == Peaks(
        name="NVIDIA L4", flops_per_s=120e12, bytes_per_s=300e9, basis="assumed", source="nv-ds"
    )
    assert [get_published_peaks(CARD, data_type).flops_per_s for data_type in ("fp32", "int8")] == [30e12, 240e12]


def test_unpublished_peaks_are_none() -> None:
    peaks = get_published_peaks(msgspec.structs.replace(CARD, int8_tops=None, memory_bandwidth_gb_s=None), "int8")
    assert (peaks.flops_per_s, peaks.bytes_per_s) == (None, None)


def test_published_peaks_are_converted_from_catalog_units() -> None:
    peaks = get_published_peaks(find_accelerator(load_catalog(), "l4"), "fp32")
    assert (peaks.flops_per_s, peaks.bytes_per_s) == pytest.approx((30.3e12, 300e9))
