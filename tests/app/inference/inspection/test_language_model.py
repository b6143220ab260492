from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import UsageError
from app.inference.inspection.language_model import read_language_model
from app.planning.language_models.memory import compute_kv_bytes
from app.records.language_model import LanguageModelMetadata
from app.records.planning_inputs import LanguageModel
from tests.fakes.genai_folders import genai_folder
from tests.fakes.language_model_files import (
    Tensors,
    convert_to_gguf,
    published_model,
    write_folder,
    write_gguf,
    write_safetensors,
)

SMOLLM2 = "smollm2-135m"


def require_language_model(metadata: LanguageModelMetadata) -> LanguageModel:
    assert metadata.language_model is not None, metadata.missing
    return metadata.language_model


def compute_kv_growth_beyond_window(model: LanguageModel) -> float | None:
    if model.window_tokens is None:
        return None
    window = model.window_tokens
    return compute_kv_bytes(model, window + 1, "bf16") - compute_kv_bytes(model, window, "bf16")


@pytest.mark.parametrize(
    "name",
    ["llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "qwen2.5-7b", "qwen3-30b-a3b", "mixtral-8x7b", "gemma-2-9b",
     "phi-3-mini", "gpt-oss-20b", "gpt-oss-120b", SMOLLM2],
)  # fmt: skip
def test_safetensors_parameters_and_kv_cache_match_published_values(name: str, tmp_path: Path) -> None:
    expected = published_model(name)
    metadata = read_language_model(write_folder(tmp_path / name, expected.tensors, expected.config))
    assert metadata.weights.parameters == expected.parameters
    assert metadata.active_parameters == pytest.approx(expected.active_parameters or expected.parameters, rel=0.02)
    model = require_language_model(metadata)
    assert compute_kv_bytes(model, 1, "bf16") == expected.kv_bytes
    assert compute_kv_growth_beyond_window(model) == expected.window_kv_bytes
    assert metadata.missing == {}


def test_scales_and_draft_layers_of_deepseek_v3_are_counted_separately(tmp_path: Path) -> None:
    expected = published_model("deepseek-v3")
    metadata = read_language_model(write_folder(tmp_path / "deepseek", expected.tensors, expected.config, shards=2))
    assert metadata.weights.parameters == expected.parameters
    assert metadata.weights.bytes_by_dtype == {
        "float8e4m3fn": 680_571_043_840,
        "bfloat16": 2 * 3_918_786_560,
        "float32": 4 * 41_555_600,
    }
    assert metadata.weights.draft_parameters == pytest.approx(14e9, rel=0.04)
    assert metadata.active_parameters == pytest.approx(expected.active_parameters, rel=0.02)
    model = require_language_model(metadata)
    assert (model.latent_dim, model.head_dim) == (576, 128)
    assert compute_kv_bytes(model, 1, "bf16") == expected.kv_bytes
    assert len(metadata.files) == 2


GGUF: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-3.1-8b": ("llama", {}),
    "qwen2.5-7b": ("qwen2", {}),
    "qwen3-30b-a3b": ("qwen3moe", {"expert_count": 128, "expert_used_count": 8}),
    "gemma-2-9b": ("gemma2", {"attention.sliding_window": 4096}),
    "gpt-oss-20b": ("gpt-oss", {"attention.sliding_window": 128, "expert_count": 32, "expert_used_count": 4}),
    SMOLLM2: ("llama", {}),
}


@pytest.mark.parametrize("name", GGUF)
def test_gguf_parameters_and_kv_cache_match_published_values(name: str, tmp_path: Path) -> None:
    expected = published_model(name)
    architecture, keys = GGUF[name]
    metadata = read_language_model(
        write_gguf(tmp_path / "model.gguf", *convert_to_gguf(expected, architecture, **keys))
    )
    assert metadata.weights.parameters == expected.parameters
    assert metadata.active_parameters == pytest.approx(expected.active_parameters or expected.parameters, rel=0.02)
    model = require_language_model(metadata)
    assert compute_kv_bytes(model, 1, "fp16") == expected.kv_bytes
    assert compute_kv_growth_beyond_window(model) == expected.window_kv_bytes
    assert (metadata.version, metadata.architecture.kv_dtype, metadata.missing) == (3, "fp16", {})


