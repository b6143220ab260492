"""Line icons, drawn on a 24 × 24 grid in any color."""

from __future__ import annotations

from PySide6.QtCore import QByteArray, QSize, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

_SVG_PATHS = {
    "home": "M4 11 12 4l8 7v9h-5v-6H9v6H4z",
    "run": "M4 6h10M4 12h7M4 18h5M15 11l6 4-6 4z",
    "live": "M3 13h4l3-8 4 14 3-6h4",
    "results": "M5 20V10M12 20V4M19 20v-7M3 20h18",
    "compare": "M8 4v16M16 4v16M4 9l4-4 4 4M12 15l4 4 4-4",
    "plan": "M4 20h16M4 20V4M7 16l4-5 3 2 5-7",
    "library": "M5 4h4v16H5zM11 4h4v16h-4zM17 5l3 14",
    "start": "M7 5l12 7-12 7z",
    "stop": "M6 6h12v12H6z",
    "copy": "M9 9h11v11H9zM5 15V4h11",
    "search": "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5 21 21",
}
_GRID_SIZE = 24


def icon(name: str, color: str, size_px: int = _GRID_SIZE) -> QIcon:
    """Return the icon `name` at `size_px` logical pixels, with a second pixmap for a device pixel
    ratio of 2."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_GRID_SIZE} {_GRID_SIZE}" fill="none" stroke="{color}" '
        f'stroke-width="1.8" stroke-linejoin="round" stroke-linecap="round"><path d="{_SVG_PATHS[name]}"/></svg>'
    )
    renderer, result = QSvgRenderer(QByteArray(svg.encode())), QIcon()
    for ratio in (1, 2):
        pixmap = QPixmap(QSize(size_px, size_px) * ratio)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        renderer.render(painter)
        painter.end()
        pixmap.setDevicePixelRatio(ratio)
        result.addPixmap(pixmap)
    return result
