"""Export of a chart as PNG, SVG or CSV, or to the clipboard."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QPaintDevice, QPainter
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import QFileDialog, QWidget

from app.gui.charts.legend import Legend
from app.gui.charts.plot import PlotView
from app.gui.formatting import NOT_AVAILABLE, format_clock_time
from app.gui.theme import LIGHT, Theme, ThemeController, heading_font

if TYPE_CHECKING:
    import pandas as pd

Suffix = Literal["png", "svg", "csv"]

_SIZE = QSize(960, 540)
"""Size of an exported chart, in pixels: 16:9, as a slide. A PNG has twice this resolution."""
_SCALE = 2.0
_MARGIN_PX = 24.0
_GAP_PX = 6.0
_MIN_PLOT_PX = 120.0
_PROPERTY = "chart_caption"


class ExportCaption(msgspec.Struct, frozen=True):
    """Texts of an exported chart besides its title. `date` is a wall-clock time; `slo` contains the
    objectives."""

    run: str
    date: str
    slo: tuple[str, ...] = ()


def set_export_caption(widget: QWidget, caption: ExportCaption | None) -> None:
    """Set the caption of all charts within a widget."""
    widget.setProperty(_PROPERTY, caption)


def find_export_caption(widget: QWidget | None) -> ExportCaption | None:
    """Return the caption of the nearest widget around a chart that has one."""
    while widget is not None:
        caption = widget.property(_PROPERTY)
        if isinstance(caption, ExportCaption):
            return caption
        widget = widget.parentWidget()
    return None


class Drawable(Protocol):
    title: str
    theme_controller: ThemeController
    legend: Legend
    plot: PlotView

    def frame(self) -> pd.DataFrame: ...
    def apply_changes(self) -> None: ...
    def apply_theme(self, theme: Theme) -> None: ...
    def font(self) -> QFont: ...
    def parentWidget(self) -> QWidget | None: ...


def render_image(chart: Drawable) -> QImage:
    """Render a chart as an image of 1920×1080 pixels."""
    image = QImage((_SIZE.toSizeF() * _SCALE).toSize(), QImage.Format.Format_ARGB32)
    image.setDevicePixelRatio(_SCALE)
    _draw(chart, image)
    return image


def save_png(chart: Drawable, path: Path) -> None:
    if not render_image(chart).save(str(path), "PNG"):  # type: ignore[call-overload]  # the stub wants bytes for the format
        raise OSError(f"{path} cannot be written")


def save_svg(chart: Drawable, path: Path) -> None:
    with path.open("wb"):
        pass  # open the file first, because Qt only prints errors, whereas `open` raises them
    generator = QSvgGenerator()
    generator.setFileName(str(path))
    generator.setSize((_SIZE.toSizeF() * _SCALE).toSize())
    generator.setViewBox(QRectF(0, 0, _SIZE.width(), _SIZE.height()))
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


def _draw(chart: Drawable, device: QPaintDevice) -> None:
    width = _SIZE.width() - 2 * _MARGIN_PX
    with _standalone_rendering(chart):
        painter = QPainter(device)
        painter.fillRect(QRectF(0, 0, _SIZE.width(), _SIZE.height()), QColor(LIGHT.paper))
        top = _MARGIN_PX + _draw_header(painter, chart, QRectF(_MARGIN_PX, _MARGIN_PX, width, 0))
        painter.save()
        painter.translate(_MARGIN_PX, top)
        chart.legend.paint_on(painter, width)
        painter.restore()
        top += chart.legend.full_height(round(width)) + _GAP_PX
        target = QRectF(_MARGIN_PX, top, width, max(_SIZE.height() - _MARGIN_PX - top, _MIN_PLOT_PX))
        with chart.plot.resized_for_rendering(target.size()) as source:
            chart.plot.scene().prepareForPaint()
            chart.plot.scene().render(painter, target, source)
        painter.end()


def _draw_header(painter: QPainter, chart: Drawable, rect: QRectF) -> float:
    """Draw the title of the chart, the name and the date of the run, and the SLO. Return the height
    of these lines."""
    title_font, text_font = heading_font(chart.font()), QFont(chart.font())
    lines = [(title_font, LIGHT.ink, chart.title)]
    caption = find_export_caption(chart.parentWidget())
    if caption is not None:
        lines.append((text_font, LIGHT.ink, f"{caption.run} · {format_clock_time(caption.date)}"))
        lines.append((text_font, LIGHT.muted, f"SLO: {', '.join(caption.slo) or NOT_AVAILABLE}"))
    top = rect.top()
    for font, color, text in lines:
        metrics = QFontMetricsF(font)
        painter.setFont(font)
        painter.setPen(QColor(color))
        line = QRectF(rect.left(), top, rect.width(), metrics.height())
        elided_text = metrics.elidedText(text, Qt.TextElideMode.ElideRight, rect.width())
        painter.drawText(line, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop), elided_text)
        top += metrics.height() + 2.0
    return top + _GAP_PX - rect.top()


@contextmanager
def _standalone_rendering(chart: Drawable) -> Iterator[None]:
    """Prepare the chart for rendering as a standalone figure: the light theme, the labels of the x
    axis, which linked charts may hide, and antialiased lines. Restore the chart on exit."""
    controller, theme, had_labels = chart.theme_controller, chart.theme_controller.theme, chart.plot.x_axis.has_labels
    controller.theme = LIGHT
    chart.apply_theme(LIGHT)
    chart.apply_changes()
    chart.plot.set_x_labels_visible(True)
    chart.plot.set_antialiasing(True)
    try:
        yield
    finally:
        chart.plot.set_antialiasing(False)
        chart.plot.set_x_labels_visible(had_labels)
        controller.theme = theme
        chart.apply_theme(theme)
        chart.apply_changes()
