"""Compare the memory and compute requirements of a model with the GPUs of this machine and of the
accelerator catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from app.inference.generation.model_folder import GenerativeModel, read_model_folder
from app.inference.inspection import client
from app.inference.inspection.client import inspect_model
from app.profiles.pricing.catalog import load_catalog
from app.records.language_model import LanguageModelMetadata
from app.records.model import BatchCost, GpuFit, ModelInspection, ModelMetadata, ShapeOverrides
from app.records.offers import Accelerator
from app.records.result import Gpu
from app.telemetry.gpu import open_gpus

USABLE_MEMORY_SHARE = 0.9
_GIB = 2**30
_INTEGER_OPERATORS = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QuantizeLinear"})


def inspect_language_model(folder: Path) -> GenerativeModel:
    """Read the properties of the folder of a language model. Raises UsageError if the folder is not
    valid or is rejected."""
    return read_model_folder(folder)


def inspect_gguf_file(path: Path) -> LanguageModelMetadata:
    """Read the properties of a GGUF file in a child process. Raises UsageError if the file is not
    valid or is rejected."""
    return client.inspect_language_model(path)


def inspect_with_gpus(model: Path, shape_overrides: ShapeOverrides) -> ModelInspection:
    """Inspect a model and compare its memory and costs with GPUs. Raises UsageError if the file is
    not a valid model or is rejected."""
    metadata = inspect_model(model, shape_overrides)
    with open_gpus() as gpus:
        local_gpus = [reader.description for reader in gpus.readers]
        note = gpus.note
    return ModelInspection(metadata, compute_gpu_fits(metadata, local_gpus, load_catalog().accelerators.values()), note)


def compute_gpu_fits(
    metadata: ModelMetadata, local_gpus: Iterable[Gpu], catalog_gpus: Iterable[Accelerator]
) -> tuple[GpuFit, ...]:
    """Return the largest batch size and the latency bound of a model on each GPU: first on the GPUs
    of this machine, then on the GPUs of the catalog in order of memory.

    GPUs with unknown memory are omitted. The result is empty if the costs of the model are unknown.
    """
    catalog_gpus = tuple(catalog_gpus)
    if not metadata.costs:
        return ()
    catalog_fits = [
        _compute_fit(metadata, gpu.name, gpu.memory_gib, gpu, is_installed=False)
        for gpu in catalog_gpus
        if gpu.memory_gib
    ]
    return (
        *_compute_local_fits(metadata, local_gpus, catalog_gpus),
        *sorted(catalog_fits, key=lambda fit: (fit.memory_gib, fit.name)),
    )


def _compute_local_fits(
    metadata: ModelMetadata, gpus: Iterable[Gpu], catalog_gpus: tuple[Accelerator, ...]
) -> Iterator[GpuFit]:
    for gpu in gpus:
        if gpu.memory_gib:
            name = f"GPU {gpu.index}: {gpu.name}"
            yield _compute_fit(
                metadata, name, gpu.memory_gib, find_catalog_gpu(gpu.name, catalog_gpus), is_installed=True
            )


def find_catalog_gpu(name: str, catalog_gpus: Iterable[Accelerator]) -> Accelerator | None:
    """Return the catalog GPU whose pattern matches the name reported by the driver; `None` if there
    is none."""
    return next((gpu for gpu in catalog_gpus if gpu.nvml_name_pattern and re.search(gpu.nvml_name_pattern, name)), None)


def _compute_fit(
    metadata: ModelMetadata, name: str, memory_gib: float, catalog_gpu: Accelerator | None, *, is_installed: bool
) -> GpuFit:
    fitting_costs = [cost for cost in metadata.costs if cost.memory_bytes <= memory_gib * _GIB * USABLE_MEMORY_SHARE]
    largest_cost = max(fitting_costs, key=lambda cost: cost.batch, default=None)
    latency_bound = (
        None
        if catalog_gpu is None or largest_cost is None or metadata.unknown_nodes
        else _compute_latency_bound(metadata, largest_cost, catalog_gpu)
    )
    return GpuFit(
        name=name,
        key=None if catalog_gpu is None else catalog_gpu.key,
        is_installed=is_installed,
        memory_gib=memory_gib,
        largest_batch=None if largest_cost is None else largest_cost.batch,
        min_latency_ms=None if latency_bound is None else latency_bound[0],
        limited_by=None if latency_bound is None else latency_bound[1],
    )


def _compute_latency_bound(
    metadata: ModelMetadata, cost: BatchCost, catalog_gpu: Accelerator
) -> tuple[float, str] | None:
    """Return the minimum duration of an inference in ms and the bottleneck ("compute" or "memory"),
    by the roofline model; `None` if the peak rate or the memory bandwidth of the GPU is unknown.

    The duration is at least the FLOPs divided by the peak rate, and at least the minimum memory
    traffic divided by the memory bandwidth. The peak rate is that of the fastest data type the
    model can use, so the bound is valid for every kernel.
    """
    has_integer_operators = not _INTEGER_OPERATORS.isdisjoint(
        operator_count.operator for operator_count in metadata.operators
    )
    peaks_tflops = (
        catalog_gpu.fp32_tflops,
        catalog_gpu.fp16_tflops,
        catalog_gpu.int8_tops if has_integer_operators else None,
    )
    max_tflops = max((peak_tflops for peak_tflops in peaks_tflops if peak_tflops), default=None)
    if max_tflops is None or not catalog_gpu.memory_bandwidth_gb_s:
        return None
    compute_ms = cost.flops / (max_tflops * 1e12) * 1e3
    memory_ms = cost.min_bytes / (catalog_gpu.memory_bandwidth_gb_s * 1e9) * 1e3
    return max((compute_ms, "compute"), (memory_ms, "memory"))
