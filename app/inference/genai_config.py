"""Configuration of a model folder for ONNX Runtime GenAI: the keys of `genai_config.json` that are
used to run a model, or to inspect it.

Every key that only one of both needs is optional. Numbers are not bounded, because their users
report them by name."""

from __future__ import annotations

from typing import Any

import msgspec

GenaiCount = int | list[Any] | None
"""Number in a configuration. Some models have a list with one number per layer."""


class GenaiStateNames(msgspec.Struct, frozen=True):
    past_key_names: str = "past_key_values.%d.key"


class GenaiWindow(msgspec.Struct, frozen=True):
    window_size: GenaiCount = None
    layers: tuple[int, ...] | None = None
    slide_key_value_cache: bool = True


class GenaiDecoder(msgspec.Struct, frozen=True):
    filename: str | None = None
    pipeline: list[Any] | None = None
    head_size: GenaiCount = None
    hidden_size: GenaiCount = None
    num_attention_heads: GenaiCount = None
    num_hidden_layers: GenaiCount = None
    num_key_value_heads: GenaiCount = None
    inputs: GenaiStateNames = GenaiStateNames()
    sliding_window: GenaiWindow | None = None


class GenaiComponent(msgspec.Struct, frozen=True):
    """Part of a model beside its decoder, such as an image encoder."""

    filename: str | None = None


class GenaiModel(msgspec.Struct, frozen=True):
    decoder: GenaiDecoder
    type: str | None = None
    vocab_size: GenaiCount = None
    context_length: GenaiCount = None
    eos_token_id: int | list[int] | None = None
    encoder: GenaiComponent | None = None
    embedding: GenaiComponent | None = None
    vision: GenaiComponent | None = None
    speech: GenaiComponent | None = None


class GenaiDynamicBatching(msgspec.Struct, frozen=True):
    block_size: int = 256
    num_blocks: int | None = None
    max_batch_size: int = 16
    max_scheduled_tokens: int = 2048


class GenaiEngine(msgspec.Struct, frozen=True):
    dynamic_batching: GenaiDynamicBatching | None = None


class GenaiConfig(msgspec.Struct, frozen=True):
    model: GenaiModel
    engine: GenaiEngine | None = None
