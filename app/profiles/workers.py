"""How many processes of this machine send the load."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from app.profiles.problems import BadValueError

MOST_WORKERS = 1_000


def _read_workers(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        hint = "Write auto, or a whole number of at least 1."
        raise BadValueError(f"{value!r} is not a number of workers", hint=hint)
    if value > MOST_WORKERS:
        raise BadValueError(f"{value:,} is more than {MOST_WORKERS:,}, the most workers that can be asked for")
    return value


Workers = Annotated[int | Literal["auto"], BeforeValidator(_read_workers)]
"""`auto` is one for each core that can be spared."""
