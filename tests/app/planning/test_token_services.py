from __future__ import annotations

import msgspec
import pytest

from app.planning.extrapolation import carry_to
from app.planning.llm import SIGMA_ASSUMED, Deployment, Speeds, decode_step_s, prefill_s, speeds_of
from app.planning.refusal import Refusal
from app.planning.token_services import Replicated, UnmeasuredService, assumed_service, carry_service
from app.profiles.catalogue import load_catalogue
from app.records.language_model import Engine, LanguageModel, Precision
from app.records.service import TokenService
from tests.fakes.language_models import DEEPSEEK_V3, LLAMA_2_70B, LLAMA_8B, MIXTRAL

CARDS = load_catalogue().accelerators
H100, H200, L4, A100 = (CARDS[key] for key in ("h100-sxm5-80gb", "h200-sxm-141gb", "l4", "a100-sxm4-80gb"))
MEASURED = TokenService(0.0070, 0.00002, 0.00003, 256, 450_000, per_kv_token_s=5e-8, cv=0.1, outside_s=0.002)
LLAMA_ON_ONE = Replicated(2 * 8.03e9, "bf16")


def assumed(deployment: Deployment) -> UnmeasuredService:
    found = assumed_service(deployment)
    assert isinstance(found, UnmeasuredService)
    return found


def carried(other: str, replicated: Replicated = LLAMA_ON_ONE, service: TokenService = MEASURED) -> UnmeasuredService:
    found = carry_service(service, H100, CARDS[other], replicated)
    assert isinstance(found, UnmeasuredService)
    return found


@pytest.mark.parametrize("model", [LLAMA_8B, MIXTRAL])
@pytest.mark.parametrize("degree", [1, 2])
def test_an_assumed_step_goes_through_the_arithmetic_at_both_ends(model: LanguageModel, degree: int) -> None:
    deployment = Deployment(model, H200, 1000, 200, Precision("fp8", "fp8", "fp8"), degree)
    speeds = speeds_of(deployment)
    assert isinstance(speeds, Speeds)
    service = assumed(deployment).service
    for batch in (1, 256):
        step_s = service.step_s + service.per_sequence_s * batch + service.per_kv_token_s * batch * 1100
        assert step_s == pytest.approx(decode_step_s(deployment, speeds, batch))
    assert service.prefill_s_per_token * 1000 == pytest.approx(prefill_s(deployment, speeds))


def test_an_assumed_service_says_that_it_is() -> None:
    found = assumed(Deployment(LLAMA_8B, H100, 1000, 200))
    assert (found.basis, found.sigma) == ("assumed", SIGMA_ASSUMED)
    assert found.risks[0].level == 3
    assert "NVIDIA H100 SXM5 80 GB" in found.risks[0].sentence
    assert found.service.kv_tokens == pytest.approx(59e9 / 131072, rel=0.01)


def test_a_latent_cache_holds_many_more_tokens() -> None:
    precision = Precision("fp8", "fp8", "bf16")
    latent = assumed(Deployment(DEEPSEEK_V3, H200, 1000, 200, precision, 8)).service
    headed = assumed(
        Deployment(msgspec.structs.replace(DEEPSEEK_V3, latent_dim=None), H200, 1000, 200, precision, 8)
    ).service
    assert latent.kv_tokens == pytest.approx(headed.kv_tokens * 2 * 128 * 128 / 8 / 576, rel=0.01)


def test_an_assumed_service_needs_room_and_figures() -> None:
    refusal = assumed_service(Deployment(LLAMA_2_70B, H100, 1000, 200))
    assert isinstance(refusal, Refusal)
    assert "the weights take 128.5 GiB" in refusal.sentence
    refusal = assumed_service(Deployment(LLAMA_8B, A100, 1000, 200, Precision("fp8", "fp8", "fp8")))
    assert isinstance(refusal, Refusal)
    assert "no fp8" in refusal.sentence
    refusal = assumed_service(Deployment(LLAMA_8B, L4, 60_000, 200))
    assert isinstance(refusal, Refusal)
    assert "60100 tokens" in refusal.sentence


def test_reading_goes_by_bandwidth_and_prompts_by_saturated_work() -> None:
    found = carried("h200-sxm-141gb")
    compute = carry_to(H100, H200, "saturated", "bf16")
    assert not isinstance(compute, Refusal)
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
        ("a100-sxm4-80gb", Replicated(8.03e9, "fp8"), "has no fp8 arithmetic"),
        ("l4", Replicated(60e9, "bf16"), "weights of 55.9 GiB do not fit one NVIDIA L4"),
        ("h200-sxm-141gb", Replicated(100e9, "bf16"), "cannot have been on 1 NVIDIA H100 SXM5 80 GB"),
    ],
)
def test_what_cannot_be_carried_is_refused(other: str, replicated: Replicated, says: str) -> None:
    refusal = carry_service(MEASURED, H100, CARDS[other], replicated)
    assert isinstance(refusal, Refusal)
    assert says in refusal.sentence


def test_two_cards_share_the_weights() -> None:
    on_two = Replicated(100e9, "bf16", degree=2, engine=Engine(utilisation=0.8))
    assert carried("h200-sxm-141gb", on_two).service.kv_tokens > 2 * MEASURED.kv_tokens
