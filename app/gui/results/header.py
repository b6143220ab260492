"""What run this is, what people said of it, and what can be done with it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QWidget

from app.gui.formatting import clock_time, seconds
from app.gui.results.state import Shown
from app.gui.widgets import Badge, button, hbox, label, tip, vbox
from app.records.bundle import TITLE_LENGTH, Labels
from app.records.control import NOTE_LENGTH

_WIDEST = 300


class Header(QWidget):
    """Tells what was wished by signals; tags are written as words with spaces or commas between them."""

    export_wished = Signal()
    compare_wished = Signal()
    plan_wished = Signal()
    repeat_wished = Signal()
    title_written = Signal(str)
    tags_written = Signal(str)
    note_written = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.title = label("", "title", wrap=True)
        self.badge = Badge()
        self.facts = label("", "muted", wrap=True)
        self.called, self.tags, self.note = QLineEdit(), QLineEdit(), QLineEdit()
        self.notes = label("", wrap=True)
        self.buttons = (
            button("&Export", self.export_wished.emit, primary=True),
            button("Co&mpare", self.compare_wished.emit),
            button("&Plan from this run", self.plan_wished.emit),
            button("Run &again", self.repeat_wished.emit),
        )
        self._build()
        self.called.editingFinished.connect(self._write_title)
        self.tags.editingFinished.connect(self._write_tags)
        self.note.returnPressed.connect(self._write_note)
        self._labels, self._name = Labels(), ""
        self._facts: tuple[str, ...] = ()

    def show_run(self, shown: Shown) -> None:
        header = shown.own.header
        self._name = header.title[:_WIDEST]
        self.badge.say(shown.own.verdict.trust, "; ".join(shown.result.verdict.reasons))
        where = f"{header.target}, on {header.hardware}" if header.hardware else header.target
        self._facts = (clock_time(header.started), seconds(header.duration_s), where[:_WIDEST], header.run_id)
        self.called.setPlaceholderText(self._name)
        self.show_labels(shown.labels)

    def show_labels(self, labels: Labels) -> None:
        self._labels = labels
        self.title.setText(labels.title or self._name)
        self.facts.setText(" · ".join((self._name, *self._facts) if labels.title else self._facts))
        self.called.setText(labels.title)
        self.tags.setText(", ".join(labels.tags))
        self.notes.setText("\n".join(f"{clock_time(note.at)}  {note.text}" for note in labels.notes))
        self.notes.setVisible(bool(labels.notes))

    def set_usable(self, why_no_comparison: str | None, why_no_plan: str | None) -> None:
        """Why nothing more can be made of the run; None where it can."""
        _, compare, plan, _ = self.buttons
        for one, why_not, told in (
            (compare, why_no_comparison, "Takes this run to the Compare page"),
            (plan, why_no_plan, "Takes what was measured to the Plan page"),
        ):
            one.setEnabled(why_not is None)
            one.setToolTip(tip(why_not or told))
            one.setAccessibleDescription(why_not or told)

    def _write_title(self) -> None:
        if self.called.text().strip() != self._labels.title:
            self.title_written.emit(self.called.text())

    def _write_tags(self) -> None:
        if self.tags.text() != ", ".join(self._labels.tags):
            self.tags_written.emit(self.tags.text())

    def _write_note(self) -> None:
        text = self.note.text().strip()
        if text:
            self.note.clear()
            self.note_written.emit(text)

    def _build(self) -> None:
        first = hbox((self.title, 1), (self.badge, 0, Qt.AlignmentFlag.AlignVCenter))
        height = max(one.sizeHint().height() for one in self.buttons)
        for one in self.buttons:
            one.setMinimumHeight(height)
            first.addWidget(one, 0, Qt.AlignmentFlag.AlignVCenter)
        said = QHBoxLayout()
        for name, field, placeholder in (
            ("T&itle", self.called, ""),
            ("&Tags", self.tags, "none yet: words such as baseline, nightly"),
            ("&Note", self.note, "write one and press Enter"),
        ):
            words = label(name, "muted", buddy=field)
            field.setAccessibleName(name.replace("&", ""))
            field.setPlaceholderText(placeholder)
            said.addWidget(words)
            said.addWidget(field, 1)
        self.called.setMaxLength(TITLE_LENGTH)
        self.called.setToolTip("What lists and reports call this run; its series goes by the profile's name.")
        self.note.setMaxLength(NOTE_LENGTH)
        vbox(first, self.facts, said, self.notes, within=self, spacing=4)
