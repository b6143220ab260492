from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.planning.extrapolation import estimate_ratio
from app.planning.llm import (
    ASSUMED_SIGMA,
    Deployment,
    Efficiency,
    MeasuredReplica,
    Replica,
    Speeds,
    UnmeasuredService,
    build_assumed_service,
    compute_decode_step_s,
    compute_prefill_s,
    compute_speeds,
    extrapolate_service,
    size_replica,
)
from app.planning.rates import Unavailable
from app.profiles.pricing.catalog import load_catalog
from app.records.planning_inputs import Engine, LanguageModel, Precision
from app.records.service import TokenService
from tests.fakes.language_models import DEEPSEEK_V3, LLAMA_2_70B, LLAMA_8B, MIXTRAL
from tests.studies.language_models import compare_with_published

GPUS = load_catalog().accelerators
H100 = GPUS["h100-sxm5-80gb"]
CHAT = Deployment(LLAMA_8B, H100, 1024, 256, efficiency=Efficiency(0.5, 0.75, 0.0005, 10e-6))
FLOPS, BYTES = 989e12 * 0.5, 3350e9 * 0.75


def change_deployment(**changes: Any) -> Deployment:
    return msgspec.structs.replace(CHAT, **changes)


def get_speeds(deployment: Deployment) -> Speeds:
    computed_speeds = compute_speeds(deployment)
    assert isinstance(computed_speeds, Speeds)
    return computed_speeds


def build_replica(deployment: Deployment, itl_limit_s: float | None = None) -> Replica:
    sized_replica = size_replica(deployment, itl_limit_s)
    assert isinstance(sized_replica, Replica)
    return sized_replica


def test_prefill_time_is_2_flop_per_weight_and_token_plus_causal_attention() -> None:
    operations = 2 * 8.03e9 * 1024 + 4 * 32 * 32 * 128 * 1024**2 / 2
    assert compute_prefill_s(CHAT, get_speeds(CHAT)) == pytest.approx(operations / FLOPS)
    assert compute_prefill_s(CHAT, get_speeds(CHAT)) == pytest.approx(0.0338, abs=1e-4)


def test_prefix_cache_hits_shorten_the_prefill() -> None:
    cached = change_deployment(prefix_hit_rate=0.5)
    shorter = change_deployment(input_tokens=512)
    assert compute_prefill_s(cached, get_speeds(cached)) == compute_prefill_s(shorter, get_speeds(shorter))


def test_decode_step_reads_the_weights_and_the_kv_cache_of_each_sequence() -> None:
    read_bytes = 2 * 8.03e9 + 16 * 131072 * (1024 + 128)
    assert compute_decode_step_s(CHAT, get_speeds(CHAT), 16) == pytest.approx(read_bytes / BYTES + 0.0005)


def test_large_decode_step_of_short_sequences_is_compute_bound() -> None:
    short = change_deployment(input_tokens=1, output_tokens=2)
    assert compute_decode_step_s(short, get_speeds(short), 1000) == pytest.approx(2 * 8.03e9 * 1000 / FLOPS + 0.0005)


def test_tensor_parallelism_divides_reads_and_adds_two_all_reduces_per_layer() -> None:
    on_two_gpus = change_deployment(degree=2)
    read_bytes = 8.03e9 + 16 * 131072 / 2 * (1024 + 128)
    exchange_s = 2 * 32 * (2 * 0.5 * 16 * 4096 * 2 / 450e9 + 10e-6)
    assert compute_decode_step_s(on_two_gpus, get_speeds(on_two_gpus), 16) == pytest.approx(
        read_bytes / BYTES + exchange_s + 0.0005
    )


def test_gpus_without_interconnect_use_pcie_bandwidth() -> None:
    without_link = change_deployment(accelerator=GPUS["l40s"], degree=2)
    assert get_speeds(without_link).link_bytes_per_s == 25e9


def test_moe_decode_reads_active_weights_for_one_sequence_and_all_weights_for_64() -> None:
    single_s, batch_of_64_s = (
        compute_decode_step_s(change_deployment(model=MIXTRAL), get_speeds(CHAT), batch) for batch in (1, 64)
    )
    assert single_s == pytest.approx((2 * 12.9e9 + 131072 * 1152) / BYTES + 0.0005)
    assert batch_of_64_s == pytest.approx((2 * 46.7e9 + 64 * 131072 * 1152) / BYTES + 0.0005, rel=1e-6)


def compute_itl_s(replica: Replica) -> float:
    """Return the mean ITL of CHAT in s: one decode step and the share of the other requests' prefills."""
    return replica.step_s + replica.batch * replica.prefill_s / 256


def test_replica_rate_and_itl_are_from_prefill_and_decode_step_time() -> None:
    sized_replica = build_replica(CHAT)
    assert sized_replica.batch == 256
    assert sized_replica.rate_per_s == pytest.approx(1 / (sized_replica.prefill_s + 256 * sized_replica.step_s / 256))
    # each of the 256 sequences gets one token per ITL
    assert sized_replica.rate_per_s * 256 == pytest.approx(256 / compute_itl_s(sized_replica))


