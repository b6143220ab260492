"""Help dialog (F1): keyboard shortcuts and the location of the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QWidget

from app import __version__
from app.gui.widgets import label, vbox


class HelpDialog(QDialog):
    def __init__(self, parent: QWidget, actions: Sequence[QAction]) -> None:
        import pandas as pd

        from app.gui.tables import FrameModel, FrameTable

        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Keyboard shortcuts")
        self.setAccessibleName("Keyboard shortcuts")
        rows = [
            (action.text().replace("&", ""), ", ".join(key.toString() for key in action.shortcuts()))
            for action in actions
            if action.shortcuts()
        ]
        frame = pd.DataFrame([*rows, *_CHART_SHORTCUTS], columns=["Action", "Shortcut"])
        self.table = FrameTable(FrameModel(), "Keyboard shortcuts")
        self.table.set_frame(frame)
        button_box = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        button_box.rejected.connect(self.close)
        vbox(
            label(f"Sizewise {__version__}", "heading"),
            label(
                (
                    "Start with the quick check on Home. Press Ctrl+Shift+C to copy the equivalent terminal command of "
                    "a page. The documentation starts at docs/index.md."
                ),
                wrap=True,
            ),
            (self.table, 1),
            button_box,
            within=self,
            margins=None,
        )
        self.resize(560, 620)


_CHART_SHORTCUTS: list[tuple[str, str]] = [
    ("Chart: move the crosshair", "←, →"),
    ("Chart: zoom in, zoom out", "+, -"),
    ("Chart: show all data", "Home"),
    ("Chart: show as a table", "T"),
    ("Chart: add a marker", "M"),
]
