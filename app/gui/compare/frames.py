"""Tables of a comparison: environment differences, changes, and changes by stage. Verdicts are
colored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import pandas as pd
from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor, QFont

from app.analysis.comparisons.metric_pairs import UnpairedMetric
from app.gui.compare.outcome import Outcome
from app.gui.formatting import NOT_AVAILABLE, State, capitalize_header, format_value_unit
from app.gui.tables import FrameModel, FrameTable
from app.gui.theme import ThemeController
from app.records.metrics import METRICS, RUN_METRICS, format_metric, metric_label
from app.reporting.quantities import build_quantity
from reports.sections.comparison import (
    CHANGES,
    DIFFERENCES,
    NOT_COMPARABLE,
    ChangeRow,
    ComparisonSection,
    format_change,
)
from reports.sections.section import RowT, Section, Table, format_cell

_VERDICT_STATES: dict[object, State] = {"better": "good", "worse": "bad", "inconclusive": "warn", "same": "plain"}
_OUTCOME_STATES: dict[str, State] = {"regression": "bad", "inconclusive": "warn", "no_regression": "good"}


def verdict_state(verdict: object) -> State:
    return _VERDICT_STATES.get(verdict, "plain")


def comparability_state(value: object) -> State:
    return "bad" if value == NOT_COMPARABLE.id else "plain"


def build_text_frame(section: Section[RowT], rows: Sequence[RowT]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a table of a section as text, with its headers by column."""
    columns = [*chain(*section.list_groups(Table(rows=rows), "window"))]
    cells = {column.key: [format_cell(column.read_cell(row), format_value_unit) for row in rows] for column in columns}
    return pd.DataFrame(cells), {column.key: capitalize_header(column.label) for column in columns}


DIFFERENCE_HEADERS, CHANGE_HEADERS = build_text_frame(DIFFERENCES, ())[1], build_text_frame(CHANGES, ())[1]


def metric_text(value: object) -> str:
    """Return the display name of a compared metric, such as "p95 latency"."""
    name = str(value)
    metric = name.partition(".")[0]
    return metric_label(name) if metric in METRICS or metric in RUN_METRICS else name


def select_rows(section: ComparisonSection, *, is_headline_only: bool, stage: str | None) -> list[ChangeRow]:
    return [row for row in section.rows if (row.is_headline or not is_headline_only) and stage in (None, row.stage)]


def select_unpaired(
    unpaired: Sequence[UnpairedMetric], *, is_headline_only: bool, stage: str | None
) -> list[UnpairedMetric]:
    return [one for one in unpaired if (one.is_headline or not is_headline_only) and stage in (None, one.stage)]


def unpaired_frame(unpaired: Sequence[UnpairedMetric]) -> pd.DataFrame:
    """Return the rows of metrics that only one side has, with n/a on the other side and the reason as
    remark."""
    sides = {
        name: [format_value_unit(build_quantity(getattr(one, name), one.unit)) for one in unpaired]
        for name in ("baseline", "candidate")
    }
    return pd.DataFrame(
        {
            "verdict": [NOT_AVAILABLE for _ in unpaired],
            "metric": [format_metric(one.metric, one.aggregate) for one in unpaired],
            "stage": [one.stage for one in unpaired],
            **sides,
            "change": [NOT_AVAILABLE for _ in unpaired],
            "p": [NOT_AVAILABLE for _ in unpaired],
            "remark": [_describe_missing_side(one) for one in unpaired],
        }
    )


def _describe_missing_side(unpaired: UnpairedMetric) -> str:
    if unpaired.baseline.value is None:
        return f"baseline: {unpaired.baseline.reason}"
    return f"candidate: {unpaired.candidate.reason}"


def stage_names(outcome: Outcome) -> tuple[str, ...]:
    rows = () if outcome.section is None else outcome.section.rows
    return tuple(dict.fromkeys([*(row.stage for row in rows), *(one.stage for one in outcome.unpaired)]))


