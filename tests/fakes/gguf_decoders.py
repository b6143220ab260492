"""GGUF files of decoders with random weights, as llama.cpp's converter would write them."""

from pathlib import Path
from typing import Any

import gguf
import msgspec
import numpy as np

from app.inference.generation.decoder_files import build_byte_tokenizer
from app.inference.generation.decoder_graph import build_contiguous_decoder
from app.inference.generation.decoder_shape import DecoderShape, Floats, RandomWeights
from tests.fakes import decoders

TENSORS: dict[str, gguf.GGMLQuantizationType] = {
    name: gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "Q8_0", "Q4_0")
}


class StoredWeights:
    """Weights by their names in GGUF, in the layout of Hugging Face: matrices of shape [outputs, inputs]."""

    def __init__(self, tensors: dict[str, Floats]) -> None:
        self.tensors = tensors

    def load_matrix(self, name: str, rows: int, columns: int) -> Floats:
        return self.tensors[f"{name}.weight"].T

    def load_bias(self, name: str, size: int) -> Floats:
        return self.tensors[f"{name}.bias"]

    def load_norm(self, name: str, size: int) -> Floats:
        return self.tensors[f"{name}.weight"]

    def load_embedding(self, vocabulary: int, hidden: int) -> Floats:
        return self.tensors["token_embd.weight"]


class _Recorder(RandomWeights):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.tensors: dict[str, Floats] = {}

    def load_matrix(self, name: str, rows: int, columns: int) -> Floats:
        matrix = super().load_matrix(name, rows, columns)
        self.tensors[f"{name}.weight"] = np.ascontiguousarray(matrix.T)
        return matrix

    def load_bias(self, name: str, size: int) -> Floats:
        self.tensors[f"{name}.bias"] = super().load_bias(name, size)
        return self.tensors[f"{name}.bias"]

    def load_norm(self, name: str, size: int) -> Floats:
        self.tensors[f"{name}.weight"] = super().load_norm(name, size)
        return self.tensors[f"{name}.weight"]

    def load_embedding(self, vocabulary: int, hidden: int) -> Floats:
        self.tensors["token_embd.weight"] = super().load_embedding(vocabulary, hidden)
        return self.tensors["token_embd.weight"]


def draw_weights(shape: DecoderShape, tensor_type: str = "F32") -> StoredWeights:
    """Return random weights, rounded to values that the tensor type can store."""
    recorder = _Recorder(decoders.SEED)
    build_contiguous_decoder(shape, recorder)
    return StoredWeights({name: _round(values, tensor_type) for name, values in recorder.tensors.items()})


def write_gguf(
    path: Path,
    shape: DecoderShape,
    weights: StoredWeights,
    tensor_type: str = "F32",
    architecture: str = "llama",
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write a file; `changes` replace values of the metadata, and remove those that are None."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (_list_metadata(shape, architecture) | (changes or {})).items():
        if value is not None:
            _add(writer, key, value)
    for name, values in weights.tensors.items():
        stored = _interleave(name, values, shape) if architecture == "llama" else values
        quantization = TENSORS[tensor_type if stored.ndim == 2 else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(stored, quantization), raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_plain(path: Path, changes: dict[str, Any] | None = None, without: str = "", more: str = "") -> Path:
    """Write a small Llama, with changed metadata, without a tensor, or with a further one."""
    shape = plain_shape()
    weights = draw_weights(shape)
    weights.tensors.pop(without, None)
    if more:
        weights.tensors[more] = np.ones(32, np.float32)
    return write_gguf(path, shape, weights, changes=changes)


def plain_shape() -> DecoderShape:
    return msgspec.structs.replace(decoders.shape(), rotary_base=5e5, norm_epsilon=1e-6)


def _list_metadata(shape: DecoderShape, architecture: str) -> dict[str, Any]:
    tokenizer = build_byte_tokenizer(shape)
    model = tokenizer.tokenizer["model"]
    return {
        f"{architecture}.block_count": shape.layers,
        f"{architecture}.context_length": shape.context,
        f"{architecture}.embedding_length": shape.hidden,
        f"{architecture}.feed_forward_length": shape.feed_forward,
        f"{architecture}.attention.head_count": shape.heads,
        f"{architecture}.attention.head_count_kv": shape.kv_heads,
        f"{architecture}.attention.layer_norm_rms_epsilon": shape.norm_epsilon,
        f"{architecture}.rope.freq_base": shape.rotary_base,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": list(model["vocab"]),
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (shape.vocabulary - 3),
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.bos_token_id": tokenizer.bos_id,
        "tokenizer.ggml.eos_token_id": tokenizer.eos_id,
        "tokenizer.ggml.padding_token_id": tokenizer.pad_id,
        "tokenizer.chat_template": tokenizer.settings["chat_template"],
    }


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def _round(values: Floats, tensor_type: str) -> Floats:
    if values.ndim == 1:
        return values
    quantization = TENSORS[tensor_type]
    rounded: Floats = gguf.quants.dequantize(gguf.quants.quantize(values, quantization), quantization)
    return rounded


def _interleave(name: str, values: Floats, shape: DecoderShape) -> Floats:
    """Put the two halves of each head of queries and keys side by side, as llama.cpp rotates neighbors."""
    heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(name.split(".")[-2])
    if heads is None:
        return values
    return values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
