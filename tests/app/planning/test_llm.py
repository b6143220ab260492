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
from tests.checks.language_models import compare_with_published
from tests.fakes.language_models import DEEPSEEK_V3, LLAMA_2_70B, LLAMA_8B, MIXTRAL

CARDS = load_catalog().accelerators
H100 = CARDS["h100-sxm5-80gb"]
CHAT = Deployment(LLAMA_8B, H100, 1024, 256, efficiency=Efficiency(0.5, 0.75, 0.0005, 10e-6))
FLOPS, BYTES = 989e12 * 0.5, 3350e9 * 0.75


def but(**changes: Any) -> Deployment:
    return msgspec.structs.replace(CHAT, **changes)


def speeds(deployment: Deployment) -> Speeds:
    found = compute_speeds(deployment)
    assert isinstance(found, Speeds)
    return found


def full(deployment: Deployment, itl_limit_s: float | None = None) -> Replica:
    found = size_replica(deployment, itl_limit_s)
    assert isinstance(found, Replica)
    return found


def test_prefill_is_two_operations_a_weight_and_attention_among_half_the_pairs() -> None:
    operations = 2 * 8.03e9 * 1024 + 4 * 32 * 32 * 128 * 1024**2 / 2
    assert compute_prefill_s(CHAT, speeds(CHAT)) == pytest.approx(operations / FLOPS)
    assert compute_prefill_s(CHAT, speeds(CHAT)) == pytest.approx(0.0338, abs=1e-4)


def test_cached_prefixes_are_not_read_again() -> None:
    cached = but(prefix_hit_rate=0.5)
    shorter = but(input_tokens=512)
    assert compute_prefill_s(cached, speeds(cached)) == compute_prefill_s(shorter, speeds(shorter))


def test_the_first_token_of_a_short_prompt_takes_a_step() -> None:
    short = but(input_tokens=8)
    assert full(short).idle_ttft_s == compute_decode_step_s(short, speeds(short), 1)
    assert full(CHAT).idle_ttft_s == full(CHAT).prefill_s


def test_a_step_reads_the_weights_and_every_sequences_cache() -> None:
    read = 2 * 8.03e9 + 16 * 131072 * (1024 + 128)
    assert compute_decode_step_s(CHAT, speeds(CHAT), 16) == pytest.approx(read / BYTES + 0.0005)


def test_a_large_step_of_short_sequences_computes() -> None:
    brief = but(input_tokens=1, output_tokens=2)
    assert compute_decode_step_s(brief, speeds(brief), 1000) == pytest.approx(2 * 8.03e9 * 1000 / FLOPS + 0.0005)


def test_tensor_parallelism_divides_the_reading_and_adds_two_all_reduces_a_layer() -> None:
    two = but(degree=2)
    read = 8.03e9 + 16 * 131072 / 2 * (1024 + 128)
    exchange_s = 2 * 32 * (2 * 0.5 * 16 * 4096 * 2 / 450e9 + 10e-6)
    assert compute_decode_step_s(two, speeds(two), 16) == pytest.approx(read / BYTES + exchange_s + 0.0005)


def test_cards_without_a_link_speak_over_pcie() -> None:
    alone = but(accelerator=CARDS["l40s"], degree=2)
    assert speeds(alone).link_bytes_per_s == 25e9


def test_one_token_of_a_mixture_reads_two_experts() -> None:
    lone, crowd = (compute_decode_step_s(but(model=MIXTRAL), speeds(CHAT), batch) for batch in (1, 64))
    assert lone == pytest.approx((2 * 12.9e9 + 131072 * 1152) / BYTES + 0.0005)
    assert crowd == pytest.approx((2 * 46.7e9 + 64 * 131072 * 1152) / BYTES + 0.0005, rel=1e-6)


def test_a_request_takes_its_prompt_and_its_share_of_its_steps() -> None:
    found = full(CHAT)
    assert found.batch == 256
    assert found.rate_per_s == pytest.approx(1 / (found.prefill_s + 256 * found.step_s / 256))
    assert found.itl_s == pytest.approx(found.step_s + found.prefill_s)
    # every sequence gets a token each ITL: 256 of them
    assert found.rate_per_s * 256 == pytest.approx(256 / found.itl_s)


def test_a_limit_on_itl_makes_the_batch_smaller() -> None:
    free, bound = full(CHAT), full(CHAT, 0.012)
    assert bound.itl_s <= 0.012 < free.itl_s
    assert bound.batch < free.batch
    assert bound.limiting_factor == "ITL SLO"
    one_more = compute_decode_step_s(CHAT, speeds(CHAT), bound.batch + 1) + (bound.batch + 1) * bound.prefill_s / 256
    assert one_more > 0.012


