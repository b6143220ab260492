"""Memory of a model on accelerators: whether the model fits, how many accelerators a replica needs,
and how much memory is left for the KV cache."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from app.planning.hardware.rates import Unavailable, format_accelerator_name
from app.planning.language_models.engines import resolve_engine
from app.planning.language_models.weights import compute_weight_bytes
from app.records.dtypes import BYTES_PER_VALUE
from app.records.offers import Accelerator
from app.records.planning_inputs import Engine, LanguageModel, Precision
from app.records.service import UNLIMITED_TOKENS

GIB = 2.0**30
# usable share of the nominal memory: drivers report 99 % for stacked memory, and 93 % for GDDR6
# with error correction
_MIN_STACKED_GB_S = 1500.0
_GDDR7_GPUS = ("rtx-5090", "rtx-pro-6000-server", "rtx-pro-6000-workstation")
"""Keys of GPUs with GDDR memory whose bandwidth is as high as that of HBM."""
_USABLE_SHARE_STACKED, _USABLE_SHARE_OTHER = 0.985, 0.93
# memory of the context, kernels and collectives, outside the memory pool of the inference engine
_RUNTIME_BYTES_SINGLE, _RUNTIME_BYTES_SHARDED = 0.25 * GIB, 2.1 * GIB
# number of hidden-size tensors that are alive at once; logits are held twice in fp32
_ACTIVATION_WIDTHS = 16


class MemoryPlan(msgspec.Struct, frozen=True):
    """Memory in bytes on each of the `degree` accelerators of a replica."""

    degree: int
    weight_bytes: float
    kv_pool_bytes: float


def compute_usable_bytes(accelerator: Accelerator) -> float | Unavailable:
    """Return the memory in bytes that the driver makes available to programs, which is less than
    the nominal size."""
    if accelerator.memory_gib is None:
        return Unavailable("unknown_figure", f"the memory of {format_accelerator_name(accelerator)} is unknown")
    is_stacked = (accelerator.memory_bandwidth_gb_s or 0) >= _MIN_STACKED_GB_S and accelerator.key not in _GDDR7_GPUS
    return accelerator.memory_gib * GIB * (_USABLE_SHARE_STACKED if is_stacked else _USABLE_SHARE_OTHER)


_INDEX_BYTES_PER_VALUE = 1 + 4 / 128
"""Bytes of a value of the key of an indexer, whatever the data type of the KV cache: engines store it in 8 bits, with a
scale of 4 bytes for each 128 values."""


def compute_kv_bytes(model: LanguageModel, tokens: float, dtype: str, degree: int = 1) -> float:
    """Return the size in bytes of the KV cache of a sequence of `tokens` tokens, on each of
    `degree` accelerators.

    KV heads are split across accelerators until each accelerator has only one head; a latent cache
    (MLA) and the keys of an indexer are replicated on each accelerator.
    """
    full_attention_layers = model.layers - model.window_layers - model.linear_layers
    window_tokens = tokens if model.window_tokens is None else min(tokens, model.window_tokens)
    if model.latent_dim is None:
        layer_bytes_per_token = (
            2 * model.kv_heads * model.head_dim * BYTES_PER_VALUE[dtype] / min(degree, model.kv_heads)
        )
    else:
        layer_bytes_per_token = model.latent_dim * BYTES_PER_VALUE[dtype]
    layer_bytes_per_token += (model.index_dim or 0) * _INDEX_BYTES_PER_VALUE
    return layer_bytes_per_token * (full_attention_layers * tokens + model.window_layers * window_tokens)


def plan_memory(
    model: LanguageModel,
    accelerator: Accelerator,
    precision: Precision,
    degree: int = 1,
    engine: Engine | None = None,
    weight_bytes: float | None = None,
) -> MemoryPlan | Unavailable:
    """Plan the memory for tensor parallelism over `degree` accelerators.

    `weight_bytes` is the size of all weights if it is known from their files; otherwise, the size is
    computed from the data type. Return `Unavailable` if the weights leave no memory for a KV cache.
    """
    limits = resolve_engine(engine or Engine(), accelerator)
    usable_bytes = compute_usable_bytes(accelerator)
    if isinstance(usable_bytes, Unavailable):
        return usable_bytes
    if weight_bytes is None:
        weight_bytes = compute_weight_bytes(model, precision.weights)
    weight_bytes /= degree
    activation_bytes = (
        _ACTIVATION_WIDTHS * limits.chunk_tokens * model.hidden * 2 + 2 * limits.max_sequences * model.vocabulary * 4
    ) / degree
    overhead_bytes = activation_bytes + (_RUNTIME_BYTES_SINGLE if degree == 1 else _RUNTIME_BYTES_SHARDED)
    available_bytes = usable_bytes if limits.memory_share == "rest" else limits.utilization * usable_bytes
    if limits.memory_share == "weights and cache":
        overhead_bytes = 0.0
    kv_pool_bytes = available_bytes - weight_bytes - overhead_bytes
    if kv_pool_bytes <= 0:
        return Unavailable(
            "memory",
            f"the weights need {weight_bytes / GIB:.1f} GiB and the inference server {overhead_bytes / GIB:.1f} GiB, "
            f"but only {available_bytes / GIB:.1f} GiB are available on "
            f"{_format_accelerators(accelerator, degree)}",
        )
    if limits.memory_share == "rest":
        kv_pool_bytes *= limits.utilization
    return MemoryPlan(degree, weight_bytes, kv_pool_bytes)


def count_sequences(
    memory_plan: MemoryPlan, model: LanguageModel, tokens: float, kv_dtype: str, block_tokens: int = 16
) -> int:
    """Return how many sequences of `tokens` tokens fit in the KV cache at once. Each sequence is
    rounded up to whole blocks."""
    rounded_tokens = math.ceil(tokens / block_tokens) * block_tokens
    sequence_bytes = compute_kv_bytes(model, rounded_tokens, kv_dtype, memory_plan.degree)
    # with linear layers only, the cache does not grow, and only the engine's own limit applies
    return math.floor(memory_plan.kv_pool_bytes / sequence_bytes) if sequence_bytes > 0 else UNLIMITED_TOKENS


def find_smallest_degree(
    model: LanguageModel,
    accelerator: Accelerator,
    precision: Precision,
    tokens: int,
    engine: Engine | None = None,
    sequences: int = 1,
    max_degree: int = 8,
) -> MemoryPlan | Unavailable:
    """Return the memory plan with the fewest accelerators that fit the weights and `sequences`
    sequences of `tokens` tokens.

    The number of accelerators divides the number of attention heads. Return `Unavailable` if even
    `max_degree` accelerators are too few.
    """
    memory_plan: MemoryPlan | Unavailable = Unavailable(
        "attention_heads", f"no number of accelerators up to {max_degree} divides {model.heads} attention heads"
    )
    for degree in range(1, max_degree + 1):
        if model.heads % degree:
            continue
        memory_plan = plan_memory(model, accelerator, precision, degree, engine)
        if (
            isinstance(memory_plan, MemoryPlan)
            and count_sequences(memory_plan, model, tokens, precision.kv) >= sequences
        ):
            return memory_plan
    if isinstance(memory_plan, Unavailable):
        return memory_plan
    sequence_bytes = compute_kv_bytes(model, tokens, precision.kv, memory_plan.degree)
    return Unavailable(
        "memory",
        f"{sequences} × {tokens} tokens need {sequences * sequence_bytes / GIB:.1f} GiB of KV cache, but only "
        f"{memory_plan.kv_pool_bytes / GIB:.1f} GiB are left by the weights on "
        f"{_format_accelerators(accelerator, memory_plan.degree)}",
    )


def count_sequences_by_degree(
    model: LanguageModel,
    accelerator: Accelerator,
    precision: Precision,
    tokens: int,
    weight_bytes: float,
    degrees: Sequence[int],
) -> dict[int, int | None]:
    """Return how many sequences of `tokens` tokens fit at once on each number of accelerators in
    `degrees`: 0 if the weights leave no memory for them, `None` if the number does not divide the
    attention heads."""
    counts: dict[int, int | None] = {}
    for degree in degrees:
        if model.heads % degree:
            counts[degree] = None
            continue
        memory_plan = plan_memory(model, accelerator, precision, degree, weight_bytes=weight_bytes)
        counts[degree] = (
            count_sequences(memory_plan, model, tokens, precision.kv) if isinstance(memory_plan, MemoryPlan) else 0
        )
    return counts


def _format_accelerators(accelerator: Accelerator, degree: int) -> str:
    return (
        f"one {format_accelerator_name(accelerator)}"
        if degree == 1
        else f"each of {degree} {format_accelerator_name(accelerator)}"
    )
