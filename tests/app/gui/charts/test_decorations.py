from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QRectF
from PySide6.QtGui import QFontMetricsF, QImage
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.decorations import DecorationLayer
from app.gui.formatting import State
from app.gui.theme import ThemeController


def render_stages(
    qtbot: QtBot, look: ThemeController, bands: int, state: State = "plain", missed: int | None = None
) -> QImage:
    """Render a chart with one band per stage; the band of the stage `missed` has the state "bad"."""
    chart = Chart("Latency", Axis("Time", "s"), Axis("Latency", "ms"), look)
    qtbot.addWidget(chart)
    chart.resize(800, 300)
    chart.set_line("p50", "p50", np.array([0.0, 1_000.0]), np.array([1.0, 2.0]))
    width = 1_000 / max(bands, 1)
    chart.set_bands(
        [(number * width, (number + 1) * width, "", "bad" if number == missed else state) for number in range(bands)]
    )
    with qtbot.waitExposed(chart):
        chart.show()
    return chart.grab().toImage()


def test_edges_of_many_stages_do_not_hide_the_data(qtbot: QtBot, theme: ThemeController) -> None:
    plain_image = render_stages(qtbot, theme, 0)
    assert render_stages(qtbot, theme, 1_000) == plain_image
    assert render_stages(qtbot, theme, 5) != plain_image


@pytest.mark.parametrize("state", ["good", "warn", "bad"])
def test_verdicts_of_many_stages_are_thin_rules_instead_of_shaded_bands(
    qtbot: QtBot, theme: ThemeController, state: State
) -> None:
    plain_image, few, many = (
        render_stages(qtbot, theme, 0),
        render_stages(qtbot, theme, 20, state),
        render_stages(qtbot, theme, 21, state),
    )
    assert len(_changed_lines(many, plain_image)) in range(1, 10)
    assert len(_changed_lines(few, plain_image)) > 100


def test_one_stage_that_missed_the_slo_among_1000_is_visible(qtbot: QtBot, theme: ThemeController) -> None:
    assert render_stages(qtbot, theme, 1_000, "good", missed=500) != render_stages(qtbot, theme, 1_000, "good")


def test_span_is_shaded_over_the_full_height_until_the_chart_is_cleared(qtbot: QtBot, theme: ThemeController) -> None:
    chart = Chart("Latency", Axis("Time", "s"), Axis("Latency", "ms"), theme)
    qtbot.addWidget(chart)
    chart.resize(800, 300)
    chart.set_line("p50", "p50", np.array([0.0, 1_000.0]), np.array([1.0, 2.0]))
    with qtbot.waitExposed(chart):
        chart.show()
    before = chart.grab().toImage()
    chart.set_spans([(300.0, 600.0, "steady state")])
    shaded = chart.grab().toImage()
    assert len(_changed_lines(shaded, before)) > 100
    columns = [x for x in range(800) if shaded.copy(x, 0, 1, 300) != before.copy(x, 0, 1, 300)]
    assert 0.2 * 800 < len(columns) < 0.4 * 800
    chart.clear()
    assert chart.decorations.spans == ()


def test_label_of_a_narrow_region_and_label_of_the_limit_do_not_overlap_the_region(
    qtbot: QtBot, theme: ThemeController
) -> None:
    chart = Chart("Latency", Axis("Rate", "req/s"), Axis("Latency", "ms"), theme)
    qtbot.addWidget(chart)
    chart.set_line("p95", "p95", np.array([10.0, 100.0]), np.array([100.0, 200.0]))
    chart.set_limit(150.0, "SLO p95 latency < 150 ms")
    chart.set_region(95.0, 96.0, None, None, "95 % CI")
    chart.apply_changes()
    area, layer, metrics = QRectF(0, 0, 600, 200), chart.labels, QFontMetricsF(chart.labels.font)
    region, region_label, limit_label = _place_labels(layer, area)
    assert region_label.right() < region.left(), "beside the region, which is too narrow"
    assert region_label.width() > metrics.horizontalAdvance("95 % CI")
    assert limit_label.left() == area.left(), "at the right edge the label would cover the region"
    chart.set_region(10.0, 60.0, None, None, "95 % CI")
    region, region_label, limit_label = _place_labels(layer, area)
    assert region.contains(region_label)
    assert limit_label.right() == area.right()


def _place_labels(layer: DecorationLayer, area: QRectF) -> tuple[QRectF, QRectF, QRectF]:
    """Return the rectangles of the region, of its label and of the label of the limit."""
    metrics, region = QFontMetricsF(layer.font), layer.decorations.region
    region_label, limit_label = layer.place_region_label(area, metrics), layer.place_limit_label(area, metrics)
    assert region is not None
    assert region_label is not None
    assert limit_label is not None
    return layer.bounds_to_rect(area, region), region_label, limit_label[1]


def _changed_lines(image: QImage, other: QImage) -> list[int]:
    """Return the pixel rows in which two images differ."""
    return [
        line
        for line in range(image.height())
        if image.copy(0, line, image.width(), 1) != other.copy(0, line, image.width(), 1)
    ]
