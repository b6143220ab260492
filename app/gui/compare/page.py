"""Compare: a baseline and candidates; its contents are made when it is first entered."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QVBoxLayout

from app.gui.navigation import Navigation, PageKey
from app.gui.page import Page
from app.gui.theme import Look

if TYPE_CHECKING:
    from app.gui.compare.contents import Contents


class ComparePage(Page):
    key: PageKey = "compare"

    def __init__(self, navigation: Navigation, look: Look) -> None:
        super().__init__(navigation, look)
        self._contents: Contents | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)

    def title(self) -> str:
        return "Compare"

    @property
    def contents(self) -> Contents:
        """Made on first use."""
        if self._contents is None:
            from app.gui.compare.contents import Contents

            self._contents = Contents(self.navigation, self.look)
            layout = self.layout()
            assert layout is not None
            layout.addWidget(self._contents)
        return self._contents

    def enter(self) -> None:
        self.contents.enter()

    def compare(self, paths: Sequence[Path]) -> None:
        """These and no others: the first is the baseline. One alone joins those that are here."""
        if len(paths) == 1:
            self.add(paths[0])
        else:
            self.contents.presenter.compare(paths)

    def add(self, path: Path) -> bool:
        """Whether there was room for it."""
        return self.contents.presenter.add(path)

    def command_line(self) -> str | None:
        words = self.contents.words_of_trend()
        return self.contents.presenter.asked.command if words is None else shlex.join(["sizewise", *words])

    def export(self) -> bool:
        return self.contents.ask_export()

    def runs(self) -> tuple[Path, ...]:
        return tuple(one.path for one in self.contents.presenter.asked.entries)
