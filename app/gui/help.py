"""Help dialog (F1): keyboard shortcuts and where to find the documentation."""

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
        self.setWindowTitle("Keys and help")
        self.setAccessibleName("Keys and help")
        rows = [
            (action.text().replace("&", ""), ", ".join(key.toString() for key in action.shortcuts()))
            for action in actions
            if action.shortcuts()
        ]
        frame = pd.DataFrame([*rows, *_CHART_SHORTCUTS], columns=["What", "Keys"])
        self.table = FrameTable(FrameModel(), "Keys")
        self.table.set_frame(frame)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.rejected.connect(self.close)
        vbox(
            label(f"Sizewise {__version__}", "heading"),
            label(
                (
                    "Start on Home with the quick check. Every page copies the command that does the same in a "
                    "terminal (Ctrl+Shift+C). The documentation is docs/index.md of the project."
                ),
                wrap=True,
            ),
            (self.table, 1),
            close,
            within=self,
            margins=None,
        )
        self.resize(560, 620)


_CHART_SHORTCUTS: list[tuple[str, str]] = [
    ("On a chart: move the crosshair", "←, →"),
    ("On a chart: zoom in, zoom out", "+, -"),
    ("On a chart: show all of it", "Home"),
    ("On a chart: the same as a table", "T"),
    ("On a chart: mark this moment", "M"),
]
