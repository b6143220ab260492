"""Read the architecture of a language model from the metadata of a GGUF file."""

from __future__ import annotations

import math

import msgspec

from app.errors import UsageError
from app.inference.inspection.gguf_file import GgufFile, Value
from app.inference.inspection.layer_tensors import count_attention_layers, find_key_sizes
from app.inference.tensor_spec import printable
from app.records.language_model import Architecture, StoredTensor

_MAX_COUNT = 10_000_000
_FULL_LAYER_PATTERNS = {
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "llama4": 4, "exaone4": 4, "olmo2": 4,
}  # fmt: skip
"""Architectures in which each n-th layer has full attention, with n, as llama.cpp defines them."""
_WITHOUT_WINDOWS = frozenset({"llama", "phi3", "qwen2", "qwen2moe", "qwen3", "qwen3moe"})
"""Architectures for which llama.cpp caches all tokens even if the metadata has a window."""
_KV_DTYPE = "fp16"
"""Data type of llama.cpp's KV cache by default."""


class _Metadata:
    """Metadata of the model's own architecture. Reasons for values that are absent are collected in
    `missing`."""

    def __init__(self, file: GgufFile) -> None:
        self._metadata = file.metadata
        self._array_lengths = file.array_lengths
        self.missing: dict[str, str] = {}
        name = file.metadata.get("general.architecture")
        self.name = printable(name) if isinstance(name, str) and name else None

    def get(self, key: str) -> Value | None:
        return self._metadata.get(f"{self.name}.{key}")

    def get_count(self, key: str, field: str) -> int | None:
        """Return a number; `None`, with the reason in `missing`, if it is absent or differs among
        layers. Raises UsageError for 0 and values that are no number."""
        value = self.get(key)
        if isinstance(value, tuple):
            values = {number for number in value if number}
            if len(values) != 1:
                self.missing[field] = f"{self.name}.{key} differs among the layers"
                return None
            value = values.pop()
        if value is None:
            self.missing[field] = f"{self.name}.{key} is not in the metadata"
            return None
        return self._check(value, key, minimum=1)

    def get_optional_count(self, key: str) -> int:
        """Return a number; 0 if it is absent."""
        value = self.get(key)
        return 0 if value is None else self._check(value, key, minimum=0)

    def get_array_length(self, key: str) -> int | None:
        return self._array_lengths.get(key)

    def _check(self, value: Value, key: str, minimum: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= _MAX_COUNT:
            raise UsageError(
                f"the model's metadata is not valid: {self.name}.{key} is {printable(str(value))}",
                hint="Download the file again, or convert the model again.",
            )
        return value


def build_architecture(file: GgufFile) -> Architecture:
    """Return the architecture that the metadata of a GGUF file states, checked with the shapes of the
    tensors. Raises UsageError for values that are not possible."""
    metadata = _Metadata(file)
    missing = metadata.missing
    blocks = metadata.get_count("block_count", "layers")
    draft_layers = metadata.get_optional_count("nextn_predict_layers")
    layers = None if blocks is None else blocks - draft_layers
    if layers is not None and layers < 1:
        raise UsageError(
            f"the model's metadata is not valid: {draft_layers} of {blocks} layers predict further tokens",
            hint="Download the file again, or convert the model again.",
        )
    hidden = metadata.get_count("embedding_length", "hidden")
    heads = metadata.get_count("attention.head_count", "heads")
    has_experts = metadata.get_optional_count("expert_count") > 0
    architecture = Architecture(
        name=metadata.name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        vocabulary=_find_vocabulary(file, metadata),
        context_tokens=metadata.get_count("context_length", "context_tokens"),
        experts=metadata.get_count("expert_count", "experts") if has_experts else None,
        experts_per_token=metadata.get_count("expert_used_count", "experts_per_token") if has_experts else None,
        kv_dtype=_KV_DTYPE,
        missing=missing,
    )
    if layers is None:
        missing["linear_layers"] = missing["window_layers"] = missing["layers"]
        return architecture
    return _add_layer_kinds(_add_cache(architecture, file, metadata, layers), file, metadata, layers)


def _find_vocabulary(file: GgufFile, metadata: _Metadata) -> int | None:
    """Return the number of rows of the token embedding, or else of listed tokens."""
    for tensor in file.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) == 2:
            return tensor.shape[1]
    length = metadata.get_array_length("tokenizer.ggml.tokens")
    if not length:
        metadata.missing["vocabulary"] = "the file has neither a token embedding nor a list of tokens"
    return length or None


