"""A processor of 100 GFLOP/s and 10 GB/s, so that memory is the limit below 10 FLOP/byte."""

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


def cost(mflop: float, least_mb: float, moved_mb: float | None = None, batch: int = 1) -> BatchCost:
    """At 1 ms a call, 1 MFLOP is 1 % of the peak, and 0.1 MB is 1 % of the bandwidth."""
    moved_bytes = round((least_mb if moved_mb is None else moved_mb) * 1e6)
    return BatchCost(
        batch=batch,
        flops=round(mflop * 1e6),
        moved_bytes=moved_bytes,
        min_bytes=round(least_mb * 1e6),
        memory_bytes=0,
        flops_per_byte=mflop * 1e6 / moved_bytes if moved_bytes else None,
    )


def law(t0_ms: float, t1_ms: float) -> BatchModel:
    points = [BatchPoint(batch, Estimate(t0_ms + t1_ms * batch)) for batch in (1, 4, 16, 64)]
    return fit_batch_model(points, VARIANT)


def bound(
    work: BatchCost | None, law: BatchModel | None = None, peaks: Peaks | None = PEAKS, **times: Any
) -> Bottleneck:
    return find_bottleneck(CallDurations(**{"execute_ms": 1.0, **times}), work, peaks, law, 20)


def test_much_arithmetic_near_its_peak_is_compute_bound() -> None:
    found = bound(cost(71, 2))
    assert found.limit == "compute"
    assert found.sentence == (
        "compute bound: 71 GFLOP/s are 71 % of the 100 GFLOP/s measured on this CPU with 1 thread in fp32, at 36 "
        "FLOP/byte (memory bound below 10) (bytes from the graph: each weight, input and output counted once)"
    )
    assert (found.flops_per_s, found.bytes_per_s) == pytest.approx((71e9, 2e9))
    assert found.peaks == PEAKS
    assert (found.flops_per_byte, found.roof_share) == pytest.approx((35.5, 0.71))


@pytest.mark.parametrize(("work", "share"), [(cost(32, 2), "32 %"), (cost(4, 3.2), "32 %")])
def test_a_third_of_a_peak_is_not_called_the_bound(work: BatchCost, share: str) -> None:
    found = bound(work)
    assert found.limit is None
    assert "no single bottleneck" in found.sentence
    assert share in found.sentence


def test_many_bytes_for_their_arithmetic_are_memory_bound() -> None:
    found = bound(cost(4, 8))
    assert found.limit == "memory"
    assert found.sentence.startswith(
        "memory bound: 8 GB/s are 80 % of the 10 GB/s measured on this CPU with 1 thread in fp32, at 0.5 FLOP/byte "
        "(memory bound below 10) ("
    )
    assert (found.roof_share, found.bytes_per_s) == pytest.approx((0.8, 8e9))


def test_a_model_of_no_arithmetic_may_be_memory_bound() -> None:
    found = bound(cost(0, 8))
    assert (found.limit, found.flops_per_s, found.flops_per_byte) == ("memory", 0.0, 0.0)


def test_what_nothing_fuses_is_memory_bound_by_what_operators_pass_on() -> None:
    found = bound(cost(5, 1, moved_mb=8))
    assert found.limit == "memory"
    assert "without fusion or caching" in found.sentence
    assert (found.roof_share, found.bytes_per_s, found.flops_per_byte) == pytest.approx((0.8, 8e9, 0.625))


def test_a_fixed_time_far_below_the_roof_is_launches() -> None:
    found = bound(cost(5, 1), law(0.9, 0.1))
    assert found.limit == "launch or host"
    assert found.sentence == (
        "launch or host bound: 90 % of the call time does not depend on the batch size (0.9 ms, 45 µs per operator "
        "for 20 operators), and it reaches 10 % of the roofline: 1 GB/s are 10 % of the 10 GB/s measured on this "
        "CPU with 1 thread in fp32"
    )


def test_a_fixed_time_near_the_roof_is_the_reading_of_weights() -> None:
    assert bound(cost(5, 8), law(0.9, 0.1)).limit == "memory"


def test_far_below_the_roof_without_a_fixed_time_nothing_stands_out() -> None:
    """Slow kernels: each row takes its time, so that no launch explains it. At batch 64 t0 is little as well."""
    found = bound(cost(5, 1), law(0.05, 0.95))
    assert found.limit is None
    assert found.sentence.startswith("no single bottleneck: 1 GB/s are 10 % of the 10 GB/s")
    assert "5 % of the call time does not depend on the batch size" in found.sentence
    assert bound(cost(5, 1, batch=64), law(0.9, 0.1)).limit is None


def test_without_a_law_the_sentence_says_what_would_report() -> None:
    found = bound(cost(5, 1))
    assert found.limit is None
    assert found.roof_share == pytest.approx(0.1)
    assert "measure more batch sizes" in found.sentence


