"""The SLO as lines to write in: what is wrong with one is said at it, and what is right is used at once."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QStringListModel, Qt, Signal
from PySide6.QtWidgets import QCompleter, QGridLayout, QLineEdit, QWidget

from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.gui.widgets import Badge, button, hbox, label, tool_button, vbox
from app.records.metrics import METRICS, format_metric
from reports import formatting
from reports.model import ObjectiveRow

_WIDEST = 200
_EXAMPLE = "latency_ms.p95 < 50"


class ObjectiveLine(QLineEdit):
    """One objective; what is wrong with it is told by `problem`."""

    def __init__(self, text: str, completions: QStringListModel) -> None:
        super().__init__(text)
        self.setMaxLength(_WIDEST)
        self.setPlaceholderText(_EXAMPLE)
        self.setAccessibleName("Objective")
        completer = QCompleter(completions, self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.setCompleter(completer)
        self.badge, self.told = Badge(), label("", "muted", wrap=True)
        self.remove = tool_button("✕", "Remove this objective", tip="Remove this objective", flat=True)

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
            self.badge.say("", "")
            self.told.setText(problem)
        elif row is None:
            self.badge.say("", "")
            self.told.setText("")
        else:
            self.badge.say(row.judgement, row.why or "")
            self.told.setText(observed(row))
        self.told.setVisible(bool(self.told.text()))
        self.setAccessibleDescription(f"{self.badge.text()} {self.told.text()}".strip())


class SloEditor(QWidget):
    """`edited` has the objectives as texts, or None for those that were measured; `finished` follows a line that is
    written to its end. Where it `is_narrow`, what is said of a line stands below it."""

    edited = Signal(object)
    finished = Signal()

    def __init__(self, heading: str = "", *, is_narrow: bool = False) -> None:
        super().__init__()
        self._is_narrow = is_narrow
        self.lines: list[ObjectiveLine] = []
        self._own: tuple[str, ...] = ()
        self._is_filling = False
        self._completions = QStringListModel(_completions(), self)
        self._rows = QWidget()
        self._grid = QGridLayout(self._rows)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(0 if is_narrow else 3, 1)
        self.others = label("", "muted", wrap=True)
        self.add = button("Add an &objective", self.add_line)
        self.reset = button("As measure&d", self._reset)
        title = (label(heading, "heading", wrap=True),) if heading else ()
        vbox(*title, self._rows, self.others, hbox(self.add, self.reset, 1), within=self, spacing=4)

    def show_slo(self, slo: tuple[str, ...], own: tuple[str, ...], judged: Sequence[ObjectiveRow] = ()) -> None:
        """Lines are made anew only where they do not say what is shown: nobody loses the place they write at. `own` is
        the SLO that was measured; `judged` are those of it and the gates that there is a verdict on."""
        self._own = own
        if self.texts() != slo and not self._is_writing():
            self._fill(slo)
        rows = {row.text: row for row in judged if row.kind == "SLO"}
        for line in self.lines:
            line.show_row(rows.get(" ".join(line.text().split())))
        rest = [row for row in judged if row.kind == "gate" or row.text not in self.texts()]
        self.others.setText("\n".join(_other(row) for row in rest))
        self.others.setVisible(bool(rest))
        self._show_reset()

    def forget(self) -> None:
        """Another run: what is written is not meant for it."""
        self._fill(())

    def add_line(self, text: str = "") -> ObjectiveLine:
        line = ObjectiveLine(text, self._completions)
        self.lines.append(line)
        place = self._grid.rowCount()
        self._grid.addWidget(line, place, 0)
        for column, widget in enumerate((line.remove, line.badge), 1):
            self._grid.addWidget(widget, place, column, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        if self._is_narrow:
            self._grid.addWidget(line.told, place + 1, 0, 1, 3)
        else:
            line.setMinimumWidth(line.fontMetrics().horizontalAdvance("output_tokens_per_s.p95 <= 10,000"))
            self._grid.addWidget(line.told, place, 3)
        line.told.hide()
        line.textChanged.connect(self._written)
        line.editingFinished.connect(self.finished)
        line.remove.clicked.connect(self._remove)
        line.show_row(None) if text else line.badge.say("")
        if not self._is_filling:
            line.setFocus(Qt.FocusReason.OtherFocusReason)
        self._show_reset()
        return line

    def _fill(self, texts: Sequence[str]) -> None:
        self._is_filling = True
        for line in self.lines:
            self._take_away(line)
        self.lines = []
        for text in texts:
            self.add_line(text)
        self._is_filling = False

    def _remove(self) -> None:
        line = next((one for one in self.lines if one.remove is self.sender()), None)
        if line is not None:
            self.lines.remove(line)
            self._take_away(line)
            self._written()

    def _take_away(self, line: ObjectiveLine) -> None:
        for widget in (line, line.remove, line.badge, line.told):
            self._grid.removeWidget(widget)
            widget.hide()
            widget.deleteLater()

    def _written(self) -> None:
        """Once all lines can be read; an empty one asks for nothing yet."""
        if self._is_filling:
            return
        wrong = [line for line in self.lines if line.text().strip() and line.problem is not None]
        for line in self.lines:
            if line in wrong:
                line.show_row(None)
        self._show_reset()
        if not wrong:
            self.edited.emit(self.texts())

    def texts(self) -> tuple[str, ...]:
        return tuple(" ".join(line.text().split()) for line in self.lines if line.text().strip())

    def _is_writing(self) -> bool:
        """A line is half written, so what is shown is older than it."""
        return any(line.hasFocus() and line.problem is not None for line in self.lines)

    def _reset(self) -> None:
        self._fill(self._own)
        self.edited.emit(None)
        self._show_reset()

    def _show_reset(self) -> None:
        self.reset.setEnabled(self.texts() != self._own)


def observed(row: ObjectiveRow) -> str:
    where = f" in {row.stage}" if row.stage else ""
    why = f"; {row.why}" if row.why else ""
    return f"{formatting.quantity(row.observed)}{where}{why}"


def _other(row: ObjectiveRow) -> str:
    implied = " (implied: the SLO sets no limit on errors)" if row.implied else ""
    kind = "gate " if row.kind == "gate" else ""
    return f"{kind}{row.text}{implied}: {row.judgement}, {observed(row)}"


def _completions() -> list[str]:
    return [
        f"{name if aggregate is None else format_metric(name, aggregate)} "
        for name, metric in METRICS.items()
        for aggregate in metric.aggregates or (None,)
        if metric.better != "neither" and not name.startswith("gpu_")
    ]
