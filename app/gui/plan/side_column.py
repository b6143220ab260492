"""Column that scrolls vertically, independently of the page, and is never narrower than its
content."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtWidgets import QScrollArea, QWidget


class SideColumn(QScrollArea):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # always visible, because a scroll bar that comes and goes would rewrap the content
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setFrameShape(QScrollArea.Shape.NoFrame)

    def set_content(self, widget: QWidget) -> None:
        self.setWidget(widget)
        self._widen()

    def event(self, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.FontChange, QEvent.Type.Show):
            self._widen()
        return super().event(event)

    def minimumSizeHint(self) -> QSize:
        return QSize(self._needed_width(), super().minimumSizeHint().height())

    def _needed_width(self) -> int:
        inner = self.widget()
        width = 0 if inner is None else inner.minimumSizeHint().width()
        return width + self.verticalScrollBar().sizeHint().width()

    def _widen(self) -> None:
        if self.minimumWidth() != self._needed_width():
            self.setMinimumWidth(self._needed_width())
