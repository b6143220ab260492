"""SLO editors with one line per objective: as text, where errors are shown beside the line and valid
objectives take effect immediately, and as a metric with its limit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from PySide6.QtCore import QStringListModel, Qt, Signal
from PySide6.QtWidgets import QCompleter, QGridLayout, QLineEdit, QWidget

from app.analysis.objectives import format_objective, parse_objective
from app.errors import UsageError
from app.gui.forms.scalars import TextLine
from app.gui.theme import GAP, GAP_TIGHT
from app.gui.widgets import Badge, WheelSafeComboBox, button, hbox, label, tool_button, vbox
from app.records.metrics import METRICS, Metric, display_unit, format_metric, metric_label
from app.records.result import Objective
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
            spacing=GAP_TIGHT,
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


_STREAM_CHOICES = ("ttft_ms.p50", "ttft_ms.p95", "ttft_ms.p99", "tpot_ms.p95", "itl_ms.p95", "output_tokens_per_s")
_LATENCY_CHOICES = ("latency_ms.p50", "latency_ms.p95", "latency_ms.p99")
_LOCAL_CHOICES = ("service_ms.p50", "service_ms.p95", "service_ms.p99")
_SHARE_CHOICES = ("error_rate", "goodput_share", "completed_per_s")
_MAX_LIMIT_CHARACTERS = 20


def list_metric_choices(default_objectives: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics that are offered for an objective of a protocol with these default
    objectives. The metrics of the defaults come first."""
    metrics = [_metric_key(parse_objective(text)) for text in default_objectives]
    names = {metric.partition(".")[0] for metric in metrics}
    streams = _STREAM_CHOICES if "ttft_ms" in names else ()
    times = _LOCAL_CHOICES if "service_ms" in names else _LATENCY_CHOICES
    return tuple(dict.fromkeys((*metrics, *streams, *times, *_SHARE_CHOICES)))


def read_simple_objective(text: str) -> Objective | None:
    """Return the objective if it consists only of a metric and its limit; `None` if it also has a
    class of requests or a level, or is not valid."""
    try:
        objective = parse_objective(text)
    except UsageError:
        return None
    return objective if not objective.tags and "|" not in text else None


def format_simple_objective(metric: str, limit_text: str, comparator: str | None = None) -> str:
    """Return the text of an objective from its metric and its limit in the unit of the metric; the
    limit of a share is in percent."""
    definition = METRICS[metric.partition(".")[0]]
    operator = comparator or _get_default_comparator(definition)
    return f"{metric} {operator} {limit_text.strip()}{'%' * (definition.unit == 'share')}"


def _get_default_comparator(metric: Metric) -> str:
    return ">=" if metric.better == "higher" else "<"


def initial_limit(metric: Metric) -> str:
    """Return the limit of a new objective, in the unit of its metric."""
    if metric.unit != "share":
        return "100"
    return "90" if metric.better == "higher" else "1"


def _kind(metric: Metric) -> tuple[str, str]:
    return metric.unit, metric.better


def _metric_key(objective: Objective) -> str:
    """Return the metric of an objective in profile syntax, such as `latency_ms.p99.9`."""
    return objective.metric if objective.aggregate is None else format_metric(objective.metric, objective.aggregate)


class LimitLine(QWidget):
    """Line of one objective: a metric, its limit and its unit. An objective with more than these is
    shown as text, which the advanced settings can edit."""

    edited = Signal()

    def __init__(self, text: str, choices: Sequence[str]) -> None:
        super().__init__()
        self.text, self._comparator = text, ""
        self.metric_box, self.limit_line = WheelSafeComboBox(), TextLine()
        self.comparator_label, self.unit_label = label(""), label("", "muted")
        self.text_label = label("", wrap=True)
        self.metric_box.setAccessibleName("Metric")
        self.limit_line.setAccessibleName("Limit")
        self.limit_line.setMaxLength(_MAX_LIMIT_CHARACTERS)
        self.remove_button = tool_button("✕", "Remove objective", tip="Remove objective", flat=True)
        self.metric_box.activated.connect(self._edit_metric)
        self.limit_line.textEdited.connect(self._edit_limit)
        hbox(
            (self.metric_box, 3),
            (self.text_label, 3),
            self.comparator_label,
            (self.limit_line, 1),
            self.unit_label,
            self.remove_button,
            within=self,
            spacing=GAP,
        )
        self._show(text, choices)

    def _show(self, text: str, choices: Sequence[str]) -> None:
        objective = read_simple_objective(text)
        for widget in (self.metric_box, self.comparator_label, self.limit_line, self.unit_label):
            widget.setHidden(objective is None)
        self.text_label.setHidden(objective is not None)
        if objective is None:
            self.text_label.setText(format_objective(text))
            return
        metric = _metric_key(objective)
        for choice in dict.fromkeys((*choices, metric)):
            metric_text = metric_label(choice)
            is_statistic = "." in choice
            self.metric_box.addItem(metric_text if is_statistic else _capitalize(metric_text), choice)
            description = METRICS[choice.partition(".")[0]].description
            self.metric_box.setItemData(self.metric_box.count() - 1, description, Qt.ItemDataRole.ToolTipRole)
        self.metric_box.setCurrentIndex(self.metric_box.findData(metric))
        is_share = METRICS[objective.metric].unit == "share"
        self.limit_line.setText(f"{objective.limit * 100 if is_share else objective.limit:.12g}")
        self._show_units(objective.comparator)

    def _show_units(self, comparator: str) -> None:
        self._comparator = comparator
        self.comparator_label.setText(_COMPARATOR_SYMBOLS.get(comparator, comparator))
        self.unit_label.setText(display_unit(METRICS[self._metric.partition(".")[0]].unit))

    @property
    def _metric(self) -> str:
        return str(self.metric_box.currentData())

    def _edit_metric(self) -> None:
        objective = read_simple_objective(self.text)
        metric = METRICS[self._metric.partition(".")[0]]
        is_same_kind = objective is not None and _kind(METRICS[objective.metric]) == _kind(metric)
        limit_text = self.limit_line.text() if is_same_kind else initial_limit(metric)
        self.limit_line.setText(limit_text)
        self._show_units(self._comparator if is_same_kind else _get_default_comparator(metric))
        self.text = format_simple_objective(self._metric, limit_text, self._comparator)
        self.edited.emit()

    def _edit_limit(self) -> None:
        self.text = format_simple_objective(self._metric, self.limit_line.text(), self._comparator)
        self.edited.emit()


