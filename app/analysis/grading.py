"""Makes checks from a value and its limits."""

from __future__ import annotations

import math

from app.records.result import Check, CheckId, Trust


def grade_high(
    check: CheckId, value: float | None, *, unit: str, warn: float, invalid: float = math.inf, hint: str
) -> Check:
    """VALID up to `warn`, INVALID above `invalid`; WARN between, and where there is no value."""
    if value is None:
        return Check(check, None, warn, unit, "WARN", hint)
    verdict: Trust = "VALID" if value <= warn else "WARN" if value <= invalid else "INVALID"
    return Check(
        check, value, invalid if verdict == "INVALID" else warn, unit, verdict, None if verdict == "VALID" else hint
    )


def grade_low(
    check: CheckId, value: float | None, *, unit: str, warn: float, invalid: float = -math.inf, hint: str
) -> Check:
    """VALID from `warn` up, INVALID below `invalid`; WARN between, and where there is no value."""
    if value is None:
        return Check(check, None, warn, unit, "WARN", hint)
    verdict: Trust = "VALID" if value >= warn else "WARN" if value >= invalid else "INVALID"
    return Check(
        check, value, invalid if verdict == "INVALID" else warn, unit, verdict, None if verdict == "VALID" else hint
    )
