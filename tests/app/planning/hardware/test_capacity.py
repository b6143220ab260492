from __future__ import annotations

import math

import msgspec
import pytest

from app.planning.hardware.capacity import Capacity, extrapolate_capacity
from app.planning.hardware.rates import Unavailable
from app.records.offers import CapacityCurve, Offer, UnmeasuredGpus
from app.records.result import Hardware
from tests.fakes.offers import accelerator, catalog_of, curve, gpu_offer, offer

HERE = Hardware("this machine", vcpus=4, architecture="x86_64", is_this_machine=True)
ONE_L4 = Hardware("acme/g1", offer="acme/g1@here", accelerator="l4", accelerator_count=1, vcpus=8)
ACCELERATORS = catalog_of().accelerators


def extrapolate(capacity_curve: CapacityCurve, measured_on: Hardware, to_offer: Offer) -> Capacity:
    capacity = extrapolate_capacity(capacity_curve, measured_on, to_offer, ACCELERATORS)
    assert isinstance(capacity, Capacity)
    return capacity


def get_refusal(capacity_curve: CapacityCurve, measured_on: Hardware, to_offer: Offer) -> Unavailable:
    refusal = extrapolate_capacity(capacity_curve, measured_on, to_offer, ACCELERATORS)
    assert isinstance(refusal, Unavailable)
    return refusal


def test_measured_offer_has_the_measured_capacity_in_any_region() -> None:
    capacity = extrapolate(curve(100.0), ONE_L4, gpu_offer("g1", "l4", region="there"))
    assert (capacity.rate_per_s, capacity.basis, capacity.replicas, capacity.risks) == (100.0, "measured", 1, ())
    low, high = capacity.estimate.ci95 or (0, 0)
    assert high / low == pytest.approx(105 / 95)


def test_capacity_without_an_interval_has_default_sigma() -> None:
    assert extrapolate(curve(max_rate_ci95=None), ONE_L4, gpu_offer("g1", "l4")).sigma == 0.05


def test_replicas_scale_with_the_count_of_the_same_accelerator() -> None:
    capacity = extrapolate(curve(100.0), ONE_L4, gpu_offer("g4", "l4", 4, vcpus=48.0))
    assert (capacity.rate_per_s, capacity.replicas, capacity.basis) == (400.0, 4, "extrapolated")
    assert capacity.sigma == pytest.approx(math.hypot(0.10, math.log(105 / 95) / 3.92), abs=1e-4)
    assert max(risk.level for risk in capacity.risks) == 1


def test_measured_replicas_are_divided_by_accelerators() -> None:
    measured_on = Hardware("two", accelerator="l4", accelerator_count=2, replicas=2)
    assert extrapolate(curve(100.0), measured_on, gpu_offer("g3", "l4", 3)).rate_per_s == 150.0


def test_fewer_vcpus_with_the_same_accelerator_have_a_risk() -> None:
    capacity = extrapolate(curve(), ONE_L4, gpu_offer("g0", "l4", vcpus=4.0))
    assert [risk.level for risk in capacity.risks] == [1, 2]


def test_fraction_of_an_accelerator_is_refused() -> None:
    assert get_refusal(curve(), ONE_L4, gpu_offer("g6f", "l4", 0.25)).id == "shared_accelerator"


def test_cpu_capacity_scales_by_whole_replicas() -> None:
    capacity = extrapolate(curve(100.0, cores_used=1.5), HERE, offer(vcpus=16.0))
    assert (capacity.replicas, capacity.rate_per_s, capacity.basis) == (10, 1000.0, "extrapolated")
    assert capacity.sigma == pytest.approx(math.hypot(0.20, math.log(105 / 95) / 3.92), abs=1e-4)


@pytest.mark.parametrize("architecture", ["arm64", None])
def test_other_cpu_architecture_has_larger_sigma_and_a_risk(architecture: str | None) -> None:
    capacity = extrapolate(curve(), HERE, offer(cpu_architecture=architecture))
    assert capacity.sigma > 0.30
    assert capacity.risks[0].level == 3


def test_two_unknown_cpu_architectures_are_not_equal() -> None:
    unknown = Hardware("some CPU", vcpus=4)
    assert extrapolate(curve(), unknown, offer(cpu_architecture=None)).sigma > 0.30


def test_replica_uses_at_least_one_core() -> None:
    assert extrapolate(curve(cores_used=0.4), HERE, offer(vcpus=16.0)).replicas == 16


def test_cores_per_replica_default_to_the_share_of_the_machine() -> None:
    measured_on = Hardware("m", vcpus=8, architecture="x86_64", replicas=2)
    capacity = extrapolate(curve(100.0, cores_used=None), measured_on, offer(vcpus=16.0))
    assert (capacity.replicas, capacity.rate_per_s) == (4, 200.0)


def test_cpu_extrapolation_needs_vcpu_counts() -> None:
    assert get_refusal(curve(), HERE, offer(vcpus=None)).id == "vcpus_unknown"
    assert get_refusal(curve(cores_used=3.0), HERE, offer(vcpus=2.0)).id == "vcpus"
    assert get_refusal(curve(cores_used=None), Hardware("?"), offer()).id == "measured_vcpus_unknown"


def test_other_accelerator_is_refused_with_the_hardware_to_measure() -> None:
    sentence = get_refusal(curve(), HERE, gpu_offer("g1", "l4")).reason
    assert (
        sentence
        == "the target was measured on a CPU; to size NVIDIA L4, run this profile against the model on one NVIDIA L4"
    )
    assert "measured on NVIDIA L4; to size NVIDIA L40S" in get_refusal(curve(), ONE_L4, gpu_offer("g9", "l40s")).reason
    assert "run this profile against the model on a CPU" in get_refusal(curve(), ONE_L4, offer()).reason


def test_accelerator_missing_from_the_catalog_is_named_by_its_key() -> None:
    refusal = extrapolate_capacity(curve(), HERE, gpu_offer("g", "x9"), {"l4": accelerator("l4", "L4")})
    assert isinstance(refusal, Unavailable)
    assert "to size x9" in refusal.reason


def test_gpu_with_less_memory_needs_the_memory_of_a_replica() -> None:
    accelerators = {
        "l4": accelerator("l4", "L4"),
        "small": msgspec.structs.replace(accelerator("small", "S"), memory_gib=12),
    }
    on_l4, small = Hardware("one L4", accelerator="l4", accelerator_count=1), gpu_offer("s1", "small")
    without_memory = extrapolate_capacity(curve(), on_l4, small, accelerators, UnmeasuredGpus("fp16", "saturated"))
    assert isinstance(without_memory, Unavailable)
    assert (
        "S has 12 GiB of memory, but a replica was measured with 24 GiB; set plan.unmeasured_gpus.memory"
        in without_memory.reason
    )
    assert isinstance(
        extrapolate_capacity(curve(), on_l4, small, accelerators, UnmeasuredGpus("fp16", "saturated", 6)), Capacity
    )
    too_large = extrapolate_capacity(curve(), on_l4, small, accelerators, UnmeasuredGpus("fp16", "saturated", 14))
    assert isinstance(too_large, Unavailable)
    assert "a replica needs 14 GiB" in too_large.reason
