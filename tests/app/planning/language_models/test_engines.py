from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.planning.fleets import plan_fleets
from app.planning.hardware.rates import Unavailable
from app.planning.language_models.engines import EngineLimits, format_flags, get_version, resolve_engine
from app.planning.language_models.memory import MemoryPlan, compute_usable_bytes, plan_memory
from app.profiles.pricing.catalog import load_catalog
from app.records.engine_presets import ENGINE_PRESETS
from app.records.evidence import EngineName
from app.records.offers import Catalog
from app.records.plan import Plan
from app.records.planning_inputs import Alternatives, AssumedModel, Engine, Precision
from app.records.traffic import TokenLengths
from tests.fakes.offers import gpu_offer, planning_inputs

GPUS = load_catalog().accelerators
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
SHAPE = load_language_models()["llama-3.1-70b"].shape
BF16 = Precision("bf16", "bf16", "bf16")
TOKENS = (TokenLengths(1.0, 1000.0, 200.0),)


def plan(
    engine: Engine,
    gpu: str = "h100-sxm5-80gb",
    alternatives: Alternatives | None = None,
    tokens: tuple[TokenLengths, ...] = TOKENS,
) -> Plan:
    inputs = planning_inputs(
        peak_per_s=5.0,
        catalog=Catalog(GPUS, (gpu_offer("large", gpu, 8.0),)),
        slo=("ttft_ms.p95 < 2000",),
        tokens=tokens,
    )
    model = AssumedModel("llama-3.1-70b", SHAPE, BF16, engine, alternatives or Alternatives())
    return plan_fleets(replace(inputs, measured=(), assumed_model=model), estimate_only=True)


def test_general_limits_apply_without_a_selected_engine() -> None:
    for gpu in ("h100-sxm5-80gb", "l4"):
        assert resolve_engine(Engine(), GPUS[gpu]) == EngineLimits(2048, 256, 0.9, 16, "all")
        assert format_flags(Engine(), GPUS[gpu], "bf16") == ()


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_has_limits_on_every_accelerator(name: EngineName) -> None:
    assert ENGINE_PRESETS[name].name == name
    for gpu in GPUS.values():
        if (gpu.memory_gib or 0) >= 16 and not gpu.key.startswith("cpu-"):
            limits = resolve_engine(Engine(name), gpu)
            assert limits.chunk_tokens >= 2048
            assert limits.max_sequences >= 256
            assert 0.7 <= limits.utilization <= 0.95
            assert len(format_flags(Engine(name), gpu, "bf16")) == len(ENGINE_PRESETS[name].flags)


@pytest.mark.parametrize(
    ("gpu", "version", "sequences", "tokens", "utilization"),
    [
        ("h100-sxm5-80gb", "0.19.0", 1024, 8192, 0.9),
        ("h100-sxm5-80gb", None, 1024, 8192, 0.92),
        ("l40s", "0.20.1rc1", 256, 2048, 0.92),
        ("a100-sxm4-80gb", "0.19.0", 256, 2048, 0.9),
        ("b200-sxm-180gb", "0.20.0", 1024, 8192, 0.92),
        ("b200-sxm-180gb", None, 1024, 16384, 0.92),
    ],
)
def test_defaults_of_vllm_depend_on_memory_and_version(
    gpu: str, version: str | None, sequences: int, tokens: int, utilization: float
) -> None:
    limits = resolve_engine(Engine("vllm", version), GPUS[gpu])
    assert (limits.max_sequences, limits.chunk_tokens, limits.utilization) == (sequences, tokens, utilization)


@pytest.mark.parametrize(
    ("requested", "known"), [(None, "0.33.0"), ("0.19.0", "0.19.0"), ("0.25.1", "0.20.0"), ("1.2.3rc4", "0.33.0")]
)
def test_defaults_are_of_the_newest_known_version_up_to_the_requested_one(requested: str | None, known: str) -> None:
    assert get_version(Engine("vllm", requested)) == known
    assert ENGINE_PRESETS["vllm"].find_version("0.18.9") is None


