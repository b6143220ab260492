from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.planning.hardware.rates import Unavailable
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
from app.records.evidence import PublishedServer

GPUS = load_catalog().accelerators
SHAPES = {key: model.shape for key, model in load_language_models().items()}


def build_server(
    model: str = "llama-3.1-70b", gpu: str = "h100-sxm5-80gb", precision: str = "fp8", **layout: int
) -> Server:
    layout = {"accelerators": 4, **layout}
    served = PublishedServer(model=model, accelerator=gpu, precision=precision, engine="vllm", version="1", **layout)
    return Server(served, SHAPES[model], GPUS[gpu], "fp8", "inferencex")


def build_table(*servers: Server) -> ServerTable:
    table = build_server_table(servers)
    assert isinstance(table, ServerTable)
    return table


def decode(server: Server, batch: float, tokens: float = 1000.0) -> dict[str, float]:
    return name_terms(DECODE_TERMS, compute_decode_terms(build_table(server), np.array([batch]), np.array([tokens])))


def prefill(server: Server, tokens: float, batch: float = 0.0) -> dict[str, float]:
    return name_terms(PREFILL_TERMS, compute_prefill_terms(build_table(server), np.array([tokens]), np.array([batch])))


def name_terms(terms: tuple[Term, ...], values: np.ndarray) -> dict[str, float]:
    return dict(zip((term.name for term in terms), values[0].tolist(), strict=True))


def test_decode_step_of_a_dense_model_reads_weights_once_and_kv_cache_per_sequence() -> None:
    terms = decode(build_server(), 16.0)
    embedding = 128_256 * 8192
    read_bytes = (70.55e9 - 2 * embedding + 2 * embedding) / 4
    assert terms["weights"] == pytest.approx(read_bytes / 3350e9, rel=0.01)
    assert terms["kv"] == pytest.approx(16 * 1000 * 2 * 80 * 8 * 128 / 4 / 3350e9)
    assert terms["experts"] == terms["exchange"] == terms["latent_attention"] == 0


def test_decode_step_reads_only_active_experts_and_is_concave_in_the_batch() -> None:
    server = build_server("deepseek-v3", "h200-sxm-141gb", accelerators=8, expert_parallel=8)
    few, middle, many, all_of_them = (decode(server, batch)["experts"] for batch in (1.0, 2.0, 64.0, 1e6))
    assert middle < 2 * few
    assert all_of_them == pytest.approx(256 / 8 * few)
    assert many < all_of_them


def test_prefill_reads_only_the_experts_that_the_decode_batch_does_not() -> None:
    server = build_server("deepseek-v3", "h200-sxm-141gb", accelerators=8)
    idle, busy = prefill(server, 1000.0), prefill(server, 1000.0, batch=256.0)
    assert idle["prefill_experts"] == pytest.approx(decode(server, 1e6)["experts"], rel=1e-6)
    assert busy["prefill_experts"] < 0.01 * idle["prefill_experts"]


def test_tensor_parallelism_divides_reads_and_adds_all_reduce_traffic() -> None:
    one, eight = (decode(build_server(gpu="b200-sxm-180gb", accelerators=count), 8.0) for count in (1, 8))
    assert one["weights"] == pytest.approx(8 * eight["weights"])
    assert one["reduce"] == one["reduce_latency"] == 0
    assert eight["reduce"] == pytest.approx(2 * 80 * 2 * 7 / 8 * 8 * 8192 * 2 / 900e9)


def test_attention_data_parallelism_exchanges_tokens_instead_of_all_reduce() -> None:
    copies = build_server("deepseek-v3", "b200-sxm-180gb", accelerators=8, attention_replicas=8, expert_parallel=8)
    split = build_server("deepseek-v3", "b200-sxm-180gb", accelerators=8)
    assert decode(copies, 64.0)["reduce"] == 0 < decode(copies, 64.0)["exchange"]
    assert decode(split, 64.0)["exchange"] == 0 < decode(split, 64.0)["reduce"]
    assert decode(copies, 64.0)["kv"] == pytest.approx(decode(split, 64.0)["kv"] / 8)  # a latent cache is not split
    assert decode(copies, 64.0)["weights"] > 7 * decode(split, 64.0)["weights"]


def test_sliding_window_attention_limits_kv_cache_reads() -> None:
    server = build_server("gpt-oss-120b", "h100-sxm5-80gb", "fp4", accelerators=1)
    short, long = (decode(server, 1.0, tokens)["kv"] for tokens in (128.0, 4096.0))
    assert long == pytest.approx(short * (18 * 4096 + 18 * 128) / (36 * 128))


def test_fp4_weights_are_multiplied_in_16_bits_on_accelerators_without_fp4_units() -> None:
    hopper, blackwell = (
        prefill(build_server("gpt-oss-120b", gpu, "fp4", accelerators=1), 1000.0)["prefill_expert_arithmetic"]
        for gpu in ("h200-sxm-141gb", "b200-sxm-180gb")
    )
    assert hopper == pytest.approx(blackwell * 9000 / 989)


def test_kv_cache_size_is_the_memory_left_by_weights_and_overhead() -> None:
    table = build_table(build_server(gpu="h200-sxm-141gb", accelerators=1))
    free_bytes = 0.92 * 141 * 2**30 * 0.985 - 1.5 * 2**30 - (70.55e9 + 2 * 128_256 * 8192)
    cached = table.count_cached_sequences(np.array([8192.0]))
    assert cached[0] == pytest.approx(free_bytes / (8192 * 2 * 80 * 8 * 128), rel=0.01)


def test_accelerator_without_memory_bandwidth_is_unavailable() -> None:
    unknown = replace(build_server(), accelerator=replace(GPUS["h100-sxm5-80gb"], memory_bandwidth_gb_s=None))
    table = build_server_table([build_server(), unknown])
    assert isinstance(table, Unavailable)
    assert table.id == "unknown_figure"


def test_terms_of_a_server_do_not_depend_on_other_servers_of_the_table() -> None:
    servers = [build_server(), build_server("deepseek-v3", "b200-sxm-180gb", "fp4", accelerators=8)]
    both = compute_decode_terms(build_table(*servers), np.array([4.0, 64.0]), np.array([1000.0, 2000.0]))
    alone = [
        compute_decode_terms(build_table(server), np.array([batch]), np.array([tokens]))
        for server, batch, tokens in zip(servers, (4.0, 64.0), (1000.0, 2000.0), strict=True)
    ]
    assert both == pytest.approx(np.vstack(alone))
    assert {field.name for field in dataclasses.fields(ServerTable)} >= {"bandwidth", "link"}
