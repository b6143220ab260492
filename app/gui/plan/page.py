"""Plan."""

from __future__ import annotations

from app.gui.navigation import PageKey
from app.gui.page import Page
from app.gui.words import tr


class PlanPage(Page):
    key: PageKey = "plan"

    def title(self) -> str:
        return tr("Plan")
