"""Panels beside the live charts: validity checks, errors, and variants of a local run."""

from __future__ import annotations

import pandas as pd
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QScrollArea, QWidget

from app.gui.formatting import State, format_elapsed
from app.gui.live.state import VariantLine
from app.gui.tables import FrameModel, FrameTable, set_table_description
from app.gui.widgets import label, restyle, vbox
from app.records.result import Validity
from reports.formatting import format_check_limit, format_check_value
from reports.model import CheckRow, ErrorSummary

_MAX_CHECKS = 60


class ValidityPanel(QScrollArea):
    """List of all validity checks of the run, worst first. A check that did not pass is shown with
    a hint."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Validity checks of this run")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        content = QWidget()
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 6, 0)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)
        self._empty = label("No checks yet.", "muted", wrap=True)
        vbox(self._empty, self._grid, 1, within=content)
        self.setWidget(content)
        self._rows: list[tuple[QLabel, QLabel, QLabel]] = []

    def show_checks(self, lines: tuple[CheckRow, ...]) -> None:
        lines = lines[:_MAX_CHECKS]
        self._empty.setVisible(not lines)
        while len(self._rows) < len(lines):
            self._add_row()
        for index, row in enumerate(self._rows):
            for widget in row:
                widget.setVisible(index < len(lines))
            if index < len(lines):
                _fill_row(row, lines[index])
        warnings = [f"{line.name}: {line.verdict}" for line in lines if line.verdict != "VALID"]
        self.setAccessibleDescription("; ".join(warnings) or ("All checks passed." if lines else "No checks yet."))

    def visible_texts(self) -> list[tuple[str, str, str]]:
        """Return the displayed verdict, observed value and hint of each check."""
        return [
            (verdict_label.text(), text.text(), "" if hint.isHidden() else hint.text())
            for verdict_label, text, hint in self._rows
            if not verdict_label.isHidden()
        ]

    def _add_row(self) -> None:
        row = (label("", "word"), label("", wrap=True), label("", "muted", wrap=True))
        grid_row = 2 * len(self._rows)
        self._grid.addWidget(row[0], grid_row, 0, Qt.AlignmentFlag.AlignTop)
        self._grid.addWidget(row[1], grid_row, 1)
        self._grid.addWidget(row[2], grid_row + 1, 1)
        self._rows.append(row)


def _fill_row(row: tuple[QLabel, QLabel, QLabel], line: CheckRow) -> None:
    verdict_label, text, hint = row
    texts: dict[Validity, tuple[str, State]] = {
        "VALID": ("✓ VALID", "good"),
        "WARN": ("▲ WARN", "warn"),
        "INVALID": ("✕ INVALID", "bad"),
    }
    verdict_text, state = texts[line.verdict]
    verdict_label.setText(verdict_text)
    restyle(verdict_label, state)
    limit = "" if line.limit is None else f" (limit {format_check_limit(line)})"
    text.setText(f"{line.name}: {format_check_value(line)}{limit}")
    advice = line.hint or ""
    hint.setText(advice if line.verdict != "VALID" else "")
    hint.setVisible(bool(hint.text()))


class FailureTable(QWidget):
    """Table of errors by class. Below the table, the first example is repeated for the selected
    class, or for the newest class if none is selected, because the table column is too narrow."""

    def __init__(self) -> None:
        super().__init__()
        self._no_errors = label("No errors.", "muted")
        headers = {"error": "Error", "first_s": "First occurrence", "count": "Requests", "sample": "First example"}
        self.table = FrameTable(FrameModel(headers=headers, formatters={"first_s": _format_elapsed}), "Errors")
        self.sample = label("", "muted", wrap=True)
        self._lines: tuple[ErrorSummary, ...] = ()
        self._selected_error: str | None = None
        self.table.selectionModel().currentChanged.connect(self._on_selected)
        vbox(self._no_errors, (self.table, 1), self.sample, 0, within=self)
        self.show_failures(())

    def show_failures(self, lines: tuple[ErrorSummary, ...]) -> None:
        self._no_errors.setVisible(not lines)
        self.table.setVisible(bool(lines))
        if not lines:  # another run was opened
            self._selected_error = None
        self._lines = lines
        rows = [(line.error[:200], line.first_s, line.count, line.sample or "") for line in lines]
        self.table.set_frame(pd.DataFrame(rows, columns=["error", "first_s", "count", "sample"]))
        set_table_description(self.table, "Errors by class")
        self._show_sample()

    def _on_selected(self, current: QModelIndex) -> None:
        """Remember the selected error class, because the rows are replaced at every update."""
        if current.isValid():
            self._selected_error = self._lines[self.table.frame_model.frame_row(current.row())].error
            self._show_sample()

    def _show_sample(self) -> None:
        line = next(
            (failure for failure in self._lines if failure.error == self._selected_error),
            self._lines[-1] if self._lines else None,
        )
        self.sample.setVisible(line is not None and bool(line.sample))
        if line is not None:
            self.sample.setText(f"{line.error[:200]}, first example: {line.sample}")


class VariantTable(FrameTable):
    def __init__(self) -> None:
        headers = {"number": "#", "name": "Variant", "state": "State", "times": "Results"}
        super().__init__(FrameModel(headers=headers), "Variants")

    def show_variants(self, lines: tuple[VariantLine, ...]) -> None:
        rows = [(line.number, line.name, _format_state(line), line.times) for line in lines]
        self.set_frame(pd.DataFrame(rows, columns=["number", "name", "state", "times"]))
        set_table_description(self, "Variants of the model")
        self.scrollToBottom()


def _format_elapsed(seconds: object) -> str:
    return format_elapsed(float(seconds)) if isinstance(seconds, int | float) else ""


def _format_state(line: VariantLine) -> str:
    texts = {"running": "▶ running", "measured": "✓ measured", "ended early": "✕ ended early"}
    return f"{texts[line.state]}: {line.reason[:200]}" if line.reason else texts[line.state]
