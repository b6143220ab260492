"""The chosen run: its badge, its title, tags and notes, which are written here."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QLineEdit

from app.gui.formatting import NOT_AVAILABLE, clock_time, one_line, seconds, size
from app.gui.widgets import Badge, button, hbox, label
from app.records.bundle import TITLE_LENGTH
from app.records.control import NOTE_LENGTH
from app.reporting.run_rows import RunRow

_NOTES_SHOWN = 2
_LONGEST = 160


class RunCard(QFrame):
    title_given = Signal(str)
    """Empty takes it away."""
    tags_given = Signal(object)
    """The tags that the run is to have, and no others: a tuple of str."""
    note_given = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("The chosen run")
        self._name = label("", "heading", wrap=True)
        self._badge = Badge()
        self._facts = label("", "muted", wrap=True)
        self._notes = label("", "muted", wrap=True)
        self.called, self.tags, self.note = QLineEdit(), QLineEdit(), QLineEdit()
        self._build()
        self.called.returnPressed.connect(self._give_title)
        self.tags.returnPressed.connect(self._give_tags)
        self.note.returnPressed.connect(self._give_note)

    def show_run(self, row: RunRow | None) -> None:
        self.setVisible(row is not None)
        if row is None:
            return
        self._name.setText(one_line(row.called, _LONGEST))
        self._badge.say(row.verdict or row.state, _why(row))
        self._facts.setText(facts_of(row))
        self.called.setPlaceholderText(one_line(row.name or row.run_id, _LONGEST))
        if not self.called.hasFocus():
            self.called.setText(row.title or "")
        if not self.tags.hasFocus():
            self.tags.setText(" ".join(row.tags))
        told = [f"{clock_time(note.at)}  {note.text[:_LONGEST]}" for note in row.notes[-_NOTES_SHOWN:]]
        left = len(row.notes) - len(told)
        if left > 0:
            told.insert(0, f"{left} earlier notes")
        self._notes.setText("\n".join(told))
        self._notes.setVisible(bool(told))

    def _build(self) -> None:
        head = hbox((self._name, 1), (self._badge, 0, Qt.AlignmentFlag.AlignTop))
        grid = QGridLayout(self)
        grid.setContentsMargins(14, 10, 14, 10)
        grid.addLayout(head, 0, 0, 1, 3)
        grid.addWidget(self._facts, 1, 0, 1, 3)
        rows = (
            (self.called, "T&itle", "", button("&Rename", self._give_title)),
            (self.tags, "Ta&gs", "Tags, apart by spaces", button("Set &tags", self._give_tags)),
            (self.note, "N&ote", "What should be remembered of this run", button("&Add", self._give_note)),
        )
        for place, (field, text, hint, press) in enumerate(rows, 2):
            grid.addWidget(label(text, buddy=field), place, 0)
            field.setPlaceholderText(hint)
            field.setAccessibleName(text.replace("&", ""))
            grid.addWidget(field, place, 1)
            grid.addWidget(press, place, 2)
        self.called.setMaxLength(TITLE_LENGTH)
        self.note.setMaxLength(NOTE_LENGTH)
        grid.addWidget(self._notes, len(rows) + 2, 0, 1, 3)
        grid.setColumnStretch(1, 1)
        self.hide()

    def _give_title(self) -> None:
        self.title_given.emit(self.called.text().strip())

    def _give_tags(self) -> None:
        self.tags_given.emit(tuple(dict.fromkeys(self.tags.text().replace(",", " ").split())))

    def _give_note(self) -> None:
        text = self.note.text().strip()
        if text:
            self.note.clear()
            self.note_given.emit(text)


def facts_of(row: RunRow) -> str:
    """In one line."""
    told = (
        row.outcome,
        None if row.carries is None else f"carries {row.carries}",
        None if row.duration_s is None else f"took {seconds(row.duration_s)}",
        row.url,
        row.model,
        size(row.size_bytes),
        None if row.title is None else row.name,
        row.run_id,
    )
    return " · ".join(one_line(one, _LONGEST) for one in told if one) or NOT_AVAILABLE


def _why(row: RunRow) -> str:
    return {
        "VALID": "Every check of the measurement passed.",
        "WARN": "A check of the measurement warns: open the run to see which.",
        "INVALID": "The measurement is not to be relied on: open the run to see why.",
        "unreadable": "Its files are damaged, or of a newer version of Sizewise.",
        "cut short": "Its engine ended before it wrote a result: its rows are there.",
    }.get(row.verdict or row.state, "")
