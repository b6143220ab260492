"""One reading as a title, a text and a bar."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from app.gui.widgets import label


class Gauge(QWidget):
    def __init__(self, title: str) -> None:
        super().__init__()
        self._text = label("")
        self._bar = QProgressBar()
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._bar.setMaximumHeight(6)
        self._bar.setAccessibleName(title)
        line = QHBoxLayout()
        line.addWidget(label(title, "muted"), 1)
        line.addWidget(self._text)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(line)
        layout.addWidget(self._bar)

    def say(self, text: str, share: float | None) -> None:
        """`share` is of 1; without it there is no bar."""
        self._text.setText(text)
        self._bar.setVisible(share is not None)
        self._bar.setValue(round(1000 * min(1.0, max(0.0, share or 0.0))))
        self._bar.setAccessibleDescription(text)

    def text(self) -> str:
        return self._text.text()
