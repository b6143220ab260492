"""Interface that each of the seven pages of the window implements."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QLineEdit, QWidget

from app.gui.navigation import Navigation, PageKey
from app.gui.theme import ThemeController

TITLES: dict[PageKey, str] = {
    "home": "Home",
    "run": "Run",
    "live": "Live",
    "results": "Results",
    "compare": "Compare",
    "plan": "Plan",
    "library": "Library",
}
"""Title of each page, in the order of the navigation rail."""


class Page(QWidget):
    """Base class of the pages. A subclass overrides the methods for the features that it
    supports."""

    key: PageKey

    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__()
        self.navigation, self.theme_controller = navigation, theme_controller
        self.setObjectName(f"{self.key}-page")
        self.setAccessibleName(TITLES[self.key])

    def enter(self) -> None:
        """Refresh data that may be outdated, and focus the first control. This method is called
        when the page becomes visible."""

    def leave(self) -> None:
        """Stop painting. This method is called when the page becomes hidden."""

    def start(self) -> bool:
        """Start the run or plan that the page shows (F5). Return whether there was anything to
        start."""
        return False

    def command_line(self) -> str | None:
        """Return the command line that is equivalent to the page in its current state, or None if
        there is none."""
        return None

    def export(self) -> bool:
        """Open the export dialog of the page (Ctrl+E). Return whether there was anything to
        export."""
        return False

    def filter_field(self) -> QLineEdit | None:
        """Return the filter field, which Ctrl+F focuses, or None if the page has no filter."""
        return None

    def undo_stack(self) -> QUndoStack | None:
        return None

    def run_directories(self) -> tuple[Path, ...]:
        """Return the directories of the runs that are shown or checked on the page. Ctrl+D compares
        these runs."""
        return ()
