"""A language model's shape, as its configuration file tells it."""

from __future__ import annotations

import msgspec


class LanguageModel(msgspec.Struct, frozen=True):
    """A decoder of transformer layers. `parameters` counts all of them, from the weight files and not from the name.

    `active_parameters` and the experts are a mixture's; `latent_dim` is what multi-head latent attention caches a layer
    (its rank and its rotary part); `window_layers` attend to the last `window_tokens` only; `linear_layers` cache
    nothing that grows.
    """

    parameters: float
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    active_parameters: float | None = None
    experts: int | None = None
    experts_per_token: int | None = None
    latent_dim: int | None = None
    window_layers: int = 0
    window_tokens: int | None = None
    linear_layers: int = 0

    @property
    def parameters_per_token(self) -> float:
        """What one token is multiplied with."""
        return self.parameters if self.active_parameters is None else self.active_parameters

    def parameters_read(self, tokens: float) -> float:
        """What a step over so many tokens reads: all that is shared, and the experts that some token is sent to."""
        if self.active_parameters is None or self.experts is None or self.experts_per_token is None:
            return self.parameters
        if self.experts_per_token >= self.experts:
            return self.parameters
        idle = self.experts - self.experts_per_token
        expert = (self.parameters - self.active_parameters) / idle
        untouched: float = (idle / self.experts) ** tokens
        touched = self.experts * (1 - untouched)
        return self.parameters - expert * (self.experts - touched)


class Precision(msgspec.Struct, frozen=True):
    """What weights are stored in, what is computed in, and what keys and values are cached in."""

    weights: str = "bf16"
    compute: str = "bf16"
    kv: str = "bf16"


class Engine(msgspec.Struct, frozen=True):
    """How a serving engine is set. `utilisation` is the share of usable memory it may take; blocks are of KV cache."""

    chunk_tokens: int = 2048
    max_sequences: int = 256
    utilisation: float = 0.90
    block_tokens: int = 16


class SupposedModel(msgspec.Struct, frozen=True):
    """A language model that nobody measured, planned by arithmetic from its shape and each card's data sheet."""

    name: str
    model: LanguageModel
    precision: Precision = Precision()
    engine: Engine = Engine()
