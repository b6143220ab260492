"""Run."""

from __future__ import annotations

from app.gui.navigation import PageKey
from app.gui.page import Page
from app.gui.words import tr


class RunPage(Page):
    key: PageKey = "run"

    def title(self) -> str:
        return tr("Run")
