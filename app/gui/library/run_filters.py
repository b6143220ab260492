"""Filters of the run list: search text, validity and tag; and whether the runs are grouped by
profile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QWidget

from app.gui.formatting import format_count, format_size, shorten
from app.gui.library.run_listing import ListedRuns
from app.gui.settings import open_settings
from app.gui.widgets import fill_choices, hbox, search_field

_VALIDITIES = ("VALID", "WARN", "INVALID")
_MAX_TAG_CHARACTERS = 30
_GROUPED_KEY = "library/grouped"


class FilterValues(NamedTuple):
    search_text: str
    validity: str | None
    tag: str | None


class RunFilters(QWidget):
    changed = Signal()
    grouped = Signal(bool)
    """Signal that is emitted with whether the runs are grouped by profile."""

    def __init__(self) -> None:
        super().__init__()
        self.search_field = search_field("Search runs: name, target, outcome, tag, note", "Search runs")
        self.validity_box, self.tag_box = QComboBox(), QComboBox()
        self.validity_box.setAccessibleName("Filter by validity")
        self.validity_box.addItem("Any validity", None)
        for validity in _VALIDITIES:
            self.validity_box.addItem(validity, validity)
        self.tag_box.setAccessibleName("Filter by tag")
        self.tag_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.show_tags(())
        self.group_box = QCheckBox("Group b&y profile")
        self.group_box.setChecked(open_settings().value(_GROUPED_KEY, defaultValue=False, type=bool) is True)
        hbox((self.search_field, 1), self.validity_box, self.tag_box, self.group_box, within=self)
        self.group_box.toggled.connect(self._on_grouped)
        self.search_field.textChanged.connect(self.changed)
        for box in (self.validity_box, self.tag_box):
            box.currentIndexChanged.connect(self.changed)

    def _on_grouped(self, is_grouped: bool) -> None:
        open_settings().setValue(_GROUPED_KEY, is_grouped)
        self.grouped.emit(is_grouped)

    def values(self) -> FilterValues:
        return FilterValues(
            self.search_field.text().strip(), self.validity_box.currentData(), self.tag_box.currentData()
        )

    def show_tags(self, tags: Sequence[str]) -> None:
        """Set the tags that can be selected. The selected tag stays selected if any run still has
        that tag."""
        current_tags = [self.tag_box.itemData(index) for index in range(1, self.tag_box.count())]
        if self.tag_box.count() and current_tags == list(tags):
            return
        fill_choices(self.tag_box, [("Any tag", None), *((shorten(tag, _MAX_TAG_CHARACTERS), tag) for tag in tags)])
        self.tag_box.setEnabled(bool(tags))

    def clear(self) -> None:
        self.search_field.clear()
        self.validity_box.setCurrentIndex(0)
        self.tag_box.setCurrentIndex(0)

    @staticmethod
    def status_text(listed_runs: ListedRuns, visible_count: int) -> str:
        """Format the number of visible runs and the disk space that all runs use, or the number of
        runs that are still to be read."""
        run_count = len(listed_runs.rows)
        if listed_runs.unread_count:
            return f"Loading runs: {format_count(listed_runs.unread_count)} of {format_count(run_count)} remaining…"
        if not run_count:
            return ""
        template = (
            "{visible} of {run_count} runs"
            if visible_count != run_count
            else "1 run"
            if run_count == 1
            else "{run_count} runs"
        )
        text = template.format(visible=format_count(visible_count), run_count=format_count(run_count))
        return f"{text}, {format_size(listed_runs.bytes_on_disk)} on disk"
