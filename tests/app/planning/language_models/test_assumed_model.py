from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.planning.hardware.capacity import Capacity
from app.planning.hardware.rates import Unavailable
from app.planning.language_models.assumed_model import (
    DEGREES,
    OTHER_VENDOR_SPEED,
    AssumedReplica,
    build_assumed_replicas,
    compute_assumed_capacity,
    find_missing_figures,
    find_served_model,
)
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.profiles.pricing.catalog import load_catalog
from app.records.plan import ServedReplica
from app.records.planning_inputs import Alternatives, AssumedModel, Engine, LanguageModel, PlanningInputs, Precision
from app.records.service import TokenService
from app.records.traffic import TokenLengths
from tests.fakes.language_models import LLAMA_2_70B, LLAMA_8B
from tests.fakes.offers import gpu_offer, planning_inputs
from tests.studies.language_models import compare_with_published

GPUS = load_catalog().accelerators
TOKENS = (TokenLengths(1.0, 1000.0, 200.0),)
LLAMA = AssumedModel("llama", LLAMA_8B)


def build_inputs(
    model: LanguageModel = LLAMA_8B,
    tokens: tuple[TokenLengths, ...] = TOKENS,
    slo: tuple[str, ...] = ("ttft_ms.p95 < 2000",),
    precision: Precision | None = None,
) -> PlanningInputs:
    plain = planning_inputs(slo=slo, tokens=tokens)
    return replace(plain, measured=(), assumed_model=AssumedModel("llama", model, precision or Precision()))


def build_replicas_or_refusal(gpu_key: str, inputs: PlanningInputs) -> tuple[AssumedReplica, ...] | Unavailable:
    return build_assumed_replicas(GPUS[gpu_key], inputs, build_slo_objectives(inputs.slo))


def build_replicas(gpu_key: str, inputs: PlanningInputs) -> dict[float, AssumedReplica]:
    """Return the replicas by their number of GPUs."""
    replicas = build_replicas_or_refusal(gpu_key, inputs)
    assert isinstance(replicas, tuple)
    return {replica.target.hardware.accelerator_count: replica for replica in replicas}


def get_service(replica: AssumedReplica) -> TokenService:
    assert replica.target.fit is not None
    service = replica.target.fit.services[0].service
    assert isinstance(service, TokenService)
    return service


def test_replicas_have_every_number_of_gpus_that_the_model_fits_on() -> None:
    small, large = (
        build_replicas("h100-sxm5-80gb", build_inputs()),
        build_replicas("h100-sxm5-80gb", build_inputs(LLAMA_2_70B)),
    )
    assert tuple(small) == DEGREES
    assert tuple(large) == (2, 4, 8)  # 138 GB of weights
    target = large[2].target
    assert target.name == "llama on 2 × h100-sxm5-80gb"
    assert target.is_assumed
    assert target.curve.latency_metric == "ttft_ms.p95"
    assert small[1].target.curve.max_rate_per_s > 2 * target.curve.max_rate_per_s > 0


@pytest.mark.parametrize(("degree", "reason"), [(4, None), (2, None), (1, "memory"), (3, "attention_heads")])
def test_number_of_gpus_per_replica_can_be_set(degree: int, reason: str | None) -> None:
    inputs = build_inputs(LLAMA_2_70B)
    described = AssumedModel("llama", LLAMA_2_70B, engine=Engine(tensor_parallel=degree))
    built = build_replicas_or_refusal("h100-sxm5-80gb", replace(inputs, assumed_model=described))
    if isinstance(built, Unavailable):
        assert built.id == reason
    else:
        assert ([replica.target.hardware.accelerator_count for replica in built], reason) == ([degree], None)


def test_step_time_decreases_less_than_in_proportion_to_gpus_per_replica() -> None:
    steps = {
        degree: get_service(replica).compute_decode_step_s(1, 1000)
        for degree, replica in build_replicas("h100-sxm5-80gb", build_inputs(LLAMA_2_70B)).items()
    }
    assert steps[2] > steps[4] > steps[8] > steps[2] / 4


def test_faster_gpu_has_shorter_steps_and_longer_responses_lower_the_rate() -> None:
    slow, fast = (get_service(build_replicas(gpu_key, build_inputs())[1]) for gpu_key in ("l4", "h100-sxm5-80gb"))
    assert slow.step_s > 5 * fast.step_s
    longer = build_inputs(tokens=(TokenLengths(1.0, 1000.0, 800.0),))
    rates = [build_replicas("l4", inputs)[1].target.curve.max_rate_per_s for inputs in (longer, build_inputs())]
    assert rates[0] < rates[1]


def test_step_time_of_a_mixture_of_experts_is_concave_in_the_batch() -> None:
    model = load_language_models()["deepseek-v3"].shape
    inputs = build_inputs(model, slo=("tpot_ms.p95 < 20",), precision=Precision("fp8", "fp8", "fp8"))
    service = get_service(build_replicas("h200-sxm-141gb", inputs)[8])
    step_ms = [1000 * service.compute_decode_step_s(batch, 1000 * batch) for batch in (1, 16, 31)]
    assert step_ms[1] > 1.05 * (step_ms[0] + step_ms[2]) / 2
    assert service.expert_share == 8 / 256