def test_a_law_that_breaks_still_reports_of_a_large_fixed_part() -> None:
    """Flat up to batch 8, then 0.1 ms a row: launches, then arithmetic."""
    points = [BatchPoint(batch, Estimate(1 + 0.1 * max(0, batch - 8))) for batch in (1, 2, 4, 8, 16, 32, 64)]
    broken = fit_batch_model(points, VARIANT)
    assert "the slope changes near batch" in str(broken.reason)
    assert bound(cost(5, 1), broken).limit == "launch or host"
    unsure = msgspec.structs.replace(broken, t0_ms=Estimate(0.9, (0.0, 1.8)))
    assert bound(cost(5, 1), unsure).limit is None


def test_copies_of_more_than_half_the_execution_are_the_bound() -> None:
    found = bound(cost(71, 2), copy_in_ms=0.3, copy_out_ms=0.25)
    assert found.limit == "copy"
    assert found.sentence == "copy bound: copies to and from the device take 0.55 ms, execution 1 ms"
    assert bound(cost(71, 2), copy_in_ms=0.3, copy_out_ms=0.15).limit == "compute"


def test_a_host_that_takes_longer_than_the_execution_is_the_bound() -> None:
    found = bound(cost(71, 2), prepare_ms=0.8, post_ms=0.3, copy_in_ms=0.6)
    assert found.limit == "launch or host"
    assert "preparing inputs and reading outputs take 1.1 ms, execution 1 ms" in found.sentence
    assert bound(cost(71, 2), prepare_ms=0.8).limit == "compute"
    assert bound(cost(71, 2), prepare_ms=1.1, copy_in_ms=3.0).limit == "copy"


def test_what_is_faster_than_a_peak_is_not_evaluated_by_it() -> None:
    """As fp32 by tensor cores, beside the peak of fp32 without them."""
    found = bound(cost(200, 2))
    assert found.limit is None
    assert "200 GFLOP/s are 200 % of the 100 GFLOP/s" in found.sentence
    assert "refers to another data type" in found.sentence


def test_more_bytes_than_memory_gives_were_not_all_read_from_it() -> None:
    assert bound(cost(10, 20)).limit is None
    assert "caches serve part of the data or not all of it is read" in bound(cost(10, 20)).sentence
    assert bound(cost(60, 20)).limit == "compute"


def test_a_peak_of_a_data_sheet_says_so() -> None:
    card = Peaks(name="NVIDIA L4", flops_per_s=1e11, bytes_per_s=1e10, basis="assumed", source="nv-ds")
    for work in (cost(71, 2), cost(4, 8), cost(5, 1), cost(200, 1)):
        sentence = bound(work, peaks=card).sentence
        assert "published for NVIDIA L4" in sentence
        assert sentence.endswith("; the peak is from a data sheet, not measured here")


def test_what_is_not_known_is_named() -> None:
    nameless = msgspec.structs.replace(PEAKS, flops_per_s=None)
    sentences = {
        "execution time was not measured": bound(cost(1, 1), execute_ms=None),
        "the cost of some operators is unknown": bound(None),
        "the peak FLOP/s and memory bandwidth of the processor are unknown": bound(cost(1, 1), peaks=None),
        (
            "the peak FLOP/s for this data type or the peak memory bandwidth of this CPU with 1 thread in fp32 is "
            "unknown"
        ): bound(cost(1, 1), peaks=nameless),
    }
    for missing, found in sentences.items():
        assert (found.limit, found.roof_share) == (None, None)
        assert found.sentence == f"unknown: {missing}"
    assert bound(cost(1, 1), peaks=None).flops_per_s == pytest.approx(1e9)
    assert "90 % of the call time does not depend" in bound(cost(1, 1), law(0.9, 0.1), peaks=None).sentence


CARD = accelerator("l4", "L4")


def test_the_peaks_are_those_of_the_data_sheet() -> None:
    assert get_published_peaks(CARD, "fp16") == Peaks(
        name="NVIDIA L4", flops_per_s=120e12, bytes_per_s=300e9, basis="assumed", source="nv-ds"
    )
    assert [get_published_peaks(CARD, one).flops_per_s for one in ("fp32", "int8")] == [30e12, 240e12]


def test_a_figure_that_nobody_published_is_none() -> None:
    peaks = get_published_peaks(msgspec.structs.replace(CARD, int8_tops=None, memory_bandwidth_gb_s=None), "int8")
    assert (peaks.flops_per_s, peaks.bytes_per_s) == (None, None)


def test_the_catalogue_s_units_are_tera_and_giga() -> None:
    peaks = get_published_peaks(find_accelerator(load_catalog(), "l4"), "fp32")
    assert (peaks.flops_per_s, peaks.bytes_per_s) == pytest.approx((30.3e12, 300e9))
