"""Types for the numbers, limits and checks of all reports."""

from __future__ import annotations

from typing import Literal

import msgspec

Basis = Literal["measured", "interpolated", "extrapolated", "assumed"]
Validity = Literal["VALID", "WARN", "INVALID"]


class Quantity(msgspec.Struct, frozen=True, omit_defaults=True):
    """A number in a report. Without a `value` it is shown as n/a with its `reason`.

    For a percentile of too few samples, `undersampled` is shown instead of `value`, in gray and
    with the sample size `n`.
    """

    value: float | None
    unit: str
    ci95: tuple[float, float] | None = None
    n: int | None = None
    basis: Basis = "measured"
    reason: str | None = None
    validity: Validity = "VALID"
    undersampled: float | None = None

    @property
    def is_undersampled(self) -> bool:
        return self.value is None and self.undersampled is not None


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