def test_itl_limit_reduces_the_batch() -> None:
    unlimited, limited = build_replica(CHAT), build_replica(CHAT, 0.012)
    assert compute_itl_s(limited) <= 0.012 < compute_itl_s(unlimited)
    assert limited.batch < unlimited.batch
    itl_of_larger_batch_s = (
        compute_decode_step_s(CHAT, get_speeds(CHAT), limited.batch + 1) + (limited.batch + 1) * limited.prefill_s / 256
    )
    assert itl_of_larger_batch_s > 0.012


def test_itl_limit_that_no_batch_meets_is_refused() -> None:
    refusal = size_replica(CHAT, 0.005)
    assert isinstance(refusal, Unavailable)
    assert "a single sequence takes 7." in refusal.reason
    assert "the SLO allows 5.0" in refusal.reason


@pytest.mark.parametrize("field", ["memory_bandwidth_gb_s", "bf16_tflops", "memory_gib", "interconnect_gb_s"])
@pytest.mark.parametrize("itl_limit_s", [None, 0.03])
@pytest.mark.parametrize("degree", [1, 2])
def test_gpu_with_a_higher_figure_never_has_a_lower_rate(field: str, itl_limit_s: float | None, degree: int) -> None:
    for model in (LLAMA_8B, MIXTRAL):
        deployment = change_deployment(model=model, degree=degree, precision=Precision("fp8", "bf16", "fp8"))
        better = msgspec.structs.replace(H100, **{field: getattr(H100, field) * 1.4})
        improved = msgspec.structs.replace(deployment, accelerator=better)
        assert build_replica(improved, itl_limit_s).rate_per_s >= build_replica(deployment, itl_limit_s).rate_per_s


def test_longer_responses_never_have_a_higher_rate() -> None:
    rates = [build_replica(change_deployment(output_tokens=tokens)).rate_per_s for tokens in (16, 64, 256, 1024, 4096)]
    assert rates == sorted(rates, reverse=True)


def test_weights_larger_than_gpu_memory_are_refused() -> None:
    refusal = size_replica(change_deployment(model=LLAMA_2_70B))
    assert isinstance(refusal, Unavailable)
    assert "the weights need 128.5 GiB" in refusal.reason


def test_precision_that_the_gpu_does_not_support_is_refused() -> None:
    refusal = size_replica(
        change_deployment(accelerator=GPUS["a100-sxm4-80gb"], precision=Precision("fp8", "fp8", "fp8"))
    )
    assert isinstance(refusal, Unavailable)
    assert refusal.id == "unsupported_precision"