class LimitsEditor(QWidget):
    """Editable list of objectives, each with its metric and its limit. A line is only rebuilt if
    its objective was changed elsewhere, so that the cursor position is preserved."""

    edited = Signal(object)
    """Signal that is emitted with the objectives (list of strings), or with None if there are none
    left."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[LimitLine] = []
        self._choices: tuple[str, ...] = ()
        self._lines_layout = vbox(spacing=GAP_TIGHT)
        self.empty_label = label("There is no SLO: the run only measures.", "muted", wrap=True)
        self.add_button = button("Add objective", self._add)
        vbox(self.empty_label, self._lines_layout, hbox(self.add_button, 1), within=self, spacing=6)

    def show_slo(self, slo: Sequence[str], default_objectives: Sequence[str]) -> None:
        choices = list_metric_choices(default_objectives)
        if self.texts() != list(slo) or choices != self._choices:
            self._choices = choices
            self._fill(slo)
        self.empty_label.setVisible(not slo)

    def texts(self) -> list[str]:
        return [line.text for line in self.lines]

    def _fill(self, slo: Sequence[str]) -> None:
        for line in self.lines:
            self._lines_layout.removeWidget(line)
            line.hide()
            line.deleteLater()
        self.lines = [LimitLine(text, self._choices) for text in slo]
        previous: QWidget | None = None
        for line in self.lines:
            line.edited.connect(self._emit_edited)
            line.remove_button.clicked.connect(self._remove)
            self._lines_layout.addWidget(line)
            for widget in (line.metric_box, line.limit_line, line.remove_button):
                if previous is not None:
                    QWidget.setTabOrder(previous, widget)
                previous = widget
        if previous is not None:
            QWidget.setTabOrder(previous, self.add_button)

    def _emit_edited(self) -> None:
        self.edited.emit(self.texts() or None)

    def _add(self) -> None:
        used_metrics = {
            _metric_key(objective) for text in self.texts() if (objective := read_simple_objective(text)) is not None
        }
        metric = next((choice for choice in self._choices if choice not in used_metrics), self._choices[0])
        limit_text = initial_limit(METRICS[metric.partition(".")[0]])
        self.edited.emit([*self.texts(), format_simple_objective(metric, limit_text)])
        if self.lines:
            self.lines[-1].limit_line.setFocus(Qt.FocusReason.OtherFocusReason)
            self.lines[-1].limit_line.selectAll()

    def _remove(self) -> None:
        texts = [line.text for line in self.lines if line.remove_button is not self.sender()]
        self.edited.emit(texts or None)
        self.add_button.setFocus(Qt.FocusReason.OtherFocusReason)


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


_COMPARATOR_SYMBOLS = {"<=": "≤", ">=": "≥"}


def observed_text(row: ObjectiveRow) -> str:
    stage_text = f" in {row.stage}" if row.stage else ""
    reason = f"; {row.why}" if row.why else ""
    return f"{formatting.format_quantity(row.observed)}{stage_text}{reason}"


def _format_unlisted_row(row: ObjectiveRow) -> str:
    implied_text = " (default: no error limit set)" if row.implied else ""
    prefix = "Gate: " if row.kind == "gate" else ""
    return f"{prefix}{format_objective(row.text)}{implied_text}: {row.outcome}, {observed_text(row)}"


def _list_completions() -> list[str]:
    return [
        f"{name if aggregate is None else format_metric(name, aggregate)} "
        for name, metric in METRICS.items()
        for aggregate in metric.aggregates or (None,)
        if metric.better != "neither" and not name.startswith("gpu_")
    ]
