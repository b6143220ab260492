from __future__ import annotations

import msgspec
import pytest

from app.planning.hardware.rates import Unavailable
from app.planning.language_models.memory import (
    GIB,
    MemoryPlan,
    compute_kv_bytes,
    compute_usable_bytes,
    count_sequences,
    count_sequences_by_degree,
    find_smallest_degree,
    plan_memory,
)
from app.profiles.pricing.catalog import load_catalog
from app.records.planning_inputs import Engine, LanguageModel, Precision
from tests.fakes.language_models import DEEPSEEK_V3, LLAMA_2_70B, LLAMA_8B

GPUS = load_catalog().accelerators
H100, L4 = GPUS["h100-sxm5-80gb"], GPUS["l4"]
BF16, FP8 = Precision(), Precision("fp8", "fp8", "fp8")


def build_memory_plan(model: LanguageModel, key: str, precision: Precision = BF16, degree: int = 1) -> MemoryPlan:
    plan = plan_memory(model, GPUS[key], precision, degree)
    assert isinstance(plan, MemoryPlan)
    return plan


def test_kv_cache_bytes_of_one_token_with_grouped_query_attention() -> None:
    assert compute_kv_bytes(LLAMA_8B, 1, "bf16") == 131072
    assert compute_kv_bytes(LLAMA_8B, 1, "fp8") == 65536


def test_kv_heads_are_divided_among_gpus_down_to_one_head_per_gpu() -> None:
    assert compute_kv_bytes(LLAMA_8B, 10, "bf16", degree=4) == 10 * 131072 / 4
    assert compute_kv_bytes(LLAMA_8B, 10, "bf16", degree=16) == 10 * 131072 / 8


def test_latent_kv_cache_is_replicated_on_every_gpu() -> None:
    assert compute_kv_bytes(DEEPSEEK_V3, 1, "bf16") == 61 * (512 + 64) * 2
    assert compute_kv_bytes(DEEPSEEK_V3, 1, "bf16", degree=8) == 61 * 576 * 2


@pytest.mark.parametrize(("dtype", "latent_bytes"), [("bf16", 576 * 2), ("fp8", 576)])
def test_key_of_an_indexer_has_8_bits_and_a_scale_on_each_accelerator(dtype: str, latent_bytes: int) -> None:
    sparse = msgspec.structs.replace(DEEPSEEK_V3, index_dim=128)
    assert compute_kv_bytes(sparse, 10, dtype, degree=8) == 10 * 61 * (latent_bytes + 128 + 4)


def test_kv_cache_counts_windowed_layers_up_to_their_window_and_no_linear_layers() -> None:
    model = msgspec.structs.replace(LLAMA_8B, window_layers=16, window_tokens=1024, linear_layers=8)
    per_layer = 2 * 8 * 128 * 2
    assert compute_kv_bytes(model, 1000, "bf16") == per_layer * (8 * 1000 + 16 * 1000)
    assert compute_kv_bytes(model, 5000, "bf16") == per_layer * (8 * 5000 + 16 * 1024)


@pytest.mark.parametrize(
    ("key", "reported_gib"), [("h100-sxm5-80gb", 79.19), ("a10g", 22.4), ("l40s", 44.7), ("h200-sxm-141gb", 140.4)]
)
def test_usable_memory_is_at_most_2_percent_below_the_driver_value(key: str, reported_gib: float) -> None:
    usable = compute_usable_bytes(GPUS[key])
    assert isinstance(usable, float)
    assert reported_gib * 0.98 < usable / GIB <= reported_gib


def test_gpu_with_unknown_memory_is_refused() -> None:
    card = msgspec.structs.replace(L4, memory_gib=None)
    assert compute_usable_bytes(card) == Unavailable("unknown_figure", "the memory of NVIDIA L4 is unknown")
    assert plan_memory(LLAMA_8B, card, BF16) == compute_usable_bytes(card)


def test_gpu_memory_is_divided_into_weights_overhead_and_kv_pool() -> None:
    plan = build_memory_plan(LLAMA_8B, "h100-sxm5-80gb")
    activations = 16 * 2048 * 4096 * 2 + 2 * 256 * 128256 * 4
    assert plan.weight_bytes == 2 * 8.03e9 == 2 * LLAMA_8B.parameters
    assert plan.kv_pool_bytes == pytest.approx(0.9 * 80 * 0.985 * GIB - 2 * 8.03e9 - activations - 0.25 * GIB)
    assert count_sequences(plan, LLAMA_8B, 4096, "bf16") == int(plan.kv_pool_bytes / (4096 * 131072)) == 110


