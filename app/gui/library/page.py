"""Library."""

from __future__ import annotations

from app.gui.navigation import PageKey
from app.gui.page import Page
from app.gui.words import tr


class LibraryPage(Page):
    key: PageKey = "library"

    def title(self) -> str:
        return tr("Library")
