"""Scroll area for docks. The contents scroll vertically and are never cut off, even if the dock is
small."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QFrame, QScrollArea, QWidget


class _VerticalScrollArea(QScrollArea):
    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._content = content
        self.setWidget(content)
        content.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keep the dock at least as wide as the minimum width of its contents."""
        if watched is self._content and event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
            scroll_bar_width_px = self.verticalScrollBar().sizeHint().width()
            self.setMinimumWidth(self._content.minimumSizeHint().width() + scroll_bar_width_px)
        return super().eventFilter(watched, event)


def vertical_scroll_area(content: QWidget) -> QScrollArea:
    return _VerticalScrollArea(content)
