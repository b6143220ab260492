from __future__ import annotations

from PySide6.QtCore import QRectF
from PySide6.QtGui import QColor, QImage, QPainter

from app.gui.sparkline import build_points, draw_sparkline

RECT = QRectF(0, 0, 100, 20)


def test_sparkline_fills_its_rectangle_with_the_maximum_at_the_top() -> None:
    points = build_points((1.0, 3.0, 2.0), RECT)
    assert [(point.x(), point.y()) for point in points] == [(0, 20), (50, 0), (100, 10)]


def test_sparkline_of_equal_values_or_one_value_is_vertically_centered() -> None:
    assert [(point.x(), point.y()) for point in build_points((5.0, 5.0), RECT)] == [(0, 10), (100, 10)]
    assert [(point.x(), point.y()) for point in build_points((5.0,), RECT)] == [(50, 10)]


def test_sparkline_is_drawn_in_its_color_and_empty_without_values() -> None:
    def paint(values: tuple[float, ...]) -> set[str]:
        image = QImage(100, 20, QImage.Format.Format_RGB32)
        image.fill(QColor("white"))
        with QPainter(image) as painter:
            draw_sparkline(painter, RECT, values, QColor("red"))
        return {image.pixelColor(x, y).name() for x in range(100) for y in range(20)}

    assert "#ff0000" in paint((1.0, 2.0))
    assert paint(()) == {"#ffffff"}
