"""Costs of the steps of a language model, and the quality of its predictions."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Count, Estimate


class AttentionLayers(msgspec.Struct, frozen=True):
    """Number of layers with equal attention. Each token attends to itself and to all tokens before
    it, or to the last `window_tokens` tokens including itself."""

    layers: int
    window_tokens: int | None = None


class DecoderCosts(msgspec.Struct, frozen=True, kw_only=True):
    """Coefficients of the costs of a decoder. Bytes and FLOPs of a step are linear in them; one
    multiply-add is two FLOPs.

    The products with weights are counted from the graph. The attention is counted from the
    configuration, because the operators of an attention differ by export."""

    parameters: int
    """Number of parameters; weights that are shared by several operators are counted once."""
    weight_bytes_by_dtype: dict[str, int]
    """Bytes of the weights that each step reads as a whole, by data type; quantized weights as they
    are stored, with their scales."""
    table_bytes: int
    """Bytes of the lookup tables, such as the token embedding; a step reads only some of their rows."""
    table_bytes_per_token: int
    """Bytes that the lookup of one token reads, one row per table."""
    product_flops_per_token: int
    """FLOPs of the products with weights for one token, without the output projection."""
    head_flops: int
    """FLOPs of the output projection for the logits of one position."""
    logits_bytes: int
    """Bytes of the logits of one position."""
    has_all_logits: bool
    """True if a prefill computes logits for each position of the prompt; False if only for the
    last. ONNX Runtime GenAI executes the graph as it is, so the graph decides."""
    attention: tuple[AttentionLayers, ...]
    attention_flops_per_layer: int
    """FLOPs of the attention of one token to one token in one layer: 4 × heads × head size, for the
    product of queries and keys, and that of probabilities and values."""
    kv_bytes_per_layer: int
    """Bytes of the cached keys and values of one token in one layer."""
    float_type: Literal["fp32", "fp16"]
    """Floating-point type of the activations; fp16 includes bf16."""
    has_int8_products: bool
    """True if most FLOPs are products that a CPU computes in int8, because the model has integer
    products, or allows int8 activations for its quantized weights."""
    source_dtype: str | None = None
    """Data type of most weights in the GGUF file from which the model was converted, such as Q4_1;
    None for other models."""
    unknown_reason: str | None = None
    """Reason why the costs are unknown; the coefficients are then incomplete."""

    @property
    def kv_bytes_per_token(self) -> int | None:
        """Bytes of the cached keys and values of one token in all layers; None if the costs are
        unknown."""
        layers = sum(group.layers for group in self.attention)
        return None if self.unknown_reason is not None else layers * self.kv_bytes_per_layer

    @property
    def weight_bytes(self) -> int:
        return sum(self.weight_bytes_by_dtype.values())


class TextQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of the next-token predictions on a text, with 95 % confidence intervals that account
    for the autocorrelation of neighboring tokens.

    Perplexities are comparable only for the same text, tokenizer, window and stride. The values
    that compare with the reference are None for the reference itself."""

    tokens: Count
    """Number of predicted tokens: all tokens of the text but the first."""
    window_tokens: Count
    stride_tokens: Count
    perplexity: Estimate
    """exp(−mean log-likelihood of the tokens of the text)."""
    perplexity_ratio: Estimate | None = None
    """Perplexity divided by that of the reference, with a paired interval over the tokens."""
    token_agreement: Estimate | None = None
    """Fraction of positions at which the most probable next token is that of the reference."""
    kl_mean: Estimate | None = None
    """Mean Kullback-Leibler divergence, in nats, of the predicted distribution from that of the
    reference, over a sample of the positions."""


class BatchDivergence(msgspec.Struct, frozen=True, kw_only=True):
    """First token of a row of a batch that differs from the token that the same prompt generates
    alone. `position` counts the generated tokens from 0."""

    row: Count
    position: Count
    margin: float
    """Logit of the token that was generated alone, minus the logit of the token that was generated
    in the batch; both logits are those of the prompt alone."""
    logit_change: float
    """Largest absolute difference between the logits alone and in the batch, at this position."""
    logit_range: float
    """Largest minus smallest logit of the prompt alone, at this position."""
    is_rounding: bool
    """True if the difference is explained by rounding: two almost equally probable tokens, whose
    order changes because kernels for another batch size add in another order."""


class BatchConsistency(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of the greedy tokens of prompts in a batch with the greedy tokens of each prompt
    alone. Rows without an entry in `divergences` generate equal tokens."""

    batch: Count
    tokens: Count
    """Number of tokens that each row generates."""
    divergences: tuple[BatchDivergence, ...]
