"""A processor of 100 GFLOP/s and 10 GB/s, and Llama 3.1 8B in 16 bits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import pytest

from app.analysis.local.batch_model import BatchPoint, fit_batch_model
from app.analysis.local.generation_roofline import (
    StepRoofline,
    compute_decode_step,
    compute_prefill,
    compute_test_steps,
    find_generation_bottleneck,
    select_data_type,
)
from app.planning.llm import Deployment, Efficiency, Speeds, compute_decode_step_s, compute_prefill_s
from app.planning.memory import compute_kv_bytes
from app.records.estimate import Estimate, Variant
from app.records.generation import AttentionLayers, DecoderCosts
from app.records.local import GenerationTest, Peaks
from app.records.model import BatchCost
from app.records.planning_inputs import Precision
from tests.fakes.language_models import LLAMA_8B
from tests.fakes.offers import accelerator

LAYERS, HIDDEN, VOCABULARY = 32, 4096, 128256
LAYER_WEIGHTS = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * 1024 + 3 * HIDDEN * 14336
EMBEDDING = HEAD = VOCABULARY * HIDDEN
NORMS = (2 * LAYERS + 1) * HIDDEN
PARAMETERS = LAYERS * LAYER_WEIGHTS + EMBEDDING + HEAD + NORMS
MODEL = msgspec.structs.replace(LLAMA_8B, parameters=float(PARAMETERS))
COSTS = DecoderCosts(
    parameters=1,
    weight_bytes_by_dtype={"float16": 2 * (PARAMETERS - EMBEDDING)},
    table_bytes=2 * EMBEDDING,
    table_bytes_per_token=2 * HIDDEN,
    product_flops_per_token=2 * LAYERS * LAYER_WEIGHTS,
    head_flops=2 * HEAD,
    logits_bytes=4 * VOCABULARY,
    has_all_logits=False,
    attention=(AttentionLayers(LAYERS),),
    attention_flops_per_layer=4 * 32 * 128,
    kv_bytes_per_layer=2 * 8 * 128 * 2,
    float_type="fp16",
    has_int8_products=False,
)
KV_BYTES = LAYERS * COSTS.kv_bytes_per_layer
PAIR_FLOPS = LAYERS * COSTS.attention_flops_per_layer
PEAKS = Peaks(name="this CPU with 1 thread in fp32", flops_per_s=1e11, bytes_per_s=1e10, basis="measured", source="")
SMALL = msgspec.structs.replace(
    COSTS,
    weight_bytes_by_dtype={"float32": 1000},
    table_bytes=80,
    table_bytes_per_token=4,
    product_flops_per_token=500,
    head_flops=100,
    logits_bytes=20,
    attention=(AttentionLayers(2),),
    attention_flops_per_layer=8,
    kv_bytes_per_layer=16,
)


def known(cost: BatchCost | None) -> BatchCost:
    assert cost is not None
    return cost


def test_a_decode_step_reads_all_weights_once_and_the_cache_of_each_sequence() -> None:
    cost = known(compute_decode_step(SMALL, batch=3, context=10))
    assert cost.flops == 3 * (500 + 100 + 2 * 8 * 11)
    assert cost.min_bytes == cost.moved_bytes == 1000 + 3 * (2 * 16 * (10 + 1) + 4 + 20)
    assert cost.memory_bytes == 1000 + 80 + 3 * (2 * 16 * 11 + 20)
    assert cost.flops_per_byte == cost.flops / cost.min_bytes
    assert known(compute_decode_step(SMALL, 1, 0)).flops == 500 + 100 + 2 * 8


def test_a_prefill_attends_to_its_past_and_causally_to_itself() -> None:
    cost = known(compute_prefill(SMALL, tokens=4, depth=10, batch=2))
    pairs = 11 + 12 + 13 + 14
    assert cost.flops == 2 * (4 * 500 + 100 + 2 * 8 * pairs)
    assert cost.min_bytes == 1000 + 2 * (2 * 16 * (10 + 4) + 4 * 4 + 20)


def test_logits_of_all_positions_cost_their_products_and_bytes() -> None:
    last, all_positions = (
        known(compute_prefill(msgspec.structs.replace(SMALL, has_all_logits=has_all_logits), 4, 0, 2))
        for has_all_logits in (False, True)
    )
    assert all_positions.flops - last.flops == 2 * 3 * 100
    assert all_positions.min_bytes - last.min_bytes == 2 * 3 * 20


@pytest.mark.parametrize(("tokens", "depth"), [(4, 0), (4, 3), (4, 10), (1, 4), (1, 5), (1, 6), (9, 0)])
def test_a_window_limits_what_is_attended_to(tokens: int, depth: int) -> None:
    window = 5
    costs = msgspec.structs.replace(SMALL, attention=(AttentionLayers(2), AttentionLayers(3, window)))
    cost = known(compute_prefill(costs, tokens, depth, 1))
    positions = range(depth + 1, depth + tokens + 1)
    attended = 2 * sum(positions) + 3 * sum(min(position, window) for position in positions)
    read = 2 * depth + 3 * min(depth, window - 1)
    assert cost.flops == tokens * 500 + 100 + 8 * attended
    assert cost.min_bytes == 1000 + 16 * (read + 5 * tokens) + 4 * tokens + 20


def test_unknown_costs_are_none() -> None:
    costs = msgspec.structs.replace(SMALL, unknown_reason="the cost of MoE is unknown")
    assert compute_prefill(costs, 4, 0, 1) is None
    assert compute_decode_step(costs, 1, 4) is None


@pytest.mark.parametrize(
    ("test", "prefill", "contexts"),
    [
        (GenerationTest(512, 0), (512, 0), []),
        (GenerationTest(0, 128), None, range(1, 129)),
        (GenerationTest(0, 1), None, [1]),
        (GenerationTest(0, 3, 100), None, [100, 101, 102]),
        (GenerationTest(512, 1, 4096), (512, 4096), []),
        (GenerationTest(512, 128, 4096), (512, 4096), range(4608, 4608 + 127)),
    ],
)
def test_the_steps_of_a_test_are_its_prefill_and_its_mean_decode_step(
    test: GenerationTest, prefill: tuple[int, int] | None, contexts: Sequence[int]
) -> None:
    mean = math.floor(sum(contexts) / len(contexts)) if contexts else None
    assert compute_test_steps(SMALL, test, 3) == (
        None if prefill is None else compute_prefill(SMALL, *prefill, 3),
        None if mean is None else compute_decode_step(SMALL, 3, mean),
    )


CONTEXT = 4096
NO_LOSSES = Efficiency(compute=1.0, bandwidth=1.0, host_s=0.0, link_latency_s=0.0)
BYTES_AS_SECONDS, FLOPS_AS_SECONDS = Speeds(1e300, 1.0, 1.0), Speeds(1.0, 1e300, 1.0)


def deployment(input_tokens: float) -> Deployment:
    precision = Precision("fp16", "fp16", "fp16")
    return Deployment(MODEL, accelerator("l4", "L4"), input_tokens, 0.0, precision, efficiency=NO_LOSSES)


@pytest.mark.parametrize("batch", [1, 16])
def test_a_decode_step_is_that_of_the_planner_apart_from_the_embedding_the_logits_and_the_new_token(batch: int) -> None:
    """The planner counts the embedding as if it was multiplied, and no attention in the FLOPs of a decode step."""
    cost = known(compute_decode_step(COSTS, batch, CONTEXT))
    planned_bytes = compute_decode_step_s(deployment(CONTEXT), BYTES_AS_SECONDS, batch)
    planned_flops = compute_decode_step_s(deployment(CONTEXT), FLOPS_AS_SECONDS, batch)
    assert cost.min_bytes == planned_bytes - 2 * EMBEDDING + batch * (KV_BYTES + 2 * HIDDEN + 4 * VOCABULARY)
    assert cost.flops == planned_flops + batch * (PAIR_FLOPS * (CONTEXT + 1) - 2 * (EMBEDDING + NORMS))
    assert cost.min_bytes == pytest.approx(planned_bytes, rel=0.07)
    assert compute_kv_bytes(MODEL, 1, "fp16") == KV_BYTES


def test_a_prefill_is_that_of_the_planner_apart_from_the_embedding_and_the_output_projection() -> None:
    """The planner counts the logits of all tokens, and half the square of the tokens as the causal pairs."""
    tokens = 512
    planned_flops = compute_prefill_s(deployment(tokens), FLOPS_AS_SECONDS)
    all_logits = msgspec.structs.replace(COSTS, has_all_logits=True)
    difference = PAIR_FLOPS * tokens // 2 - 2 * tokens * (EMBEDDING + NORMS)
    assert known(compute_prefill(all_logits, tokens, 0, 1)).flops == planned_flops + difference
    assert known(compute_prefill(COSTS, tokens, 0, 1)).flops == planned_flops + difference - 2 * (tokens - 1) * HEAD


def located(cost: BatchCost | None, step_ms: Estimate, peaks: Peaks | None = PEAKS) -> StepRoofline:
    return find_generation_bottleneck(step_ms, cost, peaks, None)


def test_a_decode_step_near_the_bandwidth_is_memory_bound() -> None:
    cost = known(compute_decode_step(COSTS, 1, 0))
    ideal_ms = cost.min_bytes / 1e10 * 1e3
    found = located(cost, Estimate(ideal_ms / 0.8, (ideal_ms / 0.9, ideal_ms / 0.7), 5))
    assert found.bottleneck.limit == "memory"
    assert found.bottleneck.sentence.startswith("memory bound: 8 GB/s are 80 % of the 10 GB/s measured on this CPU")
    assert found.bandwidth_share.value == pytest.approx(0.8)
    assert found.bandwidth_share.ci95 == pytest.approx((0.7, 0.9))
    assert (found.bandwidth_share.n, found.bandwidth_share.basis) == (5, "measured")
    assert found.flops_share.value == pytest.approx(0.08, rel=0.02)


def test_a_prefill_near_the_peak_is_compute_bound_with_an_assumed_share() -> None:
    cost = known(compute_prefill(COSTS, 512, 0, 1))
    card = msgspec.structs.replace(PEAKS, basis="assumed", name="NVIDIA L4")
    found = located(cost, Estimate(cost.flops / 1e11 * 1e3 / 0.7), card)
    assert found.bottleneck.limit == "compute"
    assert found.flops_share.value == pytest.approx(0.7)
    assert found.flops_share.ci95 is None
    assert found.flops_share.basis == found.bandwidth_share.basis == "assumed"


def test_between_the_bounds_of_fused_and_unfused_traffic_nothing_stands_out() -> None:
    """The traffic of a decoder is a minimum, so half the bandwidth is not called unfused traffic."""
    cost = known(compute_decode_step(COSTS, 1, 0))
    found = located(cost, Estimate(cost.min_bytes / 1e10 * 1e3 / 0.55))
    assert found.bottleneck.limit is None
    assert found.bottleneck.sentence.startswith("no single bottleneck: 5.5 GB/s are 55 % of")


def test_a_fixed_time_far_below_the_roof_is_the_launches() -> None:
    cost = known(compute_decode_step(SMALL, 1, 0))
    points = [BatchPoint(batch, Estimate(0.9 + 0.1 * batch)) for batch in (1, 2, 4)]
    batch_model = fit_batch_model(points, Variant("m", "cpu", "as-is", 1, 1))
    found = find_generation_bottleneck(Estimate(1.0), cost, PEAKS, batch_model)
    assert found.bottleneck.limit == "launch or host"


@pytest.mark.parametrize(
    ("cost", "step_ms", "peaks", "reason"),
    [
        (None, Estimate(1.0), PEAKS, "unknown: the cost of some operators is unknown"),
        (compute_decode_step(SMALL, 1, 0), Estimate(None), PEAKS, "unknown: execution time was not measured"),
        (
            compute_decode_step(SMALL, 1, 0),
            Estimate(1.0),
            None,
            "unknown: the peak FLOP/s and memory bandwidth of the processor are unknown",
        ),
    ],
)
def test_what_is_not_known_is_not_available(
    cost: BatchCost | None, step_ms: Estimate, peaks: Peaks | None, reason: str
) -> None:
    found = located(cost, step_ms, peaks)
    assert (found.bandwidth_share.value, found.flops_share.value, found.bottleneck.limit) == (None, None, None)
    assert found.bandwidth_share.reason == found.flops_share.reason == reason


def test_a_cpu_computes_quantized_weights_in_int8_and_16_bits_in_32() -> None:
    assert select_data_type(COSTS, "cpu") == "fp32"
    assert select_data_type(COSTS, "cuda") == "fp16"
    quantized = msgspec.structs.replace(COSTS, has_int8_products=True)
    assert (select_data_type(quantized, "cpu"), select_data_type(quantized, "cuda")) == ("int8", "fp16")