def test_gguf_of_deepseek_v3_has_a_latent_cache_and_no_draft_layers(tmp_path: Path) -> None:
    keys = {
        "expert_count": 256, "expert_used_count": 8, "attention.kv_lora_rank": 512, "rope.dimension_count": 64,
        "attention.head_count_kv": 1, "attention.key_length": 576, "attention.value_length": 512,
        "attention.value_length_mla": 128,
    }  # fmt: skip
    expected = published_model("deepseek-v3")
    path = write_gguf(tmp_path / "model.gguf", *convert_to_gguf(expected, "deepseek2", **keys))
    metadata = read_language_model(path)
    assert metadata.weights.parameters == 671_026_419_200  # llama.cpp prints 671.03 B
    assert metadata.active_parameters == pytest.approx(37e9, rel=0.02)
    assert compute_kv_bytes(require_language_model(metadata), 1, "fp16") == 70_272


def small_gguf(**changes: Any) -> tuple[dict[str, Any], dict[str, tuple[int, tuple[int, ...]]]]:
    metadata, tensors = convert_to_gguf(published_model(SMOLLM2), "llama")
    return metadata | {f"llama.{key}": value for key, value in changes.items()}, tensors


def test_kv_heads_per_layer_are_read_if_equal_and_unknown_otherwise(tmp_path: Path) -> None:
    alike = write_gguf(tmp_path / "a.gguf", *small_gguf(**{"attention.head_count_kv": [3] * 30}))
    assert require_language_model(read_language_model(alike)).kv_heads == 3
    different = write_gguf(tmp_path / "b.gguf", *small_gguf(**{"attention.head_count_kv": [3] * 29 + [9]}))
    metadata = read_language_model(different)
    assert metadata.language_model is None
    assert metadata.missing["kv_heads"] == "llama.attention.head_count_kv differs among the layers"


def test_layers_without_attention_keys_add_no_kv_cache(tmp_path: Path) -> None:
    metadata, tensors = small_gguf()
    for layer in range(10):
        del tensors[f"blk.{layer}.attn_k.weight"]
    model = require_language_model(read_language_model(write_gguf(tmp_path / "m.gguf", metadata, tensors)))
    assert model.linear_layers == 10
    assert compute_kv_bytes(model, 1, "fp16") == 23_040 * 20 / 30


def test_rotary_frequencies_of_gguf_are_not_parameters(tmp_path: Path) -> None:
    metadata, tensors = small_gguf()
    path = write_gguf(tmp_path / "m.gguf", metadata, tensors | {"rope_freqs.weight": (0, (32,))})
    assert read_language_model(path).weights.parameters == 134_515_008


def test_kv_cache_is_unknown_if_head_size_contradicts_the_tensors(tmp_path: Path) -> None:
    metadata = read_language_model(write_gguf(tmp_path / "m.gguf", *small_gguf(**{"attention.key_length": 128})))
    assert metadata.language_model is None
    assert metadata.missing["kv_cache"].startswith("the key and value tensors have 192 rows, which are not 3 heads of")


