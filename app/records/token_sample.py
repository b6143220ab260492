"""Joint lengths of measured requests, in tokens."""

from __future__ import annotations

import msgspec


class TokenSample(msgspec.Struct, frozen=True):
    """Input and output tokens of requests that completed: all of them, or an even selection of many.

    Both columns are arrays of little-endian signed 32-bit integers, one entry a request, which keeps results and plan
    files small. `app.analysis.token_samples` reads and writes them.
    """

    input_tokens: bytes
    output_tokens: bytes