@pytest.mark.parametrize(
    ("gpu_key", "precision", "clients", "published_ms"),
    [("h200-sxm-141gb", "fp8", 16, 16.6), ("h200-sxm-141gb", "fp8", 4, 10.3), ("b200-sxm-180gb", "fp8", 64, 22.5)],
)
def test_deepseek_on_eight_gpus_has_about_the_published_tpot(
    gpu_key: str, precision: str, clients: int, published_ms: float
) -> None:
    """Published for 1,024 input and output tokens by InferenceX, with SGLang."""
    model = load_language_models()["deepseek-v3"].shape
    inputs = build_inputs(
        model, (TokenLengths(1.0, 920.0, 920.0),), ("tpot_ms.p95 < 20",), Precision(precision, precision, "fp8")
    )
    service = get_service(build_replicas(gpu_key, inputs)[8])
    step_s = service.compute_decode_step_s(clients, clients * 1380) + clients * service.prefill_s_per_token
    assert step_s * 1000 == pytest.approx(published_ms, rel=0.25)


def test_assumed_replicas_use_the_mean_token_lengths() -> None:
    mixed = build_inputs(tokens=(TokenLengths(3.0, 800.0, 100.0), TokenLengths(1.0, 1600.0, 500.0)))
    assert build_replicas("l4", mixed) == build_replicas("l4", build_inputs())


def test_plan_without_token_lengths_is_unavailable() -> None:
    refusal = build_replicas_or_refusal("l4", build_inputs(tokens=()))
    assert isinstance(refusal, Unavailable)
    assert refusal.id == "no_language_model"


@pytest.mark.parametrize(
    ("gpu_key", "model", "precision", "reason"),
    [
        ("rtx-4070", LLAMA_2_70B, Precision(), "memory"),
        ("a100-sxm4-80gb", LLAMA_8B, Precision("fp8", "fp8", "fp8"), "unsupported_precision"),
        ("gb10", LLAMA_8B, Precision(), "unknown_figure"),
        ("h100-sxm5-80gb", replace(LLAMA_2_70B, heads=61, kv_heads=61), Precision(), "memory"),
    ],
)
def test_model_that_does_not_fit_or_unknown_hardware_is_unavailable(
    gpu_key: str, model: LanguageModel, precision: Precision, reason: str
) -> None:
    refusal = build_replicas_or_refusal(gpu_key, build_inputs(model, precision=precision))
    assert isinstance(refusal, Unavailable)
    assert refusal.id == reason


@pytest.mark.parametrize(("gpus", "replicas"), [(2.0, 1), (3.0, 1), (8.0, 4)])
def test_instance_has_a_whole_number_of_assumed_replicas(gpus: float, replicas: int) -> None:
    replica = build_replicas("h100-sxm5-80gb", build_inputs(LLAMA_2_70B))[2]
    capacity = compute_assumed_capacity(replica, gpu_offer("g", "h100-sxm5-80gb", gpus), LLAMA)
    assert isinstance(capacity, Capacity)
    assert (capacity.replicas, capacity.basis, capacity.speed_sigma) == (replicas, "assumed", replica.sigma)
    assert capacity.rate_per_s == pytest.approx(replicas * replica.target.curve.max_rate_per_s)
    assert capacity.risks[0].level == 3


def test_instance_with_too_few_gpus_is_refused() -> None:
    replica = build_replicas("h100-sxm5-80gb", build_inputs(LLAMA_2_70B))[2]
    refusal = compute_assumed_capacity(replica, gpu_offer("g", "h100-sxm5-80gb", 1.0), LLAMA)
    assert isinstance(refusal, Unavailable)
    assert refusal.id == "accelerator_count"


def test_gpu_without_published_measurements_is_extrapolated_with_a_larger_sigma() -> None:
    inputs = build_inputs(slo=("tpot_ms.p95 < 50",))
    measured, other_generation, other_vendor = (
        build_replicas(gpu_key, inputs)[1] for gpu_key in ("h100-sxm5-80gb", "a100-sxm4-80gb", "mi300x")
    )
    assert (measured.is_extrapolated, other_generation.is_extrapolated, other_vendor.is_extrapolated) == (
        False, True, True,
    )  # fmt: skip
    assert measured.sigma < other_generation.sigma < other_vendor.sigma


def test_gpus_of_other_vendors_are_slower_than_their_data_sheet() -> None:
    gpu, inputs = GPUS["mi300x"], build_inputs()
    objectives = build_slo_objectives(inputs.slo)
    other, same = (
        build_assumed_replicas(replace(gpu, vendor=vendor), inputs, objectives) for vendor in ("AMD", "NVIDIA")
    )
    assert isinstance(other, tuple)
    assert isinstance(same, tuple)
    assert get_service(other[0]).step_s == pytest.approx(get_service(same[0]).step_s / OTHER_VENDOR_SPEED)