def test_analytical_rates_are_close_to_published_rates() -> None:
    checks = compare_with_published()
    assert len(checks) >= 15
    abs_log_errors = sorted(abs(check.log_error) for check in checks)
    assert abs_log_errors[len(abs_log_errors) // 2] < 0.25
    assert sum(abs_log_error <= 1.2816 * ASSUMED_SIGMA for abs_log_error in abs_log_errors) >= 0.8 * len(abs_log_errors)


TOKEN_H100, H200, L4, A100 = (GPUS[key] for key in ("h100-sxm5-80gb", "h200-sxm-141gb", "l4", "a100-sxm4-80gb"))
MEASURED = TokenService(0.0070, 0.00002, 0.00003, 256, 450_000, per_kv_token_s=5e-8, cv=0.1, outside_s=0.002)
LLAMA_ON_ONE = MeasuredReplica(2 * 8.03e9, "bf16")


def assume_service(deployment: Deployment) -> UnmeasuredService:
    assumed_service = build_assumed_service(deployment)
    assert isinstance(assumed_service, UnmeasuredService)
    return assumed_service


def extrapolate(
    gpu_key: str, replica: MeasuredReplica = LLAMA_ON_ONE, service: TokenService = MEASURED
) -> UnmeasuredService:
    extrapolated = extrapolate_service(service, TOKEN_H100, GPUS[gpu_key], replica)
    assert isinstance(extrapolated, UnmeasuredService)
    return extrapolated


@pytest.mark.parametrize("model", [LLAMA_8B, MIXTRAL])
@pytest.mark.parametrize("degree", [1, 2])
def test_assumed_service_equals_the_analytical_model_at_smallest_and_largest_batch(
    model: LanguageModel, degree: int
) -> None:
    deployment = Deployment(model, H200, 1000, 200, Precision("fp8", "fp8", "fp8"), degree)
    speeds = compute_speeds(deployment)
    assert isinstance(speeds, Speeds)
    service = assume_service(deployment).service
    for batch in (1, 256):
        step_s = service.step_s + service.per_sequence_s * batch + service.per_kv_token_s * batch * 1100
        assert step_s == pytest.approx(compute_decode_step_s(deployment, speeds, batch))
    assert service.prefill_s_per_token * 1000 == pytest.approx(compute_prefill_s(deployment, speeds))


def test_assumed_service_has_its_basis_sigma_and_risk() -> None:
    assumed_service = assume_service(Deployment(LLAMA_8B, TOKEN_H100, 1000, 200))
    assert (assumed_service.basis, assumed_service.sigma) == ("assumed", ASSUMED_SIGMA)
    assert assumed_service.risks[0].level == 3
    assert "NVIDIA H100 SXM5 80 GB" in assumed_service.risks[0].reason
    assert assumed_service.service.kv_tokens == pytest.approx(59e9 / 131072, rel=0.01)


def test_latent_attention_fits_more_kv_cache_tokens_than_multi_head_attention() -> None:
    precision = Precision("fp8", "fp8", "bf16")
    latent = assume_service(Deployment(DEEPSEEK_V3, H200, 1000, 200, precision, 8)).service
    multi_head = assume_service(
        Deployment(msgspec.structs.replace(DEEPSEEK_V3, latent_dim=None), H200, 1000, 200, precision, 8)
    ).service
    assert latent.kv_tokens == pytest.approx(multi_head.kv_tokens * 2 * 128 * 128 / 8 / 576, rel=0.01)


def test_assumed_service_needs_memory_and_a_supported_precision() -> None:
    refusal = build_assumed_service(Deployment(LLAMA_2_70B, TOKEN_H100, 1000, 200))
    assert isinstance(refusal, Unavailable)
    assert "the weights need 128.5 GiB" in refusal.reason
    refusal = build_assumed_service(Deployment(LLAMA_8B, A100, 1000, 200, Precision("fp8", "fp8", "fp8")))
    assert isinstance(refusal, Unavailable)
    assert refusal.id == "unsupported_precision"
    refusal = build_assumed_service(Deployment(LLAMA_8B, L4, 60_000, 200))
    assert isinstance(refusal, Unavailable)
    assert "60100 tokens" in refusal.reason


def test_extrapolated_step_scales_with_bandwidth_and_prefill_with_compute() -> None:
    extrapolated = extrapolate("h200-sxm-141gb")
    compute = estimate_ratio(TOKEN_H100, H200, "saturated", "bf16")
    assert not isinstance(compute, Unavailable)
    assert extrapolated.service.step_s == pytest.approx(0.0070 * 3350 / 4800)
    assert extrapolated.service.per_kv_token_s == pytest.approx(5e-8 * 3350 / 4800)
    assert extrapolated.service.prefill_s_per_token == pytest.approx(0.00003 / compute.factor)
    assert extrapolated.service.per_sequence_s == pytest.approx(0.00002 / compute.factor)
    assert (extrapolated.basis, extrapolated.sigma) == ("extrapolated", 0.25)
    # parameters that do not depend on the GPU are unchanged
    assert (extrapolated.service.cv, extrapolated.service.outside_s, extrapolated.service.max_sequences) == (
        0.1,
        0.002,
        256,
    )


def test_extrapolated_kv_cache_scales_with_memory_left_by_the_weights() -> None:
    h100_bytes, h200_bytes = (0.9 * gib * 0.985 * 2**30 - 2 * 8.03e9 for gib in (80, 141))
    assert extrapolate("h200-sxm-141gb").service.kv_tokens == int(450_000 * h200_bytes / h100_bytes)


def test_host_time_of_a_step_is_not_scaled() -> None:
    extrapolated = extrapolate("h200-sxm-141gb", msgspec.structs.replace(LLAMA_ON_ONE, host_s=0.001))
    assert extrapolated.service.step_s == pytest.approx(0.001 + 0.006 * 3350 / 4800)


def test_extrapolation_to_the_measured_gpu_changes_nothing() -> None:
    extrapolated = extrapolate("h100-sxm5-80gb")
    assert (extrapolated.service, extrapolated.basis) == (MEASURED, "measured")
    assert (extrapolated.sigma, extrapolated.risks) == (0.0, ())


def test_extrapolation_to_another_architecture_has_larger_sigma() -> None:
    extrapolated = extrapolate("a100-sxm4-80gb")
    assert (extrapolated.sigma, extrapolated.risks[0].level) == (0.36, 3)
    assert extrapolated.service.step_s > MEASURED.step_s


@pytest.mark.parametrize(
    ("gpu_key", "replica", "reason_id"),
    [
        ("mi300x", LLAMA_ON_ONE, "vendor"),
        ("a100-sxm4-80gb", MeasuredReplica(8.03e9, "fp8"), "unsupported_precision"),
        ("l4", MeasuredReplica(60e9, "bf16"), "memory"),
        ("h200-sxm-141gb", MeasuredReplica(100e9, "bf16"), "measured_memory"),
    ],
)
def test_impossible_extrapolation_is_refused_with_its_reason(
    gpu_key: str, replica: MeasuredReplica, reason_id: str
) -> None:
    refusal = extrapolate_service(MEASURED, TOKEN_H100, GPUS[gpu_key], replica)
    assert isinstance(refusal, Unavailable)
    assert refusal.id == reason_id


def test_kv_cache_of_a_replica_on_two_gpus_counts_shared_weights() -> None:
    on_two = MeasuredReplica(100e9, "bf16", degree=2, engine=Engine(utilization=0.8))
    assert extrapolate("h200-sxm-141gb", on_two).service.kv_tokens > 2 * MEASURED.kv_tokens