def test_a_limit_no_batch_meets_is_refused() -> None:
    refusal = size_replica(CHAT, 0.005)
    assert isinstance(refusal, Unavailable)
    assert "a single sequence takes 7." in refusal.reason
    assert "the SLO allows 5.0" in refusal.reason


@pytest.mark.parametrize(
    ("changes", "binding"),
    [
        ({"input_tokens": 4096, "output_tokens": 16}, "prefill compute"),
        ({"input_tokens": 2048, "output_tokens": 8192}, "KV"),
        ({"accelerator": CARDS["l4"], "input_tokens": 512, "output_tokens": 2048}, "weights"),
        ({"engine": Engine(max_sequences=64), "input_tokens": 128, "output_tokens": 512}, "decode bandwidth"),
        ({"engine": Engine(max_sequences=2000), "input_tokens": 1, "output_tokens": 64}, "decode compute"),
    ],
)
def test_what_binds_is_named(changes: dict[str, Any], binding: str) -> None:
    assert full(but(**changes)).limiting_factor == binding


@pytest.mark.parametrize("field", ["memory_bandwidth_gb_s", "bf16_tflops", "memory_gib", "interconnect_gb_s"])
@pytest.mark.parametrize("itl_limit_s", [None, 0.03])
@pytest.mark.parametrize("degree", [1, 2])
def test_more_of_anything_is_never_slower(field: str, itl_limit_s: float | None, degree: int) -> None:
    for model in (LLAMA_8B, MIXTRAL):
        deployment = but(model=model, degree=degree, precision=Precision("fp8", "bf16", "fp8"))
        better = msgspec.structs.replace(H100, **{field: getattr(H100, field) * 1.4})
        improved = msgspec.structs.replace(deployment, accelerator=better)
        assert full(improved, itl_limit_s).rate_per_s >= full(deployment, itl_limit_s).rate_per_s


def test_longer_answers_never_come_faster() -> None:
    rates = [full(but(output_tokens=tokens)).rate_per_s for tokens in (16, 64, 256, 1024, 4096)]
    assert rates == sorted(rates, reverse=True)


def test_weights_that_do_not_fit_are_refused() -> None:
    refusal = size_replica(but(model=LLAMA_2_70B))
    assert isinstance(refusal, Unavailable)
    assert "the weights need 128.5 GiB" in refusal.reason


def test_a_precision_the_card_has_not_is_refused() -> None:
    refusal = size_replica(but(accelerator=CARDS["a100-sxm4-80gb"], precision=Precision("fp8", "fp8", "fp8")))
    assert isinstance(refusal, Unavailable)
    assert "does not support fp8" in refusal.reason