def build_stage_table(section: ComparisonSection) -> tuple[pd.DataFrame, dict[str, list[State]]]:
    """Return the table of changes with one row per stage and one column per headline metric, and
    the state of each cell (a list per column)."""
    metrics = tuple(dict.fromkeys(row.metric for row in section.rows if row.is_headline))
    rows_by_cell: dict[tuple[str, str], ChangeRow] = {}
    for row in section.rows:
        rows_by_cell.setdefault((row.stage, row.metric), row)
    names = dict.fromkeys(row.stage for row in section.rows)
    stages = [stage for stage in names if any((stage, metric) in rows_by_cell for metric in metrics)]
    columns = {metric: [rows_by_cell.get((stage, metric)) for stage in stages] for metric in metrics}
    texts = {metric: [_format_cell(row) for row in column] for metric, column in columns.items()}
    states = {metric: [verdict_state(row and row.verdict) for row in column] for metric, column in columns.items()}
    return pd.DataFrame({"stage": stages, **texts}), states


def summarize_outcome(outcome: Outcome) -> tuple[str, State]:
    """Return the outcome of the comparison as a short text, with the state that determines its
    color."""
    section = outcome.section
    if section is None or not section.rows:
        return (NOT_COMPARABLE.id.upper(), "bad") if outcome.blocking_differences else ("", "plain")
    return section.outcome_text, _OUTCOME_STATES.get(section.outcome, "plain")


def notes_text(notes: Sequence[str]) -> str:
    return "\n".join(notes[:12])


def _format_cell(row: ChangeRow | None) -> str:
    if row is None:
        return NOT_AVAILABLE
    return row.verdict if row.ratio.value is None else f"{row.verdict} {format_change(row.ratio.value)}"


Index = QModelIndex | QPersistentModelIndex


class StateColoredModel(FrameModel):
    """Table model with cells colored by state. `states` maps a column name either to a function of
    the cell value or to a list with one state per row. Cells with a state other than plain are
    bold."""

    def __init__(
        self,
        theme_controller: ThemeController,
        headers: Mapping[str, str],
        states: Mapping[str, Callable[[object], State] | Sequence[State]],
        formatters: Mapping[str, Callable[[object], str]] | None = None,
    ) -> None:
        super().__init__(None, headers, formatters)
        self._theme_controller, self._states = theme_controller, dict(states)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if role in (Qt.ItemDataRole.ForegroundRole, Qt.ItemDataRole.FontRole):
            state = self._state(index)
            if state in (None, "plain"):
                return None
            return self._color(state) if role == Qt.ItemDataRole.ForegroundRole else _bold_font()
        return super().data(index, role)

    def _state(self, index: Index) -> State | None:
        if not index.isValid():
            return None
        column_states = self._states.get(str(self.frame.columns[index.column()]))
        if callable(column_states):
            return column_states(self.value(index.row(), index.column()))
        return None if column_states is None else column_states[self.frame_row(index.row())]

    def _color(self, state: State | None) -> QColor:
        theme = self._theme_controller.theme
        return QColor({"good": theme.good, "warn": theme.warn, "bad": theme.bad}.get(state or "", theme.ink))


class ShortTable(FrameTable):
    """Table that is as tall as its rows, up to `max_rows` rows."""

    def __init__(
        self, model: FrameModel, name: str, max_rows: int, *, max_column_characters: int | None = None
    ) -> None:
        super().__init__(model, name, max_column_characters=max_column_characters)
        self._max_rows = max_rows
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.fit_height()
        model.modelReset.connect(self.fit_height)

    def fit_height(self) -> None:
        row_count = min(self.frame_model.rowCount(), self._max_rows)
        row_px = self.verticalHeader().defaultSectionSize()
        header_px = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header_px + row_count * row_px + 2 * self.frameWidth() + 2)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_max_rows"):
            self.fit_height()


def _bold_font() -> QFont:
    font = QFont()
    font.setBold(True)
    return font
