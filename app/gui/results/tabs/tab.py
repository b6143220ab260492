"""What a tab of the result page is: it is filled when it is first looked at, and again when what is shown changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtWidgets import QWidget

from app.gui.results.state import Shown
from app.gui.widgets import label, vbox

if TYPE_CHECKING:
    from app.gui.results.quantity_model import QuantityModel
    from app.gui.tables import FrameTable

_MOST_LINES = 14


class Tab(QWidget):
    title: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(self.title)
        self.column = vbox(within=self, margins=(0, 8, 0, 0), spacing=8)

    def is_for(self, shown: Shown) -> bool:
        """Whether the run has anything of it."""
        raise NotImplementedError

    def show_run(self, shown: Shown) -> None:
        raise NotImplementedError

    def add_heading(self, text: str) -> None:
        self.column.addWidget(label(text, "heading", wrap=True))


def table_of(model: QuantityModel, name: str) -> FrameTable:
    from app.gui.tables import FrameTable

    return FrameTable(model, name)


def fit_height(table: FrameTable, most: int = _MOST_LINES) -> None:
    """As high as its rows, up to so many: the page scrolls, not every table on it."""
    rows = min(max(1, table.frame_model.rowCount()), most)
    line = table.verticalHeader().defaultSectionSize()
    bar = table.horizontalScrollBar().sizeHint().height()
    table.setFixedHeight(rows * line + table.horizontalHeader().sizeHint().height() + bar + 4)


def wide_enough(table: FrameTable) -> None:
    table.resizeColumnsToContents()
    table.setAccessibleDescription(f"{table.frame_model.rowCount()} rows")
