"""Validity checks, of measurements and of plans."""

from __future__ import annotations

from typing import Literal

import msgspec

Trust = Literal["VALID", "WARN", "INVALID"]


class Check(msgspec.Struct, frozen=True):
    """One validity check of a measurement: what was seen, the limit, the verdict, and what to do about it."""

    check: str
    value: float | str | None
    limit: float | str | None
    unit: str | None
    verdict: Trust
    hint: str | None = None
