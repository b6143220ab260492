"""Define the types of numbers, limits and checks in all reports."""

from __future__ import annotations

from typing import Literal

import msgspec

Basis = Literal["measured", "interpolated", "extrapolated", "assumed"]
Validity = Literal["VALID", "WARN", "INVALID"]


class Quantity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Number in a report. Without a `value`, the report shows n/a with the `reason`.

    For a percentile of too few samples, the report shows `undersampled` instead of `value`, in gray
    and with the sample size `n`. With `is_limit`, the value is a limit that the number does not
    exceed with a probability of 90 %, shown as ≤.
    """

    value: float | None
    unit: str
    ci95: tuple[float, float] | None = None
    n: int | None = None
    basis: Basis = "measured"
    reason: str | None = None
    validity: Validity = "VALID"
    undersampled: float | None = None
    is_limit: bool = False

    @property
    def is_undersampled(self) -> bool:
        return self.value is None and self.undersampled is not None


NOT_STORED = Quantity(None, "", reason="the report was written by an older version")


class NamedQuantity(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    quantity: Quantity


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    comparator: str
    value: float
    unit: str


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    value: float | str | None
    limit: float | str | None
    unit: str | None
    verdict: Validity
    hint: str | None = None
