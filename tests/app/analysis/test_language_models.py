from __future__ import annotations

import pytest

from app.analysis.language_models import (
    TABLE,
    find_language_model,
    find_model_key,
    find_weights,
    load_language_models,
    suggest_models,
)
from app.errors import UsageError
from app.profiles.plan import check_shape
from tests.studies.model_shapes import format_table, list_models, load_published_models


def test_bundled_table_equals_the_models_of_the_published_configurations() -> None:
    assert TABLE.read_text(encoding="utf-8") == format_table(list_models())
    assert list(load_language_models().values()) == list_models()


@pytest.mark.parametrize("key", load_published_models())
def test_parameter_counts_match_the_published_counts(key: str) -> None:
    published, shape = load_published_models()[key], load_language_models()[key].shape
    assert shape.parameters == pytest.approx(published.published_parameters - published.vision_parameters, rel=0.006)
    embeddings = shape.vocabulary * shape.hidden * 2  # some authors do not count them as active
    if published.published_active is not None:
        assert (published.published_active - published.vision_parameters) * 0.98 <= shape.parameters_per_token
        assert shape.parameters_per_token - embeddings <= published.published_active * 1.09  # stated in whole billions
    assert (shape.active_parameters is None) == (published.published_active is None)


def test_models_have_their_latent_sliding_window_or_linear_attention() -> None:
    models = load_language_models()
    assert models["deepseek-v3"].shape.latent_dim == 576
    assert models["deepseek-v3"].shape.index_dim is None
    assert models["deepseek-v3.2"].shape.index_dim == models["glm-5"].shape.index_dim == 128
    assert (models["gpt-oss-120b"].shape.window_layers, models["gpt-oss-120b"].shape.window_tokens) == (18, 128)
    assert models["qwen3.5-397b-a17b"].shape.linear_layers == 45


def test_every_name_belongs_to_exactly_one_model() -> None:
    models = load_language_models().values()
    names = [name.lower() for model in models for name in (model.key, *model.names)]
    assert len(names) == len(set(names))
    assert all(find_model_key(name) == model.key for model in models for name in (model.key, *model.names))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA/DeepSeek-R1-0528-NVFP4-v2", "deepseek-v3"),
        ("someone/Kimi-K2.5-Thinking-INT4", "kimi-k2"),
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "llama-3.1-8b"),
        ("no/model", None),
        ("deepseek-ai/DeepSeek-V2-Chat-FP8", "deepseek-v2"),
        ("deepseek-ai/DeepSeek-V9", None),
        ("meta-llama/Llama-3.1-9B", None),
    ],
)
def test_model_is_identified_regardless_of_publisher_and_precision(name: str, key: str | None) -> None:
    assert find_model_key(name) == key


@pytest.mark.parametrize(
    ("name", "first"),
    [("llama-3.1-71b", "llama-3.1-70b"), ("Qwen/Qwen3-30B", "qwen3-30b-a3b"), ("deepseek", "deepseek-v3")],
)
def test_unknown_model_is_reported_with_the_most_similar_names(name: str, first: str) -> None:
    assert suggest_models(name)[0] == first
    with pytest.raises(UsageError) as caught:
        find_language_model(name)
    assert first in (caught.value.hint or "")


def test_dissimilar_model_name_has_no_suggestions() -> None:
    assert suggest_models("zzz") == ()
    with pytest.raises(UsageError, match="zzz"):
        find_language_model("zzz")


def test_bundled_table_has_models_of_every_attention_and_expert_kind() -> None:
    shapes = [model.shape for model in load_language_models().values()]
    assert len(shapes) >= 75
    assert all(shape.context_tokens for shape in shapes)
    for field, count in (("experts", 20), ("latent_dim", 5), ("window_layers", 8), ("linear_layers", 5)):
        assert sum(bool(getattr(shape, field)) for shape in shapes) >= count
    for shape in shapes:
        check_shape(shape)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("llama-3.1-70b", "bf16"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "fp8"),
        ("deepseek-ai/DeepSeek-R1", "fp8"),
        ("nvidia/DeepSeek-R1-0528-NVFP4-v2", "fp4"),
        ("deepseek-ai/DeepSeek-V3.2", "fp8"),
        ("moonshotai/Kimi-K2-Instruct", "fp8"),
        ("kimi-k2", "fp8"),
        ("moonshotai/Kimi-K2-Thinking", "int4"),
        ("kimi-k2-thinking", "int4"),
        ("someone/Kimi-K2.5", "int4"),
        ("nvidia/Kimi-K2-Thinking-NVFP4", "fp4"),
        ("openai/gpt-oss-120b", "fp4"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "int4"),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4", "int4"),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8", "int8"),
        ("someone/Qwen2.5-72B-Instruct-GPTQ", "int4"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "int8"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "int4"),
        ("someone/Llama-3.1-8B-Instruct-w8a16", "int8"),
    ],
)
def test_weight_precision_comes_from_the_name_or_else_from_the_authors(name: str, weights: str) -> None:
    assert find_weights(name, find_language_model(name)) == weights
