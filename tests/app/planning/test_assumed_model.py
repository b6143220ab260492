from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.planning.assumed_model import build_assumed_target, compute_assumed_capacity
from app.planning.capacity import Capacity
from app.planning.llm import ASSUMED_SIGMA
from app.planning.rates import Unavailable
from app.planning.slo_objectives import build_slo_objectives
from app.profiles.pricing.catalog import load_catalog
from app.records.planning_inputs import AssumedModel, LanguageModel, MeasuredTarget, PlanningInputs
from app.records.service import TokenService
from app.records.traffic import TokenLengths
from tests.fakes.language_models import LLAMA_2_70B, LLAMA_8B
from tests.fakes.offers import gpu_offer, question

CARDS = load_catalog().accelerators
TOKENS = (TokenLengths(1.0, 1000.0, 200.0),)
LLAMA = AssumedModel("llama", LLAMA_8B)


def asked(model: LanguageModel = LLAMA_8B, tokens: tuple[TokenLengths, ...] = TOKENS) -> PlanningInputs:
    plain = question(slo=("ttft_ms.p95 < 2000",), tokens=tokens)
    return replace(plain, measured=(), assumed_model=AssumedModel("llama", model))


def on(card: str, of: PlanningInputs) -> MeasuredTarget | Unavailable:
    return build_assumed_target(CARDS[card], of, build_slo_objectives(of.slo))


def known(card: str, of: PlanningInputs) -> MeasuredTarget:
    found = on(card, of)
    assert isinstance(found, MeasuredTarget)
    return found


def test_a_model_takes_as_many_cards_as_its_weights_and_cache_do() -> None:
    small, large = known("h100-sxm5-80gb", asked()), known("h100-sxm5-80gb", asked(LLAMA_2_70B))
    assert small.hardware.accelerator_count == 1
    assert large.hardware.accelerator_count == 2  # 138 GB of weights
    assert "llama on 2 × h100-sxm5-80gb, analytical estimate" in large.name
    assert small.is_assumed
    assert small.curve.latency_metric == "ttft_ms.p95"
    assert small.curve.max_rate_per_s > 2 * large.curve.max_rate_per_s > 0


def test_a_faster_card_is_a_faster_service_and_longer_answers_a_lower_rate() -> None:
    steps = []
    for card in ("l4", "h100-sxm5-80gb"):
        fit = known(card, asked()).fit
        assert fit is not None
        service = fit.services[0].service
        assert isinstance(service, TokenService)
        steps.append(service.step_s)
    assert steps[0] > 5 * steps[1]
    longer = asked(tokens=(TokenLengths(1.0, 1000.0, 800.0),))
    assert known("l4", longer).curve.max_rate_per_s < known("l4", asked()).curve.max_rate_per_s


def test_lengths_are_the_mean_of_the_kinds_of_request() -> None:
    mixed = asked(tokens=(TokenLengths(3.0, 800.0, 100.0), TokenLengths(1.0, 1600.0, 500.0)))
    assert known("l4", mixed) == known("l4", asked())


def test_without_lengths_nothing_is_planned() -> None:
    found = on("l4", asked(tokens=()))
    assert isinstance(found, Unavailable)
    assert found.reason == "no language model is described"


@pytest.mark.parametrize(("cards", "replicas"), [(2.0, 1), (3.0, 1), (8.0, 4)])
def test_an_instance_holds_whole_replicas(cards: float, replicas: int) -> None:
    target = known("h100-sxm5-80gb", asked(LLAMA_2_70B))
    found = compute_assumed_capacity(target, gpu_offer("g", "h100-sxm5-80gb", cards), LLAMA)
    assert isinstance(found, Capacity)
    assert (found.replicas, found.basis, found.speed_sigma) == (replicas, "assumed", ASSUMED_SIGMA)
    assert found.rate_per_s == pytest.approx(replicas * target.curve.max_rate_per_s)
    assert found.risks[0].level == 3


def test_an_instance_with_too_few_cards_is_refused() -> None:
    target = known("h100-sxm5-80gb", asked(LLAMA_2_70B))
    found = compute_assumed_capacity(target, gpu_offer("g", "h100-sxm5-80gb", 1.0), LLAMA)
    assert isinstance(found, Unavailable)
    assert found.reason == "the instance has too few accelerators: 1, but llama needs 2"


def test_a_vendors_own_efficiency_is_in_its_rate() -> None:
    """AMD's cards reach 0.68 of the arithmetic in the published table, NVIDIA's 0.90."""
    card, of = CARDS["mi300x"], asked()
    amd = build_assumed_target(card, of, build_slo_objectives(of.slo))
    nvidia = build_assumed_target(replace(card, vendor="NVIDIA"), of, build_slo_objectives(of.slo))
    other = build_assumed_target(replace(card, vendor="Intel"), of, build_slo_objectives(of.slo))
    assert isinstance(amd, MeasuredTarget)
    assert isinstance(nvidia, MeasuredTarget)
    assert isinstance(other, MeasuredTarget)
    assert amd.fit is not None
    assert nvidia.fit is not None
    assert amd.fit.highest_per_s == pytest.approx(nvidia.fit.highest_per_s * 0.68 / 0.90)
    assert amd.curve.max_rate_per_s < 0.8 * nvidia.curve.max_rate_per_s
    assert other.curve.max_rate_per_s == amd.curve.max_rate_per_s
