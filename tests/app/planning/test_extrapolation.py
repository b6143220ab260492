from __future__ import annotations

import math

import msgspec
import pytest

from app.planning.extrapolation import Ratio, estimate_ratio
from app.planning.rates import Unavailable
from app.profiles.pricing.catalog import load_catalog
from app.records.offers import Accelerator, Workload
from tests.checks.extrapolation import (
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

CARDS = load_catalog().accelerators
H100, H100_PCIE, L40S = CARDS["h100-sxm5-80gb"], CARDS["h100-pcie-80gb"], CARDS["l40s"]
WORKS: tuple[Workload, ...] = ("saturated", "decode", "batched-decode", "unknown")


def carried(measured: str, other: str, work: Workload, dtype: str = "fp8") -> Ratio:
    ratio = estimate_ratio(CARDS[measured], CARDS[other], work, dtype)
    assert isinstance(ratio, Ratio)
    return ratio


def test_saturated_work_in_one_architecture_follows_its_three_figures() -> None:
    ratio = carried("h100-sxm5-80gb", "h100-pcie-80gb", "saturated")
    by_hand = (1513 / 1979) ** 0.6 * (2000 / 3350) ** 0.2 * (350 / 700) ** 0.2
    assert ratio.factor == pytest.approx(by_hand)
    assert (ratio.sigma, ratio.risk_level) == (0.13, 2)
    assert ratio.low == pytest.approx(350 / 700 / 1.2)
    assert ratio.high == pytest.approx(1513 / 1979 * 1.2)
    assert "of the same architecture" in ratio.reason


def test_saturated_work_on_another_architecture_follows_peak_and_power() -> None:
    ratio = carried("h100-sxm5-80gb", "l40s", "saturated")
    assert ratio.factor == pytest.approx(math.sqrt(733 / 1979 * 350 / 700))
    assert (ratio.sigma, ratio.risk_level) == (0.32, 3)
    assert "scaled from NVIDIA H100 SXM5 80 GB of a different architecture" in ratio.reason


def test_decode_of_few_sequences_follows_bandwidth_alone() -> None:
    assert carried("h100-sxm5-80gb", "h200-sxm-141gb", "decode").factor == pytest.approx(4800 / 3350)


def test_decode_of_many_lies_between_bandwidth_and_peak_with_power() -> None:
    ratio = carried("h100-sxm5-80gb", "l40s", "batched-decode")
    assert ratio.factor == pytest.approx(math.sqrt(864 / 3350 * math.sqrt(733 / 1979 * 350 / 700)))
    unknown = carried("h100-sxm5-80gb", "l40s", "unknown")
    assert unknown.factor == ratio.factor
    assert unknown.sigma > ratio.sigma


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("other", [H100_PCIE, L40S])
def test_what_holds_inside_a_latency_limit_is_less_sure(work: Workload, other: Accelerator) -> None:
    inside, all_out = (
        estimate_ratio(H100, other, work, "fp8", "slo"),
        estimate_ratio(H100, other, work, "fp8", "throughput"),
    )
    assert isinstance(inside, Ratio)
    assert isinstance(all_out, Ratio)
    assert inside.factor == all_out.factor
    assert inside.sigma > all_out.sigma
    assert estimate_ratio(H100, other, work, "fp8") == inside


@pytest.mark.parametrize("work", WORKS)
def test_the_way_back_is_the_inverse(work: Workload) -> None:
    there, back = carried("l4", "h200-sxm-141gb", work), carried("h200-sxm-141gb", "l4", work)
    assert there.factor * back.factor == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)


