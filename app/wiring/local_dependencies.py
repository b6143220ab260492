"""Production dependencies of a session that measures a local model."""

from __future__ import annotations

import functools
import hashlib
import platform
import time
from functools import partial
from pathlib import Path

import numpy as np

from app.analysis.local.roofline import DataType, get_published_peaks
from app.errors import SizewiseError, UsageError
from app.inference.datasets.labeled import load_labeled_rows, select_calibration_rows
from app.inference.generation.decoder_shape import WeightBits
from app.inference.generation.gguf_conversion import convert_gguf
from app.inference.generation.model_folder import compute_folder_sha256, read_model_folder
from app.inference.inspection.client import inspect_model, read_decoder_costs
from app.inference.job import VariantJob
from app.inference.peaks import measure_peaks
from app.inference.precision.conversion import convert_precision, get_default_cache
from app.inference.process import VariantProcess
from app.inference.providers import NVIDIA_PROVIDERS
from app.inference.rows import Feeds
from app.inference.tensor_spec import TensorSpec
from app.profiles.local import LocalProfile
from app.profiles.pricing.catalog import load_catalog
from app.records.generation import DecoderCosts
from app.records.language_model import is_gguf_file
from app.records.local import Peaks, Precision
from app.records.model import BatchCost, ModelMetadata, ModelValue, ShapeOverrides
from app.records.result import Environment
from app.session.local.spec import DataSpec, LocalDependencies, PreparedModel, VariantSpec
from app.session.machine import find_gpus
from app.storage.calibrations import load_selftest
from app.storage.run_directory import RunWriter
from app.telemetry.clock import read_clock
from app.telemetry.environment import list_runtime_packages
from app.telemetry.gpu import read_gpu_memory_used_gib
from app.telemetry.gpu_description import find_foreign_processes
from app.wiring.dependencies import get_utc_now
from app.wiring.inspecting import find_catalog_gpu
from app.wiring.machine import build_sampler, inspect_for_run

_CONVERSION_LIMIT_S = 1800.0
_DATA_TYPES: dict[Precision, DataType] = {
    "as-is": "fp32",
    "fp16": "fp16",
    "int8-dynamic": "int8",
    "int8-static": "int8",
}
_WEIGHT_BITS: dict[Precision, WeightBits] = {"as-is": 32, "int8": 8, "int4": 4}
"""Bits per weight of a converted GGUF file, by precision."""
_UNQUANTIZED_DTYPES = ("F16", "BF16")
_CACHING_PROVIDERS = ("cpu", "cuda", "tensorrt")
"""Execution providers that can build a session from a cached optimized model or engine."""


def build_local_dependencies(profile: LocalProfile, store: RunWriter) -> LocalDependencies:
    """Build the dependencies of a local session. Nothing is started: the session starts each
    resource when needed."""
    return LocalDependencies(
        inspect_machine=partial(inspect_for_run, store.directory),
        prepare_model=prepare_model,
        start_variant=_start_variant,
        compute_cost=compute_cost,
        find_peaks=_PeakRateCache().find,
        find_foreign_processes=find_foreign_processes,
        read_gpu_memory_gib=read_gpu_memory_used_gib,
        telemetry=build_sampler(profile),
        store=store,
        read_clock=read_clock,
        now_ns=time.perf_counter_ns,
        wall_now=get_utc_now,
        pause=time.sleep,
        load_selftest=load_selftest,
    )


