from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from pydantic import TypeAdapter

from app.analysis.language_models import load_language_models
from app.errors import ProfileError
from app.profiles.loading import load_language_model, load_planning_settings
from app.profiles.plan import (
    EngineSettings,
    PlanKeys,
    PlanSettings,
    PrecisionSettings,
    ShapeSettings,
    is_model_shape_file,
)
from app.records.offers import ApiPrice, ApiTokenPrices, PlanLimits, Router, UnmeasuredGpus
from app.records.planning_inputs import Alternatives, AssumedModel, Engine, LanguageModel, Precision
from app.wiring.assumed_models import find_model
from tests.fakes.language_models import DEEPSEEK_V3, LLAMA_8B
from tests.fakes.offers import catalog_of, offer
from tests.fakes.plan_sources import MODEL

SHAPE = {
    "parameters": 46.7e9,
    "layers": 32,
    "hidden": 4096,
    "heads": 32,
    "kv_heads": 8,
    "head_dim": 128,
    "vocabulary": 32000,
    "active_parameters": 12.9e9,
    "experts": 8,
    "experts_per_token": 2,
    "latent_dim": 576,
    "window_layers": 16,
    "window_tokens": 1024,
    "linear_layers": 4,
    "context_tokens": 32768,
    "tied_embeddings": True,
    "index_dim": 128,
}
PRECISION = {"weights": "int4", "compute": "fp16", "kv": "fp8"}
ENGINE = {
    "name": "sglang",
    "version": "0.5.9",
    "chunk_tokens": 8192,
    "max_sequences": 64,
    "utilization": 0.8,
    "tensor_parallel": 4,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text(MODEL)
    return path


def test_model_shape_without_precision_or_engine_uses_the_defaults(path: Path) -> None:
    assert load_language_model(path, find_model=find_model) == AssumedModel("small", LLAMA_8B)
    path.write_text(MODEL.replace("name: small\n", ""))
    assert load_language_model(path, find_model=find_model).name == "model"


def test_every_key_of_a_language_model_file_is_applied(path: Path) -> None:
    path.write_text(yaml.safe_dump({"language_model": SHAPE, "precision": PRECISION, "engine": ENGINE}))
    model = LanguageModel(46.7e9, 32, 4096, 32, 8, 128, 32000, 12.9e9, 8, 2, 576, 16, 1024, 4, 32768, True, 128)
    engine = Engine("sglang", "0.5.9", chunk_tokens=8192, max_sequences=64, utilization=0.8, tensor_parallel=4)
    assert load_language_model(path, find_model=find_model) == AssumedModel(
        "model", model, Precision("int4", "fp16", "fp8"), engine
    )
    overrides = ("alternatives={weights: [fp8], engines: [vllm, trtllm]}", "alternatives.weights=bf16, fp8")
    loaded = load_language_model(path, overrides, find_model=find_model)
    assert loaded.alternatives == Alternatives(("bf16", "fp8"), ("vllm", "trtllm"))
    for kind, values in ((ShapeSettings, SHAPE), (PrecisionSettings, PRECISION), (EngineSettings, ENGINE)):
        assert set(kind.model_fields) == set(values)


def test_deepseek_v3_shape_survives_a_round_trip(path: Path) -> None:
    shape = {name: getattr(DEEPSEEK_V3, name) for name in SHAPE}
    path.write_text(yaml.safe_dump({"language_model": shape}))
    assert load_language_model(path, find_model=find_model).model == DEEPSEEK_V3


@pytest.mark.parametrize(
    ("valid", "invalid", "line", "message", "hint"),
    [
        ("layers: 32", "layer: 32", 3, "the key 'layer' is unknown in language_model", "Did you mean 'layers'?"),
        ("layers: 32, ", "", 2, "language_model is missing the key layers", None),
        ("layers: 32", "layers: 0", 3, "language_model.layers must be greater than or equal to 1", None),
        ("layers: 32", "layers: 32.5", 3, "language_model.layers must be a whole number", None),
        ("layers: 32", "layers: many", 3, "must be a whole number, not 'many'", None),
        ("layers: 32", "layers: true", 3, "must be a whole number", None),
        ("layers: 32", "layers: 10001", 3, "less than or equal to 10000", None),
        ("parameters: 8.03e9", "parameters: 0", 3, "language_model.parameters must be greater than 0", None),
        ("parameters: 8.03e9", "parameters: 8B", 3, "language_model.parameters must be a number, not '8B'", None),
        ("parameters: 8.03e9", "parameters: 1e15", 3, "less than or equal to", None),
        ("layers: 32", "layers: 32, window_layers: -1", 3, "window_layers must be greater than or equal to 0", None),
        ("layers: 32", "layers: 32, linear_layers: -1", 3, "linear_layers must be greater than or equal to 0", None),
        ("layers: 32", "layers: 32, window_layers: 30, window_tokens: 9, linear_layers: 3", 2, "must not exceed", None),
        ("layers: 32", "layers: 32, window_layers: 1", 2, "window_layers needs window_tokens", None),
        ("layers: 32", "layers: 32, experts: 2, experts_per_token: 3", 2, "must not exceed experts", None),
        ("layers: 32", "layers: 32, active_parameters: 9e9", 2, "must not exceed parameters", None),
        ("kv_heads: 8", "kv_heads: 5", 2, "must be a multiple of kv_heads", None),
        ("layers: 32", "layers: 32, experts: 0", 3, "experts must be greater than or equal to 1", None),
        ("name: small", "name: small one", 1, "name must be text that matches the pattern", None),
        ("name: small", "nme: small", 1, "the key 'nme' is unknown", "Did you mean 'name'?"),
        (
            "name: small",
            "precision: {weight: int4}",
            1,
            "the key 'weight' is unknown in precision",
            "Did you mean 'weights'?",
        ),
        ("name: small", "precision: {weights: int3}", 1, "precision.weights must be", "Did you mean 'int"),
        ("name: small", "alternatives: {weights: [bf16, fp9]}", 1, "alternatives.weights[1] must be", "Did you mean"),
        ("name: small", "alternatives: {engines: tgi}", 1, "alternatives.engines[0] must be", None),
        ("name: small", "precision: {kv: bf61}", 1, "precision.kv must be", "Did you mean 'bf16'?"),
        ("name: small", "precision: {compute: 16}", 1, "precision.compute must be", None),
        ("name: small", "engine: {utilization: 0}", 1, "engine.utilization must be greater than 0", None),
        ("name: small", "engine: {utilization: 90}", 1, "engine.utilization must be less than or equal to 1", None),
        (
            "name: small",
            "engine: {utilisation: 0.9}",
            1,
            "the key 'utilisation' is unknown",
            "Did you mean 'utilization'?",
        ),
        ("name: small", "engine: {max_sequences: 0}", 1, "engine.max_sequences must be greater", None),
        ("name: small", "engine: {chunk_tokens: 0}", 1, "engine.chunk_tokens must be greater", None),
        ("name: small", "engine: {name: vlm}", 1, "engine.name must be", "Did you mean 'vllm'?"),
        ("name: small", "engine: {name: vllm, version: 0.20}", 1, "engine.version", None),
        ("name: small", "engine: {name: vllm, version: main}", 1, "engine.version", None),
        ("name: small", "engine: {name: vllm, version: 0.18.2}", 1, "vLLM 0.18.2 are unknown", "Use 0.19.0"),
        ("name: small", "engine: {version: 0.19.0}", 1, "engine.version needs engine.name", "Add a name"),
        ("name: small", "engine: &a {}", 1, "anchors and aliases are not supported", None),
        ("name: small", "engine: !!python/name:os.system", 1, "tags are not supported", None),
    ],
)
def test_invalid_model_values_are_reported_with_line_and_nearest_name(
    path: Path, valid: str, invalid: str, line: int, message: str, hint: str | None
) -> None:
    assert valid in MODEL
    path.write_text(MODEL.replace(valid, invalid, 1))
    with pytest.raises(ProfileError) as caught:
        load_language_model(path, find_model=find_model)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)
    assert hint is None or hint in (caught.value.hint or "")


