from __future__ import annotations

import json
from typing import Any

import pytest

from app.analysis.language_models import load_language_models
from app.errors import UsageError
from app.inference.inspection.configured_model import read_configured_model
from app.records.planning_inputs import LanguageModel
from tests.studies.model_shapes import load_published_models

DENSE: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 100,
    "max_position_embeddings": 512,
}
ATTENTION = 8 * 2 * (2 * 4 + 2 * 2)  # hidden × head size × (queries and outputs, keys and values)
MLP = 3 * 8 * 16
EXPERTS = {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {"kv_lora_rank": 6, "qk_rope_head_dim": 2, "qk_nope_head_dim": 3, "v_head_dim": 5}


def read(**changes: Any) -> LanguageModel:
    """Return the shape of the dense model with changed keys; None removes a key."""
    config = {key: value for key, value in (DENSE | changes).items() if value is not None}
    return read_configured_model(json.dumps(config).encode(), "config.json")[0]


def test_dense_model_uses_all_its_parameters() -> None:
    model = read()
    assert model == LanguageModel(2 * 100 * 8 + 2 * (ATTENTION + MLP), 2, 8, 4, 2, 2, 100, context_tokens=512)
    assert model.parameters_per_token == model.parameters


def test_tied_embeddings_are_counted_once() -> None:
    assert read().parameters - read(tie_word_embeddings=True).parameters == 100 * 8
    assert read(model_type="gemma").parameters == read(tie_word_embeddings=True).parameters
    assert read(model_type="gemma").tied_embeddings
    assert not read().tied_embeddings


def test_token_uses_the_shared_experts_and_its_routed_experts() -> None:
    model = read(**EXPERTS)
    assert (model.experts, model.experts_per_token) == (4, 2)
    assert model.parameters == read().parameters + 2 * (3 * MLP + 8 * 4)
    assert model.active_parameters == model.parameters - 2 * 2 * MLP
    shared = read(**EXPERTS, n_shared_experts=1, moe_intermediate_size=16)
    assert shared.parameters - model.parameters == shared.parameters_per_token - model.parameters_per_token == 2 * MLP


def test_layers_without_experts_are_dense() -> None:
    model, mixed = read(**EXPERTS), read(**EXPERTS, first_k_dense_replace=1)
    assert mixed.parameters == model.parameters - 3 * MLP - 8 * 4
    every_second = read(**EXPERTS, interleave_moe_layer_step=2)
    assert every_second.parameters == mixed.parameters


def test_latent_attention_has_low_rank_matrices() -> None:
    latent = read(model_type="deepseek_v2", **LATENT)
    attention = 8 * 4 * 5 + 8 * (6 + 2) + 6 * 4 * (3 + 5) + 4 * 5 * 8
    assert latent.parameters == read().parameters + 2 * (attention - ATTENTION)
    assert latent.latent_dim == 8
    queries = read(model_type="deepseek_v2", q_lora_rank=7, **LATENT)
    assert queries.parameters - latent.parameters == 2 * (7 * (8 + 20) - 8 * 20)


def test_layers_with_linear_attention_are_counted_by_their_interval() -> None:
    keys = {f"linear_num_{part}_heads": 2 for part in ("key", "value")}
    keys |= {f"linear_{part}_head_dim": 3 for part in ("key", "value")}
    keys |= {"attn_output_gate": False}
    model = read(model_type="qwen3_next", num_hidden_layers=4, full_attention_interval=4, **keys)
    assert model.linear_layers == 3
    without = read(num_hidden_layers=4)
    assert model.parameters - without.parameters == 3 * (8 * (2 * 6 + 3 * 6 + 2 * 2) - ATTENTION)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_hidden_layers": None, "vocab_size": None}, ("num_hidden_layers", "vocab_size")),
        ({"num_key_value_heads": None}, ("num_key_value_heads",)),
        ({"intermediate_size": None}, ("intermediate_size",)),
        ({**EXPERTS, "num_experts_per_tok": None}, ("num_experts_per_tok",)),
        ({"model_type": "deepseek_v2", **LATENT, "qk_nope_head_dim": None}, ("qk_nope_head_dim",)),
        ({"model_type": "mamba3"}, ("model_type", "mamba3")),
        ({"model_type": None}, ("model_type",)),
        ({"num_hidden_layers": -2}, ("num_hidden_layers",)),
        ({"num_hidden_layers": 0}, ("num_hidden_layers",)),
        ({"num_hidden_layers": "many"}, ("num_hidden_layers",)),
        ({"hidden_size": 8.5}, ("hidden_size",)),
        ({"num_kv_shared_layers": 4}, ("share their cache",)),
        ({"attention_chunk_size": 64}, ("which layers attend to chunks",)),
        ({"attention_chunk_size": 64, "no_rope_layers": [1]}, ("no_rope_layers",)),
        ({"model_type": "mistral_large_3", "num_hidden_layers": None, "n_layers": 61}, ("num_hidden_layers",)),
    ],
)
def test_incomplete_or_invalid_configuration_is_rejected_with_its_keys(
    changes: dict[str, Any], named: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        read(**changes)
    assert all(name in str(caught.value) for name in named)


def test_text_that_is_not_json_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"config\.json is not valid"):
        read_configured_model(b"layers: 3", "config.json")


