"""Compare."""

from __future__ import annotations

from app.gui.navigation import PageKey
from app.gui.page import Page
from app.gui.words import tr


class ComparePage(Page):
    key: PageKey = "compare"

    def title(self) -> str:
        return tr("Compare")