def _add_cache(architecture: Architecture, file: GgufFile, metadata: _Metadata, layers: int) -> Architecture:
    missing, heads, hidden = metadata.missing, architecture.heads, architecture.hidden
    head_dim = None
    if metadata.get("attention.key_length") is not None:
        head_dim = metadata.get_count("attention.key_length", "head_dim")
    elif heads is not None and hidden is not None and hidden % heads == 0:
        head_dim = hidden // heads  # the default of the format
    else:
        missing["head_dim"] = f"{metadata.name}.attention.key_length is not in the metadata"
    kv_heads = metadata.get_count("attention.head_count_kv", "kv_heads")
    if metadata.get("attention.head_count_kv") is None and heads is not None:
        kv_heads = heads  # the default of the format
        missing.pop("kv_heads")
    rank = metadata.get_optional_count("attention.kv_lora_rank")
    latent_dim = None
    if rank:
        rotary_dim = metadata.get_count("rope.dimension_count", "kv_cache")
        latent_dim = None if rotary_dim is None else rank + rotary_dim
        head_dim = metadata.get_optional_count("attention.value_length_mla") or (
            metadata.get_optional_count("attention.value_length") or head_dim
        )
    else:
        key_sizes = find_key_sizes(file.tensors, layers)
        if key_sizes and kv_heads is not None and head_dim is not None and key_sizes != {kv_heads * head_dim}:
            sizes = ", ".join(f"{size:,}" for size in sorted(key_sizes)[:4])
            missing["kv_cache"] = (
                f"the key and value tensors have {sizes} rows, which are not {kv_heads:,} heads of {head_dim:,} in "
                "each layer"
            )
    if metadata.get_optional_count("attention.shared_kv_layers"):
        missing["kv_cache"] = "the model has layers that share their cache"
    return msgspec.structs.replace(architecture, head_dim=head_dim, kv_heads=kv_heads, latent_dim=latent_dim)


def _add_layer_kinds(architecture: Architecture, file: GgufFile, metadata: _Metadata, layers: int) -> Architecture:
    missing = metadata.missing
    attention_layers = count_attention_layers(file.tensors, layers)
    if attention_layers is None:
        missing["linear_layers"] = "no tensor with a known name computes keys for a KV cache"
        return architecture
    window_tokens = metadata.get_optional_count("attention.sliding_window")
    window_layers: int | None = 0
    if window_tokens and metadata.name not in _WITHOUT_WINDOWS:
        window_layers = _count_window_layers(metadata, layers)
        if window_layers is not None and attention_layers < layers:
            window_layers = None
        if window_layers is None:
            missing["window_layers"] = (
                f"the metadata has a sliding window of {window_tokens:,} tokens, but not the layers with the window"
            )
    return msgspec.structs.replace(
        architecture,
        linear_layers=layers - attention_layers,
        window_layers=window_layers,
        window_tokens=window_tokens if window_layers else None,
    )


def _count_window_layers(metadata: _Metadata, layers: int) -> int | None:
    pattern = metadata.get("attention.sliding_window_pattern")
    if isinstance(pattern, tuple):
        return sum(bool(has_window) for has_window in pattern[:layers]) if len(pattern) >= layers else None
    period = metadata.get_optional_count("attention.sliding_window_pattern") or _FULL_LAYER_PATTERNS.get(
        metadata.name or ""
    )
    return layers - layers // period if period else None


def count_parameters(tensor: StoredTensor) -> int:
    """Return the number of parameters in a tensor; 0 for tables of rotary embeddings."""
    return 0 if tensor.name.startswith("rope_") else math.prod(tensor.shape)
