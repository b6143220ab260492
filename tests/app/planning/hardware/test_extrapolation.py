from __future__ import annotations

import math

import msgspec
import pytest

from app.planning.hardware.extrapolation import Ratio, estimate_ratio
from app.planning.hardware.rates import Unavailable
from app.profiles.pricing.catalog import load_catalog
from app.records.offers import Accelerator, Workload
from tests.studies.extrapolation import (
    Z80,
    Z95,
    compute_bracket_share,
    coverage,
    errors,
    group_by_class,
    left_out,
    left_out_coverage,
    pairs,
)

GPUS = load_catalog().accelerators
H100, H100_PCIE, L40S = GPUS["h100-sxm5-80gb"], GPUS["h100-pcie-80gb"], GPUS["l40s"]
WORKLOADS: tuple[Workload, ...] = ("saturated", "decode", "batched-decode", "unknown")


def extrapolate(measured: str, other_key: str, work: Workload, dtype: str = "fp8") -> Ratio:
    ratio = estimate_ratio(GPUS[measured], GPUS[other_key], work, dtype)
    assert isinstance(ratio, Ratio)
    return ratio


def test_saturated_work_in_one_architecture_scales_with_compute_bandwidth_and_power() -> None:
    ratio = extrapolate("h100-sxm5-80gb", "h100-pcie-80gb", "saturated")
    expected_factor = (1513 / 1979) ** 0.6 * (2000 / 3350) ** 0.2 * (350 / 700) ** 0.2
    assert ratio.factor == pytest.approx(expected_factor)
    assert (ratio.sigma, ratio.risk_level) == (0.13, 2)
    assert ratio.low == pytest.approx(350 / 700 / 1.2)
    assert ratio.high == pytest.approx(1513 / 1979 * 1.2)
    assert "of the same architecture" in ratio.reason


def test_saturated_work_across_architectures_scales_with_compute_and_power() -> None:
    ratio = extrapolate("h100-sxm5-80gb", "l40s", "saturated")
    assert ratio.factor == pytest.approx(math.sqrt(733 / 1979 * 350 / 700))
    assert (ratio.sigma, ratio.risk_level) == (0.32, 3)
    assert "scaled from NVIDIA H100 SXM5 80 GB of a different architecture" in ratio.reason


def test_decode_scales_with_memory_bandwidth() -> None:
    assert extrapolate("h100-sxm5-80gb", "h200-sxm-141gb", "decode").factor == pytest.approx(4800 / 3350)


def test_batched_decode_scales_with_bandwidth_compute_and_power() -> None:
    ratio = extrapolate("h100-sxm5-80gb", "l40s", "batched-decode")
    assert ratio.factor == pytest.approx(math.sqrt(864 / 3350 * math.sqrt(733 / 1979 * 350 / 700)))
    unknown = extrapolate("h100-sxm5-80gb", "l40s", "unknown")
    assert unknown.factor == ratio.factor
    assert unknown.sigma > ratio.sigma


@pytest.mark.parametrize("work", WORKLOADS)
@pytest.mark.parametrize("other", [H100_PCIE, L40S])
def test_rate_within_the_slo_is_extrapolated_with_larger_sigma_than_max_throughput(
    work: Workload, other: Accelerator
) -> None:
    within_slo, max_throughput = (
        estimate_ratio(H100, other, work, "fp8", "slo"),
        estimate_ratio(H100, other, work, "fp8", "throughput"),
    )
    assert isinstance(within_slo, Ratio)
    assert isinstance(max_throughput, Ratio)
    assert within_slo.factor == max_throughput.factor
    assert within_slo.sigma > max_throughput.sigma
    assert estimate_ratio(H100, other, work, "fp8") == within_slo


@pytest.mark.parametrize("work", WORKLOADS)
def test_reverse_extrapolation_is_the_inverse(work: Workload) -> None:
    forward, backward = extrapolate("l4", "h200-sxm-141gb", work), extrapolate("h200-sxm-141gb", "l4", work)
    assert forward.factor * backward.factor == pytest.approx(1)
    assert forward.low * backward.high == pytest.approx(1)


def test_ratio_between_equal_gpus_is_1_without_uncertainty() -> None:
    same = extrapolate("l4", "l4", "unknown")
    assert (same.factor, same.sigma, same.risks) == (1.0, 0.0, ())