def test_gguf_window_layers_need_a_known_architecture(tmp_path: Path) -> None:
    by_layer = {"attention.sliding_window": 512, "attention.sliding_window_pattern": [True, True, False] * 10}
    for name, expected in (("gemma4", 20), ("llama", 0)):
        path = write_gguf(tmp_path / f"{name}.gguf", *convert_to_gguf(published_model(SMOLLM2), name, **by_layer))
        assert read_language_model(path).architecture.counts["window_layers"] == expected
    chunked = read_language_model(write_gguf(tmp_path / "c.gguf", *convert_to_gguf(published_model(SMOLLM2), "llama4")))
    assert "which layers attend to chunks" in chunked.missing["window_layers"]
    unknown = convert_to_gguf(published_model(SMOLLM2), "tomorrow", **{"attention.sliding_window": 512})
    metadata = read_language_model(write_gguf(tmp_path / "unknown.gguf", *unknown))
    assert (metadata.architecture.name, metadata.weights.parameters) == ("tomorrow", 134_515_008)
    assert metadata.language_model is None
    assert "512 tokens, but not the layers" in metadata.missing["window_layers"]


def test_draft_layers_of_gguf_do_not_count_as_layers(tmp_path: Path) -> None:
    metadata = read_language_model(write_gguf(tmp_path / "m.gguf", *small_gguf(nextn_predict_layers=1)))
    per_layer = 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 + 2 * 576
    assert (metadata.architecture.counts["layers"], metadata.weights.draft_parameters) == (29, per_layer)
    assert metadata.active_parameters == 134_515_008 - per_layer


def test_all_gguf_shards_are_counted(tmp_path: Path) -> None:
    metadata, tensors = small_gguf()
    names = list(tensors)
    for number in (0, 1):
        keys = {**metadata, "split.count": 2, "split.no": number}
        part = {name: tensors[name] for name in names[number::2]}
        write_gguf(tmp_path / f"m-0000{number + 1}-of-00002.gguf", keys, part)
    metadata_of_shards = read_language_model(tmp_path / "m-00001-of-00002.gguf")
    assert (metadata_of_shards.weights.parameters, len(metadata_of_shards.files)) == (134_515_008, 2)
    with pytest.raises(UsageError, match="not named as the first") as error:
        read_language_model(tmp_path / "m-00002-of-00002.gguf")
    assert error.value.hint is not None
    assert "-00001-of-00002.gguf" in error.value.hint


def test_safetensors_file_without_config_has_only_weights(tmp_path: Path) -> None:
    expected = published_model(SMOLLM2)
    path = write_safetensors(tmp_path / "weights.safetensors", expected.tensors)
    metadata = read_language_model(path)
    assert (metadata.weights.parameters, metadata.weights.size_bytes) == (134_515_008, 2 * 134_515_008)
    assert metadata.language_model is None
    assert metadata.missing["layers"] == "there is no config.json beside the weights"
    write_folder(tmp_path, {}, expected.config)
    assert require_language_model(read_language_model(path)).layers == 30


def test_values_missing_in_the_configuration_are_read_from_the_tensors(tmp_path: Path) -> None:
    """The configuration of Gemma 3 has neither the heads nor their size, and is nested in `text_config`."""
    gemma = published_model("gemma-2-9b")
    tensors = dict(gemma.tensors)
    for layer in range(42):
        tensors[f"model.layers.{layer}.self_attn.k_norm.weight"] = ("BF16", (256,))
    section = {key: gemma.config[key] for key in ("num_hidden_layers", "hidden_size", "sliding_window")}
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "torch_dtype": "bfloat16",
              "text_config": {"model_type": "gemma3_text", **section}}  # fmt: skip
    metadata = read_language_model(write_folder(tmp_path / "m", tensors, config))
    model = require_language_model(metadata)
    assert (model.heads, model.kv_heads, model.head_dim, model.vocabulary) == (16, 8, 256, 256_000)
    assert (model.window_layers, model.window_tokens) == (35, 4096)
    assert metadata.missing == {"context_tokens": "max_position_embeddings is not in the configuration"}


def read_changed_folder(folder: Path, tensors: Tensors | None = None, **changes: Any) -> LanguageModelMetadata:
    expected = published_model(SMOLLM2)
    config = {key: value for key, value in (expected.config | changes).items() if value is not None}
    return read_language_model(write_folder(folder / "model", tensors or expected.tensors, config))


