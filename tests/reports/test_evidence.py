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
def test_the_level_is_the_lowest_of_basis_validity_and_knowledge(
    basis: Basis, validity: Validity | None, knowledge: str | None, level: EvidenceLevel
) -> None:
    assert grade_evidence(basis, validity, knowledge) == level  # type: ignore[arg-type]


def test_too_few_samples_are_low_evidence_whatever_else_is_known() -> None:
    assert grade_evidence("measured", "VALID", is_undersampled=True) == "low"


def test_every_basis_is_a_load_point_of_the_ladder_and_no_load_point_is_stronger_than_the_one_above() -> None:
    assert tuple(BASIS_MEANINGS) == get_args(Basis)
    levels = [("low", "medium", "high").index(grade_evidence(basis)) for basis in BASIS_MEANINGS]
    assert levels == sorted(levels, reverse=True)
