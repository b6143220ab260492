"""Why a figure is not given."""

from __future__ import annotations

import msgspec

from app.records.plan import RefusalId


class Refusal(msgspec.Struct, frozen=True):
    """`sentence` says what is missing, or what to measure instead."""

    id: RefusalId
    sentence: str
