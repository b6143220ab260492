from __future__ import annotations

import math

import pytest

from app.gui.charts.axes import Axis
from app.gui.charts.fitting import fit_y_range
from app.gui.charts.series import Bounds

LATENCY = Axis("latency", "ms", is_log=True)


@pytest.mark.parametrize(("limit_ms", "is_in_range"), [(13.0, True), (5_000.0, False)])
def test_far_limit_on_a_log_axis_is_excluded_from_the_y_range(limit_ms: float, is_in_range: bool) -> None:
    low, high = math.log10(11.0), math.log10(12.0)
    y_range = fit_y_range(Bounds(0.0, 1.0, low, high), LATENCY, math.log10(limit_ms))
    assert y_range[0] < low
    assert high < y_range[1] < math.log10(30.0)
    assert (y_range[1] > math.log10(limit_ms)) is is_in_range