def test_the_arithmetic_is_near_published_rates() -> None:
    checks = compare_with_published()
    assert len(checks) >= 15
    sizes = sorted(abs(check.log_error) for check in checks)
    assert sizes[len(sizes) // 2] < 0.25
    assert sum(size <= 1.2816 * ASSUMED_SIGMA for size in sizes) >= 0.8 * len(sizes)


TOKEN_H100, H200, L4, A100 = (CARDS[key] for key in ("h100-sxm5-80gb", "h200-sxm-141gb", "l4", "a100-sxm4-80gb"))
MEASURED = TokenService(0.0070, 0.00002, 0.00003, 256, 450_000, per_kv_token_s=5e-8, cv=0.1, outside_s=0.002)
LLAMA_ON_ONE = MeasuredReplica(2 * 8.03e9, "bf16")


def assumed(deployment: Deployment) -> UnmeasuredService:
    found = build_assumed_service(deployment)
    assert isinstance(found, UnmeasuredService)
    return found


def carried(
    other: str, replicated: MeasuredReplica = LLAMA_ON_ONE, service: TokenService = MEASURED
) -> UnmeasuredService:
    found = extrapolate_service(service, TOKEN_H100, CARDS[other], replicated)
    assert isinstance(found, UnmeasuredService)
    return found


@pytest.mark.parametrize("model", [LLAMA_8B, MIXTRAL])
@pytest.mark.parametrize("degree", [1, 2])
def test_an_assumed_step_goes_through_the_arithmetic_at_both_ends(model: LanguageModel, degree: int) -> None:
    deployment = Deployment(model, H200, 1000, 200, Precision("fp8", "fp8", "fp8"), degree)
    speeds = compute_speeds(deployment)
    assert isinstance(speeds, Speeds)
    service = assumed(deployment).service
    for batch in (1, 256):
        step_s = service.step_s + service.per_sequence_s * batch + service.per_kv_token_s * batch * 1100
        assert step_s == pytest.approx(compute_decode_step_s(deployment, speeds, batch))
    assert service.prefill_s_per_token * 1000 == pytest.approx(compute_prefill_s(deployment, speeds))


def test_an_assumed_service_says_that_it_is() -> None:
    found = assumed(Deployment(LLAMA_8B, TOKEN_H100, 1000, 200))
    assert (found.basis, found.sigma) == ("assumed", ASSUMED_SIGMA)
    assert found.risks[0].level == 3
    assert "NVIDIA H100 SXM5 80 GB" in found.risks[0].reason
    assert found.service.kv_tokens == pytest.approx(59e9 / 131072, rel=0.01)


def test_a_latent_cache_holds_many_more_tokens() -> None:
    precision = Precision("fp8", "fp8", "bf16")
    latent = assumed(Deployment(DEEPSEEK_V3, H200, 1000, 200, precision, 8)).service
    headed = assumed(
        Deployment(msgspec.structs.replace(DEEPSEEK_V3, latent_dim=None), H200, 1000, 200, precision, 8)
    ).service
    assert latent.kv_tokens == pytest.approx(headed.kv_tokens * 2 * 128 * 128 / 8 / 576, rel=0.01)


def test_an_assumed_service_needs_room_and_figures() -> None:
    refusal = build_assumed_service(Deployment(LLAMA_2_70B, TOKEN_H100, 1000, 200))
    assert isinstance(refusal, Unavailable)
    assert "the weights need 128.5 GiB" in refusal.reason
    refusal = build_assumed_service(Deployment(LLAMA_8B, A100, 1000, 200, Precision("fp8", "fp8", "fp8")))
    assert isinstance(refusal, Unavailable)
    assert "does not support fp8" in refusal.reason
    refusal = build_assumed_service(Deployment(LLAMA_8B, L4, 60_000, 200))
    assert isinstance(refusal, Unavailable)
    assert "60100 tokens" in refusal.reason


def test_reading_goes_by_bandwidth_and_prompts_by_saturated_work() -> None:
    found = carried("h200-sxm-141gb")
    compute = estimate_ratio(TOKEN_H100, H200, "saturated", "bf16")
    assert not isinstance(compute, Unavailable)
    assert found.service.step_s == pytest.approx(0.0070 * 3350 / 4800)
    assert found.service.per_kv_token_s == pytest.approx(5e-8 * 3350 / 4800)
    assert found.service.prefill_s_per_token == pytest.approx(0.00003 / compute.factor)
    assert found.service.per_sequence_s == pytest.approx(0.00002 / compute.factor)
    assert (found.basis, found.sigma) == ("extrapolated", 0.25)
    # what the card has no part in stays
    assert (found.service.cv, found.service.outside_s, found.service.max_sequences) == (0.1, 0.002, 256)


def test_cache_grows_by_the_memory_beside_the_weights() -> None:
    here, there = (0.9 * gib * 0.985 * 2**30 - 2 * 8.03e9 for gib in (80, 141))
    assert carried("h200-sxm-141gb").service.kv_tokens == int(450_000 * there / here)


def test_the_hosts_part_of_a_step_is_not_shortened() -> None:
    found = carried("h200-sxm-141gb", msgspec.structs.replace(LLAMA_ON_ONE, host_s=0.001))
    assert found.service.step_s == pytest.approx(0.001 + 0.006 * 3350 / 4800)


def test_the_same_card_changes_nothing() -> None:
    found = carried("h100-sxm5-80gb")
    assert (found.service, found.basis, found.sigma, found.risks) == (MEASURED, "measured", 0.0, ())


def test_another_architecture_is_less_sure() -> None:
    found = carried("a100-sxm4-80gb")
    assert (found.sigma, found.risks[0].level) == (0.36, 3)
    assert found.service.step_s > MEASURED.step_s


@pytest.mark.parametrize(
    ("other", "replicated", "says"),
    [
        ("mi300x", LLAMA_ON_ONE, "another vendor's runtime"),
        ("a100-sxm4-80gb", MeasuredReplica(8.03e9, "fp8"), "does not support fp8"),
        ("l4", MeasuredReplica(60e9, "bf16"), "weights of 55.9 GiB do not fit on one NVIDIA L4"),
        ("h200-sxm-141gb", MeasuredReplica(100e9, "bf16"), "cannot have fit on 1 NVIDIA H100 SXM5 80 GB"),
    ],
)
def test_what_cannot_be_carried_is_refused(other: str, replicated: MeasuredReplica, says: str) -> None:
    refusal = extrapolate_service(MEASURED, TOKEN_H100, CARDS[other], replicated)
    assert isinstance(refusal, Unavailable)
    assert says in refusal.reason


def test_two_cards_share_the_weights() -> None:
    on_two = MeasuredReplica(100e9, "bf16", degree=2, engine=Engine(utilization=0.8))
    assert carried("h200-sxm-141gb", on_two).service.kv_tokens > 2 * MEASURED.kv_tokens