def test_settings_of_the_user_take_precedence_over_defaults() -> None:
    engine = Engine("sglang", chunk_tokens=999, utilization=0.5)
    assert resolve_engine(engine, GPUS["h100-sxm5-80gb"]) == EngineLimits(999, 2048, 0.5, 1, "weights and cache")
    assert "--chunked-prefill-size 999" in format_flags(engine, GPUS["h100-sxm5-80gb"], "bf16")
    assert "--kv-cache-dtype fp8" in format_flags(engine, GPUS["h100-sxm5-80gb"], "fp8")


def test_kv_cache_has_the_memory_share_of_its_engine() -> None:
    gpu = GPUS["h100-sxm5-80gb"]
    usable_bytes = compute_usable_bytes(gpu)
    assert isinstance(usable_bytes, float)

    def find_pool(engine: Engine) -> MemoryPlan:
        memory_plan = plan_memory(SHAPE, gpu, BF16, 4, engine)
        assert isinstance(memory_plan, MemoryPlan)
        return memory_plan

    static = find_pool(Engine("sglang", utilization=0.8))
    assert static.kv_pool_bytes == pytest.approx(0.8 * usable_bytes - static.weight_bytes)
    all_of_rest, half_of_rest = (find_pool(Engine("trtllm", utilization=share)) for share in (1.0, 0.5))
    assert half_of_rest.kv_pool_bytes == pytest.approx(all_of_rest.kv_pool_bytes / 2)
    assert find_pool(Engine("vllm", utilization=1.0)).kv_pool_bytes > all_of_rest.kv_pool_bytes  # fewer sequences


def test_plan_has_the_step_times_and_flags_of_its_engine() -> None:
    plans = {name: plan(Engine(name)) for name in (None, *ENGINES)}
    rates = {name: planned.offers[0].planned_rate_per_replica_per_s for name, planned in plans.items()}
    assert len({rates["vllm"], rates["sglang"], rates["trtllm"]}) == 3
    for name in ENGINES:
        flags = format_flags(Engine(name), GPUS["h100-sxm5-80gb"], "bf16")
        assert any(all(flag in note for flag in flags) for note in plans[name].notes)
    assert not any("--max-num-seqs" in note for note in plans[None].notes)


def test_plan_lists_the_flags_of_the_engine_that_sustains_most() -> None:
    rates = {name: plan(Engine(name)).offers[0].planned_rate_per_replica_per_s or 0.0 for name in ENGINES}
    fastest = max(ENGINES, key=lambda name: rates[name])
    planned = plan(Engine("vllm"), alternatives=Alternatives(engines=ENGINES))
    assert planned.offers[0].planned_rate_per_replica_per_s == rates[fastest]
    flags = format_flags(Engine(fastest), GPUS["h100-sxm5-80gb"], "bf16")
    assert any(all(flag in note for flag in flags) for note in planned.notes)
    assert any("the engine that sustains most" in note for note in planned.notes)
    assert not any("is as accurate" in note for note in planned.notes)


def test_plan_with_several_weights_asks_to_check_the_accuracy() -> None:
    planned = plan(Engine(), alternatives=Alternatives(weights=("fp8",)))
    assert any("the weights that sustain most on it: bf16 or fp8, with vLLM." in note for note in planned.notes)
    assert any("is as accurate" in note for note in planned.notes)


def test_tensorrt_llm_does_not_run_on_accelerators_of_other_vendors() -> None:
    assert plan(Engine("trtllm"), "mi300x").offers[0].rejection == "runtime"
    assert plan(Engine("sglang"), "mi300x").offers[0].rejection is None
    assert not isinstance(plan_memory(SHAPE, GPUS["mi300x"], BF16, 1, Engine("sglang")), Unavailable)


def test_plan_warns_of_prompts_that_its_engine_refuses_by_default() -> None:
    def list_checks(engine: Engine, input_tokens: float) -> list[tuple[object, ...]]:
        tokens = (TokenLengths(0.9, 100.0, 200.0), TokenLengths(0.1, input_tokens, 200.0))
        planned = plan(engine, tokens=tokens)
        return [(check.id, check.value, check.limit) for check in planned.checks if check.id == "prompt_length"]

    assert list_checks(Engine("trtllm"), 9000.0) == [("prompt_length", 9000.0, 8192.0)]
    assert list_checks(Engine("trtllm", chunk_tokens=9000), 9000.0) == []
    assert list_checks(Engine("trtllm"), 8192.0) == []
    for other in (Engine(), Engine("vllm"), Engine("sglang")):
        assert list_checks(other, 9000.0) == []
