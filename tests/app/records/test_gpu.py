from __future__ import annotations

import pytest

from app.records.gpu import list_throttle_reasons


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0, ()),
        (0x1, ()),
        (0x3, ()),
        (0x4, ("power cap",)),
        (0x44, ("power cap", "hardware thermal slowdown")),
        (0x1 | 0x80, ("power brake",)),
        (0x8000, ("reason 0x8000",)),
    ],
)
def test_throttle_reasons_are_named_without_idle_and_clock_settings(bits: int, names: tuple[str, ...]) -> None:
    assert list_throttle_reasons(float(bits)) == names