def prepare_model(variant_spec: VariantSpec, data: DataSpec) -> PreparedModel:
    """Check the model file and convert the model to the requested precision.

    Raises UsageError if the model file is not safe, before a runtime opens the file. Raises
    UsageError or MeasurementError if the model cannot be converted.
    """
    path = Path(variant_spec.model)
    if variant_spec.is_language_model:
        return _prepare_language_model(path, variant_spec.precision)
    precision = variant_spec.precision
    assert precision != "int8"
    assert precision != "int4"
    _inspect_model(variant_spec.model, tuple(sorted(variant_spec.settings.axes.items())))
    calibration = _load_calibration(path, data) if variant_spec.precision == "int8-static" else None
    converted_model = convert_precision(
        path, precision, calibration, cache=get_default_cache(), timeout_s=_CONVERSION_LIMIT_S
    )
    return PreparedModel(
        path=str(converted_model.path),
        sha256=converted_model.sha256,
        size_bytes=converted_model.path.stat().st_size,
        cached_model_path=_get_cache_path(variant_spec, converted_model.sha256),
        notes=converted_model.notes,
    )


def find_model_folder(path: Path, precision: Precision) -> Path:
    """Return the folder of a language model for ONNX Runtime GenAI. A GGUF file is converted to the
    precision, unless its conversion is cached."""
    if not is_gguf_file(path):
        return path
    return convert_gguf(path, _WEIGHT_BITS[precision], cache=get_default_cache(), timeout_s=_CONVERSION_LIMIT_S)


def _prepare_language_model(path: Path, precision: Precision) -> PreparedModel:
    folder = find_model_folder(path, precision)
    model = read_model_folder(folder)
    if model.paged_cache is not None:
        raise UsageError(
            f"the model {path} has a paged KV cache, which only an endpoint uses",
            hint="Serve it with `sizewise serve` and measure the endpoint, or export it without a paged cache.",
        )
    costs = _read_costs(folder)
    return PreparedModel(
        path=str(folder),
        sha256=compute_folder_sha256(folder),
        size_bytes=model.size_bytes,
        language_model=model,
        decoder_costs=costs,
        notes=_build_conversion_notes(costs.source_dtype, precision),
    )


def _build_conversion_notes(source_dtype: str | None, precision: Precision) -> tuple[str, ...]:
    """Return a note on weights that a GGUF file stores in another data type than the converted model;
    empty for weights in float32, and without a conversion."""
    if source_dtype is None or source_dtype == "F32":
        return ()
    if precision == "as-is":
        return (
            f"The file has {source_dtype} weights, which `as-is` computes exactly, but in float32: speed and memory "
            f"are not those of a runtime that computes {source_dtype}, such as llama.cpp.",
        )
    if source_dtype in _UNQUANTIZED_DTYPES:
        return ()
    return (
        f"The file has {source_dtype} weights, and `{precision}` quantizes them again: the quality is that of both "
        "quantizations. Use a file in F16, BF16 or F32 to measure the quality of one.",
    )


def compute_cost(path: str, batch: int, axes: dict[str, int]) -> BatchCost | None:
    """Return the cost of an inference at a batch size: FLOPs, memory traffic and memory. The cost
    is interpolated linearly for batch sizes that were not inspected. Return `None` if the cost is
    unknown."""
    try:
        metadata = _inspect_model(path, tuple(sorted(axes.items())))
    except SizewiseError:  # The original model could be inspected, but not the converted model.
        return None
    if metadata.unknown_nodes:
        return None
    exact_cost = next((cost for cost in metadata.costs if cost.batch == batch), None)
    if exact_cost is not None or not metadata.costs:
        return exact_cost
    flops_growth, moved_growth, memory_growth = metadata.flops_growth, metadata.moved_growth, metadata.memory_growth
    if flops_growth is None or moved_growth is None or memory_growth is None or len(metadata.costs) < 2:
        return None
    first_cost, second_cost = metadata.costs[:2]
    min_bytes_per_row = (second_cost.min_bytes - first_cost.min_bytes) // (second_cost.batch - first_cost.batch)
    moved_bytes = moved_growth.fixed + moved_growth.per_row * batch
    total_flops = flops_growth.fixed + flops_growth.per_row * batch
    return BatchCost(
        batch=batch,
        flops=total_flops,
        moved_bytes=moved_bytes,
        min_bytes=first_cost.min_bytes + min_bytes_per_row * (batch - first_cost.batch),
        memory_bytes=memory_growth.fixed + memory_growth.per_row * batch,
        flops_per_byte=total_flops / moved_bytes if moved_bytes else None,
    )


