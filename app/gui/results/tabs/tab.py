"""Base class of the tabs of the Results page. A tab is built and filled when it is first viewed, and
filled again when another run is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtWidgets import QSizePolicy, QWidget

from app.gui.results.state import DisplayedRun
from app.gui.theme import GAP, TAB_MARGINS
from app.gui.widgets import label, vbox

if TYPE_CHECKING:
    from app.gui.results.quantity_model import QuantityModel
    from app.gui.tables import FrameTable
    from app.gui.theme import ThemeController

_MAX_ROWS = 14


class Tab(QWidget):
    title: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(self.title)
        self.column = vbox(within=self, margins=TAB_MARGINS, spacing=GAP)

    def heightForWidth(self, width: int) -> int:
        """Return the height of the tab. A tab that is not shown has none, because a tab widget would
        otherwise be as tall as its tallest tab."""
        is_shown = self.sizePolicy().verticalPolicy() != QSizePolicy.Policy.Ignored
        return super().heightForWidth(width) if is_shown else -1

    def build(self, theme_controller: ThemeController) -> None:
        """Create the charts and tables of the tab, before it is first filled.

        A tab without charts creates its few widgets at once, and does not override this method.
        """

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        """Return whether the run has data for this tab, which need not be built."""
        raise NotImplementedError

    def show_run(self, displayed_run: DisplayedRun) -> None:
        raise NotImplementedError

    def add_heading(self, text: str) -> None:
        self.column.addWidget(label(text, "heading", wrap=True))


def create_table(model: QuantityModel, name: str) -> FrameTable:
    from app.gui.tables import FrameTable

    return FrameTable(model, name)


def fit_height(table: FrameTable, max_rows: int = _MAX_ROWS) -> None:
    """Set the height of a table to the height of its rows, up to `max_rows` rows, so that the page
    scrolls instead of each table."""
    rows = min(max(1, table.frame_model.rowCount()), max_rows)
    row_px = table.verticalHeader().defaultSectionSize()
    scroll_bar_px = table.horizontalScrollBar().sizeHint().height()
    table.setFixedHeight(rows * row_px + table.horizontalHeader().sizeHint().height() + scroll_bar_px + 4)


def fit_columns(table: FrameTable) -> None:
    table.resizeColumnsToContents()
    table.setAccessibleDescription(f"{table.frame_model.rowCount()} rows")
