"""Convert between text and tokens with the tokenizer of a model, and format chats with its
template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import onnxruntime_genai as genai

from app.errors import UsageError


class ModelTokenizer:
    def __init__(self, model: Any) -> None:
        self._tokenizer = genai.Tokenizer(model)

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text).tolist())

    def decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(np.array(tokens, np.int32)))

    def format_chat(self, messages: Sequence[dict[str, str]]) -> str:
        """Format a chat with the model's template, up to the start of the response. Raises
        UsageError if the model has no template, or if the template rejects the messages."""
        try:
            return str(
                self._tokenizer.apply_chat_template(msgspec.json.encode(messages).decode(), add_generation_prompt=True)
            )
        except RuntimeError as error:
            raise UsageError(f"the chat template of the model failed: {' '.join(str(error).split())[:300]}") from error

    def create_text_stream(self) -> TextStream:
        return TextStream(self._tokenizer.create_stream())


class TextStream:
    """Decoder of the tokens of one response. A character that spans several tokens is returned with
    the last of them."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def decode(self, token: int) -> str:
        return str(self._stream.decode(token))
