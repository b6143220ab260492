"""A converted GGUF file generates the tokens of a decoder that was written directly from the same weights."""

import math
import random
import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime_genai as genai
import pytest

from app.errors import UsageError
from app.inference.generation.decoder_costs import read_decoder_costs
from app.inference.generation.decoder_files import build_byte_tokenizer, write_decoder
from app.inference.generation.decoder_shape import PagedCache
from app.inference.generation.gguf_conversion import GgufJob
from app.inference.generation.gguf_decoder import convert
from app.inference.generation.model_folder import read_model_folder
from app.inference.generation.runtime import open_generative_model
from app.inference.inspection.language_model import read_language_model
from tests.fakes import decoders
from tests.fakes.gguf_decoders import draw_weights, plain_shape, write_gguf, write_plain

BATCH, PROMPT_TOKENS, STEPS = 8, 40, 30


def generate(folder: Path) -> npt.NDArray[np.int32]:
    """Return the greedy tokens after some random prompts."""
    model = open_generative_model(read_model_folder(folder), "cpu", 1)
    prompts = np.random.default_rng(3).integers(3, 512, (BATCH, PROMPT_TOKENS)).astype(np.int32)
    parameters = genai.GeneratorParams(model)
    length = PROMPT_TOKENS + STEPS
    parameters.set_search_options(max_length=length, min_length=length, batch_size=BATCH)
    generator = genai.Generator(model, parameters)
    generator.append_tokens(prompts)
    while not generator.is_done():
        generator.generate_next_token()
    return np.stack([generator.get_sequence(row)[PROMPT_TOKENS:] for row in range(BATCH)])


def convert_file(source: Path, cache: PagedCache | None = None, **changes: Any) -> Path:
    folder = source.with_suffix("")
    job = GgufJob(source=str(source), folder=str(folder), weight_bits=32, paged_cache=cache)
    convert(msgspec.structs.replace(job, **changes))
    return folder


@pytest.mark.parametrize(
    ("architecture", "tensor_type"),
    [("llama", "F32"), ("llama", "F16"), ("llama", "Q8_0"), ("llama", "Q4_0"), ("qwen2", "Q8_0")],
)
def test_converted_gguf_generates_the_tokens_of_the_same_weights(
    tmp_path: Path, architecture: str, tensor_type: str
) -> None:
    shape = msgspec.structs.replace(plain_shape(), has_attention_bias=architecture == "qwen2")
    weights = draw_weights(shape, tensor_type)
    write_decoder(tmp_path / "direct", shape, weights, build_byte_tokenizer(shape))
    expected = generate(tmp_path / "direct")
    assert len(np.unique(expected)) > 10, "the tokens are not constant"
    folder = convert_file(write_gguf(tmp_path / "model.gguf", shape, weights, tensor_type, architecture))
    np.testing.assert_array_equal(generate(folder), expected)
    assert msgspec.json.decode((folder / "genai_config.json").read_bytes())["model"]["eos_token_id"] == 1


def test_each_attention_bias_changes_the_generated_tokens(tmp_path: Path) -> None:
    shape = msgspec.structs.replace(plain_shape(), has_attention_bias=True)
    tokens = []
    for name in ("none", "attn_q", "attn_k", "attn_v"):
        weights = draw_weights(shape)
        for tensor, values in weights.tensors.items():
            if tensor.endswith(f"{name}.bias"):
                values.fill(0)
        tokens.append(
            generate(convert_file(write_gguf(tmp_path / f"{name}.gguf", shape, weights, architecture="qwen2")))
        )
    assert len({rows.tobytes() for rows in tokens}) == 4


def test_rotary_frequency_divisors_of_llama_3_are_converted(tmp_path: Path) -> None:
    shape = msgspec.structs.replace(plain_shape(), rotary_divisors=(1.0, 1.5, 2.0, 4.0, 4.0, 8.0, 8.0, 8.0))
    weights = draw_weights(shape)
    write_decoder(tmp_path / "direct", shape, weights, build_byte_tokenizer(shape))
    weights.tensors["rope_freqs.weight"] = np.array(shape.rotary_divisors, np.float32)
    folder = convert_file(write_gguf(tmp_path / "model.gguf", shape, weights))
    np.testing.assert_array_equal(generate(folder), generate(tmp_path / "direct"))
    assert not np.array_equal(generate(folder), generate(convert_file(write_plain(tmp_path / "plain.gguf"))))


def test_gguf_without_output_matrix_uses_the_embedding(tmp_path: Path) -> None:
    shape = plain_shape()
    weights = draw_weights(shape)
    del weights.tensors["output.weight"]
    source = write_gguf(tmp_path / "model.gguf", shape, weights)
    weights.tensors["output.weight"] = weights.tensors["token_embd.weight"]
    write_decoder(tmp_path / "direct", shape, weights, build_byte_tokenizer(shape))
    folder = convert_file(source)
    np.testing.assert_array_equal(generate(folder), generate(tmp_path / "direct"))
    costs, untied = (
        read_decoder_costs(read_model_folder(model_folder)) for model_folder in (folder, tmp_path / "direct")
    )
    assert costs.parameters == untied.parameters - shape.vocabulary * shape.hidden, "counted once"
    assert costs.weight_bytes == untied.weight_bytes


@pytest.mark.parametrize("tensor_type", ["F32", "F16", "Q4_0"])
def test_converted_gguf_records_its_source_dtype(tmp_path: Path, tensor_type: str) -> None:
    shape = plain_shape()
    source = write_gguf(tmp_path / "model.gguf", shape, draw_weights(shape, tensor_type), tensor_type)
    assert read_decoder_costs(read_model_folder(convert_file(source))).source_dtype == tensor_type


