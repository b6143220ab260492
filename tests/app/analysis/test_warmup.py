from __future__ import annotations

import pytest

from app.analysis.warmup import is_stable


@pytest.mark.parametrize(
    ("medians", "is_steady"),
    [
        ([], False),
        ([5.0, 5.0], False),
        ([9.0, 5.0, 5.2], False),
        ([9.0, 5.0, 5.2, 5.5], True),
        ([5.0, 5.0, 5.6], False),
        ([5.0, 5.0, 5.0, 9.0], False),
    ],
)
def test_warmup_is_stable_when_three_windows_in_a_row_agree(medians: list[float], is_steady: bool) -> None:
    assert is_stable(medians) is is_steady
