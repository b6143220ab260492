"""Read the architecture of a language model from the metadata of a GGUF file."""

from __future__ import annotations

import math

from app.errors import UsageError
from app.inference.inspection.gguf_file import GgufFile, Value
from app.inference.inspection.known_counts import MAX_COUNT, KnownCounts
from app.inference.inspection.layer_tensors import NO_KEY_TENSORS, count_attention_layers, find_key_sizes
from app.inference.tensor_spec import StoredTensor, printable
from app.records.language_model import Architecture

_FULL_LAYER_PATTERNS = {
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "exaone4": 4, "olmo2": 4,
}  # fmt: skip
"""Architectures in which each n-th layer has full attention, with n, as llama.cpp defines them."""
_WITHOUT_WINDOWS = frozenset({"llama", "phi3", "qwen2", "qwen2moe", "qwen3", "qwen3moe"})
"""Architectures for which llama.cpp caches all tokens even if the metadata has a window."""
_WITH_CHUNKS = frozenset({"llama4"})
"""Architectures with layers that attend to chunks, which the metadata does not state."""
_KV_DTYPE = "fp16"
"""Data type of llama.cpp's KV cache by default."""


class _Metadata:
    """Metadata of the model's own architecture."""

    def __init__(self, file: GgufFile) -> None:
        self._metadata = file.metadata
        name = file.metadata.get("general.architecture")
        self.name = printable(name) if isinstance(name, str) and name else None

    def get(self, key: str) -> Value | None:
        return self._metadata.get(f"{self.name}.{key}")

    def read_count(self, key: str) -> int | None:
        """Return a number; `None` if it is absent or differs among layers. Raises UsageError for 0 and
        for values that are no number."""
        value = self.get(key)
        if isinstance(value, tuple):
            values = {number for number in value if number}
            value = values.pop() if len(values) == 1 else None
        return None if value is None else self._check(value, key, minimum=1)

    def explain_missing(self, key: str) -> str:
        """Return why `read_count` has no number."""
        is_absent = self.get(key) is None
        return f"{self.name}.{key} {'is not in the metadata' if is_absent else 'differs among the layers'}"

    def read_optional_count(self, key: str) -> int:
        """Return a number; 0 if it is absent."""
        value = self.get(key)
        return 0 if value is None else self._check(value, key, minimum=0)

    def _check(self, value: Value, key: str, minimum: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= MAX_COUNT:
            raise _build_error(f"{self.name}.{key} is {printable(str(value))}")
        return value


def build_architecture(file: GgufFile) -> Architecture:
    """Return the architecture that the metadata of a GGUF file states, checked with the shapes of the
    tensors. Raises UsageError for values that are not possible."""
    metadata, known = _Metadata(file), KnownCounts()

    def read(name: str, key: str) -> int | None:
        count = metadata.read_count(key)
        known.set(name, count, metadata.explain_missing(key))
        return count

    blocks = metadata.read_count("block_count")
    draft_layers = metadata.read_optional_count("nextn_predict_layers")
    layers = None if blocks is None else blocks - draft_layers
    if layers is not None and layers < 1:
        raise _build_error(f"{draft_layers} of {blocks} layers predict further tokens")
    known.set("layers", layers, metadata.explain_missing("block_count"))
    read("hidden", "embedding_length")
    read("heads", "attention.head_count")
    read("context_tokens", "context_length")
    known.set("vocabulary", _find_vocabulary(file), "the file has neither a token embedding nor a list of tokens")
    if metadata.read_optional_count("expert_count"):
        read("experts", "expert_count")
        read("experts_per_token", "expert_used_count")
    _add_cache(known, file, metadata)
    _add_layer_kinds(known, file, metadata)
    return Architecture(
        name=metadata.name,
        counts=known.counts,
        kv_dtype=_KV_DTYPE,
        missing=known.missing,
    )


def _find_vocabulary(file: GgufFile) -> int | None:
    """Return the number of rows of the token embedding, or else of listed tokens."""
    for tensor in file.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) == 2:
            return tensor.shape[1]
    return file.array_lengths.get("tokenizer.ggml.tokens") or None


def _add_cache(known: KnownCounts, file: GgufFile, metadata: _Metadata) -> None:
    """Add what each layer caches per token. Without the keys, the format's defaults apply."""
    heads, hidden, layers = known.get("heads"), known.get("hidden"), known.get("layers")
    head_dim = metadata.read_count("attention.key_length")
    if metadata.get("attention.key_length") is None and heads is not None and hidden is not None:
        head_dim = hidden // heads if hidden % heads == 0 else None
    kv_heads = metadata.read_count("attention.head_count_kv")
    if metadata.get("attention.head_count_kv") is None:
        kv_heads = heads
    known.set("kv_heads", kv_heads, metadata.explain_missing("attention.head_count_kv"))
    rank = metadata.read_optional_count("attention.kv_lora_rank")
    if rank:
        rotary_dim = metadata.read_count("rope.dimension_count")
        if rotary_dim is None:
            known.missing["kv_cache"] = metadata.explain_missing("rope.dimension_count")
        else:
            known.set("latent_dim", rank + rotary_dim)
        head_dim = (
            metadata.read_optional_count("attention.value_length_mla")
            or metadata.read_optional_count("attention.value_length")
            or head_dim
        )
    elif layers is not None:
        known.check_key_sizes(find_key_sizes(file.tensors, layers), kv_heads, head_dim)
    known.set("head_dim", head_dim, metadata.explain_missing("attention.key_length"))
    if metadata.read_optional_count("attention.shared_kv_layers"):
        known.missing["kv_cache"] = "the model has layers that share their cache"


def _add_layer_kinds(known: KnownCounts, file: GgufFile, metadata: _Metadata) -> None:
    layers = known.get("layers")
    if layers is None:
        return
    attention_layers = count_attention_layers(file.tensors, layers)
    if attention_layers is None:
        known.set("linear_layers", None, NO_KEY_TENSORS)
        return
    known.set("linear_layers", layers - attention_layers)
    if metadata.name in _WITH_CHUNKS:
        known.set("window_layers", None, "the metadata does not state which layers attend to chunks")
        return
    window_tokens = metadata.read_optional_count("attention.sliding_window")
    if not window_tokens or metadata.name in _WITHOUT_WINDOWS:
        known.set("window_layers", 0)
        return
    known.set(
        "window_layers",
        _count_window_layers(metadata, layers) if attention_layers == layers else None,
        f"the metadata has a sliding window of {window_tokens:,} tokens, but not the layers with the window",
    )
    if known.get("window_layers"):
        known.set("window_tokens", window_tokens)


def _count_window_layers(metadata: _Metadata, layers: int) -> int | None:
    pattern = metadata.get("attention.sliding_window_pattern")
    if isinstance(pattern, tuple):
        return sum(bool(has_window) for has_window in pattern[:layers]) if len(pattern) >= layers else None
    period = metadata.read_optional_count("attention.sliding_window_pattern") or _FULL_LAYER_PATTERNS.get(
        metadata.name or ""
    )
    return layers - layers // period if period else None


def _build_error(reason: str) -> UsageError:
    return UsageError(
        f"the model's metadata is not valid: {reason}", hint="Download the file again, or convert the model again."
    )


def count_parameters(tensor: StoredTensor) -> int:
    """Return the number of parameters in a tensor; 0 for tables of rotary embeddings."""
    return 0 if tensor.name.startswith("rope_") else math.prod(tensor.shape)