def test_language_model_may_be_a_name(path: Path) -> None:
    path.write_text("language_model: meta-llama/Llama-3.1-70B-Instruct\nprecision: {weights: fp8}\n")
    model = load_language_model(path, ["language_model.layers=40"], find_model=find_model)
    shape = load_language_models()["llama-3.1-70b"].shape
    assert model == AssumedModel("Llama-3.1-70B-Instruct", msgspec.structs.replace(shape, layers=40), Precision("fp8"))
    path.write_text("name: mine\nlanguage_model: Llama-3.1-70B\n")
    assert load_language_model(path, find_model=find_model) == AssumedModel("mine", shape)


def test_unknown_name_of_a_language_model_is_reported_with_line_and_similar_names(path: Path) -> None:
    path.write_text("name: small\nlanguage_model: llama-3.1-71b\n")
    with pytest.raises(ProfileError) as caught:
        load_language_model(path, find_model=find_model)
    assert caught.value.line == 2
    assert "llama-3.1-70b" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "content", "is_shape_file"),
    [
        ("model.yaml", MODEL, True),
        ("model.yml", "# a comment\nlanguage_model:\n", True),
        ("model.json", MODEL, False),
        ("model.yaml", "model:\n  language_model: {}\n", False),
        ("model.yaml", "sizewise: 1\nname: language_model\n", False),
        ("model.yaml", "", False),
        ("model.yaml", "#" * 70_000 + "\n" + MODEL, False),
    ],
)
def test_model_shape_file_is_detected_by_its_top_level_key(
    tmp_path: Path, name: str, content: str, is_shape_file: Any
) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert is_model_shape_file(path) is is_shape_file


