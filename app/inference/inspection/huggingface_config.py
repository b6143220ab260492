"""Read the architecture of a language model from a configuration in Hugging Face format, and count the
parameters of its quantized weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec

from app.inference.inspection.known_counts import Count, KnownCounts, explain_missing
from app.inference.inspection.layer_tensors import NO_KEY_TENSORS, count_attention_layers, find_key_sizes
from app.inference.tensor_spec import StoredTensor, printable
from app.records.dtypes import Dtype
from app.records.language_model import Architecture

CONFIG_NAME = "config.json"
_KV_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
_FULL_ATTENTION = frozenset({"full_attention", "attention"})
_WINDOW_ATTENTION = frozenset({"sliding_attention"})
_CHUNKED_ATTENTION = frozenset({"chunked_attention"})
_WITHOUT_GROWTH = frozenset({"linear_attention", "conv", "mamba", "recurrent", "mlp", "moe"})
_WINDOW_IN_ALL_LAYERS = frozenset({"mistral", "mixtral", "phi3", "starcoder2"})
_WINDOW_AFTER_LAYER = frozenset({"qwen2", "qwen2_moe", "qwen3", "qwen3_moe"})
"""Model types that use the window only if `use_sliding_window` is set, from `max_window_layers`
on."""
_DEFAULT_PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4}
"""Model types in which each n-th layer has full attention, with n."""

_DEFAULTS: dict[str, dict[str, int | bool]] = {
    "gemma3_text": {
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
    },
    "qwen3_next": {"attn_output_gate": True},
}  # fmt: skip
"""Keys that published configurations leave out, by model type, with the defaults of Hugging Face Transformers."""
_CHUNKED_MODEL_TYPE = "llama4_text"
_DEFAULT_UNCHUNKED_INTERVAL = 4

_PACKED_BITS = Annotated[int, msgspec.Meta(ge=1, le=32)] | None


class _WeightScheme(msgspec.Struct, frozen=True):
    num_bits: _PACKED_BITS = None
    type: str | None = None


class _WeightGroup(msgspec.Struct, frozen=True):
    weights: _WeightScheme | None = None


_WEIGHTS_BY_METHOD: dict[str, Dtype] = {"fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "fp4"}
_WEIGHTS_BY_ALGORITHM: dict[str, Dtype] = {"FP8": "fp8", "NVFP4": "fp4"}
_WEIGHTS_BY_KIND: dict[tuple[str | None, int | None], Dtype] = {
    ("int", 4): "int4", ("int", 8): "int8", ("float", 4): "fp4", ("float", 8): "fp8",
}  # fmt: skip
_INTEGER_METHODS = ("awq", "gptq")


class QuantizationConfig(msgspec.Struct, frozen=True):
    quant_method: str | None = None
    bits: _PACKED_BITS = None
    load_in_4bit: bool | None = None
    quant_algo: str | None = None
    config_groups: dict[str, _WeightGroup] | None = None

    @property
    def packed_bits(self) -> int | None:
        """Number of bits of a weight in packed integers; `None` if not stated or not uniform."""
        widths = {group.weights.num_bits for group in (self.config_groups or {}).values() if group.weights}
        return self.bits or (widths.pop() if len(widths) == 1 else None)

    @property
    def weight_dtype(self) -> Dtype | None:
        """Data type of the quantized weights; `None` if it is not stated, not uniform or not known."""
        kinds = {group.weights.type for group in (self.config_groups or {}).values() if group.weights}
        kind = kinds.pop() if len(kinds) == 1 else None
        if self.quant_method in _INTEGER_METHODS:
            kind = "int"
        return (
            _WEIGHTS_BY_METHOD.get(self.quant_method or "")
            or _WEIGHTS_BY_ALGORITHM.get((self.quant_algo or "").upper())
            or _WEIGHTS_BY_KIND.get((kind, self.packed_bits))
        )


class DecoderConfig(msgspec.Struct, frozen=True):
    """Keys of `config.json` that describe the decoder; a model of several modalities has them in a
    section."""

    model_type: str | None = None
    torch_dtype: str | None = None
    dtype: str | None = None
    num_hidden_layers: Count = None
    n_layer: Count = None
    hidden_size: Count = None
    n_embd: Count = None
    num_attention_heads: Count = None
    n_head: Count = None
    num_key_value_heads: Count = None
    head_dim: Count = None
    vocab_size: Count = None
    max_position_embeddings: Count = None
    n_positions: Count = None
    num_local_experts: Count = None
    num_experts: Count = None
    n_routed_experts: Count = None
    num_experts_per_tok: Count = None
    experts_per_token: Count = None
    kv_lora_rank: Count = None
    qk_rope_head_dim: Count = None
    v_head_dim: Count = None
    index_head_dim: Count = None
    num_kv_shared_layers: Count = None
    layer_types: tuple[str, ...] | None = None
    sliding_window: Count = None
    sliding_window_pattern: Count = None
    use_sliding_window: bool | None = None
    max_window_layers: Count = None
    attention_chunk_size: Count = None
    no_rope_layers: tuple[int, ...] | None = None
    no_rope_layer_interval: Count = None
    full_attention_interval: Count = None
    intermediate_size: Count = None
    intermediate_size_mlp: Count = None
    moe_intermediate_size: Count = None
    shared_expert_intermediate_size: Count = None
    n_shared_experts: Count = None
    first_k_dense_replace: Count = None
    interleave_moe_layer_step: Count = None
    q_lora_rank: Count = None
    qk_nope_head_dim: Count = None
    attn_output_gate: bool | None = None
    linear_num_key_heads: Count = None
    linear_key_head_dim: Count = None
    linear_num_value_heads: Count = None
    linear_value_head_dim: Count = None
    tie_word_embeddings: bool | None = None
    quantization_config: QuantizationConfig | None = None


class HuggingFaceConfig(DecoderConfig, frozen=True):
    architectures: tuple[str, ...] | None = None
    text_config: DecoderConfig | None = None
    language_config: DecoderConfig | None = None
    llm_config: DecoderConfig | None = None

    @property
    def decoder(self) -> DecoderConfig:
        return self.text_config or self.language_config or self.llm_config or self

    def fill_in_defaults(self) -> HuggingFaceConfig:
        """Return the configuration with the keys of the decoder that it leaves out, as far as the defaults of its model
        type are known. A model of several modalities may state beside them whether its embeddings are tied."""
        decoder = self.decoder
        defaults = {
            "tie_word_embeddings": self.tie_word_embeddings,
            **_DEFAULTS.get(decoder.model_type or "", {}),
        }
        absent = {key: value for key, value in defaults.items() if getattr(decoder, key) is None}
        if decoder is self:
            return msgspec.structs.replace(self, **absent)
        return msgspec.structs.replace(self, text_config=msgspec.structs.replace(decoder, **absent))

    @property
    def quantization(self) -> QuantizationConfig | None:
        return self.quantization_config or self.decoder.quantization_config


def build_architecture(config: HuggingFaceConfig, tensors: Sequence[StoredTensor]) -> Architecture:
    """Return the architecture that a configuration states, completed and checked with the shapes of
    the tensors. Raises UsageError for values that are not possible."""
    decoder, known = config.decoder, KnownCounts()
    known.read("layers", _first(decoder.num_hidden_layers, decoder.n_layer), "num_hidden_layers")
    known.read("hidden", _first(decoder.hidden_size, decoder.n_embd), "hidden_size")
    if known.read("vocabulary", decoder.vocab_size, "vocab_size") is None:
        known.set("vocabulary", _find_vocabulary(tensors))
    context_tokens = _first(decoder.max_position_embeddings, decoder.n_positions)
    known.read("context_tokens", context_tokens, "max_position_embeddings")
    experts = _first(decoder.num_local_experts, decoder.num_experts, decoder.n_routed_experts)
    if experts is not None and experts != 0:
        known.read("experts", experts, "the number of experts")
        per_token = _first(decoder.num_experts_per_tok, decoder.experts_per_token)
        known.read("experts_per_token", per_token, "num_experts_per_tok")
    _add_cache(known, decoder, tensors)
    _add_layer_kinds(known, decoder, tensors)
    dtype = decoder.dtype or decoder.torch_dtype or config.dtype or config.torch_dtype
    return Architecture(
        name=_format_name(config),
        counts=known.counts,
        kv_dtype=_KV_DTYPES.get((dtype or "").removeprefix("torch.")),
        missing=known.missing,
    )


def _first(*values: Count) -> Count:
    return next((value for value in values if value is not None), None)


def _format_name(config: HuggingFaceConfig) -> str | None:
    names = [*(config.architectures or ())[:1], *filter(None, [config.model_type])]
    return printable(" / ".join(names)) or None


def _find_vocabulary(tensors: Sequence[StoredTensor]) -> int | None:
    """Return the number of rows of the token embedding; `None` if its name is not known."""
    names = ("embed_tokens.weight", "wte.weight")
    return next((tensor.shape[0] for tensor in tensors if tensor.name.endswith(names) and len(tensor.shape) == 2), None)


def _add_cache(known: KnownCounts, decoder: DecoderConfig, tensors: Sequence[StoredTensor]) -> None:
    """Add the attention heads and what each layer caches per token."""
    layers, hidden = known.get("layers"), known.get("hidden")
    stated_head_dim = decoder.v_head_dim if decoder.kv_lora_rank else decoder.head_dim
    head_dim = known.read("head_dim", stated_head_dim, "head_dim") or _find_norm_length(tensors)
    heads = known.read("heads", _first(decoder.num_attention_heads, decoder.n_head), "num_attention_heads")
    if heads is None and head_dim is not None:
        heads = _find_heads(tensors, head_dim)
        known.set("heads", heads)
    if head_dim is None and heads is not None and hidden is not None and hidden % heads == 0:
        head_dim = hidden // heads  # the default of the format
    known.set("head_dim", head_dim)
    key_sizes = set() if layers is None else find_key_sizes(tensors, layers)
    kv_heads = known.read("kv_heads", decoder.num_key_value_heads, "num_key_value_heads")
    if kv_heads is None and head_dim is not None and len(key_sizes) == 1:
        kv_heads, remainder = divmod(next(iter(key_sizes)), head_dim)
        known.set("kv_heads", kv_heads if kv_heads and not remainder else None)
    if not isinstance(decoder.kv_lora_rank, int):
        known.check_key_sizes(key_sizes, kv_heads, head_dim)
    elif isinstance(decoder.qk_rope_head_dim, int):
        known.set("latent_dim", decoder.kv_lora_rank + decoder.qk_rope_head_dim)
    else:
        known.missing["kv_cache"] = explain_missing(decoder.qk_rope_head_dim, "qk_rope_head_dim")
    if decoder.index_head_dim is not None and not known.read("index_dim", decoder.index_head_dim, "index_head_dim"):
        known.missing["kv_cache"] = explain_missing(decoder.index_head_dim, "index_head_dim")
    elif decoder.num_kv_shared_layers:
        known.missing["kv_cache"] = "the model has layers that share their cache"


def _find_norm_length(tensors: Sequence[StoredTensor]) -> int | None:
    """Return the length of the normalization of one head, if the model has it."""
    shapes = {tensor.shape for tensor in tensors if tensor.name.endswith("self_attn.k_norm.weight")}
    shape = shapes.pop() if len(shapes) == 1 else ()
    return shape[0] if len(shape) == 1 and shape[0] else None


def _find_heads(tensors: Sequence[StoredTensor], head_dim: int) -> int | None:
    """Return the number of attention heads from the projection that computes the queries."""
    rows = {
        tensor.shape[0]
        for tensor in tensors
        if tensor.name.endswith("self_attn.q_proj.weight") and len(tensor.shape) == 2 and "vision" not in tensor.name
    }
    count, remainder = divmod(rows.pop(), head_dim) if len(rows) == 1 else (0, 0)
    return count if count and not remainder else None


def _add_layer_kinds(known: KnownCounts, decoder: DecoderConfig, tensors: Sequence[StoredTensor]) -> None:
    """Add the numbers of layers with a sliding window, and without a cache that grows."""
    layers = known.get("layers")
    if layers is None:
        return
    attention_layers = count_attention_layers(tensors, layers)
    if decoder.layer_types is not None:
        _count_layer_types(known, decoder, layers, attention_layers)
        return
    linear_layers = None if attention_layers is None else layers - attention_layers
    interval = decoder.full_attention_interval
    if linear_layers is None and isinstance(interval, int) and interval > 0:
        linear_layers = layers - layers // interval
    known.set("linear_layers", linear_layers, NO_KEY_TENSORS)
    window_layers, reason = _count_window_layers(decoder, layers)
    if linear_layers and window_layers:
        window_layers, reason = None, "it is not stated which layers have a window and which have no KV cache"
    known.set("window_layers", window_layers, reason)
    window_tokens = _first(decoder.sliding_window, decoder.attention_chunk_size)
    if window_layers and isinstance(window_tokens, int):
        known.set("window_tokens", window_tokens)


def _count_window_layers(decoder: DecoderConfig, layers: int) -> tuple[int | None, str]:
    """Return the number of layers with a sliding window; `None` and the reason if it is unknown."""
    window, model_type = decoder.sliding_window, decoder.model_type
    if not window:
        return (0, "") if not decoder.attention_chunk_size else _count_chunked_layers(decoder, layers)
    if model_type in _WINDOW_AFTER_LAYER:
        if not decoder.use_sliding_window:
            return 0, ""
        first = decoder.max_window_layers
        return (max(layers - first, 0), "") if isinstance(first, int) else (None, "max_window_layers is not stated")
    pattern = decoder.sliding_window_pattern or _DEFAULT_PATTERNS.get(model_type or "")
    if isinstance(pattern, int):
        return layers - layers // pattern, ""
    if model_type in _WINDOW_IN_ALL_LAYERS:
        return layers, ""
    return None, f"the configuration has a sliding window of {printable(str(window))} tokens, but not its layers"


def _count_chunked_layers(decoder: DecoderConfig, layers: int) -> tuple[int | None, str]:
    """Return the number of layers that attend to chunks, those with rotary embeddings: `no_rope_layers` has a 1 for
    each, or every n-th layer has none."""
    if decoder.no_rope_layers:
        if len(decoder.no_rope_layers) != layers:
            return None, f"no_rope_layers has {len(decoder.no_rope_layers)} entries, not {layers}"
        return sum(map(bool, decoder.no_rope_layers)), ""
    interval = decoder.no_rope_layer_interval
    if interval is None and decoder.model_type == _CHUNKED_MODEL_TYPE:
        interval = _DEFAULT_UNCHUNKED_INTERVAL
    if not isinstance(interval, int) or not interval:
        return None, "it is not stated which layers attend to chunks"
    return layers - layers // interval, ""


def _count_layer_types(known: KnownCounts, decoder: DecoderConfig, layers: int, attention_layers: int | None) -> None:
    layer_types = (decoder.layer_types or ())[:layers]  # draft layers may follow
    full, window, chunked, linear = (
        sum(layer_type in kinds for layer_type in layer_types)
        for kinds in (_FULL_ATTENTION, _WINDOW_ATTENTION, _CHUNKED_ATTENTION, _WITHOUT_GROWTH)
    )
    window_tokens = decoder.attention_chunk_size if chunked else decoder.sliding_window
    reason = None
    if full + window + chunked + linear != layers:
        reason = f"layer_types has unknown types, or not {layers} entries"
    elif window and chunked:
        reason = "layer_types has both sliding windows and chunks"
    elif attention_layers is not None and attention_layers != layers - linear:
        reason = f"layer_types has {layers - linear} layers with attention, but the tensors have {attention_layers}"
    elif (window or chunked) and (not isinstance(window_tokens, int) or window_tokens == 0):
        reason = "layer_types has windows, but the configuration has no size of the window"
    if reason is not None:
        known.reject("window_layers", reason)
        known.reject("linear_layers", reason)
        return
    known.set("window_layers", window + chunked)
    known.set("linear_layers", linear)
    if window + chunked and isinstance(window_tokens, int):
        known.set("window_tokens", window_tokens)


_AUXILIARY_ENDINGS = (
    "_scale", "_scales", "_scale_inv", "_scale_2", ".scales", ".qzeros", ".g_idx", "_g_idx", "_zero_point",
    "_shape", "_global_scale", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".inv_freq",
    "quant_state.bitsandbytes__nf4", "quant_state.bitsandbytes__fp4",
)  # fmt: skip
"""Endings of the names of tensors that are no parameters: scales, zero points and other data of
quantized weights, and tables of rotary embeddings."""
_PLAIN_DTYPES = ("float", "bfloat", "complex")


def count_parameters(tensor: StoredTensor, quantization: QuantizationConfig | None) -> int | None:
    """Return the number of parameters in a tensor; 0 for data of quantized weights that is no
    parameter, `None` for packed weights of unknown layout."""
    name, elements = tensor.name, math.prod(tensor.shape)
    if name.endswith(_AUXILIARY_ENDINGS):
        return 0
    if tensor.dtype.startswith(_PLAIN_DTYPES) or tensor.dtype == "int8":
        return elements
    if tensor.dtype in ("int64", "bool"):
        return 0  # buffers such as position IDs
    if quantization is None:
        return None
    bits, method = quantization.packed_bits, quantization.quant_method
    if tensor.dtype == "int32" and name.endswith((".qweight", ".weight_packed")) and bits:
        return elements * 32 // bits
    is_packed_pair = (
        name.endswith("_blocks")
        if method == "mxfp4"
        else name.endswith(".weight_packed")
        or (name.endswith(".weight") and (method == "modelopt" or bool(quantization.load_in_4bit)))
    )
    return elements * 2 if tensor.dtype == "uint8" and is_packed_pair else None
