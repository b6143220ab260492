from __future__ import annotations

import msgspec
import pytest

from app.inference.inspection.metadata import read_model_metadata
from app.inference.probe import DIGITS_MODEL
from app.profiles.pricing.catalog import load_catalog
from app.records.model import BatchCost, GpuFit, ModelMetadata, ShapeOverrides
from app.records.offers import Accelerator
from app.records.result import Gpu
from app.wiring.inspecting import compute_gpu_fits

GIB = 2**30
CARD = Accelerator("a10", "NVIDIA", "A10", "^NVIDIA A10$", "Ampere", 10, 500, 10, 100, 200, 150, 2021, "")


@pytest.fixture(scope="module")
def digits() -> ModelMetadata:
    return read_model_metadata(DIGITS_MODEL, ShapeOverrides())


def _cost(batch: int, memory_bytes: int, flops: int = 0, least_bytes: int = 0) -> BatchCost:
    return BatchCost(
        batch=batch,
        flops=flops,
        moved_bytes=least_bytes,
        min_bytes=least_bytes,
        memory_bytes=memory_bytes,
        flops_per_byte=None,
    )


def _fits(digits: ModelMetadata, *costs: BatchCost, card: Accelerator = CARD) -> GpuFit:
    (fit,) = compute_gpu_fits(msgspec.structs.replace(digits, costs=costs), (), [card])
    return fit


def test_ten_percent_of_gpu_memory_is_reserved(digits: ModelMetadata) -> None:
    assert _fits(digits, _cost(1, 9 * GIB), _cost(2, 9 * GIB + 1)).largest_batch == 1
    assert _fits(digits, _cost(1, 9 * GIB + 1)).largest_batch is None


def test_min_latency_is_the_longer_of_compute_and_memory_time(digits: ModelMetadata) -> None:
    by_compute = _fits(digits, _cost(1, 1, flops=10**12, least_bytes=10**9))
    assert by_compute.limited_by == "compute"
    assert by_compute.min_latency_ms == pytest.approx(10)
    by_memory = _fits(digits, _cost(1, 1, flops=10**11, least_bytes=10**9))
    assert by_memory.limited_by == "memory"
    assert by_memory.min_latency_ms == pytest.approx(2)
    assert by_memory.min_latency_basis == "extrapolated"


def test_min_latency_is_none_for_unknown_peak_rates_or_operations(digits: ModelMetadata) -> None:
    cost = _cost(1, 1, flops=10**12)
    assert _fits(digits, cost, card=msgspec.structs.replace(CARD, memory_bandwidth_gb_s=None)).min_latency_ms is None
    assert _fits(msgspec.structs.replace(digits, unknown_nodes=1), cost).min_latency_ms is None


def test_installed_gpus_come_first_with_the_memory_reported_by_the_driver(digits: ModelMetadata) -> None:
    gpus = [Gpu(0, "NVIDIA A10", None, 9.5, None), Gpu(1, "Unheard Of", None, 4.0, None)]
    fits = compute_gpu_fits(digits, gpus, [CARD, msgspec.structs.replace(CARD, key="none", memory_gib=None)])
    assert [(fit.key, fit.is_installed, fit.memory_gib) for fit in fits] == [
        ("a10", True, 9.5),
        (None, True, 4.0),
        ("a10", False, 10),
    ]
    assert [fit.min_latency_ms is None for fit in fits] == [False, True, False]


def test_digits_model_fits_every_accelerator_of_the_catalog(digits: ModelMetadata) -> None:
    accelerators = load_catalog().accelerators.values()
    fits = compute_gpu_fits(digits, (), accelerators)
    assert len(fits) == sum(part.memory_gib is not None for part in accelerators)
    assert {fit.largest_batch for fit in fits} == {64}


def test_gpu_fits_are_empty_for_unknown_costs(digits: ModelMetadata) -> None:
    assert compute_gpu_fits(msgspec.structs.replace(digits, costs=()), (), [CARD]) == ()
