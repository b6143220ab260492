from __future__ import annotations

import msgspec
import pytest

from reports.charts.curve import build_rate_chart
from reports.charts.figures import build_chart
from reports.charts.picture import render_svg
from reports.charts.style import build_series_scales, fit_scale
from reports.model import KneeRow, KneeSection, Quantity, Report
from reports.sections.concurrency import build_concurrency_figures
from reports.text import render_text


def with_knees(report: Report, unit: str, *at: float | None) -> Report:
    rows = tuple(
        KneeRow(
            name=f"method {index}",
            method=f"the method {index}",
            at=Quantity(value=value, unit=unit, reason=None if value else "still flat"),
            latency=Quantity(value=value, unit="ms"),
        )
        for index, value in enumerate(at)
    )
    return msgspec.structs.replace(report, knees=KneeSection(rows=rows, note="They disagree."))


def test_rate_curve_marks_only_knees_of_rate(full_report: Report) -> None:
    marked = build_rate_chart(with_knees(full_report, "1/s", 100.0, None, 150.0))
    assert marked is not None
    svg = render_svg(marked)
    assert "knee: method 0" in svg
    assert "knee: method 2" in svg
    assert "knee: method 1" not in svg, "this method found no knee"
    elsewhere = build_rate_chart(with_knees(full_report, "clients", 4.0))
    assert elsewhere is not None
    assert "knee" not in render_svg(elsewhere)


def test_concurrency_charts_mark_knees_of_clients(clients_report: Report) -> None:
    for key, figure in build_concurrency_figures(with_knees(clients_report, "clients", 4.0)).items():
        assert figure is not None
        assert "knee: method 0" in render_svg(build_chart(key, figure))


def test_text_report_lists_knee_methods_and_their_agreement(full_report: Report) -> None:
    text = render_text(with_knees(full_report, "1/s", 100.0, None))
    assert "Knee" in text
    assert "the method 0: 100 req/s, mean latency 100 ms" in text
    assert "the method 1: n/a (still flat)" in text
    assert "They disagree." in text


@pytest.mark.parametrize(
    ("values", "ratio", "ticks"),
    [
        ([10.0, 150.0], 5, {10.0, 20.0, 30.0, 50.0, 70.0, 100.0}),
        ([1.0, 900.0], 20, {1.0, 2.0, 5.0, 10.0, 100.0, 500.0}),
        ([0.001, 9000.0], 20, {0.001, 1.0, 1000.0}),
    ],
)
def test_wide_value_range_has_log_axis_with_round_ticks(values: list[float], ratio: float, ticks: set[float]) -> None:
    assert ticks <= set(fit_scale(values, ratio)["axis"].to_dict()["values"])


@pytest.mark.parametrize("values", [[10.0, 20.0], [0.0, 5000.0], [3.0]])
def test_narrow_value_range_or_zero_has_linear_axis(values: list[float]) -> None:
    assert "axis" not in fit_scale(values, 20)


def test_long_series_names_have_single_column_legend() -> None:
    assert build_series_scales(["x" * 200, "y" * 200])["color"].to_dict()["legend"]["columns"] == 1
    assert build_series_scales(["a", "b", "c"])["color"].to_dict()["legend"]["columns"] == 3
