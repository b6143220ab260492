"""What the window expects of each of its seven pages."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QLineEdit, QWidget

from app.gui.navigation import Navigation, PageKey
from app.gui.theme import Look

TITLES: dict[PageKey, str] = {
    "home": "Home",
    "run": "Run",
    "live": "Live",
    "results": "Results",
    "compare": "Compare",
    "plan": "Plan",
    "library": "Library",
}
"""In the order of the rail."""


class Page(QWidget):
    """What a page has none of stays as it is here."""

    key: PageKey

    def __init__(self, navigation: Navigation, look: Look) -> None:
        super().__init__()
        self.navigation, self.look = navigation, look
        self.setObjectName(f"{self.key}-page")
        self.setAccessibleName(TITLES[self.key])

    def enter(self) -> None:
        """The page is shown now: refresh what may have changed, and focus the first thing to do."""

    def leave(self) -> None:
        """Another page is shown now: nothing needs painting."""

    def start(self) -> bool:
        """F5. Whether there was something to start here."""
        return False

    def command_line(self) -> str | None:
        """The line that does the same in a terminal, or None where there is nothing to do yet."""
        return None

    def export(self) -> bool:
        """Ctrl+E. Whether there was something to export here."""
        return False

    def filter_field(self) -> QLineEdit | None:
        """What Ctrl+F focuses."""
        return None

    def undo_stack(self) -> QUndoStack | None:
        return None

    def runs(self) -> tuple[Path, ...]:
        """Shown or ticked here: what Ctrl+D takes to a comparison."""
        return ()
