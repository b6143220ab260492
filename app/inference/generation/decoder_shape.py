"""Shape of a decoder that Sizewise writes itself, and where its weights come from."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
WeightBits = Literal[4, 8, 32]
"""Bits per weight: 32 for float32, otherwise integers with one float32 scale per block of 32."""
QUANTIZATION_BLOCK = 32
"""Number of consecutive weights of a row that share one scale."""


class DecoderShape(msgspec.Struct, frozen=True, kw_only=True):
    """Shape of a Llama-like decoder: grouped-query attention, rotary positions and SwiGLU layers.

    `heads` must be a multiple of `kv_heads`, and `hidden` of `heads`; with quantized weights,
    `hidden` and `feed_forward` must be multiples of 32. `context` is the maximum number of tokens
    of a sequence. The rotary embedding rotates halves of a head, or neighboring values if
    `is_rotary_interleaved`, as in GGUF files of Llama models. Its frequencies are divided by
    `rotary_divisors`, if there are any, as for the long contexts of Llama 3."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    context: int = 4096
    weight_bits: WeightBits = 32
    rotary_base: float = 1e4
    is_rotary_interleaved: bool = False
    rotary_divisors: tuple[float, ...] = ()
    has_attention_bias: bool = False
    """True if a bias is added to queries, keys and values, as in Qwen2."""
    norm_epsilon: float = 1e-5
    is_embedding_tied: bool = False
    """True if the matrix of the logits has the values of the token embedding."""

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    @property
    def kv_columns(self) -> int:
        """Number of values in the keys of one token."""
        return self.kv_heads * self.head_dim

    @property
    def weight_bytes(self) -> int:
        """Approximate size of the weights in bytes, without normalizations and biases."""
        bytes_per_weight = 4.0 if self.weight_bits == 32 else self.weight_bits / 8 + 4 / QUANTIZATION_BLOCK
        by_layer = self.hidden * (2 * self.hidden + 2 * self.kv_columns + 3 * self.feed_forward)
        embedding = self.hidden * self.vocabulary
        return int((self.layers * by_layer + embedding) * bytes_per_weight) + 4 * embedding

    @property
    def kv_bytes_per_token(self) -> int:
        """Size in bytes of the cached keys and values of one token, in float32."""
        return 2 * self.layers * self.kv_columns * 4


class PagedCache(msgspec.Struct, frozen=True, kw_only=True):
    """Size of a paged KV cache, and limits of the continuous batching on it. `max_step_tokens` is
    the maximum number of tokens that one step processes, over all requests. With `caches_prefixes`,
    the cached tokens of a prompt are reused for prompts with the same beginning."""

    block_tokens: int = 16
    blocks: int = 512
    max_batch: int = 16
    max_step_tokens: int = 512
    caches_prefixes: bool = True


class Weights(Protocol):
    """Source of the weights of a decoder, by the tensor names of GGUF without `.weight`, such as
    `blk.0.attn_q`. The methods are called in the order of the graph."""

    def load_matrix(self, name: str, rows: int, columns: int) -> Floats:
        """Return the matrix that maps `rows` inputs to `columns` outputs, of shape
        [rows, columns]."""

    def load_bias(self, name: str, size: int) -> Floats:
        """Return the bias that is added to the outputs of a matrix, of shape [size]."""

    def load_norm(self, name: str, size: int) -> Floats:
        """Return the scale of a normalization, of shape [size]."""

    def load_embedding(self, vocabulary: int, hidden: int) -> Floats:
        """Return the token embedding, of shape [vocabulary, hidden]."""


_RESIDUAL_GAIN = 0.5
_LOGITS_GAIN = 2.0
_GAINS = {"attn_output": _RESIDUAL_GAIN, "ffn_down": _RESIDUAL_GAIN, "output": _LOGITS_GAIN}
"""Standard deviation of the outputs of a random matrix, for inputs of standard deviation 1, by the
last part of its name; 1 for all others."""


class RandomWeights:
    """Weights drawn from a normal distribution, equal for equal seeds. The generated text is
    meaningless, but takes the same work as that of a trained model of this shape."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def load_matrix(self, name: str, rows: int, columns: int) -> Floats:
        scale = np.float32(_GAINS.get(name.rpartition(".")[2], 1.0) / np.sqrt(rows))
        return self._generator.standard_normal((rows, columns), np.float32) * scale

    def load_bias(self, name: str, size: int) -> Floats:  # noqa: ARG002
        return self._generator.standard_normal(size, np.float32)

    def load_norm(self, name: str, size: int) -> Floats:  # noqa: ARG002
        return np.ones(size, np.float32)

    def load_embedding(self, vocabulary: int, hidden: int) -> Floats:
        return self._generator.standard_normal((vocabulary, hidden), np.float32)
