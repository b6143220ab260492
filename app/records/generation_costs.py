"""Costs of the steps of a language model: bytes and FLOPs, and the position of a measured step under
the roofline."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.records.estimate import Estimate
from app.records.local import Bottleneck
from app.records.model import BatchCost


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

    weight_bytes_by_dtype: dict[str, int]
    """Bytes of the weights that each step reads as a whole, by data type; quantized weights as they
    are stored, with their scales."""
    table_bytes: int
    """Bytes of the lookup tables, such as the token embedding, of which a step reads only rows."""
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
    unknown_reason: str | None = None
    """Reason why the costs are unknown; the coefficients are then incomplete."""

    @property
    def weight_bytes(self) -> int:
        return sum(self.weight_bytes_by_dtype.values())


class StepRoofline(msgspec.Struct, frozen=True, kw_only=True):
    """Position of a measured prefill or decode step under the roofline of its processor."""

    cost: BatchCost | None
    bandwidth_share: Estimate
    """Minimum memory traffic of the step divided by its duration, as a fraction of the peak
    bandwidth."""
    flops_share: Estimate
    """FLOPs of the step divided by its duration, as a fraction of the peak FLOP/s."""
    bottleneck: Bottleneck