@functools.lru_cache(maxsize=64)
def _read_costs(folder: Path) -> DecoderCosts:
    return read_decoder_costs(folder)


@functools.lru_cache(maxsize=64)
def _inspect_model(path: str, axes: tuple[tuple[str, int], ...]) -> ModelMetadata:
    return inspect_model(Path(path), ShapeOverrides(axes=dict(axes)))


def _start_variant(name: str, job: VariantJob, environment: tuple[tuple[str, str], ...]) -> VariantProcess:
    return VariantProcess(name, job, environment=dict(environment))


def _load_calibration(model: Path, data: DataSpec) -> Feeds:
    """Return calibration rows that are spread evenly over the dataset. Raises UsageError if the
    dataset does not fit the model."""
    source = data.calibration or data.rows
    assert source is not None
    inputs = tuple(_build_tensor_spec(value) for value in inspect_model(model, ShapeOverrides()).inputs)
    rows = load_labeled_rows(Path(source), inputs, data.label)
    selected_rows = [rows.batch(int(index), 1) for index in select_calibration_rows(len(rows), data.calibration_rows)]
    return {name: np.concatenate([feeds[name] for feeds in selected_rows]) for name in selected_rows[0]}


def _build_tensor_spec(value: ModelValue) -> TensorSpec:
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in value.shape or ())
    return TensorSpec(value.name, value.dtype, shape)


def _get_cache_path(variant_spec: VariantSpec, sha256: str) -> str | None:
    """Return the path of the cached optimized model or, for TensorRT, of the folder of cached
    engines; `None` if the provider does not support caching.

    The name is a hash of everything on which the optimized model depends.
    """
    if variant_spec.variant.provider not in _CACHING_PROVIDERS:
        return None
    versions = [f"{name} {version}" for name, version in list_runtime_packages()]
    key_parts = (
        sha256,
        variant_spec.variant.provider,
        platform.node(),
        platform.machine(),
        *versions,
        *map(str, (*variant_spec.environment, *sorted(variant_spec.settings.axes.items()))),
    )
    key = hashlib.sha256("\n".join(key_parts).encode()).hexdigest()[:32]
    folder = get_default_cache().parent / "optimised"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / key if variant_spec.variant.provider == "tensorrt" else folder / f"{key}.onnx")


class _PeakRateCache:
    """Peak rates of the processors of this machine. The peak rates of the CPU are measured on first
    use, for each combination of thread count and weight size."""

    def __init__(self) -> None:
        self._cpu_peaks: dict[tuple[int, int], dict[str, Peaks]] = {}

    def find(
        self,
        variant_spec: VariantSpec,
        environment: Environment,
        weight_bytes: int,
        data_type: DataType | None,
    ) -> Peaks | None:
        """Return the peak rates of the processor of a variant; `None` if they are unknown. Without
        `data_type`, they are those of the precision of the variant."""
        data_type = data_type or _DATA_TYPES[variant_spec.precision]
        if variant_spec.variant.provider in NVIDIA_PROVIDERS:
            gpu = next(iter(find_gpus(variant_spec.variant, environment.gpus)), None)
            catalog_gpu = None if gpu is None else find_catalog_gpu(gpu.name, load_catalog().accelerators.values())
            return None if catalog_gpu is None else get_published_peaks(catalog_gpu, data_type)
        if variant_spec.variant.provider != "cpu":
            return None
        key = (variant_spec.settings.threads, weight_bytes)
        if key not in self._cpu_peaks:
            try:
                self._cpu_peaks[key] = measure_peaks(*key)
            except SizewiseError:  # The roofline is then omitted.
                self._cpu_peaks[key] = {}
        return self._cpu_peaks[key].get("fp32" if data_type == "fp16" else data_type)  # The CPU computes fp16 as fp32.
