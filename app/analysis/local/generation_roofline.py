"""Bytes and FLOPs of the prefill and decode steps of a language model, and their position under the
roofline.

The bytes are a minimum: a step reads all weights once, the rows of the lookup tables for its
tokens, and the cached keys and values to which its tokens attend; it writes the keys and values of
its tokens, and the logits. Activations between operators are not counted. The attention is causal,
and counted as in Korthikanti et al. (Reducing Activation Recomputation in Large Transformer Models,
2022), but without the upper half of the scores, which a fused kernel does not compute."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from app.analysis.local.roofline import (
    CallDurations,
    DataType,
    find_bottleneck,
    locate_on_roofline,
)
from app.records.estimate import Estimate
from app.records.generation import AttentionLayers, DecoderCosts
from app.records.local import BatchModel, Bottleneck, GenerationTest, Peaks
from app.records.model import BatchCost
from app.records.result import Stage


class StepRoofline(msgspec.Struct, frozen=True, kw_only=True):
    """Position of a measured prefill or decode step under the roofline of its processor."""

    cost: BatchCost | None
    bandwidth_share: Estimate
    """Minimum memory traffic of the step divided by its duration, as a fraction of the peak
    bandwidth."""
    flops_share: Estimate
    """FLOPs of the step divided by its duration, as a fraction of the peak FLOP/s."""
    bottleneck: Bottleneck


def compute_decode_step(costs: DecoderCosts, batch: int, context: int) -> BatchCost | None:
    """Compute the cost of a step that generates one token for each of `batch` sequences, each with
    `context` tokens in the KV cache; `None` if the costs of the model are unknown."""
    return compute_prefill(costs, 1, context, batch)


def compute_prefill(costs: DecoderCosts, tokens: int, depth: int, batch: int) -> BatchCost | None:
    """Compute the cost of a step that processes `tokens` tokens of each of `batch` sequences, each
    with `depth` tokens in the KV cache; `None` if the costs of the model are unknown.

    A prefill in chunks is one such step per chunk. `moved_bytes` equals `min_bytes`."""
    if costs.unknown_reason is not None:
        return None
    logit_positions = tokens if costs.has_all_logits else 1
    pairs = sum(group.layers * _count_pairs(group, tokens, depth) for group in costs.attention)
    flops = (
        tokens * costs.product_flops_per_token
        + logit_positions * costs.head_flops
        + pairs * costs.attention_flops_per_layer
    )
    read_kv_tokens = sum(group.layers * _count_read_tokens(group, depth) for group in costs.attention)
    layers = sum(group.layers for group in costs.attention)
    sequence_bytes = (
        (read_kv_tokens + layers * tokens) * costs.kv_bytes_per_layer
        + tokens * costs.table_bytes_per_token
        + logit_positions * costs.logits_bytes
    )
    min_bytes = costs.weight_bytes + batch * sequence_bytes
    cache_bytes = layers * (depth + tokens) * costs.kv_bytes_per_layer
    return BatchCost(
        batch=batch,
        flops=batch * flops,
        moved_bytes=min_bytes,
        min_bytes=min_bytes,
        memory_bytes=costs.weight_bytes
        + costs.table_bytes
        + batch * (cache_bytes + logit_positions * costs.logits_bytes),
        flops_per_byte=batch * flops / min_bytes if min_bytes else None,
    )


def compute_test_steps(
    costs: DecoderCosts, test: GenerationTest, batch: int
) -> tuple[BatchCost | None, BatchCost | None]:
    """Compute the costs of the prefill and of the mean decode step of a test; `None` for a part
    that the test does not have, or if the costs of the model are unknown.

    The prefill generates the first token. The context of the mean decode step is rounded down to
    whole tokens."""
    prefill = compute_prefill(costs, test.prompt_tokens, test.depth, batch) if test.prompt_tokens else None
    steps = test.output_tokens - bool(test.prompt_tokens)
    if steps <= 0:
        return prefill, None
    first_context = max(1, test.depth + test.prompt_tokens)  # a test without either starts from one token
    return prefill, compute_decode_step(costs, batch, first_context + (steps - 1) // 2)


def _count_pairs(group: AttentionLayers, tokens: int, depth: int) -> int:
    """Return the number of pairs of a new token and a token that it attends to, for causal
    attention: the i-th new token attends to depth + i tokens, or to a full window."""
    window = group.window_tokens
    unwindowed = tokens if window is None else min(tokens, max(0, window - depth))  # attend to all before them
    return unwindowed * depth + unwindowed * (unwindowed + 1) // 2 + (tokens - unwindowed) * (window or 0)


def _count_read_tokens(group: AttentionLayers, depth: int) -> int:
    """Return the number of cached tokens that a step reads. With a window, the first new token
    attends to the most of them."""
    return depth if group.window_tokens is None else min(depth, group.window_tokens - 1)


def select_data_type(costs: DecoderCosts, provider: str) -> DataType:
    """Return the data type whose peak FLOP/s limit the model on an execution provider. A CPU
    computes fp16 in fp32. Only a CPU uses int8 activations for quantized weights: a GPU dequantizes
    the weights."""
    if provider == "cpu":
        return "int8" if costs.has_int8_products else "fp32"
    return costs.float_type


def find_generation_bottleneck(
    step_ms: Estimate, cost: BatchCost | None, peaks: Peaks | None, batch_model: BatchModel | None
) -> StepRoofline:
    """Determine the bottleneck of a prefill or decode step from its mean duration.

    `cost` is the cost of the step from `compute_prefill` or `compute_decode_step`; `peaks` belong
    to the data type from `select_data_type`; `batch_model` is the batch latency model of the
    variants that differ only in their batch size."""
    position = locate_on_roofline(step_ms.value, cost, peaks)
    bottleneck = find_bottleneck(CallDurations(execute_ms=step_ms.value), cost, peaks, batch_model, None)
    return StepRoofline(
        cost=cost,
        bandwidth_share=_build_share(None if position is None else position.min_bytes_share, step_ms, bottleneck),
        flops_share=_build_share(None if position is None else position.compute_share, step_ms, bottleneck),
        bottleneck=bottleneck,
    )


def _build_share(share: float | None, step_ms: Estimate, bottleneck: Bottleneck) -> Estimate:
    """Return a share of a peak with the relative interval of the duration. The uncertainty of the
    peak is not included."""
    if share is None or step_ms.value is None or bottleneck.peaks is None:
        return Estimate(None, n=step_ms.n, reason=bottleneck.sentence)
    lower_ms, upper_ms = step_ms.ci95 or (None, None)
    return Estimate(
        share,
        (share * step_ms.value / upper_ms, share * step_ms.value / lower_ms) if lower_ms and upper_ms else None,
        step_ms.n,
        basis=bottleneck.peaks.basis,
        reason=step_ms.reason,
    )


class LocatedStep(NamedTuple):
    """Share of the resource that usually limits a step, and the bottleneck of the step."""

    share: Estimate
    bottleneck: Bottleneck


def locate_test(stage: Stage, test: GenerationTest, costs: DecoderCosts, peaks: Peaks | None) -> dict[str, LocatedStep]:
    """Locate the prefill and the mean decode step of a measured test on the roofline. The keys are
    the metrics of the shares: of the peak FLOP/s for the prefill, and of the peak memory bandwidth
    for the decode."""
    assert stage.variant is not None
    batch = stage.variant.batch
    prefill_cost, decode_cost = compute_test_steps(costs, test, batch)
    steps = {}
    if (rate := stage.metrics.get("prefill_tokens_per_s")) is not None:
        step_ms = _convert_to_ms(rate["value"], batch * test.prompt_tokens)
        roofline = find_generation_bottleneck(step_ms, prefill_cost, peaks, None)
        steps["prefill_flops_share"] = LocatedStep(roofline.flops_share, roofline.bottleneck)
    if (rate := stage.metrics.get("decode_tokens_per_s")) is not None:
        roofline = find_generation_bottleneck(_convert_to_ms(rate["value"], batch), decode_cost, peaks, None)
        steps["decode_bandwidth_share"] = LocatedStep(roofline.bandwidth_share, roofline.bottleneck)
    return steps


def _convert_to_ms(rate_per_s: Estimate, tokens: int) -> Estimate:
    """Return the time for a number of tokens in ms, from their rate."""
    if not rate_per_s.value:
        return Estimate(None, n=rate_per_s.n, reason=rate_per_s.reason)
    interval = rate_per_s.ci95
    has_interval = interval is not None and interval[0] > 0
    return Estimate(
        1e3 * tokens / rate_per_s.value,
        (1e3 * tokens / interval[1], 1e3 * tokens / interval[0]) if interval is not None and has_interval else None,
        rate_per_s.n,
    )
