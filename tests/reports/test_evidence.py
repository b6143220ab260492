from __future__ import annotations

from typing import get_args

import pytest

from reports.evidence import BASIS_MEANINGS, EvidenceLevel, grade_evidence
from reports.quantity import Basis, Validity


@pytest.mark.parametrize(
    ("basis", "validity", "knowledge", "level"),
    [
        ("measured", "VALID", None, "high"),
        ("measured", None, None, "high"),
        ("interpolated", "VALID", None, "high"),
        ("extrapolated", "VALID", None, "medium"),
        ("assumed", "VALID", None, "low"),
        ("measured", "WARN", None, "medium"),
        ("interpolated", "WARN", None, "medium"),
        ("extrapolated", "WARN", None, "medium"),
        ("assumed", "WARN", None, "low"),
        ("measured", "INVALID", None, "low"),
        ("measured", "VALID", "uncertain", "low"),
        ("extrapolated", "VALID", "unknown", "low"),
    ],
)
def test_evidence_level_is_lowest_of_basis_validity_and_knowledge(
    basis: Basis, validity: Validity | None, knowledge: str | None, level: EvidenceLevel
) -> None:
    assert grade_evidence(basis, validity, knowledge) == level  # type: ignore[arg-type]


def test_undersampled_percentile_is_low_evidence() -> None:
    assert grade_evidence("measured", "VALID", is_undersampled=True) == "low"


def test_weaker_basis_never_has_higher_evidence_level() -> None:
    assert tuple(BASIS_MEANINGS) == get_args(Basis)
    levels = [("low", "medium", "high").index(grade_evidence(basis)) for basis in BASIS_MEANINGS]
    assert levels == sorted(levels, reverse=True)
