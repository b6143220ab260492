from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.planning.step_times.bundled import load_bundled_evidence
from app.planning.step_times.service import EstimatedService, ServerSettings, estimate_services
from app.planning.step_times.terms import Server
from app.profiles.pricing.catalog import load_catalog
from app.records.evidence import EngineName, PublishedServer

SETTINGS = ServerSettings(256, 100_000, 8192)


def estimate(
    engine: EngineName = "vllm", accelerators: int = 1, version: str = "current", prefix_cached_share: float = 0.0
) -> EstimatedService:
    served = PublishedServer(
        model="llama-3.1-70b", accelerator="h200-sxm-141gb", precision="fp8", engine=engine, version=version,
        accelerators=accelerators,
    )  # fmt: skip
    shape, accelerator = load_language_models()["llama-3.1-70b"].shape, load_catalog().accelerators["h200-sxm-141gb"]
    server = Server(served, shape, accelerator, "fp8", "inferencex")
    services = estimate_services(load_bundled_evidence(), [(server, SETTINGS)], 1000.0, 500.0, prefix_cached_share)
    assert isinstance(services, tuple)
    return services[0]


def test_service_has_the_sequence_cache_and_chunk_limits_of_its_engine() -> None:
    service = estimate().service
    assert (service.max_sequences, service.kv_tokens, service.chunk_tokens) == (256, 100_000, 8192)
    assert service.experts_s == service.expert_share == 0


def test_stream_interval_of_an_engine_delays_the_first_token() -> None:
    vllm, sglang = estimate(), estimate("sglang")
    step_s = vllm.service.compute_decode_step_s(16, 16 * 1250)
    assert sglang.service.outside_s - vllm.service.outside_s > 4 * step_s


def test_prefill_does_not_exceed_70_percent_of_peak_flops() -> None:
    dense = 2 * (70.55e9 - 2 * 128_256 * 8192) / 1979e12
    assert estimate().service.prefill_s_per_token >= dense / 0.7 * 0.99


def test_cached_tokens_have_no_prefill_and_leave_steps_room_for_more() -> None:
    plain, cached = estimate().service, estimate(prefix_cached_share=0.75).service
    # a prompt has fixed costs, and its other tokens read the prefix
    assert 0.25 < cached.prefill_s_per_token / plain.prefill_s_per_token < 0.5
    assert cached.chunk_tokens == 4 * plain.chunk_tokens
    assert cached.kv_tokens == plain.kv_tokens
    assert cached.compute_decode_step_s(16, 9000) == plain.compute_decode_step_s(16, 9000)


def test_ttft_has_a_larger_sigma_than_tpot() -> None:
    estimated = estimate()
    assert 0.05 < estimated.tpot_sigma < estimated.ttft_sigma < 1.0
    assert estimated.novelties == ("combination",)


def test_estimates_of_several_servers_equal_separate_estimates() -> None:
    shape, accelerator = load_language_models()["deepseek-v3"].shape, load_catalog().accelerators["b200-sxm-180gb"]
    served = PublishedServer(
        model="deepseek-v3", accelerator="b200-sxm-180gb", precision="fp4", engine="vllm", version="1", accelerators=4
    )
    first = Server(served, shape, accelerator, "fp8", "inferencex")
    second = replace(first, served=replace(served, accelerators=8))
    evidence, pairs = load_bundled_evidence(), [(first, SETTINGS), (second, SETTINGS)]
    together = estimate_services(evidence, pairs, 1000.0, 500.0)
    assert isinstance(together, tuple)
    for joint, pair in zip(together, pairs, strict=True):
        lone = estimate_services(evidence, [pair], 1000.0, 500.0)
        assert isinstance(lone, tuple)
        (alone,) = lone
        assert joint.service.step_s == pytest.approx(alone.service.step_s)
        assert joint.tpot_sigma == pytest.approx(alone.tpot_sigma)
