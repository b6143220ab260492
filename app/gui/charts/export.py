"""Export of a chart as PNG, SVG or CSV, or to the clipboard."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from PySide6.QtCore import QMarginsF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QPaintDevice, QPainter
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import QFileDialog, QWidget

from app.gui.charts.legend import Legend
from app.gui.charts.plot import PlotView
from app.gui.theme import ThemeController

if TYPE_CHECKING:
    import pandas as pd

Suffix = Literal["png", "svg", "csv"]

_SCALE = 2.0
_MARGIN_PX = 12.0


class Drawable(Protocol):
    title: str
    theme_controller: ThemeController
    legend: Legend
    plot: PlotView

    def frame(self) -> pd.DataFrame: ...
    def apply_changes(self) -> None: ...
    def font(self) -> QFont: ...


def render_image(chart: Drawable) -> QImage:
    """Render a chart as an image with twice the screen resolution."""
    size = _size(chart)
    image = QImage((size.toSizeF() * _SCALE).toSize(), QImage.Format.Format_ARGB32)
    image.setDevicePixelRatio(_SCALE)
    _draw(chart, image)
    return image


def save_png(chart: Drawable, path: Path) -> None:
    if not render_image(chart).save(str(path), "PNG"):  # type: ignore[call-overload]  # the stub wants bytes for the format
        raise OSError(f"{path} cannot be written")


def save_svg(chart: Drawable, path: Path) -> None:
    with path.open("wb"):
        pass  # open the file first, because Qt only prints errors, whereas `open` raises them
    size = _size(chart)
    generator = QSvgGenerator()
    generator.setFileName(str(path))
    generator.setSize(size)
    generator.setViewBox(QRectF(0, 0, size.width(), size.height()))
    generator.setTitle(chart.title)
    _draw(chart, generator)


def save_csv(chart: Drawable, path: Path) -> None:
    chart.frame().to_csv(path, index=False)


SAVERS: dict[Suffix, Callable[[Drawable, Path], None]] = {"png": save_png, "svg": save_svg, "csv": save_csv}


def choose_path(parent: QWidget, title: str, suffix: Suffix, file_filter: str) -> Path | None:
    name = re.sub(r"[^\w-]+", "-", title).strip("-") or "chart"
    file_name, _ = QFileDialog.getSaveFileName(parent, f"Save {title}", f"{name}.{suffix}", file_filter)
    if not file_name:
        return None
    path = Path(file_name)
    return path if path.suffix else path.with_suffix(f".{suffix}")


def _size(chart: Drawable) -> QSize:
    plot_size = chart.plot.size()
    header_height = _title_height(chart) + chart.legend.heightForWidth(plot_size.width())
    return QSize(round(plot_size.width() + 2 * _MARGIN_PX), round(plot_size.height() + header_height + 2 * _MARGIN_PX))


def _title_height(chart: Drawable) -> float:
    return QFontMetricsF(chart.font()).height() + 6.0


def _draw(chart: Drawable, device: QPaintDevice) -> None:
    with _standalone_rendering(chart):
        size, width = _size(chart), float(chart.plot.width())
        painter = QPainter(device)
        painter.fillRect(QRectF(0, 0, size.width(), size.height()), QColor(chart.theme_controller.theme.paper))
        bold_font = QFont(chart.font())
        bold_font.setWeight(QFont.Weight.DemiBold)
        painter.setFont(bold_font)
        painter.setPen(QColor(chart.theme_controller.theme.ink))
        content_rect = QRectF(0, 0, size.width(), size.height()).marginsRemoved(QMarginsF(*[_MARGIN_PX] * 4))
        painter.drawText(content_rect, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop), chart.title)
        top = content_rect.top() + _title_height(chart)
        painter.save()
        painter.translate(content_rect.left(), top)
        chart.legend.paint_on(painter, width)
        painter.restore()
        top += chart.legend.heightForWidth(chart.plot.width())
        target = QRectF(content_rect.left(), top, width, chart.plot.height())
        chart.plot.scene().render(painter, target, QRectF(chart.plot.viewRect()))
        painter.end()


@contextmanager
def _standalone_rendering(chart: Drawable) -> Iterator[None]:
    """Prepare the chart for rendering as a standalone figure: show the labels of the x axis, which
    linked charts may hide, and draw antialiased lines. Restore both settings on exit."""
    chart.apply_changes()
    had_labels = chart.plot.x_axis.has_labels
    chart.plot.set_x_labels_visible(True)
    chart.plot.set_antialiasing(True)
    try:
        chart.plot.scene().prepareForPaint()
        yield
    finally:
        chart.plot.set_antialiasing(False)
        chart.plot.set_x_labels_visible(had_labels)