def test_kv_cache_of_a_sequence_is_rounded_up_to_whole_blocks() -> None:
    plan = build_memory_plan(LLAMA_8B, "l4", FP8)
    assert count_sequences(plan, LLAMA_8B, 1009, "fp8") == count_sequences(plan, LLAMA_8B, 1024, "fp8")
    assert count_sequences(plan, LLAMA_8B, 1009, "fp8") < count_sequences(plan, LLAMA_8B, 1008, "fp8")


def find_degree(model: LanguageModel, key: str, precision: Precision, sequences: int) -> int:
    plan = find_smallest_degree(model, GPUS[key], precision, 4096, sequences=sequences)
    assert isinstance(plan, MemoryPlan)
    return plan.degree


def test_tensor_parallel_degree_grows_with_weight_bytes_and_sequences() -> None:
    assert find_degree(LLAMA_2_70B, "h100-sxm5-80gb", FP8, 1) == 1  # 64.2 of 70.9 GiB
    assert find_degree(LLAMA_2_70B, "h100-sxm5-80gb", FP8, 32) == 2
    assert find_degree(LLAMA_2_70B, "h100-sxm5-80gb", BF16, 1) == 2
    assert find_degree(LLAMA_2_70B, "h100-sxm5-80gb", BF16, 32) == 4


def test_tensor_parallel_degree_divides_the_attention_heads() -> None:
    in_42, in_40 = (msgspec.structs.replace(LLAMA_2_70B, heads=heads) for heads in (42, 40))
    assert find_degree(in_42, "a2", FP8, 1) == 6
    assert find_degree(in_40, "a2", FP8, 1) == 8


def test_model_too_large_for_8_gpus_is_refused_with_required_memory() -> None:
    refusal = find_smallest_degree(LLAMA_2_70B, GPUS["a2"], BF16, 2048)
    assert isinstance(refusal, Unavailable)
    assert refusal.reason == (
        "the weights need 16.1 GiB and the inference server 2.2 GiB, but only 13.4 GiB are available on each "
        "of 8 NVIDIA A2"
    )


def test_model_with_indivisible_heads_is_refused_for_one_gpu() -> None:
    model = msgspec.structs.replace(LLAMA_2_70B, heads=11)
    refusal = find_smallest_degree(model, L4, BF16, 2048)
    assert isinstance(refusal, Unavailable)
    assert refusal.id == "memory"
    assert "one NVIDIA L4" in refusal.reason


def test_sequence_larger_than_kv_cache_is_refused() -> None:
    refusal = find_smallest_degree(LLAMA_8B, L4, BF16, 131072, max_degree=1)
    assert isinstance(refusal, Unavailable)
    assert "1 × 131072 tokens need 16.0 GiB of KV cache" in refusal.reason


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_kv_pool_grows_with_gpu_memory(degree: int) -> None:
    larger = msgspec.structs.replace(H100, memory_gib=94.0)
    smaller_plan, larger_plan = (plan_memory(LLAMA_8B, card, BF16, degree) for card in (H100, larger))
    assert isinstance(smaller_plan, MemoryPlan)
    assert isinstance(larger_plan, MemoryPlan)
    assert larger_plan.kv_pool_bytes > smaller_plan.kv_pool_bytes


def test_larger_prefill_chunk_leaves_smaller_kv_pool() -> None:
    small, large = (plan_memory(LLAMA_8B, H100, BF16, 1, Engine(chunk_tokens=tokens)) for tokens in (2048, 8192))
    assert isinstance(small, MemoryPlan)
    assert isinstance(large, MemoryPlan)
    assert small.kv_pool_bytes - large.kv_pool_bytes == pytest.approx(16 * 6144 * 4096 * 2)


def test_explicit_weight_size_is_divided_by_tensor_parallel_degree() -> None:
    plan = plan_memory(LLAMA_8B, H100, BF16, 2, weight_bytes=10e9)
    assert isinstance(plan, MemoryPlan)
    assert plan.weight_bytes == 5e9


def test_sequences_per_degree_are_0_without_memory_and_none_for_indivisible_heads() -> None:
    counts = count_sequences_by_degree(LLAMA_2_70B, L4, Precision(kv="fp8"), 4096, 70e9, (1, 2, 3, 8))
    at_eight = plan_memory(LLAMA_2_70B, L4, BF16, 8, weight_bytes=70e9)
    assert isinstance(at_eight, MemoryPlan)
    assert counts == {1: 0, 3: None, 2: 0, 8: count_sequences(at_eight, LLAMA_2_70B, 4096, "fp8")}
    assert counts[8]
