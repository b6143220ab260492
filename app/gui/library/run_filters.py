"""Filters of the run list: search text, validity and tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QWidget

from app.gui.formatting import format_count, format_size
from app.gui.library.run_listing import ListedRuns
from app.gui.widgets import fill_choices, hbox, search_field

_VERDICTS = ("VALID", "WARN", "INVALID")
_MAX_TAG_CHARACTERS = 30


class FilterValues(NamedTuple):
    search_text: str
    validity: str | None
    tag: str | None


class RunFilters(QWidget):
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.search_field = search_field("Search runs: name, target, outcome, tag, note", "Search runs")
        self.validity, self.tag = QComboBox(), QComboBox()
        self.validity.setAccessibleName("Filter by validity")
        self.validity.addItem("Any validity", None)
        for verdict in _VERDICTS:
            self.validity.addItem(verdict, verdict)
        self.tag.setAccessibleName("Filter by tag")
        self.tag.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.show_tags(())
        hbox((self.search_field, 1), self.validity, self.tag, within=self)
        self.search_field.textChanged.connect(self.changed)
        for box in (self.validity, self.tag):
            box.currentIndexChanged.connect(self.changed)

    def values(self) -> FilterValues:
        return FilterValues(self.search_field.text().strip(), self.validity.currentData(), self.tag.currentData())

    def show_tags(self, tags: Sequence[str]) -> None:
        """Set the tags that can be selected. The selected tag stays selected if any run still has
        that tag."""
        current_tags = [self.tag.itemData(index) for index in range(1, self.tag.count())]
        if self.tag.count() and current_tags == list(tags):
            return
        fill_choices(self.tag, [("Any tag", None), *((tag[:_MAX_TAG_CHARACTERS], tag) for tag in tags)])
        self.tag.setEnabled(bool(tags))

    def clear(self) -> None:
        self.search_field.clear()
        self.validity.setCurrentIndex(0)
        self.tag.setCurrentIndex(0)

    @staticmethod
    def status_text(listed_runs: ListedRuns, visible_count: int) -> str:
        """Format the number of visible runs and the disk space that all runs use, or the number of
        runs that are still to be read."""
        rows = len(listed_runs.rows)
        if listed_runs.unread:
            return f"Loading runs: {format_count(listed_runs.unread)} of {format_count(rows)} remaining…"
        if not rows:
            return ""
        template = "{visible} of {rows} runs" if visible_count != rows else "1 run" if rows == 1 else "{rows} runs"
        text = template.format(visible=format_count(visible_count), rows=format_count(rows))
        return f"{text}, {format_size(listed_runs.bytes_on_disk)} on disk"
