"""The SLO as rows: what is timed, which of its percentiles, and the limit."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from app.analysis.objectives import parse_objective
from app.gui.plan.presenter import new_stroke
from app.gui.plan.state import Change, Edits
from app.gui.plan.steppers import ChoiceField, NumberField
from app.gui.widgets import button, label
from app.records.plan_question import PlanQuestion
from app.records.result import Objective

_PARTS = ("p50", "p90", "p95", "p99", "p99_9", "mean")
_SUGGESTED = ("latency_ms.p95 < 100", "latency_ms.p99 < 200", "error_rate < 1%", "ttft_ms.p95 < 500")
_SHARES = ("error_rate", "goodput_share")
_MOST_MS = 10_000_000.0


METRICS: tuple[tuple[str, str], ...] = (
    ("latency_ms", "Latency"),
    ("ttft_ms", "Time to first token"),
    ("tpot_ms", "Time per output token"),
    ("error_rate", "Error rate"),
    ("goodput_share", "Share answered inside the SLO"),
)


class SloRow(QWidget):
    """One objective. What is not of the usual form is shown as it is written, and can only be taken out."""

    edited = Signal()
    removed = Signal(object)

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        text = self._as_written = objective.text
        self.what = ChoiceField(METRICS)
        self.part = ChoiceField(tuple((name, name.replace("_", ".")) for name in _PARTS))
        self.limit = NumberField(0.001, _MOST_MS, 3)
        self._sign = label("<")
        self._text = label(text, wrap=True)
        self.remove = QToolButton()
        self.remove.setText("✕")
        self.remove.setAutoRaise(True)
        self.remove.setAccessibleName(f"Remove {text} from the SLO")
        self.what.setAccessibleName("What the SLO limits")
        self.part.setAccessibleName("Which percentile the SLO limits")
        self.limit.setAccessibleName("Limit of the SLO")
        self.part.setMinimumContentsLength(5)
        lines = QVBoxLayout(self)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.setSpacing(2)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.what, 1)
        first.addWidget(self._text, 1)
        first.addWidget(self.remove)
        for widget, stretch in ((self.part, 0), (self._sign, 0), (self.limit, 1)):
            second.addWidget(widget, stretch)
        lines.addLayout(first)
        lines.addLayout(second)
        self.show_objective(objective)
        self.what.activated.connect(self._change_metric)
        self.part.activated.connect(self._edit)
        self.limit.valueChanged.connect(self._edit)
        self.remove.clicked.connect(self._remove)

    def show_objective(self, objective: Objective) -> None:
        metric, is_plain = objective.metric, _is_plain(objective)
        self._as_written = objective.text
        for widget in (self.what, self.part, self._sign, self.limit):
            widget.setVisible(is_plain)
        self._text.setVisible(not is_plain)
        self._text.setText(objective.text)
        if is_plain:
            self.what.show_value(metric)
            self.part.show_value(objective.aggregate)
            self._fit_metric()
            self.limit.show_value(objective.limit * (100 if metric in _SHARES else 1))

    def text(self) -> str:
        if self.what.isHidden():
            return self._as_written
        metric = str(self.what.currentData())
        if metric in _SHARES:
            return f"{metric} {_sign(metric)} {self.limit.value():g}%"
        return f"{metric}.{self.part.currentData() or 'p95'} {_sign(metric)} {self.limit.value():g}"

    def _fit_metric(self) -> None:
        metric = self.what.currentData()
        is_share = metric in _SHARES
        self.part.setVisible(not is_share)
        if not is_share and self.part.currentIndex() < 0:
            self.part.show_value("p95")
        blocked = self.limit.blockSignals(True)
        self.limit.setRange(0.001, 100.0 if is_share else _MOST_MS)
        self.limit.setSuffix(" %" if is_share else " ms")
        self.limit.blockSignals(blocked)
        self._sign.setText(_sign(metric))

    def _change_metric(self, _: int) -> None:
        self._fit_metric()
        blocked = self.limit.blockSignals(True)
        self.limit.setValue(
            {"error_rate": 1.0, "goodput_share": 99.0, "latency_ms": 100.0}.get(str(self.what.currentData()), 500.0)
        )
        self.limit.blockSignals(blocked)
        self.edited.emit()

    def _edit(self, _: object) -> None:
        self.edited.emit()

    def _remove(self) -> None:
        self.removed.emit(self)


class SloRows(QWidget):
    wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[SloRow] = []
        self._stroke = new_stroke()
        self._lines = QVBoxLayout()
        self._lines.setSpacing(6)
        self._edited = label("", "muted")
        self.add = button("Add an &objective", self._add)
        self._back = button("Back to the measured SLO", self._take_back)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._lines)
        foot = QVBoxLayout()
        foot.addWidget(self._edited)
        foot.addWidget(self.add)
        foot.addWidget(self._back)
        column.addLayout(foot)

    def show_question(self, question: PlanQuestion, edits: Edits) -> None:
        slo = question.slo
        self._edited.setText("edited" if edits.has("slo") else "")
        self._edited.setVisible(edits.has("slo"))
        self._back.setVisible(edits.has("slo"))
        if self.texts() == tuple(objective.text for objective in slo):
            return
        while len(self.rows) > len(slo):
            self._drop(self.rows[-1])
        while len(self.rows) < len(slo):
            self._append(slo[len(self.rows)])
        for row, objective in zip(self.rows, slo, strict=True):
            row.show_objective(objective)

    def texts(self) -> tuple[str, ...]:
        return tuple(row.text() for row in self.rows)

    def _append(self, objective: Objective) -> None:
        row = SloRow(objective)
        row.edited.connect(self._want)
        row.removed.connect(self._remove)
        row.limit.editingFinished.connect(self._end_stroke)
        self.rows.append(row)
        self._lines.addWidget(row)

    def _drop(self, row: SloRow) -> None:
        self.rows.remove(row)
        self._lines.removeWidget(row)
        row.hide()
        row.deleteLater()

    def _add(self) -> None:
        taken = {_limited(parse_objective(text)) for text in self.texts()}
        free = (text for text in _SUGGESTED if _limited(parse_objective(text)) not in taken)
        text = next(free, "latency_ms.p50 < 50")
        self.wanted.emit(Change(f"SLO + {text}", slo=(*self.texts(), text)))

    def _remove(self, row: SloRow) -> None:
        texts = tuple(one.text() for one in self.rows if one is not row)
        if texts:
            self.wanted.emit(Change(f"SLO without {row.text()}", slo=texts))

    def _want(self) -> None:
        texts = self.texts()
        self.wanted.emit(Change(f"SLO {', '.join(texts)}", slo=texts, stroke=self._stroke))

    def _end_stroke(self) -> None:
        self._stroke = new_stroke()

    def _take_back(self) -> None:
        self.wanted.emit(Change("SLO taken back", slo=()))


def _is_plain(objective: Objective) -> bool:
    """Whether the fields of a row can show it; a limit on errors or goodput has no percentile."""
    metric = objective.metric
    has_fields = metric in dict(METRICS) and (metric in _SHARES or objective.aggregate in _PARTS)
    return has_fields and objective.comparator == _sign(metric) and objective.level == "fail"


def _sign(metric: str) -> str:
    return ">" if metric == "goodput_share" else "<"


def _limited(objective: Objective) -> tuple[str, str | None]:
    return objective.metric, objective.aggregate
