"""Why a figure is not given."""

from __future__ import annotations

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """One sentence, which says what is missing or what to measure instead."""

    sentence: str
