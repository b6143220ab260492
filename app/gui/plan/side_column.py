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
        self._update_min_width()

    def event(self, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.FontChange, QEvent.Type.Show):
            self._update_min_width()
        return super().event(event)

    def minimumSizeHint(self) -> QSize:
        """Return the width that was computed when the layout of the content last changed: Qt asks for
        it dozens of times per change of the page."""
        return QSize(self.minimumWidth(), super().minimumSizeHint().height())

    def _update_min_width(self) -> None:
        content = self.widget()
        width = 0 if content is None else content.minimumSizeHint().width()
        self.setMinimumWidth(width + self.verticalScrollBar().sizeHint().width())
