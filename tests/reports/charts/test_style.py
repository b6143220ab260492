from __future__ import annotations

import pytest

from reports.charts.style import fitted, series_scales


@pytest.mark.parametrize(
    ("values", "ratio", "ticks"),
    [
        ([10.0, 150.0], 5, {10.0, 20.0, 30.0, 50.0, 70.0, 100.0}),
        ([1.0, 900.0], 20, {1.0, 2.0, 5.0, 10.0, 100.0, 500.0}),
        ([0.001, 9000.0], 20, {0.001, 1.0, 1000.0}),
    ],
)
def test_wide_values_are_drawn_on_a_log_axis_with_round_ticks(
    values: list[float], ratio: float, ticks: set[float]
) -> None:
    assert ticks <= set(fitted(values, ratio)["axis"].to_dict()["values"])


@pytest.mark.parametrize("values", [[10.0, 20.0], [0.0, 5000.0], [3.0]])
def test_near_values_and_zero_are_drawn_on_a_linear_axis(values: list[float]) -> None:
    assert "axis" not in fitted(values, 20)


def test_long_names_get_a_legend_of_one_column() -> None:
    assert series_scales(["x" * 200, "y" * 200])["color"].to_dict()["legend"]["columns"] == 1
    assert series_scales(["a", "b", "c"])["color"].to_dict()["legend"]["columns"] == 3
