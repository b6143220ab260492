"""Whether a model fits an accelerator, how many cards it takes, and how much cache is left for sequences."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from app.planning.rates import Refusal, card_name
from app.records.offers import Accelerator
from app.records.plan_question import Engine, LanguageModel, Precision
from app.records.service import NO_LIMIT

GIB = 2.0**30
# the scales of 4-bit weights take 0.06 bytes more
BYTES_PER_PARAMETER = {
    "fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.56, "fp4": 0.56,
}  # fmt: skip
# A driver reports 99 % of the label where the memory is stacked, 93 % where error correction takes a share of GDDR6
_STACKED_FROM_GB_S = 1500.0
_USABLE_STACKED, _USABLE_OTHER = 0.985, 0.93
# what context, kernels and collectives hold outside the engine's own pool
_RUNTIME_BYTES_ALONE, _RUNTIME_BYTES_SHARDED = 0.25 * GIB, 2.1 * GIB
# intermediate tensors alive at once, in widths of the model; logits stand in fp32 twice
_ALIVE_WIDTHS = 16

TakenBy = Literal["weights", "KV"]


class MemoryPlan(msgspec.Struct, frozen=True):
    """Bytes of one of `degree` cards that share a replica."""

    degree: int
    usable_bytes: float
    weight_bytes: float
    overhead_bytes: float
    kv_pool_bytes: float


def usable_bytes(card: Accelerator) -> float | Refusal:
    """What a driver lets a program have, which is less than the label."""
    if card.memory_gib is None:
        return Refusal("unknown_figure", f"the memory of {card_name(card)} is not known")
    stacked = (card.memory_bandwidth_gb_s or 0) >= _STACKED_FROM_GB_S and not card.name.startswith(("GeForce", "RTX"))
    return card.memory_gib * GIB * (_USABLE_STACKED if stacked else _USABLE_OTHER)


def weight_bytes(model: LanguageModel, dtype: str) -> float:
    return model.parameters * BYTES_PER_PARAMETER[dtype]


def kv_bytes(model: LanguageModel, tokens: float, dtype: str, degree: int = 1) -> float:
    """Keys and values of one sequence of `tokens`, on one of `degree` cards.

    Heads are shared out until each card has one; a latent cache is whole on every card.
    """
    growing = model.layers - model.window_layers - model.linear_layers
    in_window = tokens if model.window_tokens is None else min(tokens, model.window_tokens)
    if model.latent_dim is None:
        per_layer = 2 * model.kv_heads * model.head_dim * BYTES_PER_PARAMETER[dtype] / min(degree, model.kv_heads)
    else:
        per_layer = model.latent_dim * BYTES_PER_PARAMETER[dtype]
    return per_layer * (growing * tokens + model.window_layers * in_window)


def plan_memory(
    model: LanguageModel, card: Accelerator, precision: Precision, degree: int = 1, engine: Engine | None = None
) -> MemoryPlan | Refusal:
    """Tensor parallelism over `degree` cards. Refused where the weights leave no room for a cache."""
    engine = engine or Engine()
    usable = usable_bytes(card)
    if isinstance(usable, Refusal):
        return usable
    weights = weight_bytes(model, precision.weights) / degree
    activations = (
        _ALIVE_WIDTHS * engine.chunk_tokens * model.hidden * 2 + 2 * engine.max_sequences * model.vocabulary * 4
    ) / degree
    overhead = activations + (_RUNTIME_BYTES_ALONE if degree == 1 else _RUNTIME_BYTES_SHARDED)
    pool = engine.utilisation * usable - weights - overhead
    if pool <= 0:
        return Refusal(
            "memory",
            f"the weights take {weights / GIB:.1f} GiB and the engine {overhead / GIB:.1f} GiB of the "
            f"{engine.utilisation * usable / GIB:.1f} GiB it may use of {_cards(card, degree)}",
        )
    return MemoryPlan(degree, usable, weights, overhead, pool)


def sequences_that_fit(
    plan: MemoryPlan, model: LanguageModel, tokens: float, kv_dtype: str, block_tokens: int = 16
) -> int:
    """How many sequences of `tokens` the cache holds at once, in whole blocks."""
    rounded = math.ceil(tokens / block_tokens) * block_tokens
    each = kv_bytes(model, rounded, kv_dtype, plan.degree)
    # linear layers only: nothing grows, and nothing but the engine's own limit binds
    return math.floor(plan.kv_pool_bytes / each) if each > 0 else NO_LIMIT


def smallest_degree(
    model: LanguageModel,
    card: Accelerator,
    precision: Precision,
    tokens: int,
    engine: Engine | None = None,
    sequences: int = 1,
    at_most: int = 8,
) -> MemoryPlan | Refusal:
    """The fewest cards that hold the weights and so many sequences of `tokens`; their number divides the heads."""
    last: MemoryPlan | Refusal = Refusal(
        "attention_heads", f"no number of cards up to {at_most} divides {model.heads} heads"
    )
    for degree in range(1, at_most + 1):
        if model.heads % degree:
            continue
        last = plan_memory(model, card, precision, degree, engine)
        if isinstance(last, MemoryPlan) and sequences_that_fit(last, model, tokens, precision.kv) >= sequences:
            return last
    if isinstance(last, Refusal):
        return last
    each = kv_bytes(model, tokens, precision.kv, last.degree)
    return Refusal(
        "memory",
        f"{sequences} × {tokens} tokens take {sequences * each / GIB:.1f} GiB of cache, and "
        f"{last.kv_pool_bytes / GIB:.1f} GiB are left beside the weights on {_cards(card, last.degree)}",
    )


def what_takes_memory(plan: MemoryPlan) -> TakenBy:
    """Which of the two to make smaller when too few sequences fit."""
    return "weights" if plan.weight_bytes > plan.kv_pool_bytes else "KV"


def _cards(card: Accelerator, degree: int) -> str:
    return f"one {card_name(card)}" if degree == 1 else f"each of {degree} {card_name(card)}"