def test_sigma_is_that_of_the_latency_that_limits_the_rate() -> None:
    def get_sigma(*slo: str) -> float:
        return build_replicas("h100-sxm5-80gb", build_inputs(slo=slo))[1].sigma

    tpot, ttft = get_sigma("tpot_ms.p95 < 15"), get_sigma("ttft_ms.p95 < 100")
    assert tpot < ttft
    assert get_sigma("tpot_ms.p95 < 15", "ttft_ms.p95 < 60000") == tpot


def test_held_out_offline_rates_are_close_to_published_rates() -> None:
    logs = [check.log_error for check in compare_with_published()]
    assert sum(abs(log) < 0.45 for log in logs) >= 0.75 * len(logs)
    assert abs(sum(logs) / len(logs)) < 0.2


def test_4_bit_weights_are_planned_on_accelerators_without_4_bit_units() -> None:
    fp4, fp8 = Precision("fp4", "fp4"), Precision("fp8", "fp8")
    assert [find_missing_figures(GPUS[key], fp4) for key in ("h200-sxm-141gb", "l40s", "a100-sxm4-80gb")] == [None] * 3
    missing = find_missing_figures(GPUS["a100-sxm4-80gb"], fp8)
    assert missing is not None
    assert missing.id == "unsupported_precision"
    model = load_language_models()["gpt-oss-120b"].shape
    replicas = [
        build_replicas("h200-sxm-141gb", build_inputs(model, precision=precision))[2.0]
        for precision in (fp4, Precision("fp4", "bf16"))
    ]
    first, second = (replace(replica, target=replace(replica.target, assumed_model=None)) for replica in replicas)
    assert first == second


def test_replicas_of_alternatives_are_those_of_each_precision_and_engine_alone() -> None:
    inputs = build_inputs()
    described = AssumedModel("llama", LLAMA_8B, alternatives=Alternatives(("fp8",), ("sglang",)))
    replicas = build_replicas_or_refusal("h100-sxm5-80gb", replace(inputs, assumed_model=described))
    assert isinstance(replicas, tuple)
    alone = [
        replica
        for served in described.served_models
        for replica in build_replicas("h100-sxm5-80gb", replace(inputs, assumed_model=served)).values()
    ]
    assert [(each.target.fit, each.target.curve, each.sigma) for each in replicas] == [
        (each.target.fit, each.target.curve, each.sigma) for each in alone
    ]
    assert len({each.target.name for each in replicas}) == len(replicas) == 4 * len(DEGREES)
    assert replicas[0].target.name == "llama on 1 × h100-sxm5-80gb, bf16, vLLM"
    assert replicas[-1].target.hardware.description == "llama on 8 × h100-sxm5-80gb, fp8, SGLang"


def test_alternative_that_an_accelerator_lacks_leaves_the_others() -> None:
    described = AssumedModel("llama", LLAMA_8B, alternatives=Alternatives(("fp8",), ("trtllm",)))
    inputs = replace(build_inputs(), assumed_model=described)
    replicas = build_replicas("mi300x", inputs)
    assert {replica.target.name.partition(", ")[2] for replica in replicas.values()} == {"fp8, vLLM"}
    older = build_replicas("a100-sxm4-80gb", inputs)
    assert {replica.target.name.partition(", ")[2] for replica in older.values()} == {"bf16, TensorRT-LLM"}


def test_accelerator_without_any_alternative_has_the_reason_of_the_model_as_it_states() -> None:
    described = AssumedModel("llama", LLAMA_2_70B, Precision("fp8", "fp8"), alternatives=Alternatives(("bf16",)))
    refusal = build_replicas_or_refusal("a100-sxm4-80gb", replace(build_inputs(), assumed_model=described))
    assert isinstance(refusal, tuple), "bf16"
    described = AssumedModel("llama", LLAMA_8B, Precision("fp8", "fp8"), alternatives=Alternatives(engines=("trtllm",)))
    refusal = build_replicas_or_refusal("a100-sxm4-80gb", replace(build_inputs(), assumed_model=described))
    stated = replace(described, alternatives=Alternatives())
    assert refusal == build_replicas_or_refusal("a100-sxm4-80gb", replace(build_inputs(), assumed_model=stated))
    assert isinstance(refusal, Unavailable)


def test_served_model_of_a_replica_has_its_precision_and_engine() -> None:
    described = AssumedModel("llama", LLAMA_8B, alternatives=Alternatives(("fp8",), ("sglang",)))
    assert find_served_model(described, None) == described.served_models[0]
    replica = ServedReplica(
        accelerators=2,
        engine="sglang",
        weights="fp8",
        tokens_per_s_per_user=40.0,
        tokens_per_s_per_accelerator=400.0,
    )
    served = find_served_model(described, replica)
    assert (served.precision, served.engine.name) == (Precision("fp8", "fp8"), "sglang")
