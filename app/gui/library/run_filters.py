"""What is asked of the list of runs: words, trust, a tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLineEdit, QWidget

from app.gui.formatting import count, size
from app.gui.library.listed import Listed

_TRUSTS = ("VALID", "WARN", "INVALID")
_LONGEST_TAG = 30


class Asked(NamedTuple):
    words: str
    trust: str | None
    tag: str | None


class RunFilters(QWidget):
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.words, self.trust, self.tag = QLineEdit(), QComboBox(), QComboBox()
        self.words.setPlaceholderText("Search runs: name, target, outcome, tag, note")
        self.words.setAccessibleName("Search runs")
        self.words.setClearButtonEnabled(True)
        self.trust.setAccessibleName("Only runs of this trust")
        self.trust.addItem("Any trust", None)
        for word in _TRUSTS:
            self.trust.addItem(word, word)
        self.tag.setAccessibleName("Only runs of this tag")
        self.tag.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.show_tags(())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.words, 1)
        layout.addWidget(self.trust)
        layout.addWidget(self.tag)
        self.words.textChanged.connect(self.changed)
        for box in (self.trust, self.tag):
            box.currentIndexChanged.connect(self.changed)

    def asked(self) -> Asked:
        return Asked(self.words.text().strip(), self.trust.currentData(), self.tag.currentData())

    def show_tags(self, tags: Sequence[str]) -> None:
        """What was chosen stays, if any run still has it."""
        chosen = self.tag.currentData()
        before = [self.tag.itemData(place) for place in range(1, self.tag.count())]
        if self.tag.count() and before == list(tags):
            return
        was_blocked = self.tag.blockSignals(True)
        self.tag.clear()
        self.tag.addItem("Any tag", None)
        for tag in tags:
            self.tag.addItem(tag[:_LONGEST_TAG], tag)
        self.tag.setCurrentIndex(max(self.tag.findData(chosen), 0))
        self.tag.blockSignals(was_blocked)
        self.tag.setEnabled(bool(tags))

    def clear(self) -> None:
        self.words.clear()
        self.trust.setCurrentIndex(0)
        self.tag.setCurrentIndex(0)

    @staticmethod
    def status(listed: Listed, shown: int) -> str:
        """How many are shown, and what all take on the disk."""
        rows = len(listed.rows)
        if listed.unread:
            return f"Reading {count(listed.unread)} of {count(rows)} runs…"
        if not rows:
            return ""
        many = "{rows} runs" if shown == rows else "{shown} of {rows} runs"
        told = many.format(shown=count(shown), rows=count(rows))
        return f"{told}, {size(listed.bytes_on_disk)} on disk"
