"""Roofline of a processor of 100 GFLOP/s and 10 GB/s, and of Llama 3.1 8B in 16 bits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from app.analysis.local.batch_model import BatchPoint, fit_batch_model
from app.analysis.local.generation_roofline import (
    StepRoofline,
    compute_decode_step,
    compute_prefill,
    compute_test_steps,
    find_generation_bottleneck,
    select_data_type,
)
from app.planning.language_models.memory import compute_kv_bytes
from app.planning.step_times.positive_sum import Term
from app.planning.step_times.terms import (
    DECODE_TERMS,
    PREFILL_TERMS,
    Server,
    ServerTable,
    build_server_table,
    compute_decode_terms,
    compute_prefill_terms,
)
from app.profiles.pricing.catalog import load_catalog
from app.records.estimate import Estimate, Variant
from app.records.evidence import PublishedServer
from app.records.generation import AttentionLayers, DecoderCosts
from app.records.local import GenerationTest, Peaks
from app.records.model import BatchCost
from tests.fakes.language_models import LLAMA_8B

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


def get_known_cost(cost: BatchCost | None) -> BatchCost:
    assert cost is not None
    return cost


def test_decode_step_reads_weights_once_and_kv_cache_per_sequence() -> None:
    cost = get_known_cost(compute_decode_step(SMALL, batch=3, context=10))
    assert cost.flops == 3 * (500 + 100 + 2 * 8 * 11)
    assert cost.min_bytes == cost.moved_bytes == 1000 + 3 * (2 * 16 * (10 + 1) + 4 + 20)
    assert cost.memory_bytes == 1000 + 80 + 3 * (2 * 16 * 11 + 20)
    assert cost.flops_per_byte == cost.flops / cost.min_bytes
    assert get_known_cost(compute_decode_step(SMALL, 1, 0)).flops == 500 + 100 + 2 * 8


def test_prefill_cost_includes_past_and_causal_attention() -> None:
    cost = get_known_cost(compute_prefill(SMALL, tokens=4, depth=10, batch=2))
    pairs = 11 + 12 + 13 + 14
    assert cost.flops == 2 * (4 * 500 + 100 + 2 * 8 * pairs)
    assert cost.min_bytes == 1000 + 2 * (2 * 16 * (10 + 4) + 4 * 4 + 20)


def test_logits_of_all_positions_add_flops_and_bytes() -> None:
    last, all_positions = (
        get_known_cost(compute_prefill(msgspec.structs.replace(SMALL, has_all_logits=has_all_logits), 4, 0, 2))
        for has_all_logits in (False, True)
    )
    assert all_positions.flops - last.flops == 2 * 3 * 100
    assert all_positions.min_bytes - last.min_bytes == 2 * 3 * 20


@pytest.mark.parametrize(("tokens", "depth"), [(4, 0), (4, 3), (4, 10), (1, 4), (1, 5), (1, 6), (9, 0)])
def test_attention_window_limits_prefill_cost(tokens: int, depth: int) -> None:
    window = 5
    costs = msgspec.structs.replace(SMALL, attention=(AttentionLayers(2), AttentionLayers(3, window)))
    cost = get_known_cost(compute_prefill(costs, tokens, depth, 1))
    positions = range(depth + 1, depth + tokens + 1)
    attended = 2 * sum(positions) + 3 * sum(min(position, window) for position in positions)
    read = 2 * depth + 3 * min(depth, window - 1)
    assert cost.flops == tokens * 500 + 100 + 8 * attended
    assert cost.min_bytes == 1000 + 16 * (read + 5 * tokens) + 4 * tokens + 20


def test_unknown_decoder_costs_are_none() -> None:
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
def test_generation_test_has_prefill_and_mean_decode_step(
    test: GenerationTest, prefill: tuple[int, int] | None, contexts: Sequence[int]
) -> None:
    mean = math.floor(sum(contexts) / len(contexts)) if contexts else None
    assert compute_test_steps(SMALL, test, 3) == (
        None if prefill is None else compute_prefill(SMALL, *prefill, 3),
        None if mean is None else compute_decode_step(SMALL, 3, mean),
    )


CONTEXT = 4096
SERVED = PublishedServer(
    model="a model", accelerator="l4", precision="fp16", engine="vllm", version="1", accelerators=1
)  # fmt: skip


def build_table() -> ServerTable:
    table = build_server_table([Server(SERVED, MODEL, load_catalog().accelerators["l4"], "fp16", "planned")])
    assert isinstance(table, ServerTable)
    return table


def name_terms(terms: tuple[Term, ...], values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip((term.name for term in terms), values[0].tolist(), strict=True))


@pytest.mark.parametrize("batch", [1, 16])
def test_decode_step_matches_planner_except_logits_and_new_token(batch: int) -> None:
    """The planner counts norms as products, and no attention in the FLOPs of a decode step."""
    cost, table = get_known_cost(compute_decode_step(COSTS, batch, CONTEXT)), build_table()
    terms = name_terms(DECODE_TERMS, compute_decode_terms(table, np.array([batch * 1.0]), np.array([CONTEXT * 1.0])))
    planned_bytes = (terms["weights"] + terms["kv"]) * table.bandwidth[0]
    planned_flops = terms["arithmetic"] * table.other_peak[0]
    assert cost.min_bytes == pytest.approx(planned_bytes + batch * (KV_BYTES + 2 * HIDDEN + 4 * VOCABULARY))
    assert cost.flops == pytest.approx(planned_flops + batch * (PAIR_FLOPS * (CONTEXT + 1) - 2 * NORMS))
    assert compute_kv_bytes(MODEL, 1, "fp16") == KV_BYTES


def test_prefill_matches_planner_except_output_projection() -> None:
    """The planner counts no logits of a prompt, and half of the squared token count as causal pairs."""
    tokens, table = 512, build_table()
    values = compute_prefill_terms(table, np.array([tokens * 1.0]), np.zeros(1))
    terms = name_terms(PREFILL_TERMS, values)
    planned_flops = terms["prefill_arithmetic"] * table.other_peak[0] + terms["prefill_attention"] * table.half_peak[0]
    difference = PAIR_FLOPS * tokens // 2 - 2 * tokens * NORMS
    all_logits = msgspec.structs.replace(COSTS, has_all_logits=True)
    for costs, projected in ((all_logits, tokens), (COSTS, 1)):
        cost = get_known_cost(compute_prefill(costs, tokens, 0, 1))
        assert cost.flops == pytest.approx(planned_flops + difference + 2 * projected * HEAD)


def find_step_roofline(cost: BatchCost | None, step_ms: Estimate, peaks: Peaks | None = PEAKS) -> StepRoofline:
    return find_generation_bottleneck(step_ms, cost, peaks, None)


def test_decode_step_near_peak_bandwidth_is_memory_bound() -> None:
    cost = get_known_cost(compute_decode_step(COSTS, 1, 0))
    ideal_ms = cost.min_bytes / 1e10 * 1e3
    step_roofline = find_step_roofline(cost, Estimate(ideal_ms / 0.8, (ideal_ms / 0.9, ideal_ms / 0.7), 5))
    assert step_roofline.bottleneck.limit == "memory"
    assert step_roofline.bottleneck.sentence.startswith(
        "memory bound: 8 GB/s are 80 % of the 10 GB/s measured on this CPU"
    )
    assert step_roofline.bandwidth_share.value == pytest.approx(0.8)
    assert step_roofline.bandwidth_share.ci95 == pytest.approx((0.7, 0.9))
    assert (step_roofline.bandwidth_share.n, step_roofline.bandwidth_share.basis) == (5, "measured")
    assert step_roofline.flops_share.value == pytest.approx(0.08, rel=0.02)


def test_prefill_near_published_peak_is_compute_bound_with_assumed_share() -> None:
    cost = get_known_cost(compute_prefill(COSTS, 512, 0, 1))
    card = msgspec.structs.replace(PEAKS, basis="assumed", name="NVIDIA L4")
    step_roofline = find_step_roofline(cost, Estimate(cost.flops / 1e11 * 1e3 / 0.7), card)
    assert step_roofline.bottleneck.limit == "compute"
    assert step_roofline.flops_share.value == pytest.approx(0.7)
    assert step_roofline.flops_share.ci95 is None
    assert step_roofline.flops_share.basis == step_roofline.bandwidth_share.basis == "assumed"


def test_decode_step_at_half_of_bandwidth_has_no_single_bottleneck() -> None:
    """The traffic of a decoder is a minimum, so half of the bandwidth does not count as unfused traffic."""
    cost = get_known_cost(compute_decode_step(COSTS, 1, 0))
    step_roofline = find_step_roofline(cost, Estimate(cost.min_bytes / 1e10 * 1e3 / 0.55))
    assert step_roofline.bottleneck.limit is None
    assert step_roofline.bottleneck.sentence.startswith("no single bottleneck: 5.5 GB/s are 55 % of")


def test_fixed_step_time_far_below_roofline_is_launch_bound() -> None:
    cost = get_known_cost(compute_decode_step(SMALL, 1, 0))
    points = [BatchPoint(batch, Estimate(0.9 + 0.1 * batch)) for batch in (1, 2, 4)]
    batch_model = fit_batch_model(points, Variant("m", "cpu", "as-is", 1, 1))
    step_roofline = find_generation_bottleneck(Estimate(1.0), cost, PEAKS, batch_model)
    assert step_roofline.bottleneck.limit == "launch or host"


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
def test_roofline_shares_without_cost_time_or_peaks_have_reason(
    cost: BatchCost | None, step_ms: Estimate, peaks: Peaks | None, reason: str
) -> None:
    step_roofline = find_step_roofline(cost, step_ms, peaks)
    assert (step_roofline.bandwidth_share.value, step_roofline.flops_share.value, step_roofline.bottleneck.limit) == (
        None,
        None,
        None,
    )
    assert step_roofline.bandwidth_share.reason == step_roofline.flops_share.reason == reason


def test_cpu_data_type_is_int8_for_quantized_and_fp32_for_fp16_weights() -> None:
    assert select_data_type(COSTS, "cpu") == "fp32"
    assert select_data_type(COSTS, "cuda") == "fp16"
    quantized = msgspec.structs.replace(COSTS, has_int8_products=True)
    assert (select_data_type(quantized, "cpu"), select_data_type(quantized, "cuda")) == ("int8", "fp16")
