from __future__ import annotations

import msgspec
import pytest

from reports.charts.concurrency import build_concurrency_charts
from reports.charts.curve import build_rate_chart
from reports.charts.picture import render_svg
from reports.charts.style import build_series_scales, fit_scale, list_variant_families, select_valid_variants
from reports.model import KneeRow, KneeSection, Quantity, Report
from reports.text import render_text


def test_the_fastest_family_comes_first_and_what_never_ran_last(local_report: Report) -> None:
    assert local_report.local is not None
    assert list_variant_families(local_report.local) == ["cpu int8-static", "cpu as-is", "cuda as-is"]
    assert {one.state for one in select_valid_variants(local_report.local)} == {"best", "measured"}


def with_knees(report: Report, unit: str, *at: float | None) -> Report:
    rows = tuple(
        KneeRow(
            name=f"method {place}",
            method=f"the method {place}",
            at=Quantity(value=one, unit=unit, reason=None if one else "still flat"),
            latency=Quantity(value=one, unit="ms"),
        )
        for place, one in enumerate(at)
    )
    return msgspec.structs.replace(report, knees=KneeSection(rows=rows, note="They disagree."))


def test_a_knee_among_rates_is_marked_on_the_rate_curve(full_report: Report) -> None:
    marked = build_rate_chart(with_knees(full_report, "1/s", 100.0, None, 150.0))
    assert marked is not None
    svg = render_svg(marked)
    assert "knee: method 0" in svg
    assert "knee: method 2" in svg
    assert "knee: method 1" not in svg, "it found none"
    elsewhere = build_rate_chart(with_knees(full_report, "clients", 4.0))
    assert elsewhere is not None
    assert "knee" not in render_svg(elsewhere)


def test_a_knee_among_clients_is_marked_on_both_charts(clients_report: Report) -> None:
    for drawing in build_concurrency_charts(with_knees(clients_report, "clients", 4.0)):
        assert "knee: method 0" in render_svg(drawing)


def test_the_text_reports_each_method_and_whether_they_agree(full_report: Report) -> None:
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
def test_wide_values_are_drawn_on_a_log_axis_with_round_ticks(
    values: list[float], ratio: float, ticks: set[float]
) -> None:
    assert ticks <= set(fit_scale(values, ratio)["axis"].to_dict()["values"])


@pytest.mark.parametrize("values", [[10.0, 20.0], [0.0, 5000.0], [3.0]])
def test_near_values_and_zero_are_drawn_on_a_linear_axis(values: list[float]) -> None:
    assert "axis" not in fit_scale(values, 20)


def test_long_names_get_a_legend_of_one_column() -> None:
    assert build_series_scales(["x" * 200, "y" * 200])["color"].to_dict()["legend"]["columns"] == 1
    assert build_series_scales(["a", "b", "c"])["color"].to_dict()["legend"]["columns"] == 3