@pytest.mark.parametrize("work", WORKLOADS)
@pytest.mark.parametrize("field", ["fp8_tflops", "memory_bandwidth_gb_s", "tdp_w"])
def test_gpu_with_a_higher_figure_is_never_slower(work: Workload, field: str) -> None:
    better = msgspec.structs.replace(L40S, key="better", **{field: getattr(L40S, field) * 1.5})
    base, improved = estimate_ratio(H100, L40S, work, "fp8"), estimate_ratio(H100, better, work, "fp8")
    assert isinstance(base, Ratio)
    assert isinstance(improved, Ratio)
    assert improved.factor >= base.factor
    # twice an L40S in every figure
    doubled = msgspec.structs.replace(L40S, key="twice", fp8_tflops=1466, memory_bandwidth_gb_s=1728, tdp_w=700.0)
    doubled_ratio = estimate_ratio(H100, doubled, work, "fp8")
    assert isinstance(doubled_ratio, Ratio)
    assert doubled_ratio.factor == pytest.approx(2 * base.factor)


def get_refusal(measured: str, other_key: str, work: Workload = "saturated", dtype: str = "fp8") -> Unavailable:
    refusal = estimate_ratio(GPUS[measured], GPUS[other_key], work, dtype)
    assert isinstance(refusal, Unavailable)
    return refusal


@pytest.mark.parametrize("work", WORKLOADS)
def test_precision_that_the_gpu_does_not_support_is_refused(work: Workload) -> None:
    assert get_refusal("h100-sxm5-80gb", "a100-sxm4-80gb", work).id == "unsupported_precision"


def test_extrapolation_to_another_vendor_is_refused() -> None:
    assert get_refusal("h100-sxm5-80gb", "mi300x").id == "vendor"


@pytest.mark.parametrize(("measured", "other"), [("cpu-xeon-8488c", "gaudi3"), ("gaudi3", "cpu-xeon-8488c")])
def test_extrapolation_between_cpu_and_accelerator_is_refused(measured: str, other: str) -> None:
    assert get_refusal(measured, other, "saturated", "bf16").id == "processor"


def test_refusal_names_the_required_figure_that_is_unknown() -> None:
    no_power = msgspec.structs.replace(L40S, tdp_w=None)
    refusal = estimate_ratio(H100, no_power, "saturated", "fp8")
    assert refusal == Unavailable("unknown_figure", "the TDP of NVIDIA L40S is unknown")
    ratio = estimate_ratio(H100, no_power, "decode", "fp8")
    assert isinstance(ratio, Ratio)
    assert ratio.factor == pytest.approx(864 / 3350)


PAIRS = pairs()
UNCUT_PAIRS = [pair for pair in PAIRS if not pair.cut]


def test_intervals_cover_published_results() -> None:
    assert len(UNCUT_PAIRS) > 1200
    assert 0.80 <= coverage(UNCUT_PAIRS, Z80) <= 0.90
    assert coverage(UNCUT_PAIRS, Z95) >= 0.95
    assert compute_bracket_share(UNCUT_PAIRS) >= 0.90
    for name, class_pairs in group_by_class(PAIRS).items():
        assert coverage(class_pairs, Z80) >= 0.80, name
        assert coverage(class_pairs, Z95) >= 0.90, name


def test_intervals_for_unknown_work_cover_published_results() -> None:
    uncut_pairs = [pair for pair in pairs("unknown") if not pair.cut]
    assert 0.80 <= coverage(uncut_pairs, Z80) <= 0.95
    assert coverage(uncut_pairs, Z95) >= 0.95


def test_intervals_fitted_without_a_gpu_cover_most_of_its_results() -> None:
    for name, class_pairs in group_by_class(PAIRS).items():
        if len(class_pairs) > 40:
            assert left_out_coverage(class_pairs, 0.8) >= 0.75, name
            assert left_out_coverage(class_pairs, 0.95) >= 0.85, name


def test_product_weights_are_no_worse_than_fitted_weights_on_a_held_out_gpu() -> None:
    for name, class_pairs in group_by_class(PAIRS).items():
        if class_pairs[0].work == "saturated":
            fitted, _ = left_out(class_pairs)
            assert math.sqrt((errors(class_pairs) ** 2).mean()) <= math.sqrt((fitted**2).mean()), name


def test_intervals_do_not_cover_a_model_that_must_be_split_on_one_of_the_gpus() -> None:
    """The extrapolation requires that the model fits on both GPUs."""
    cut_pairs = [pair for pair in PAIRS if pair.cut]
    assert {pair.model for pair in cut_pairs} == {"llama2-70b-99"}
    assert coverage(cut_pairs, Z95) < 0.5