def change(key: str, *dropped: str, **more: Any) -> dict[str, Any]:
    """Return the configuration of a published model with some keys, and without others."""
    config = load_published_models()[key].config
    return {name: value for name, value in config.items() if name not in dropped} | more


def nest(model_type: str, text_config: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model_type": model_type, "text_config": text_config, "vision_config": {"hidden_size": 1408}} | more


INT4 = {
    "quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 32}}},
}


@pytest.mark.parametrize(
    ("key", "config", "weights"),
    [
        (
            "llama-4-scout-17b-16e",
            nest("llama4", change("llama-4-scout-17b-16e", "layer_types", no_rope_layers=[])),
            None,
        ),
        (
            "llama-4-maverick-17b-128e",
            nest("llama4", change("llama-4-maverick-17b-128e", "layer_types", no_rope_layers=[1, 1, 1, 0] * 12)),
            None,
        ),
        (
            "deepseek-v3.2",
            change(
                "deepseek-v3.2",
                index_n_heads=64,
                index_topk=2048,
                quantization_config={"quant_method": "fp8", "fmt": "e4m3"},
            ),
            "fp8",
        ),
        ("gpt-oss-20b", change("gpt-oss-20b", quantization_config={"quant_method": "mxfp4"}), "fp4"),
        (
            "qwen3-next-80b-a3b",
            change("qwen3-next-80b-a3b", "layer_types", "attn_output_gate", full_attention_interval=4),
            None,
        ),
        (
            "gemma-3-27b",
            nest("gemma3", change("gemma-3-27b", "vocab_size", "max_position_embeddings", "tie_word_embeddings")),
            None,
        ),
        (
            "gemma-3-4b",
            nest(
                "gemma3",
                {
                    key: load_published_models()["gemma-3-4b"].config[key]
                    for key in ("model_type", "hidden_size", "num_hidden_layers", "intermediate_size", "sliding_window")
                },
            ),
            None,
        ),
        ("glm-4.5", change("glm-4.5", num_nextn_predict_layers=1), None),
        ("glm-5", change("glm-5", index_n_heads=32), None),
        ("mistral-small-24b", nest("mistral3", change("mistral-small-24b", sliding_window=None)), None),
        (
            "minimax-m2",
            change(
                "minimax-m2", num_mtp_modules=3, attn_type_list=[1] * 62, quantization_config={"quant_method": "fp8"}
            ),
            "fp8",
        ),
        ("kimi-k2", nest("kimi_k25", change("kimi-k2", quantization_config=INT4)), "int4"),
        ("qwen3-8b", change("qwen3-8b", quantization_config={"quant_method": "awq", "bits": 4}), "int4"),
        (
            "qwen3-8b",
            change("qwen3-8b", quantization_config={"quant_method": "modelopt", "quant_algo": "NVFP4"}),
            "fp4",
        ),
        ("qwen3-8b", change("qwen3-8b", quantization_config={"quant_method": "tomorrow"}), None),
    ],
)
def test_configuration_as_published_has_the_shape_of_the_table(
    key: str, config: dict[str, Any], weights: str | None
) -> None:
    shape = load_language_models()[key].shape
    assert read_configured_model(json.dumps(config).encode(), "config.json") == (shape, weights)


def test_model_of_several_modalities_may_state_beside_the_decoder_that_embeddings_are_tied() -> None:
    untied = nest("qwen3_vl", DENSE)
    tied = untied | {"tie_word_embeddings": True}
    parameters = [read_configured_model(json.dumps(config).encode(), "")[0].parameters for config in (untied, tied)]
    assert parameters[0] - parameters[1] == 100 * 8
