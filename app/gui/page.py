"""Interface that the window expects of each of its seven pages."""

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
"""Page titles, in the order of the navigation rail."""


class Page(QWidget):
    """Base class of the pages. A page overrides the methods for features that it has."""

    key: PageKey

    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__()
        self.navigation, self.theme_controller = navigation, theme_controller
        self.setObjectName(f"{self.key}-page")
        self.setAccessibleName(TITLES[self.key])

    def enter(self) -> None:
        """Refresh what may have changed, and focus the first control. Called when the page becomes visible."""

    def leave(self) -> None:
        """Stop painting. Called when another page becomes visible."""

    def start(self) -> bool:
        """Start what the page shows (F5). Return whether there was something to start."""
        return False

    def command_line(self) -> str | None:
        """Return the equivalent command line, or None if there is none yet."""
        return None

    def export(self) -> bool:
        """Open the export of this page (Ctrl+E). Return whether there was something to export."""
        return False

    def filter_field(self) -> QLineEdit | None:
        """Return the field that Ctrl+F focuses, or None."""
        return None

    def undo_stack(self) -> QUndoStack | None:
        return None

    def runs(self) -> tuple[Path, ...]:
        """Return the directories of the runs shown or ticked here, which Ctrl+D compares."""
        return ()
