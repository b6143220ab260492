"""Number of parameters of a language model from the keys of its configuration in Hugging Face format, without its
weights.

The matrices of embeddings, attention, MLPs, experts and routers are counted; norms, biases, draft layers, vision
encoders and indexers of sparse attention are not. `tests/app/analysis/test_language_models.py` compares the counts
with those that the authors of published models state.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from app.inference.inspection.huggingface_config import DecoderConfig
from app.inference.inspection.known_counts import Count

_GATED_MLP_TYPES = frozenset(
    {
        "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "ernie4_5_moe", "gemma", "gemma2",
        "gemma3_text", "glm4", "glm4_moe", "glm_moe_dsa", "gpt_oss", "granite", "internlm2", "kimi_k2", "llama",
        "llama4_text", "minimax_m2", "mistral", "mixtral", "olmo2", "phi3", "qwen2", "qwen2_moe", "qwen3",
        "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe", "qwen3_next", "seed_oss",
    }
)  # fmt: skip
"""Model types whose MLPs and experts have three matrices each, which the table of published models confirms."""
_MLP_MATRICES = 3
_TIED_EMBEDDING_TYPES = frozenset({"cohere", "cohere2", "gemma", "gemma2", "gemma3_text"})
"""Model types that use the embeddings as output matrix unless the configuration says otherwise."""


class ParameterCount(msgspec.Struct, frozen=True):
    """Number of all parameters, and of those that process one token."""

    total: int
    active: int


class MissingKeysError(Exception):
    """Error for a configuration that lacks `keys`, which the count needs."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__(", ".join(keys))
        self.keys = keys


def count_parameters(decoder: DecoderConfig, counts: Mapping[str, int]) -> ParameterCount | None:
    """Count the parameters of a decoder. `counts` maps architecture names such as `layers` and `hidden` to numbers, as
    in `Architecture.counts`. Returns None for an unsupported model type. Raises MissingKeysError for missing keys."""
    if decoder.model_type not in _GATED_MLP_TYPES:
        return None
    hidden, layers = counts["hidden"], counts["layers"]
    linear_layers = counts.get("linear_layers", 0)
    dense = counts["vocabulary"] * hidden * (1 if has_tied_embeddings(decoder) else 2)
    dense += (layers - linear_layers) * _count_attention(decoder, counts)
    if linear_layers:
        dense += linear_layers * _count_linear_attention(decoder, hidden)
    expert_layers = _count_expert_layers(decoder, layers) if "experts" in counts else 0
    if layers > expert_layers:
        width = decoder.intermediate_size if decoder.intermediate_size_mlp is None else decoder.intermediate_size_mlp
        dense += (layers - expert_layers) * _MLP_MATRICES * hidden * _require(intermediate_size=width)[0]
    if not expert_layers:
        return ParameterCount(dense, dense)
    experts = _count_experts(decoder, counts)
    return ParameterCount(dense + expert_layers * experts.total, dense + expert_layers * experts.active)


def _count_experts(decoder: DecoderConfig, counts: Mapping[str, int]) -> ParameterCount:
    """Count the parameters of the router and of the experts of one layer. Active are the router, the shared experts and
    the experts that a token is routed to. Raises MissingKeysError for missing keys."""
    hidden, experts = counts["hidden"], counts["experts"]
    (width,) = _require(moe_intermediate_size=decoder.moe_intermediate_size or decoder.intermediate_size)
    (experts_per_token,) = _require(num_experts_per_tok=counts.get("experts_per_token"))
    expert = _MLP_MATRICES * hidden * width
    shared = _count_shared_experts(decoder) * expert
    shared += _MLP_MATRICES * hidden * _read(decoder.shared_expert_intermediate_size)
    router = hidden * experts
    return ParameterCount(shared + router + experts * expert, shared + router + experts_per_token * expert)


def has_tied_embeddings(decoder: DecoderConfig) -> bool:
    """Return whether the input embedding is also the output head, as the configuration states or by default."""
    if decoder.tie_word_embeddings is None:
        return decoder.model_type in _TIED_EMBEDDING_TYPES
    return decoder.tie_word_embeddings


def _count_shared_experts(decoder: DecoderConfig) -> int:
    return 1 if decoder.model_type == "llama4_text" else _read(decoder.n_shared_experts)


def _count_expert_layers(decoder: DecoderConfig, layers: int) -> int:
    """Return the number of layers with experts: all but the first ones, or each n-th."""
    return (layers - _read(decoder.first_k_dense_replace)) // (_read(decoder.interleave_moe_layer_step) or 1)


def _count_attention(decoder: DecoderConfig, counts: Mapping[str, int]) -> int:
    """Return the number of parameters of the attention of one layer."""
    hidden, heads = counts["hidden"], counts["heads"]
    if decoder.kv_lora_rank is None:
        gate = 1 if decoder.attn_output_gate else 0
        return hidden * counts["head_dim"] * ((2 + gate) * heads + 2 * counts["kv_heads"])
    latent, rope, nope, value = _require(
        kv_lora_rank=decoder.kv_lora_rank,
        qk_rope_head_dim=decoder.qk_rope_head_dim,
        qk_nope_head_dim=decoder.qk_nope_head_dim,
        v_head_dim=decoder.v_head_dim,
    )
    queries = heads * (nope + rope)
    rank = _read(decoder.q_lora_rank)
    query_matrices = rank * (hidden + queries) if rank else hidden * queries
    return query_matrices + hidden * (latent + rope) + latent * heads * (nope + value) + heads * value * hidden


def _count_linear_attention(decoder: DecoderConfig, hidden: int) -> int:
    """Return the number of parameters of one layer of gated linear attention."""
    key_heads, key_dim, value_heads, value_dim = _require(
        linear_num_key_heads=decoder.linear_num_key_heads,
        linear_key_head_dim=decoder.linear_key_head_dim,
        linear_num_value_heads=decoder.linear_num_value_heads,
        linear_value_head_dim=decoder.linear_value_head_dim,
    )
    return hidden * (2 * key_heads * key_dim + 3 * value_heads * value_dim + 2 * value_heads)


def _read(value: Count) -> int:
    return value if isinstance(value, int) else 0


def _require(**values: Count) -> tuple[int, ...]:
    """Return values by the names of their keys. Raises MissingKeysError for those that are no number."""
    numbers = [value for value in values.values() if isinstance(value, int)]
    if len(numbers) < len(values):
        raise MissingKeysError([key for key, value in values.items() if not isinstance(value, int)])
    return tuple(numbers)