def test_layer_types_set_linear_and_window_layers(tmp_path: Path) -> None:
    tensors = dict(published_model(SMOLLM2).tensors)
    for layer in range(20):
        del tensors[f"model.layers.{layer}.self_attn.k_proj.weight"]
    kinds = ["linear_attention"] * 20 + ["sliding_attention"] * 4 + ["full_attention"] * 6
    model = require_language_model(read_changed_folder(tmp_path, tensors, layer_types=kinds, sliding_window=128))
    assert (model.linear_layers, model.window_layers, model.window_tokens) == (20, 4, 128)


@pytest.mark.parametrize(
    ("changes", "window_layers"),
    [
        ({"model_type": "qwen2", "use_sliding_window": False, "max_window_layers": 10}, 0),
        ({"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 10}, 20),
        ({"model_type": "mistral"}, 30),
        ({"model_type": "tomorrow", "sliding_window_pattern": 3}, 20),
    ],
)
def test_windows_without_layer_types_follow_the_type_of_the_model(
    changes: dict[str, Any], window_layers: int, tmp_path: Path
) -> None:
    model = require_language_model(read_changed_folder(tmp_path, sliding_window=64, **changes))
    assert model.window_layers == window_layers


def test_vision_and_draft_layers_add_no_kv_cache(tmp_path: Path) -> None:
    tensors = dict(published_model(SMOLLM2).tensors)
    others = {"mtp.layers.0.self_attn.k_proj.weight": 64, "vision_tower.layers.3.self_attn.k_proj.weight": 128}
    metadata = read_changed_folder(tmp_path, tensors | {name: ("BF16", (rows, 8)) for name, rows in others.items()})
    assert require_language_model(metadata).linear_layers == 0
    assert metadata.weights.draft_parameters == 64 * 8
    assert metadata.weights.parameters == 134_515_008 + 64 * 8 + 128 * 8


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"layer_types": ["full_attention"] * 29 + ["quantum"]}, "window_layers", "unknown types"),
        ({"layer_types": ["full_attention"] * 20 + ["mamba"] * 10}, "window_layers", "20 layers with attention, but"),
        ({"layer_types": ["sliding_attention"] * 30}, "window_layers", "no size of the window"),
        ({"model_type": "tomorrow", "sliding_window": 64}, "window_layers", "64 tokens, but not its layers"),
        ({"num_attention_heads": [9] * 30}, "heads", "one value per layer"),
        ({"num_hidden_layers": None}, "layers", "num_hidden_layers is not in the configuration"),
        ({"index_head_dim": [128] * 30}, "kv_cache", "one value per layer"),
        ({"num_kv_shared_layers": 4}, "kv_cache", "layers that share their cache"),
        ({"num_key_value_heads": 9}, "kv_cache", "192 rows, which are not 9 heads of 64"),
    ],
)
def test_unknown_model_properties_have_a_reason(
    changes: dict[str, Any], field: str, reason: str, tmp_path: Path
) -> None:
    metadata = read_changed_folder(tmp_path, **changes)
    assert metadata.language_model is None
    assert reason in metadata.missing[field]
    assert metadata.weights.parameters == 134_515_008


def test_experts_without_known_tensors_leave_active_parameters_unknown(tmp_path: Path) -> None:
    metadata = read_changed_folder(tmp_path, num_experts=8, num_experts_per_tok=2)
    assert metadata.active_parameters is None
    assert "no tensor has a name" in metadata.missing["active_parameters"]
    unnamed = read_changed_folder(
        tmp_path, {**published_model(SMOLLM2).tensors, "model.layers.0.experts.0.w": ("BF16", (4,))}
    )
    assert unnamed.active_parameters is None


