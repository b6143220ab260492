"""SLO editor with one line per objective. Errors are shown beside the line; valid objectives take
effect immediately."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from PySide6.QtCore import QStringListModel, Qt, Signal
from PySide6.QtWidgets import QCompleter, QGridLayout, QLineEdit, QWidget

from app.analysis.objectives import parse_gate, parse_objective
from app.errors import UsageError
from app.gui.widgets import Badge, button, hbox, label, tool_button, vbox
from app.records.metrics import METRICS, format_metric
from reports import formatting
from reports.model import ObjectiveRow

_MAX_CHARACTERS = 200
_EXAMPLE = "latency_ms.p95 < 50"


class ObjectiveLine(QLineEdit):
    """Input line for one objective. `problem` is the validation error of the entered text."""

    def __init__(self, text: str, completion_model: QStringListModel) -> None:
        super().__init__(text)
        self.setMaxLength(_MAX_CHARACTERS)
        self.setPlaceholderText(_EXAMPLE)
        self.setAccessibleName("Objective")
        completer = QCompleter(completion_model, self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.setCompleter(completer)
        self.badge, self.message = Badge(), label("", "muted", wrap=True)
        self.remove_button = tool_button("✕", "Remove objective", tip="Remove objective", flat=True)

    @property
    def problem(self) -> str | None:
        try:
            parse_objective(self.text())
        except UsageError as error:
            return f"{error}. {error.hint or ''}".strip()
        return None

    def show_row(self, row: ObjectiveRow | None) -> None:
        problem = self.problem
        if problem is not None:
            self.badge.show_verdict("", "")
            self.message.setText(problem)
        elif row is None:
            self.badge.show_verdict("", "")
            self.message.setText("")
        else:
            self.badge.show_verdict(row.outcome, row.why or "")
            self.message.setText(observed_text(row))
        self.message.setVisible(bool(self.message.text()))
        self.setAccessibleDescription(f"{self.badge.text()} {self.message.text()}".strip())


class SloEditor(QWidget):
    """Editable list of objectives. If `is_narrow` is true, the error message of an objective is
    shown below the line of the objective instead of beside it."""

    edited = Signal(object)
    """Signal that is emitted with the objectives as a tuple of strings, or with None when the SLO
    is reset to the SLO of the run."""
    finished = Signal()
    """Signal that is emitted when the user has finished editing a line."""

    def __init__(self, heading: str = "", *, is_narrow: bool = False) -> None:
        super().__init__()
        self._is_narrow = is_narrow
        self.lines: list[ObjectiveLine] = []
        self._run_slo: tuple[str, ...] = ()
        self._is_updating = False
        self._completion_model = QStringListModel(_list_completions(), self)
        self._grid_box = QWidget()
        self._grid = QGridLayout(self._grid_box)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(0 if is_narrow else 3, 1)
        self.unlisted_label = label("", "muted", wrap=True)
        self.add_button = button("Add &objective", self.add_line)
        self.reset_button = button("Reset to run's S&LO", self._reset)
        heading_labels = (label(heading, "heading", wrap=True),) if heading else ()
        vbox(
            *heading_labels,
            self._grid_box,
            self.unlisted_label,
            hbox(self.add_button, self.reset_button, 1),
            within=self,
            spacing=4,
        )

    def show_slo(
        self, slo: tuple[str, ...], run_slo: tuple[str, ...], evaluated_rows: Sequence[ObjectiveRow] = ()
    ) -> None:
        """Show the objectives `slo` with their results.

        Lines are only rebuilt if the objectives differ, so that the cursor position is preserved.
        `run_slo` is the SLO of the run; `evaluated_rows` holds the evaluated objectives and gates.
        """
        self._run_slo = run_slo
        if self.texts() != slo and not self._is_editing():
            self._fill_lines(slo)
        rows_by_text = {row.text: row for row in evaluated_rows if row.kind == "SLO"}
        for line in self.lines:
            line.show_row(rows_by_text.get(" ".join(line.text().split())))
        unlisted_rows = [row for row in evaluated_rows if row.kind == "gate" or row.text not in self.texts()]
        self.unlisted_label.setText("\n".join(_format_unlisted_row(row) for row in unlisted_rows))
        self.unlisted_label.setVisible(bool(unlisted_rows))
        self._update_reset_button()

    def clear(self) -> None:
        """Clear the lines before another run is shown."""
        self._fill_lines(())

    def add_line(self, text: str = "") -> ObjectiveLine:
        line = ObjectiveLine(text, self._completion_model)
        self.lines.append(line)
        row = self._grid.rowCount()
        self._grid.addWidget(line, row, 0)
        for column, widget in enumerate((line.remove_button, line.badge), 1):
            self._grid.addWidget(widget, row, column, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        if self._is_narrow:
            self._grid.addWidget(line.message, row + 1, 0, 1, 3)
        else:
            line.setMinimumWidth(line.fontMetrics().horizontalAdvance("output_tokens_per_s.p95 <= 10,000"))
            self._grid.addWidget(line.message, row, 3)
        line_parts = [part for line in self.lines for part in (line, line.remove_button)]
        for previous, widget in pairwise((self.add_button, *line_parts, self.add_button, self.reset_button)):
            QWidget.setTabOrder(previous, widget)
        line.message.hide()
        line.textChanged.connect(self._on_text_changed)
        line.editingFinished.connect(self.finished)
        line.remove_button.clicked.connect(self._remove)
        line.show_row(None) if text else line.badge.show_verdict("")
        if not self._is_updating:
            line.setFocus(Qt.FocusReason.OtherFocusReason)
        self._update_reset_button()
        return line

    def _fill_lines(self, texts: Sequence[str]) -> None:
        self._is_updating = True
        for line in self.lines:
            self._delete_line(line)
        self.lines = []
        for text in texts:
            self.add_line(text)
        self._is_updating = False

    def _remove(self) -> None:
        line = next((line for line in self.lines if line.remove_button is self.sender()), None)
        if line is not None:
            self.lines.remove(line)
            self._delete_line(line)
            self._on_text_changed()

    def _delete_line(self, line: ObjectiveLine) -> None:
        for widget in (line, line.remove_button, line.badge, line.message):
            self._grid.removeWidget(widget)
            widget.hide()
            widget.deleteLater()

    def _on_text_changed(self) -> None:
        """Emit `edited` if every line is valid or empty."""
        if self._is_updating:
            return
        invalid_lines = [line for line in self.lines if line.text().strip() and line.problem is not None]
        for line in self.lines:
            if line in invalid_lines:
                line.show_row(None)
        self._update_reset_button()
        if not invalid_lines:
            self.edited.emit(self.texts())

    def texts(self) -> tuple[str, ...]:
        return tuple(" ".join(line.text().split()) for line in self.lines if line.text().strip())

    def _is_editing(self) -> bool:
        """Return whether the user is editing an incomplete line, which an older SLO must not
        overwrite."""
        return any(line.hasFocus() and line.problem is not None for line in self.lines)

    def _reset(self) -> None:
        self._fill_lines(self._run_slo)
        self.edited.emit(None)
        self._update_reset_button()

    def _update_reset_button(self) -> None:
        self.reset_button.setEnabled(self.texts() != self._run_slo)


def objective_label(text: str) -> str:
    """Return the display text of an objective or a gate, such as `p95 latency < 50 ms`, or the
    unchanged `text` if parsing fails."""
    try:
        objective = parse_gate(text)
    except UsageError:
        return text
    tags_text = f" in {', '.join(objective.tags.values())}" if objective.tags else ""
    return f"{objective.label}{tags_text}"


def observed_text(row: ObjectiveRow) -> str:
    stage_text = f" in {row.stage}" if row.stage else ""
    reason = f"; {row.why}" if row.why else ""
    return f"{formatting.format_quantity(row.observed)}{stage_text}{reason}"


def _format_unlisted_row(row: ObjectiveRow) -> str:
    implied_text = " (default: no error limit set)" if row.implied else ""
    prefix = "Gate: " if row.kind == "gate" else ""
    return f"{prefix}{objective_label(row.text)}{implied_text}: {row.outcome}, {observed_text(row)}"


def _list_completions() -> list[str]:
    return [
        f"{name if aggregate is None else format_metric(name, aggregate)} "
        for name, metric in METRICS.items()
        for aggregate in metric.aggregates or (None,)
        if metric.better != "neither" and not name.startswith("gpu_")
    ]
