"""Results."""

from __future__ import annotations

from app.gui.navigation import PageKey
from app.gui.page import Page
from app.gui.words import tr


class ResultsPage(Page):
    key: PageKey = "results"

    def title(self) -> str:
        return tr("Results")