QUANTIZATIONS: dict[str, tuple[dict[str, Any], Tensors]] = {
    "gptq": (
        {"quant_method": "gptq", "bits": 4},
        {"w.qweight": ("I32", (8, 64)), "w.qzeros": ("I32", (1, 8)), "w.scales": ("F16", (1, 64)),
         "w.g_idx": ("I32", (64,))},
    ),
    "compressed-tensors": (
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8}}}},
        {"w.weight_packed": ("I32", (64, 16)), "w.weight_scale": ("BF16", (64, 1)), "w.weight_shape": ("I64", (2,))},
    ),
    "modelopt": (
        {"quant_method": "modelopt"},
        {"w.weight": ("U8", (64, 32)), "w.weight_scale": ("F8_E4M3", (64, 4)), "w.weight_scale_2": ("F32", ())},
    ),
    "bitsandbytes": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"w.weight": ("U8", (2048, 1)), "w.weight.absmax": ("F32", (64,)), "w.weight.quant_map": ("F32", (16,))},
    ),
    "fp4": ({"quant_method": "tomorrow"}, {"w.weight": ("F4", (64, 64))}),
}  # fmt: skip


@pytest.mark.parametrize("method", QUANTIZATIONS)
def test_packed_weights_are_counted_as_unpacked_parameters(method: str, tmp_path: Path) -> None:
    quantization, tensors = QUANTIZATIONS[method]
    path = write_folder(tmp_path / "m", tensors, {"quantization_config": quantization})
    assert read_language_model(path).weights.parameters == 64 * 64


def test_packed_weights_of_an_unknown_layout_are_not_counted(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "m", {"w.weight": ("U8", (4, 4))}, {"quantization_config": {"quant_method": "new"}})
    metadata = read_language_model(path)
    assert (metadata.weights.parameters, metadata.weights.size_bytes) == (None, 16)
    assert metadata.missing["parameters"] == "the layout of the packed weights is unknown"


def test_genai_folder_counts_packed_weights_as_parameters(tmp_path: Path) -> None:
    metadata = read_language_model(genai_folder(tmp_path / "m"))
    assert metadata.weights.parameters == 96 * 64 + 2 * 64 * 96
    assert metadata.weights.bytes_by_dtype == {
        "float16": 96 * 64 * 2 + 2 * 96 * 2 * 2,
        "uint8": 2 * (96 * 32 + 96),
        "int64": 8,
    }
    model = require_language_model(metadata)
    assert (model.layers, model.kv_heads, model.head_dim, model.linear_layers) == (2, 2, 16, 0)
    assert (metadata.architecture.kv_dtype, metadata.architecture.counts["context_tokens"]) == ("fp16", 2048)


def test_experts_of_a_genai_folder_are_read_from_its_graph(tmp_path: Path) -> None:
    metadata = read_language_model(genai_folder(tmp_path / "m", experts=8))
    expert_parameters = 8 * (128 * 64 + 64 * 128)
    assert (metadata.architecture.counts["experts"], metadata.architecture.counts["experts_per_token"]) == (8, 2)
    assert metadata.weights.expert_parameters == expert_parameters
    assert metadata.active_parameters == 96 * 64 + 2 * 64 * 96 + expert_parameters // 4


def test_genai_graph_that_contradicts_its_configuration_has_no_kv_cache(tmp_path: Path) -> None:
    metadata = read_language_model(genai_folder(tmp_path / "a", head_size=32))
    assert metadata.language_model is None
    assert "past_key_values.0.key of the decoder does not have 2 heads of 32" in metadata.missing["kv_cache"]
    unnamed = read_language_model(genai_folder(tmp_path / "b", inputs={"past_key_names": "cache.%d"}))
    assert "no inputs with the names of the KV cache" in unnamed.missing["linear_layers"]
    windowed = read_language_model(genai_folder(tmp_path / "c", sliding_window={"window_size": 64, "layers": [1]}))
    assert (require_language_model(windowed).window_layers, require_language_model(windowed).window_tokens) == (1, 64)


def test_folder_of_gguf_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    with pytest.raises(UsageError, match="a folder with 1 GGUF files"):
        read_language_model(tmp_path)