def test_the_same_card_is_no_extrapolation() -> None:
    same = carried("l4", "l4", "unknown")
    assert (same.factor, same.sigma, same.risks) == (1.0, 0.0, ())


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("field", ["fp8_tflops", "memory_bandwidth_gb_s", "tdp_w"])
def test_more_of_anything_is_never_slower(work: Workload, field: str) -> None:
    better = msgspec.structs.replace(L40S, key="better", **{field: getattr(L40S, field) * 1.5})
    here, there = estimate_ratio(H100, L40S, work, "fp8"), estimate_ratio(H100, better, work, "fp8")
    assert isinstance(here, Ratio)
    assert isinstance(there, Ratio)
    assert there.factor >= here.factor
    doubled = msgspec.structs.replace(
        L40S, key="twice", fp8_tflops=1466, memory_bandwidth_gb_s=1728, tdp_w=700.0
    )  # in everything twice an L40S
    twice = estimate_ratio(H100, doubled, work, "fp8")
    assert isinstance(twice, Ratio)
    assert twice.factor == pytest.approx(2 * here.factor)


def refused(measured: str, other: str, work: Workload = "saturated", dtype: str = "fp8") -> str:
    refusal = estimate_ratio(CARDS[measured], CARDS[other], work, dtype)
    assert isinstance(refusal, Unavailable)
    return refusal.reason


@pytest.mark.parametrize("work", WORKS)
def test_a_precision_the_card_has_not_is_refused(work: Workload) -> None:
    assert refused("h100-sxm5-80gb", "a100-sxm4-80gb", work) == (
        "NVIDIA A100 SXM4 80 GB does not support fp8: measure it at a precision that it supports"
    )


def test_another_vendor_is_another_runtime() -> None:
    assert "AMD Instinct MI300X needs another vendor's runtime" in refused("h100-sxm5-80gb", "mi300x")


@pytest.mark.parametrize(("measured", "other"), [("cpu-xeon-8488c", "gaudi3"), ("gaudi3", "cpu-xeon-8488c")])
def test_a_processor_is_not_a_card(measured: str, other: str) -> None:
    assert "scales with the number of cores" in refused(measured, other, "saturated", "bf16")


def test_a_figure_that_is_needed_and_not_known_is_named() -> None:
    no_power = msgspec.structs.replace(L40S, tdp_w=None)
    refusal = estimate_ratio(H100, no_power, "saturated", "fp8")
    assert refusal == Unavailable("unknown_figure", "the TDP of NVIDIA L40S is unknown")
    ratio = estimate_ratio(H100, no_power, "decode", "fp8")
    assert isinstance(ratio, Ratio)
    assert ratio.factor == pytest.approx(864 / 3350)


FOUND = pairs()
WHOLE = [pair for pair in FOUND if not pair.cut]


def test_stated_intervals_hold_on_published_results() -> None:
    assert len(WHOLE) > 1200
    assert 0.80 <= coverage(WHOLE, Z80) <= 0.90
    assert coverage(WHOLE, Z95) >= 0.95
    assert compute_bracket_share(WHOLE) >= 0.90
    for name, some in group_by_class(FOUND).items():
        assert coverage(some, Z80) >= 0.80, name
        assert coverage(some, Z95) >= 0.90, name


def test_intervals_for_work_nobody_knows_hold_on_published_results() -> None:
    whole = [pair for pair in pairs("unknown") if not pair.cut]
    assert 0.80 <= coverage(whole, Z80) <= 0.95
    assert coverage(whole, Z95) >= 0.95


def test_an_interval_learnt_without_a_card_mostly_holds_on_it() -> None:
    for name, some in group_by_class(FOUND).items():
        if len(some) > 40:
            assert left_out_coverage(some, 0.8) >= 0.75, name
            assert left_out_coverage(some, 0.95) >= 0.85, name


def test_the_used_weights_are_no_worse_than_fitted_ones_on_a_card_left_out() -> None:
    for name, some in group_by_class(FOUND).items():
        if some[0].work == "saturated":
            fitted, _ = left_out(some)
            assert math.sqrt((errors(some) ** 2).mean()) <= math.sqrt((fitted**2).mean()), name


def test_a_model_that_has_to_be_cut_for_one_of_the_cards_is_not_covered() -> None:
    """Why carry_to's contract says that both hold it."""
    cut = [pair for pair in FOUND if pair.cut]
    assert {pair.model for pair in cut} == {"llama2-70b-99"}
    assert coverage(cut, Z95) < 0.5
