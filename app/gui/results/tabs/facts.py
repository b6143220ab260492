"""The machine that it was measured on, and the profile that it was measured by."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QFontDatabase, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit

from app.gui.results import frames
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.state import Shown
from app.gui.results.tabs.tab import Tab, fit_height, table_of, wide_enough
from app.gui.widgets import button, label

_MOST_LETTERS = 200_000


class EnvironmentTab(Tab):
    def __init__(self) -> None:
        super().__init__()
        self.model = QuantityModel({"label": "What", "value": "Value"})
        self.table = table_of(self.model, "Environment")
        self.column.addWidget(self.table)
        self.column.addStretch(1)

    def title(self) -> str:
        return "Environment"

    def is_for(self, shown: Shown) -> bool:
        return bool(shown.own.environment)

    def show_run(self, shown: Shown) -> None:
        self.model.set_rows(frames.fact_frame(shown.own.environment))
        wide_enough(self.table)
        fit_height(self.table, 40)


class ProfileTab(Tab):
    repeat_wished = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setAccessibleName("Profile")
        self.text.setTabChangesFocus(True)
        self.text.setMinimumHeight(320)
        self.about = label("", "muted", wrap=True)
        row = QHBoxLayout()
        row.addWidget(button("Co&py", self._copy))
        row.addWidget(button("&Run it again", self.repeat_wished.emit, primary=True))
        row.addWidget(self.about, 1)
        self.column.addLayout(row)
        self.column.addWidget(self.text, 1)

    def title(self) -> str:
        return "Profile"

    def is_for(self, shown: Shown) -> bool:
        return bool(shown.opened.spec_text)

    def show_run(self, shown: Shown) -> None:
        self.text.setPlainText(shown.opened.spec_text[:_MOST_LETTERS])
        parts = ["As it was run, every default written out; secrets are references."]
        if shown.own.reproduce.seed is not None:
            parts.append(f"Seed {shown.own.reproduce.seed}.")
        self.about.setText(" ".join(parts))

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text.toPlainText())
