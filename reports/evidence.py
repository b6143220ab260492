"""Grade the level of evidence for a result: high, medium or low.

The level is the lowest of four levels, each derived from an identifier, never from a message:

- Basis of the capacity: measured or interpolated is high, extrapolated is medium, assumed is low.
- Validity of the measurement: VALID is high, WARN is medium, INVALID is low.
- Uncertainty of the capacity: "uncertain" and "unknown" are low.
- Samples: too few for every shown latency percentile is low.

The probability that the SLO is met does not affect the level.
"""

from __future__ import annotations

from typing import Literal

from reports.quantity import Basis, Validity

EvidenceLevel = Literal["high", "medium", "low"]
BASIS_MEANINGS: dict[Basis, str] = {
    "measured": "measured on this hardware",
    "interpolated": "between measured loads on this hardware",
    "extrapolated": "calculated from a measurement on other hardware or at other loads",
    "assumed": "not measured: an assumption, a specification or a price list",
}
"""Meaning of each basis of a number, strongest basis first."""

_LEVEL_BY_BASIS: dict[Basis, EvidenceLevel] = {
    "measured": "high", "interpolated": "high", "extrapolated": "medium", "assumed": "low",
}  # fmt: skip
_LEVEL_BY_VALIDITY: dict[Validity, EvidenceLevel] = {"VALID": "high", "WARN": "medium", "INVALID": "low"}
_LEVEL_BY_UNCERTAINTY: dict[Literal["uncertain", "unknown"], EvidenceLevel] = {"uncertain": "low", "unknown": "low"}
_ASCENDING_LEVELS: tuple[EvidenceLevel, ...] = ("low", "medium", "high")


def grade_evidence(
    basis: Basis,
    validity: Validity | None = None,
    uncertainty: Literal["uncertain", "unknown"] | None = None,
    *,
    is_undersampled: bool = False,
) -> EvidenceLevel:
    """Return the level of evidence: the lowest of the levels for the basis, the validity, the
    uncertainty of the capacity and the samples. Arguments that are `None` are ignored."""
    levels = [_LEVEL_BY_BASIS[basis]]
    levels += [] if validity is None else [_LEVEL_BY_VALIDITY[validity]]
    levels += [] if uncertainty is None else [_LEVEL_BY_UNCERTAINTY[uncertainty]]
    levels += ["low"] if is_undersampled else []
    return min(levels, key=_ASCENDING_LEVELS.index)
