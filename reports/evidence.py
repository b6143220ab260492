"""Level of the evidence for a result: high, medium or low.

The level is the lowest of three, each decided by an id, never by a text:

- the basis of the capacity: measured or interpolated is high, extrapolated is medium, assumed is low;
- the validity of the measurement: VALID is high, WARN is medium, INVALID is low;
- the knowledge of the capacity: uncertain or unknown ("not known well enough") is low.

The level does not contain the probability that the SLO is met, which is computed from the numbers as they are.
"""

from __future__ import annotations

from typing import Literal

from reports.quantity import Basis, Validity

EvidenceLevel = Literal["high", "medium", "low"]
LADDER: dict[Basis, str] = {
    "measured": "measured on this hardware",
    "interpolated": "between measured loads on this hardware",
    "extrapolated": "calculated from a measurement on other hardware or at other loads",
    "assumed": "not measured: an assumption, a specification or a price list",
}
"""Every basis with its meaning, the strongest first."""

_BY_BASIS: dict[Basis, EvidenceLevel] = {
    "measured": "high", "interpolated": "high", "extrapolated": "medium", "assumed": "low",
}  # fmt: skip
_BY_VALIDITY: dict[Validity, EvidenceLevel] = {"VALID": "high", "WARN": "medium", "INVALID": "low"}
_BY_KNOWLEDGE: dict[Literal["uncertain", "unknown"], EvidenceLevel] = {"uncertain": "low", "unknown": "low"}
_WEAKEST_FIRST: tuple[EvidenceLevel, ...] = ("low", "medium", "high")


def grade_evidence(
    basis: Basis, validity: Validity | None = None, knowledge: Literal["uncertain", "unknown"] | None = None
) -> EvidenceLevel:
    """Return the level by the rule above; what is None does not lower it."""
    levels = [_BY_BASIS[basis]]
    levels += [] if validity is None else [_BY_VALIDITY[validity]]
    levels += [] if knowledge is None else [_BY_KNOWLEDGE[knowledge]]
    return min(levels, key=_WEAKEST_FIRST.index)
