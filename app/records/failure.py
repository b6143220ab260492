"""How a command failed, for the program that started it."""

from __future__ import annotations

import msgspec


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """With `--error-json` the last line on standard error, as JSON."""

    exit_code: int
    message: str
    hint: str | None = None
