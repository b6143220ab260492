"""Inspection of the files of a language model: its architecture, the memory of its KV cache, and the
accelerators on which it fits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from app.records.model import ExternalFile
from app.records.planning_inputs import LanguageModel

GENAI_CONFIG_NAME = "genai_config.json"
"""Name of the configuration in a model folder of ONNX Runtime GenAI."""
LanguageModelFormat = Literal["genai", "gguf", "safetensors"]
"""Format of the files: a folder for ONNX Runtime GenAI, a GGUF file, or safetensors files."""


class WeightTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of the tensors of a model. `tensors` is None for ONNX models.

    `parameters` excludes the scales and zero points of quantized weights, and is None if the layout
    of packed weights is unknown. `draft_parameters` belong to layers that only predict further
    tokens, and `expert_parameters` to routed experts of the other layers.
    """

    tensors: int | None
    parameters: int | None
    expert_parameters: int
    draft_parameters: int
    size_bytes: int
    bytes_by_dtype: dict[str, int]


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """Architecture of a language model as far as its files describe it.

    `counts` has the known numbers by their names in `LanguageModel`, and the maximum context as
    `context_tokens`; `experts` is absent for a model without experts. `kv_dtype` is the data type of
    the KV cache that the files imply, as in `Precision.kv`. `missing` states why a number is unknown,
    by its name.
    """

    name: str | None
    counts: dict[str, int]
    kv_dtype: str | None
    missing: dict[str, str]


class LanguageModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of the files of a language model. `name` is the name of the file or folder, and
    `version` the version of a GGUF file."""

    name: str
    format: LanguageModelFormat
    version: int | None
    files: tuple[ExternalFile, ...]
    weights: WeightTotals
    architecture: Architecture
    active_parameters: int | None
    """Number of parameters that process one token; None if unknown. All tensors count except the
    routed experts that a token does not use, and draft layers."""
    language_model: LanguageModel | None
    """Architecture for planning; None if a value that planning needs is unknown."""
    missing: dict[str, str]
    """Reason why a value is unknown, by the name of its field."""


class KvCacheSize(msgspec.Struct, frozen=True):
    """Size of the KV cache of one sequence of `context_tokens` tokens on one accelerator."""

    context_tokens: int
    bytes_per_sequence: float


class DegreeBatch(msgspec.Struct, frozen=True):
    """Largest batch with tensor parallelism over `degree` accelerators: 0 if the weights do not fit,
    None if the degree does not divide the attention heads."""

    degree: int
    largest_batch: int | None


class BatchDegree(msgspec.Struct, frozen=True):
    """Smallest number of accelerators on which a batch fits; None if it fits on none of the examined
    numbers."""

    batch: int
    degree: int | None


class LanguageModelFit(msgspec.Struct, frozen=True, kw_only=True):
    """Batches of sequences of `context_tokens` tokens that fit on accelerators of one type.

    `key` is the accelerator's key in the catalog; None for a GPU of this machine that the catalog
    does not list.
    """

    name: str
    key: str | None
    is_installed: bool
    memory_gib: float
    context_tokens: int
    degrees: tuple[BatchDegree, ...]
    batches: tuple[DegreeBatch, ...]


KvDtypeSource = Literal["option", "model", "assumed"]
"""Source of the data type of the KV cache: an option of the user, the files of the model, or an
assumption."""


class LanguageModelInspection(msgspec.Struct, frozen=True, kw_only=True):
    """Inspection of a language model. The KV cache is unknown if `model.language_model` is.

    `window_bytes_per_token` is the growth of the KV cache per token beyond the sliding window; None
    if no layer has a window. `gpu_note` is the driver's message about GPUs that are expected but not
    visible.
    """

    model: LanguageModelMetadata
    kv_dtype: str
    kv_dtype_source: KvDtypeSource
    kv_bytes_per_token: float | None
    window_bytes_per_token: float | None
    kv_caches: tuple[KvCacheSize, ...]
    fits: tuple[LanguageModelFit, ...]
    gpu_note: str | None = None


def is_language_model(model: Path) -> bool:
    """Return True if a path is a model folder of ONNX Runtime GenAI or a GGUF file; False if the
    operating system does not accept the path."""
    return is_gguf_file(model) or os.path.isfile(model / GENAI_CONFIG_NAME)  # noqa: PTH113 - pathlib's may raise


def is_gguf_file(model: Path) -> bool:
    """Return True if a path is a GGUF file by its name."""
    return model.suffix.lower() == ".gguf"
