"""Compare the memory of a language model with the GPUs of this machine and of the accelerator
catalog, with the formulas of the planner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from app.inference.inspection.client import inspect_language_model
from app.planning.language_models.memory import compute_kv_bytes, count_sequences_by_degree
from app.profiles.pricing.catalog import load_catalog
from app.records.language_model import (
    BatchDegree,
    DegreeBatch,
    KvCacheSize,
    LanguageModelFit,
    LanguageModelInspection,
    LanguageModelMetadata,
)
from app.records.offers import Accelerator
from app.records.planning_inputs import LanguageModel, Precision
from app.records.result import Gpu
from app.telemetry.gpu import open_gpus
from app.wiring.inspecting import find_catalog_gpu

DEGREES = (1, 2, 4, 8)
"""Examined numbers of accelerators for tensor parallelism."""
DEFAULT_CONTEXT_TOKENS, DEFAULT_BATCHES = 8192, (1, 16)
_ASSUMED_KV_DTYPE = "bf16"


class FitQuestion(msgspec.Struct, frozen=True):
    """Contexts in tokens and batches of the table of accelerators, and the data type of the KV cache.
    Values that the user did not set are None or empty."""

    contexts: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    kv_dtype: str | None = None


def inspect_language_model_with_gpus(path: Path, question: FitQuestion) -> LanguageModelInspection:
    """Inspect a language model and compare its memory with GPUs. Raises UsageError if the files are
    not valid or are rejected."""
    metadata = inspect_language_model(path)
    with open_gpus() as gpus:
        local_gpus = [reader.description for reader in gpus.readers]
        note = gpus.note
    inspection = build_inspection(metadata, question, local_gpus, load_catalog().accelerators.values())
    return msgspec.structs.replace(inspection, gpu_note=note)


def build_inspection(
    metadata: LanguageModelMetadata,
    question: FitQuestion,
    local_gpus: Iterable[Gpu],
    catalog_gpus: Iterable[Accelerator],
) -> LanguageModelInspection:
    """Return the KV cache of a model at the contexts in question, and the batches that fit on each
    accelerator: first on the GPUs of this machine, then on those of the catalog in order of memory.

    GPUs with unknown memory are omitted. Without contexts in question, the context is the default,
    or the maximum of the model if that is smaller.
    """
    stated_dtype = metadata.architecture.kv_dtype
    kv_dtype = question.kv_dtype or stated_dtype or _ASSUMED_KV_DTYPE
    inspection = LanguageModelInspection(
        model=metadata,
        kv_dtype=kv_dtype,
        kv_dtype_source="option" if question.kv_dtype else "model" if stated_dtype else "assumed",
        kv_bytes_per_token=None,
        window_bytes_per_token=None,
        kv_caches=(),
        fits=(),
    )
    model = metadata.language_model
    if model is None:
        return inspection
    contexts = question.contexts or (
        min(DEFAULT_CONTEXT_TOKENS, metadata.architecture.counts.get("context_tokens", DEFAULT_CONTEXT_TOKENS)),
    )
    batches = question.batches or DEFAULT_BATCHES
    candidates = tuple(_list_candidates(local_gpus, tuple(catalog_gpus)))
    return msgspec.structs.replace(
        inspection,
        kv_bytes_per_token=compute_kv_bytes(model, 1, kv_dtype),
        window_bytes_per_token=_compute_bytes_beyond_window(model, kv_dtype),
        kv_caches=tuple(KvCacheSize(tokens, compute_kv_bytes(model, tokens, kv_dtype)) for tokens in contexts),
        fits=tuple(
            _compute_fit(metadata.weights.size_bytes, model, candidate, tokens, batches, kv_dtype)
            for tokens in contexts
            for candidate in candidates
        ),
    )


def _compute_bytes_beyond_window(model: LanguageModel, kv_dtype: str) -> float | None:
    if not model.window_layers or model.window_tokens is None:
        return None
    return compute_kv_bytes(model, model.window_tokens + 1, kv_dtype) - compute_kv_bytes(
        model, model.window_tokens, kv_dtype
    )


class _Candidate(msgspec.Struct, frozen=True):
    """Accelerator to compare with: `name` is for display, and `key` its key in the catalog."""

    name: str
    key: str | None
    is_installed: bool
    accelerator: Accelerator
    memory_gib: float


def _list_candidates(local_gpus: Iterable[Gpu], catalog_gpus: tuple[Accelerator, ...]) -> Iterator[_Candidate]:
    for gpu in local_gpus:
        if not gpu.memory_gib:
            continue
        known_gpu = find_catalog_gpu(gpu.name, catalog_gpus)
        accelerator = known_gpu or Accelerator(
            "", "", gpu.name, None, "", gpu.memory_gib, None, None, None, None, None, None, ""
        )
        key = None if known_gpu is None else known_gpu.key
        yield _Candidate(f"GPU {gpu.index}: {gpu.name}", key, True, accelerator, gpu.memory_gib)
    candidates = [_Candidate(gpu.name, gpu.key, False, gpu, gpu.memory_gib) for gpu in catalog_gpus if gpu.memory_gib]
    yield from sorted(candidates, key=lambda candidate: (candidate.memory_gib, candidate.name))


def _compute_fit(
    weight_bytes: int, model: LanguageModel, candidate: _Candidate, tokens: int, batches: Sequence[int], kv_dtype: str
) -> LanguageModelFit:
    counts = count_sequences_by_degree(
        model, candidate.accelerator, Precision(kv=kv_dtype), tokens, weight_bytes, DEGREES
    )
    return LanguageModelFit(
        name=candidate.name,
        key=candidate.key,
        is_installed=candidate.is_installed,
        memory_gib=candidate.memory_gib,
        context_tokens=tokens,
        degrees=tuple(
            BatchDegree(batch, next((degree for degree, count in counts.items() if count and count >= batch), None))
            for batch in batches
        ),
        batches=tuple(DegreeBatch(degree, count) for degree, count in counts.items()),
    )
