"""A user's tokenizer: counts tokens as the model does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers

CountTokens = Callable[[str], int]

_MAX_FILE_BYTES = 256 * 2**20


class TokenizerError(Exception):
    """The tokenizer cannot be used; `hint` says what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def counter_of(path: str) -> CountTokens:
    """Counts the tokens of a text by a `tokenizer.json`, without the special ones that a server puts around it.

    Raises TokenizerError.
    """
    tokenizer = _read(path)

    def count(text: str) -> int:
        # as a batch, for which the package lets other threads run meanwhile
        return len(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])

    return count


def _read(path: str) -> tokenizers.Tokenizer:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a batch of one needs no threads of its own
    # optional, and loads slowly: only who asks for a tokenizer needs it
    try:
        import tokenizers
    except ImportError as error:
        raise TokenizerError(
            "counting tokens needs the package tokenizers", hint="pip install 'sizewise[tokenizer]'"
        ) from error
    try:
        file = Path(path)
        if not file.is_file():
            raise TokenizerError(f"{path} is not a file", hint="give the model's tokenizer.json")
        if file.stat().st_size > _MAX_FILE_BYTES:
            raise TokenizerError(f"{path} is larger than {_MAX_FILE_BYTES >> 20} MiB, so it is no tokenizer.json")
        tokenizer = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except TokenizerError:
        raise
    except Exception as error:  # the package raises Exception itself for whatever it does not like
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise TokenizerError(
            f"{path} cannot be read as a tokenizer: {reason}", hint="give the model's tokenizer.json"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
