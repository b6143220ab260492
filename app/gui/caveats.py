"""Caveats of a result. The collapsed list shows their number and names; the expanded list shows
their full texts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from app.gui.forms.collapsible import CollapsibleSection
from app.gui.theme import NO_MARGINS
from app.gui.widgets import Badge, clear, label
from reports.formatting import format_count_noun

_MAX_NAMES = 2


class Caveat(msgspec.Struct, frozen=True):
    """Caveat of a result. `name` is shown while the list is collapsed, `text` while the list is
    expanded. `verdict` is VALID, WARN or INVALID, or an empty string if the caveat is not a
    check."""

    name: str
    text: str
    verdict: str = ""


class Caveats(CollapsibleSection):
    """Collapsible list of caveats, hidden while empty."""

    def __init__(self) -> None:
        self.displayed_caveats: tuple[Caveat, ...] = ()
        self._grid_box = QWidget()
        self._grid = QGridLayout(self._grid_box)
        self._grid.setContentsMargins(*NO_MARGINS)
        self._grid.setColumnStretch(1, 1)
        super().__init__("", lambda: self._grid_box)

    def show_caveats(self, caveats: Sequence[Caveat]) -> None:
        """Replace the displayed caveats. The list is expanded if any caveat is INVALID, because the
        result then cannot be used."""
        self.displayed_caveats = tuple(caveats)
        clear(self._grid)
        for row, caveat in enumerate(caveats):
            if caveat.verdict:
                self._grid.addWidget(Badge(caveat.verdict, caveat.text), row, 0, Qt.AlignmentFlag.AlignTop)
            text_label = label(caveat.text, wrap=True)
            text_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._grid.addWidget(text_label, row, 1)
        names = tuple(dict.fromkeys(caveat.name for caveat in caveats))
        self.set_heading(format_count_noun(len(caveats), "caveat"), _format_names(names))
        self.setVisible(bool(caveats))
        if any(caveat.verdict == "INVALID" for caveat in caveats):
            self.set_open()


def _format_names(names: Sequence[str]) -> str:
    """Format the names in one line: the list shows them all when it is expanded."""
    hidden_count = len(names) - _MAX_NAMES
    hidden_names = [f"and {hidden_count} more"] if hidden_count > 0 else []
    return ", ".join([*names[:_MAX_NAMES], *hidden_names])
