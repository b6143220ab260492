from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.planning.language_models.memory import GIB
from app.planning.language_models.weights import compute_weight_bytes, divide_weights
from tests.fakes.language_models import LLAMA_8B

MODELS = load_language_models()
EMBEDDING = LLAMA_8B.vocabulary * LLAMA_8B.hidden


@pytest.mark.parametrize("key", MODELS)
def test_16_bit_weights_have_2_bytes_per_parameter(key: str) -> None:
    shape = MODELS[key].shape
    assert compute_weight_bytes(shape, "bf16") == pytest.approx(2 * shape.parameters, rel=1e-9)


@pytest.mark.parametrize(
    ("key", "dtype", "published_gib"),
    [
        ("llama-3.1-8b", "fp8", 8.5),
        ("gpt-oss-20b", "fp4", 12.8),
        ("gpt-oss-120b", "fp4", 60.8),
        ("kimi-k2", "int4", 555.0),
    ],
)
def test_size_of_quantized_weights_matches_published_files(key: str, dtype: str, published_gib: float) -> None:
    assert compute_weight_bytes(MODELS[key].shape, dtype) == pytest.approx(published_gib * GIB, rel=0.06)


def test_embeddings_have_16_bits_and_decode_steps_read_only_the_output_head() -> None:
    others = LLAMA_8B.parameters - 2 * EMBEDDING
    assert compute_weight_bytes(LLAMA_8B, "int4") == pytest.approx(0.56 * others + 2 * 2 * EMBEDDING)
    assert divide_weights(LLAMA_8B, "int4").common_read_bytes == pytest.approx(0.56 * others + 2 * EMBEDDING)
    assert divide_weights(LLAMA_8B, "fp32").embedding_bytes == 4


def test_only_expert_weights_have_4_bits() -> None:
    shape = MODELS["qwen3-30b-a3b"].shape
    parts = {dtype: divide_weights(shape, dtype) for dtype in ("fp8", "fp4", "int4")}
    assert {dtype: part.other_dtype for dtype, part in parts.items()} == {"fp8": "fp8", "fp4": "bf16", "int4": "bf16"}
    expert = parts["fp4"].expert_parameters
    assert shape.experts is not None
    assert parts["fp4"].expert_weight_bytes == pytest.approx(0.56 * shape.experts * expert)
    assert parts["fp4"].other_parameters + 8 * expert == pytest.approx(
        shape.parameters_per_token - 2 * shape.vocabulary * shape.hidden
    )


def test_model_of_mostly_embeddings_has_0_other_parameters() -> None:
    tiny = replace(LLAMA_8B, parameters=1.5 * EMBEDDING)
    assert divide_weights(tiny, "bf16").other_parameters == 0
    assert compute_weight_bytes(tiny, "bf16") == 3 * EMBEDDING


def test_tied_embeddings_are_stored_once_and_read_by_each_step() -> None:
    tied = replace(LLAMA_8B, tied_embeddings=True)
    others = LLAMA_8B.parameters - EMBEDDING
    assert compute_weight_bytes(tied, "fp8") == pytest.approx(others + 2 * EMBEDDING)
    assert divide_weights(tied, "fp8").common_read_bytes == pytest.approx(compute_weight_bytes(tied, "fp8"))
    assert compute_weight_bytes(tied, "bf16") == 2 * LLAMA_8B.parameters


def test_bundled_models_have_tied_embeddings_as_published() -> None:
    tied = {key for key, model in MODELS.items() if model.shape.tied_embeddings}
    assert {"gemma-3-27b", "llama-3.2-1b", "qwen2.5-3b", "qwen3-4b", "command-r-plus", "phi-4-mini"} <= tied
    assert not {"llama-3.1-8b", "qwen3-8b", "deepseek-v3", "gpt-oss-120b", "mistral-small-24b"} & tied