def test_unreadable_path_is_not_a_model_shape_file(tmp_path: Path) -> None:
    assert not is_model_shape_file(tmp_path / "none.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert not is_model_shape_file(tmp_path / "folder.yaml")


API_PRICES = {
    "input": "3 USD/1M",
    "output": "15 USD/1M",
    "cached_input": "0.3 USD/1M",
    "as_of": "2026-11-01",
}
OTHER_CARDS = {"dtype": "fp16", "work": "saturated"}
VALUES = {
    "confidence": "95%",
    "redundancy": "n+2",
    "zones": 3,
    "max_unavailable": 1,
    "router": "power-of-two",
    "regions": ["us-east-1", "eu-west-1"],
    "providers": ["aws"],
    "accelerators": ["h100", "l40s"],
    "sources": ["karp-aws", "yours"],
    "budget": "4000 USD/month",
    "vendors": ["nvidia"],
    "max_power": "20 kW",
    "api_price": "0.6 USD/1M",
    "max_accelerators": 4,
    "price": "spot",
    "max_price_age": "90d",
    "low_trust_prices": True,
    "unmeasured_gpus": OTHER_CARDS,
    "api_prices": API_PRICES,
}
KEYS: TypeAdapter[PlanLimits] = TypeAdapter(PlanKeys)


def limits(*overrides: str) -> PlanLimits:
    return load_planning_settings([f"plan.{override}" for override in overrides]).plan


def test_plan_settings_without_overrides_are_the_default_limits() -> None:
    assert limits() == PlanLimits()


def test_every_plan_key_is_applied() -> None:
    assert KEYS.validate_python(VALUES) == PlanLimits(
        confidence=0.95,
        redundancy=2,
        regions=("us-east-1", "eu-west-1"),
        providers=("aws",),
        budget_usd_per_month=4000.0,
        max_price_age_days=90,
        router="power-of-two",
        zones=3,
        max_unavailable=1,
        max_accelerators=4,
        price="spot",
        unmeasured_gpus=UnmeasuredGpus("fp16", "saturated"),
        vendors=("nvidia",),
        max_power_w=20_000.0,
        api=ApiPrice(0.6, "1M tokens"),
        low_trust_prices=True,
        accelerators=("h100", "l40s"),
        sources=("karp-aws", "yours"),
        api_prices=ApiTokenPrices(3.0, 15.0, 0.3, as_of=datetime.date(2026, 11, 1)),
    )
    assert {field.alias or name for name, field in PlanSettings.model_fields.items()} == set(VALUES)


def test_printed_plan_limits_survive_a_round_trip() -> None:
    expected_limits = KEYS.validate_python(VALUES)
    printed = {"max_power": "20000 W", "unmeasured_gpus": {**OTHER_CARDS, "memory": None}}
    printed["api_prices"] = API_PRICES | {"cached_share": None}
    assert KEYS.dump_python(expected_limits, mode="json", by_alias=True) == VALUES | printed
    for limits in (expected_limits, PlanLimits()):
        assert KEYS.validate_python(KEYS.dump_python(limits, mode="json", by_alias=True)) == limits


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("confidence=50%", "confidence", 0.5),
        ("confidence=99%", "confidence", 0.99),
        ("redundancy=n", "redundancy", 0),
        ("redundancy=N+1", "redundancy", 1),
        ("zones=9", "zones", 9),
        ("max_unavailable=1000", "max_unavailable", 1000),
        ("budget=48000 USD/year", "budget_usd_per_month", 4000.0),
        ("max_power=700 W", "max_power_w", 700.0),
        ("max_power=null", "max_power_w", None),
        ("api_price=2 USD/1k", "api", ApiPrice(2.0, "1k requests")),
        ("api_price=null", "api", None),
        ("price=reserved-1y", "price", "reserved-1y"),
        ("price=on-demand", "price", "on-demand"),
        ("max_accelerators=0.5", "max_accelerators", 0.5),
        ("unmeasured_gpus={dtype: int8}", "unmeasured_gpus", UnmeasuredGpus("int8", "unknown")),
        ("regions=us-east-1", "regions", ("us-east-1",)),
        ("regions=us-east-1, eu-west-1", "regions", ("us-east-1", "eu-west-1")),
        ("vendors=[nvidia]", "vendors", ("nvidia",)),
        ("accelerators=h100,l40s", "accelerators", ("h100", "l40s")),
        ("accelerators=[A100 80GB, none]", "accelerators", ("A100 80GB", "none")),
        ("accelerators=[]", "accelerators", ()),
        ("sources=yours", "sources", ("yours",)),
        *((f"router={router}", "router", router) for router in get_args(Router)),
    ],
)
def test_plan_values_are_parsed(override: str, field: str, value: object) -> None:
    assert getattr(limits(override), field) == value


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("confidance=95%", "the key 'confidance' is unknown in plan", "Did you mean 'confidence'?"),
        ("zone=3", "the key 'zone' is unknown in plan", "Did you mean 'zones'?"),
        ("budget_usd_per_month=3 USD/month", "the key 'budget_usd_per_month' is unknown", "max_power, api_price"),
        ("confidence=0.95", "0.95 has no unit", "90%"),
        ("confidence=49%", "plan.confidence must be greater than or equal to 0.5", None),
        ("confidence=100%", "plan.confidence must be less than or equal to 0.9999", None),
        ("confidence=101%", "'101%' must be between 0% and 100%", None),
        ("redundancy=1", "1 is not a valid redundancy", "n+1"),
        ("redundancy=n-1", "'n-1' is not a valid redundancy", "n+1"),
        ("zones=0", "0 must be a whole number of at least 1", None),
        ("zones=10", "10 exceeds the maximum of 9", None),
        ("max_unavailable=-1", "plan.max_unavailable must be greater than or equal to 0", None),
        ("max_unavailable=1001", "plan.max_unavailable must be less than or equal to 1000", None),
        ("max_unavailable=1.5", "plan.max_unavailable must be a whole number, not 1.5", None),
        ("surge=1", "the key 'surge' is unknown in plan", "Write max_unavailable"),
        ("router=round_robin", "plan.router must be", "Did you mean 'round-robin'?"),
        ("router=magic", "plan.router must be", None),
        ("regions=7", "plan.regions must be a list", None),
        ("accelerators=h1000", "the accelerator 'h1000' is unknown", "Did you mean 'h100'?"),
        ("accelerators=h100,l40x", "the accelerator 'l40x' is unknown", "Did you mean 'l40"),
        ("sources=karp-asw", "the price source 'karp-asw' is unknown", "Did you mean 'karp-aws'?"),
        ("sources=[list]", "the price source 'list' is unknown", "Use one of cas-gce, cloud-gpus, "),
        ("regions=[us-esat-1]", "the region 'us-esat-1' is unknown", "Did you mean 'us-east-1'?"),
        ("providers=[asw]", "the provider 'asw' is unknown", "Did you mean 'aws'?"),
        ("budget=4000 USD", "plan.budget: '4000 USD' is not an amount per month", None),
        ("budget=-1 USD/month", "'-1 USD/month' must not be below zero", None),
        ("budget=5 EURO/month", "unknown", None),
        ("max_power=20", "20 has no unit", "20 kW"),
        ("max_power=20 KW", "the unit 'KW' is unknown", "Did you mean 'kW'?"),
        ("api_price=2 USD", "is not a price per unit", None),
        ("api_price=2", "2 has no unit", "2 USD/1k or 0.60 USD/1M"),
        ("api_price=2 USD/2k", "is not a price per unit", "Did you mean 'USD/1k'?"),
        ("max_accelerators=0", "plan.max_accelerators must be greater than 0", None),
        ("max_accelerators=10001", "10,001 exceeds the maximum of 10,000", None),
        ("price=on demand", "plan.price must be", "Did you mean 'on-demand'?"),
        ("price=owned", "plan.price must be", None),
        ("max_price_age=90", "90 has no unit", "30s"),
        ("max_price_age=36h", "is not a whole number of days", "180d"),
        ("api_prices={input: 3 USD/1M}", "plan.api_prices is missing the key output", None),
        ("api_prices={input: 3 USD/1k, output: 1 USD/1M}", "is not a price per 1M tokens", "USD/1M"),
        ("unmeasured_gpus={}", "plan.unmeasured_gpus is missing the key dtype", None),
        ("unmeasured_gpus=fp16", "plan.unmeasured_gpus must be a mapping of keys", None),
        ("unmeasured_gpus={dtype: f16}", "plan.unmeasured_gpus.dtype must be", "Did you mean"),
        (
            "unmeasured_gpus={dtype: fp16, work: decoding}",
            "plan.unmeasured_gpus.work must be",
            "Did you mean 'decode'?",
        ),
        (
            "unmeasured_gpus={dtype: fp16, wrk: decode}",
            "the key 'wrk' is unknown in plan.unmeasured_gpus",
            "Did you mean 'work'?",
        ),
    ],
)
def test_invalid_plan_overrides_are_reported_with_a_hint(override: str, message: str, hint: str | None) -> None:
    with pytest.raises(ProfileError) as caught:
        limits(override)
    assert str(caught.value).startswith("--set plan")
    assert message in str(caught.value)
    assert hint is None or hint in (caught.value.hint or "")


def test_plan_names_are_checked_against_the_catalog_of_the_plan() -> None:
    dependencies: dict[str, Any] = {"catalog": catalog_of(offer())}
    overrides = ["plan.regions=[here]", "plan.providers=[acme]", "target.hardware.offer=acme/c16"]
    assert load_planning_settings(overrides, **dependencies).plan.regions == ("here",)
    with pytest.raises(ProfileError, match="the region 'us-east-1' is unknown"):
        load_planning_settings(["plan.regions=[us-east-1]"], **dependencies)