def test_converted_gguf_has_the_weight_bits_and_cache_of_the_job(tmp_path: Path) -> None:
    cache = PagedCache(blocks=99)
    folder = convert_file(write_plain(tmp_path / "model.gguf"), cache, weight_bits=4)
    model = read_model_folder(folder)
    assert model.paged_cache == cache
    assert (model.context, model.vocabulary, model.layers) == (2048, 512, 2)
    direct = decoders.paged(tmp_path / "direct", 4, cache)
    size, direct_size = ((path / "model.onnx").stat().st_size for path in (folder, direct))
    assert math.isclose(size, direct_size, rel_tol=0.01)


REJECTED_METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": (
        {"general.architecture": "mamba"},
        "model.gguf cannot be converted: the architecture mamba is not supported",
    ),
    "no layers": ({"llama.block_count": None}, r"llama\.block_count is missing"),
    "zero layers": ({"llama.block_count": 0}, r"llama\.block_count is 0"),
    "too many layers": ({"llama.block_count": 10**7}, "it declares 10000000 layers"),
    "a layer too many": ({"llama.block_count": 3}, r"it has no tensor blk\.2\.attn_k\.weight"),
    "a layer too few": ({"llama.block_count": 1}, r"the tensor blk\.1\.attn_k\.weight is not supported"),
    "text": ({"llama.embedding_length": "wide"}, r"llama\.embedding_length is wide"),
    "true": ({"llama.embedding_length": True}, r"llama\.embedding_length is True"),
    "heads by layer": ({"llama.attention.head_count": [4, 2]}, r"llama\.attention\.head_count is \(4, 2\)"),
    "heads": ({"llama.attention.head_count": 5}, "64 values cannot be divided among 5 heads"),
    "width": ({"llama.embedding_length": 128}, r"token_embd\.weight has the shape \[64, 512\], but must have"),
    "head size": ({"llama.attention.key_length": 32}, r"llama\.attention\.key_length = 32 is not supported"),
    "scaling": ({"llama.rope.scaling.type": "yarn"}, r"llama\.rope\.scaling\.type = yarn"),
    "experts": ({"llama.expert_count": 8}, r"llama\.expert_count = 8"),
    "epsilon": ({"llama.attention.layer_norm_rms_epsilon": math.nan}, "layer_norm_rms_epsilon is nan"),
    "base": ({"llama.rope.freq_base": 0.0}, r"llama\.rope\.freq_base is 0\.0"),
    "context": ({"llama.context_length": 0}, r"llama\.context_length is 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REJECTED_METADATA)
def test_gguf_with_unsupported_metadata_is_rejected(tmp_path: Path, name: str) -> None:
    changes, message = REJECTED_METADATA[name]
    with pytest.raises(UsageError, match=message):
        convert_file(write_plain(tmp_path / "model.gguf", changes))


def test_gguf_with_missing_or_unsupported_tensors_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"it has no tensor blk\.1\.ffn_gate\.weight"):
        convert_file(write_plain(tmp_path / "less.gguf", without="blk.1.ffn_gate.weight"))
    with pytest.raises(UsageError, match=r"the tensor blk\.0\.attn_q_norm\.weight is not supported"):
        convert_file(write_plain(tmp_path / "more.gguf", more="blk.0.attn_q_norm.weight"))
    with pytest.raises(UsageError, match=r"rope_freqs\.weight has the shape \[32\], but must have \[8\]"):
        convert_file(write_plain(tmp_path / "rotary.gguf", more="rope_freqs.weight"))


def test_gguf_with_an_oversized_token_list_is_rejected(tmp_path: Path) -> None:
    key = b"tokenizer.ggml.tokens"
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key
    path = tmp_path / "model.gguf"
    path.write_bytes(header + struct.pack("<IIQ", 9, 8, 1_000_001) + bytes(8 * 1_000_001))
    with pytest.raises(UsageError, match=r"tokenizer\.ggml\.tokens has an array that is too long"):
        convert_file(path)


def test_damaged_gguf_is_converted_or_a_usage_error(tmp_path: Path) -> None:
    content = write_plain(tmp_path / "model.gguf").read_bytes()
    header = content.index(b"blk.0.attn_norm")
    random_numbers = random.Random(5)
    rejected = 0
    for index in range(60):
        damaged = bytearray(content if index % 4 else content[: random_numbers.randrange(len(content))])
        damaged[random_numbers.randrange(min(len(damaged), header))] = random_numbers.randrange(256)
        path = tmp_path / f"{index}.gguf"
        path.write_bytes(damaged)
        try:
            convert_file(path)
        except UsageError:
            rejected += 1
    assert 20 < rejected < 60


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("without", ["", "output.weight"], ids=["two matrices", "tied"])
def test_inspection_counts_the_parameters_of_the_converted_file(tmp_path: Path, without: str, bits: int) -> None:
    """The graph has the matrix of the logits as a copy of a tied embedding."""
    source = write_plain(tmp_path / "model.gguf", without=without)
    inspected = [read_language_model(path) for path in (source, convert_file(source, weight_bits=bits))]
    assert inspected[1].weights.parameters == inspected[0].weights.parameters
    costs = read_decoder_costs(read_model_folder(source.with_suffix("")))
    assert costs.parameters == inspected[0].weights.parameters
