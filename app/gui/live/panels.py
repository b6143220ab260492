"""Panels beside the live charts: validity checks, errors, and variants of a local run."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PySide6.QtCore import QEvent, QModelIndex, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QScrollArea, QWidget

from app.gui.formatting import State, format_elapsed, format_number, shorten
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
        self._content = content = QWidget()
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 6, 0)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)
        self._empty = label("No checks have run yet.", "muted", wrap=True)
        self._column = vbox(self._empty, self._grid, 1, within=content)
        self.setWidget(content)
        self._rows: list[tuple[QLabel, QLabel, QLabel]] = []

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_height()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_height()

    def _fit_height(self) -> None:
        """Give the content the height of its wrapped texts. Qt recomputes that height only later or,
        while the panel is hidden, never, and then clips the texts."""
        self._grid.invalidate()
        self._content.setMinimumHeight(self._column.totalHeightForWidth(self.viewport().width()))

    def show_checks(self, checks: tuple[CheckRow, ...]) -> None:
        checks = checks[:_MAX_CHECKS]
        self._empty.setVisible(not checks)
        while len(self._rows) < len(checks):
            self._add_row()
        for index, row in enumerate(self._rows):
            for widget in row:
                widget.setVisible(index < len(checks))
            if index < len(checks):
                _fill_row(row, checks[index])
        self._fit_height()
        warnings = [f"{check.name}: {check.verdict}" for check in checks if check.verdict != "VALID"]
        self.setAccessibleDescription(
            "; ".join(warnings) or ("All checks passed." if checks else "No checks have run yet.")
        )

    def visible_texts(self) -> list[tuple[str, str, str]]:
        """Return the displayed verdict, observed value and hint of each check."""
        return [
            (verdict_label.text(), value_label.text(), "" if hint_label.isHidden() else hint_label.text())
            for verdict_label, value_label, hint_label in self._rows
            if not verdict_label.isHidden()
        ]

    def _add_row(self) -> None:
        row = (label("", "word"), label("", wrap=True), label("", "muted", wrap=True))
        grid_row = 2 * len(self._rows)
        self._grid.addWidget(row[0], grid_row, 0, Qt.AlignmentFlag.AlignTop)
        self._grid.addWidget(row[1], grid_row, 1)
        self._grid.addWidget(row[2], grid_row + 1, 1)
        self._rows.append(row)


def _fill_row(row: tuple[QLabel, QLabel, QLabel], check: CheckRow) -> None:
    verdict_label, value_label, hint_label = row
    styled_texts: dict[Validity, tuple[str, State]] = {
        "VALID": ("✓ VALID", "good"),
        "WARN": ("▲ WARN", "warn"),
        "INVALID": ("✕ INVALID", "bad"),
    }
    verdict_text, state = styled_texts[check.verdict]
    verdict_label.setText(verdict_text)
    restyle(verdict_label, state)
    limit = "" if check.limit is None else f" (limit {format_check_limit(check)})"
    value_label.setText(f"{check.name}: {format_check_value(check)}{limit}")
    hint = check.hint or ""
    hint_label.setText(hint if check.verdict != "VALID" else "")
    hint_label.setVisible(bool(hint_label.text()))


class FailureTable(QWidget):
    """Table of errors by class. Below the table, the first example is repeated for the selected
    class, or for the newest class if none is selected, because the table column is too narrow."""

    def __init__(self) -> None:
        super().__init__()
        self._no_errors = label("", "muted")
        headers = {"error": "Error", "count": "Requests", "first_s": "First occurrence", "sample": "First example"}
        self.table = FrameTable(FrameModel(headers=headers, formatters={"first_s": _format_elapsed}), "Errors")
        self.sample = label("", "muted", wrap=True)
        self._errors: tuple[ErrorSummary, ...] = ()
        self._selected_error: str | None = None
        self.table.selectionModel().currentChanged.connect(self._on_row_selected)
        vbox(self._no_errors, (self.table, 1), self.sample, 0, within=self)
        self.show_failures((), has_responses=False)

    def show_failures(self, errors: tuple[ErrorSummary, ...], *, has_responses: bool) -> None:
        """Show the errors of a run. Without errors, the text says so only if the run has received
        responses (`has_responses`)."""
        self._no_errors.setText("No errors have occurred." if has_responses else "No responses yet.")
        self._no_errors.setVisible(not errors)
        self.table.setVisible(bool(errors))
        if not errors:  # another run was opened
            self._selected_error = None
        self._errors = errors
        rows = [(shorten(error.error, 200), error.count, error.first_s, error.sample or "") for error in errors]
        self.table.set_frame(pd.DataFrame(rows, columns=["error", "count", "first_s", "sample"]))
        set_table_description(self.table, "Errors by class")
        self._show_sample()

    def _on_row_selected(self, current: QModelIndex) -> None:
        """Remember the selected error class, because the rows are replaced at every update."""
        if current.isValid():
            self._selected_error = self._errors[self.table.frame_model.frame_row(current.row())].error
            self._show_sample()

    def _show_sample(self) -> None:
        error = next(
            (error_row for error_row in self._errors if error_row.error == self._selected_error),
            self._errors[-1] if self._errors else None,
        )
        self.sample.setVisible(error is not None and bool(error.sample))
        if error is not None:
            self.sample.setText(f"{shorten(error.error, 200)}, first example: {error.sample}")


class VariantTable(FrameTable):
    def __init__(self) -> None:
        headers = {"number": "#", "name": "Variant", "state": "State", "times": "Results"}
        super().__init__(FrameModel(headers=headers), "Variants")

    def show_variants(self, variants: tuple[VariantLine, ...]) -> None:
        rows = [(variant.number, variant.name, _format_state(variant), variant.times) for variant in variants]
        self.set_frame(pd.DataFrame(rows, columns=["number", "name", "state", "times"]))
        set_table_description(self, "Variants of the model")
        self.scrollToBottom()


class GenerationTable(FrameTable):
    """Table of the measured tests of a language model, newest at the bottom."""

    def __init__(self) -> None:
        headers = {
            "variant": "Variant", "test": "Test", "prefill": "Prefill (tok/s)", "decode": "Decode (tok/s)",
            "ttft": "p50 TTFT (ms)", "itl": "p50 ITL (ms)", "state": "State",
        }  # fmt: skip
        formatters = dict.fromkeys(("prefill", "decode", "ttft", "itl"), _format_optional)
        super().__init__(FrameModel(headers=headers, formatters=formatters), "Results of the tests")

    def show_variants(self, variants: tuple[VariantLine, ...]) -> None:
        names: list[tuple[str, str, str]] = []
        values: list[tuple[float | None, ...]] = []
        for variant in variants:
            name = f"{variant.number}: {variant.name}"
            for test in variant.tests:
                names.append((name, test.name, test.validity))
                values.append((test.prefill_per_s, test.decode_per_s, test.ttft_ms, test.itl_ms))
            if variant.state != "measured":
                names.append((name, "", _format_state(variant)))
                values.append((None,) * 4)
        numbers = np.array(values, dtype=float).reshape(-1, 4)
        texts = np.array(names, dtype=object).reshape(-1, 3)
        columns = {"variant": texts[:, 0], "test": texts[:, 1]}
        columns |= dict(zip(("prefill", "decode", "ttft", "itl"), numbers.T, strict=True))
        self.set_frame(pd.DataFrame({**columns, "state": texts[:, 2]}))
        set_table_description(self, "Results of the tests")
        self.scrollToBottom()


def _format_optional(value: object) -> str:
    return format_number(value) if isinstance(value, int | float) and value == value else "–"


def _format_elapsed(seconds: object) -> str:
    return format_elapsed(float(seconds)) if isinstance(seconds, int | float) else ""


def _format_state(variant: VariantLine) -> str:
    texts = {"running": "▶ running", "measured": "✓ measured", "ended early": "✕ ended early"}
    return f"{texts[variant.state]}: {shorten(variant.reason, 200)}" if variant.reason else texts[variant.state]
