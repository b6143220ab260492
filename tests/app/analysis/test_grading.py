from __future__ import annotations

import pytest

from app.analysis.grading import grade_high, grade_low


@pytest.mark.parametrize(
    ("value", "verdict", "limit"),
    [(0.70, "VALID", 0.70), (0.71, "WARN", 0.70), (0.85, "WARN", 0.70), (0.86, "INVALID", 0.85), (None, "WARN", 0.70)],
)
def test_too_much_is_graded(value: float | None, verdict: str, limit: float) -> None:
    check = grade_high("generator_ceiling", value, unit="share", warn=0.70, invalid=0.85, hint="lower it")
    assert (check.verdict, check.limit, check.hint is None) == (verdict, limit, verdict == "VALID")


@pytest.mark.parametrize(
    ("value", "verdict", "limit"), [(0.98, "VALID", 0.98), (0.95, "WARN", 0.98), (0.94, "INVALID", 0.95)]
)
def test_too_little_is_graded(value: float, verdict: str, limit: float) -> None:
    check = grade_low("achieved_of_offered", value, unit="share", warn=0.98, invalid=0.95, hint="raise it")
    assert (check.verdict, check.limit) == (verdict, limit)
    assert grade_low("achieved_of_offered", None, unit="share", warn=0.98, hint="raise it").verdict == "WARN"
