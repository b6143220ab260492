"""Compares a model with the GPUs that it may run on: those of this machine and of the catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from app.inference.inspection.client import inspect_model
from app.profiles.pricing.catalog import load_catalog
from app.records.model import BatchCost, GpuFit, ModelInspection, ModelMetadata, ShapeOverrides
from app.records.offers import Accelerator
from app.records.result import Gpu
from app.telemetry.gpu import open_gpus

USABLE_MEMORY_SHARE = 0.9
_GIB = 2**30
_INTEGER_OPERATORS = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QuantizeLinear"})


def inspect_with_gpus(model: Path, given_shapes: ShapeOverrides) -> ModelInspection:
    """Inspect a model and compare it with GPUs. Raises UsageError for a file that is not a model or is rejected."""
    facts = inspect_model(model, given_shapes)
    with open_gpus() as gpus:
        local_gpus = [reader.description for reader in gpus.readers]
        note = gpus.note
    return ModelInspection(facts, fit_gpus(facts, local_gpus, load_catalog().accelerators.values()), note)


def fit_gpus(
    facts: ModelMetadata, local_gpus: Iterable[Gpu], catalog_gpus: Iterable[Accelerator]
) -> tuple[GpuFit, ...]:
    """Return how the model fits each GPU: this machine's first, then the catalog's by memory.

    GPUs of unknown memory are omitted, and all GPUs if the model's costs are unknown."""
    catalog_gpus = tuple(catalog_gpus)
    if not facts.costs:
        return ()
    catalogue = [
        _fit(facts, card.name, card.memory_gib, card, is_here=False) for card in catalog_gpus if card.memory_gib
    ]
    return (
        *_local_fits(facts, local_gpus, catalog_gpus),
        *sorted(catalogue, key=lambda fit: (fit.memory_gib, fit.name)),
    )


def _local_fits(facts: ModelMetadata, gpus: Iterable[Gpu], catalog_cards: tuple[Accelerator, ...]) -> Iterator[GpuFit]:
    for gpu in gpus:
        if gpu.memory_gib:
            name = f"GPU {gpu.index}: {gpu.name}"
            yield _fit(facts, name, gpu.memory_gib, find_catalog_gpu(gpu.name, catalog_cards), is_here=True)


def find_catalog_gpu(name: str, catalog_gpus: Iterable[Accelerator]) -> Accelerator | None:
    """Return the catalog's GPU whose pattern matches the name reported by the driver."""
    return next(
        (card for card in catalog_gpus if card.nvml_name_pattern and re.search(card.nvml_name_pattern, name)), None
    )


def _fit(facts: ModelMetadata, name: str, memory_gib: float, part: Accelerator | None, *, is_here: bool) -> GpuFit:
    fitting = [cost for cost in facts.costs if cost.memory_bytes <= memory_gib * _GIB * USABLE_MEMORY_SHARE]
    largest = max(fitting, key=lambda cost: cost.batch, default=None)
    bound = None if part is None or largest is None or facts.unknown_nodes else _bound(facts, largest, part)
    return GpuFit(
        name=name,
        key=None if part is None else part.key,
        is_installed=is_here,
        memory_gib=memory_gib,
        largest_batch=None if largest is None else largest.batch,
        min_latency_ms=None if bound is None else bound[0],
        limited_by=None if bound is None else bound[1],
    )


def _bound(facts: ModelMetadata, cost: BatchCost, part: Accelerator) -> tuple[float, str] | None:
    """Return the minimum time of an inference in ms and its bottleneck, by the roofline model.

    The time is at least the arithmetic at the GPU's peak, and at least the minimum traffic at its memory bandwidth. The
    peak is the highest that the model's arithmetic may use, so the bound holds for every kernel."""
    is_integer = not _INTEGER_OPERATORS.isdisjoint(item.operator for item in facts.operators)
    peaks = (part.fp32_tflops, part.fp16_tflops, part.int8_tops if is_integer else None)
    peak = max((item for item in peaks if item), default=None)
    if peak is None or not part.memory_bandwidth_gb_s:
        return None
    compute_ms = cost.flops / (peak * 1e12) * 1e3
    memory_ms = cost.min_bytes / (part.memory_bandwidth_gb_s * 1e9) * 1e3
    return max((compute_ms, "compute"), (memory_ms, "memory"))
