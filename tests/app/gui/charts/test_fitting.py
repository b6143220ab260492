from __future__ import annotations

import math

import pytest

from app.gui.charts.axes import Axis
from app.gui.charts.fitting import fit_y_range
from app.gui.charts.series import Bounds

LATENCY = Axis("latency", "ms", is_log=True)


@pytest.mark.parametrize(("limit_ms", "is_seen"), [(13.0, True), (5_000.0, False)])
def test_on_a_log_axis_a_far_limit_does_not_press_the_data_together(limit_ms: float, is_seen: bool) -> None:
    low, high = math.log10(11.0), math.log10(12.0)
    seen = fit_y_range(Bounds(0.0, 1.0, low, high), LATENCY, math.log10(limit_ms))
    assert seen[0] < low
    assert high < seen[1] < math.log10(30.0)
    assert (seen[1] > math.log10(limit_ms)) is is_seen
