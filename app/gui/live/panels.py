"""Beside the charts: the trust panel, the errors, and the variants of a local run."""

from __future__ import annotations

import pandas as pd
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QScrollArea, QWidget

from app.gui.formatting import State, elapsed
from app.gui.live.state import FailureLine, VariantLine
from app.gui.tables import FrameModel, FrameTable, describe
from app.gui.widgets import label, restyle, vbox
from app.records.result import Trust
from reports.formatting import check_limit, check_value
from reports.model import CheckRow

_MOST_CHECKS = 60


class TrustPanel(QScrollArea):
    """Every check with its mark, the worst first; what is in doubt says what to do."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Trust: the checks of this run")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        inside = QWidget()
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 6, 0)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)
        self._empty = label("Nothing was checked yet.", "muted", wrap=True)
        vbox(self._empty, self._grid, 1, within=inside)
        self.setWidget(inside)
        self._rows: list[tuple[QLabel, QLabel, QLabel]] = []

    def show_checks(self, lines: tuple[CheckRow, ...]) -> None:
        lines = lines[:_MOST_CHECKS]
        self._empty.setVisible(not lines)
        while len(self._rows) < len(lines):
            self._add_row()
        for at, row in enumerate(self._rows):
            for widget in row:
                widget.setVisible(at < len(lines))
            if at < len(lines):
                _fill(row, lines[at])
        doubts = [f"{line.name}: {line.verdict}" for line in lines if line.verdict != "VALID"]
        self.setAccessibleDescription("; ".join(doubts) or "No check is in doubt.")

    def words(self) -> list[tuple[str, str, str]]:
        """As it is shown: mark and word, what was seen, what to do."""
        return [
            (mark.text(), text.text(), "" if hint.isHidden() else hint.text())
            for mark, text, hint in self._rows
            if not mark.isHidden()
        ]

    def _add_row(self) -> None:
        row = (label("", "word"), label("", wrap=True), label("", "muted", wrap=True))
        at = 2 * len(self._rows)
        self._grid.addWidget(row[0], at, 0, Qt.AlignmentFlag.AlignTop)
        self._grid.addWidget(row[1], at, 1)
        self._grid.addWidget(row[2], at + 1, 1)
        self._rows.append(row)


def _fill(row: tuple[QLabel, QLabel, QLabel], line: CheckRow) -> None:
    mark, text, hint = row
    words: dict[Trust, tuple[str, State]] = {
        "VALID": ("✓ ok", "good"),
        "WARN": ("! warn", "warn"),
        "INVALID": ("✕ INVALID", "bad"),
    }
    word, state = words[line.verdict]
    mark.setText(word)
    restyle(mark, state)
    limit = "" if line.limit is None else f" (limit {check_limit(line)})"
    text.setText(f"{line.name}: {check_value(line)}{limit}")
    told = line.hint or ""
    hint.setText(told if line.verdict != "VALID" else "")
    hint.setVisible(bool(hint.text()))


class FailureTable(QWidget):
    """Under the table, what was seen of the class that is chosen, else of the newest: a column is too narrow for it."""

    def __init__(self) -> None:
        super().__init__()
        self._none = label("No errors.", "muted")
        headers = {"error": "Error", "first_s": "First seen", "count": "Count", "sample": "Sample"}
        self.table = FrameTable(FrameModel(headers=headers, formats={"first_s": _clock}), "Errors")
        self.seen = label("", "muted", wrap=True)
        self._lines: tuple[FailureLine, ...] = ()
        self._chosen: str | None = None
        self.table.selectionModel().currentChanged.connect(self._choose)
        vbox(self._none, (self.table, 1), self.seen, 0, within=self)
        self.show_failures(())

    def show_failures(self, lines: tuple[FailureLine, ...]) -> None:
        self._none.setVisible(not lines)
        self.table.setVisible(bool(lines))
        if not lines:  # another run
            self._chosen = None
        self._lines = lines
        rows = [(line.error[:200], line.first_s, line.count, line.sample) for line in lines]
        self.table.set_frame(pd.DataFrame(rows, columns=["error", "first_s", "count", "sample"]))
        describe(self.table, "Errors by class")
        self._tell_seen()

    def _choose(self, current: QModelIndex) -> None:
        """By its class: the rows are made again with every count."""
        if current.isValid():
            self._chosen = self._lines[self.table.frame_model.frame_row(current.row())].error
            self._tell_seen()

    def _tell_seen(self) -> None:
        line = next((one for one in self._lines if one.error == self._chosen), self._lines[-1] if self._lines else None)
        self.seen.setVisible(line is not None and bool(line.sample))
        if line is not None:
            self.seen.setText(f"{line.error[:200]}, the first: {line.sample}")


class VariantTable(FrameTable):
    def __init__(self) -> None:
        headers = {"number": "#", "name": "Variant", "state": "State", "times": "Times"}
        super().__init__(FrameModel(headers=headers), "Variants")

    def show_variants(self, lines: tuple[VariantLine, ...]) -> None:
        rows = [(line.number, line.name, _state_of(line), line.times) for line in lines]
        self.set_frame(pd.DataFrame(rows, columns=["number", "name", "state", "times"]))
        describe(self, "Variants of the model")
        self.scrollToBottom()


def _clock(seconds: object) -> str:
    return elapsed(float(seconds)) if isinstance(seconds, int | float) else ""


def _state_of(line: VariantLine) -> str:
    words = {"running": "▶ running", "measured": "✓ measured", "ended early": "✕ ended early"}
    return f"{words[line.state]}: {line.reason[:200]}" if line.reason else words[line.state]
