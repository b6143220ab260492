"""Table model of the load stages, with editable cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QAbstractItemModel, QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtWidgets import QComboBox, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from app.gui.run.stage_edits import (
    format_end,
    format_load,
    is_text_editable,
    set_arrivals,
    set_concurrency,
    set_end,
    set_load,
)
from app.gui.run.stage_line import Stage, find_load_key
from app.gui.widgets import tool_tip_text

Index = QModelIndex | QPersistentModelIndex
_ROOT_INDEX = QModelIndex()
NAME, ARRIVALS, LOAD, CLIENTS, DURATION, REPEATS = range(6)
ARRIVAL_PROCESSES = ("poisson", "constant", "gamma")


class StageModel(QAbstractTableModel):
    """Table model of the load stages. When the user edits a cell, `changed` is emitted with all
    stages including the edit. The model itself only changes when the document has applied the
    edit."""

    changed = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self._stages: list[dict[str, Any]] = []
        self._problems: list[str | None] = []

    @property
    def stages(self) -> list[dict[str, Any]]:
        return self._stages

    def set_stages(self, stages: Sequence[Stage], problems: Sequence[str | None]) -> None:
        """Set the displayed stages. `problems` contains the validation error of each stage, or
        None. If the number of stages is unchanged, the selection is preserved."""
        if len(stages) != len(self._stages):
            self.beginResetModel()
            self._stages, self._problems = [dict(stage) for stage in stages], list(problems)
            self.endResetModel()
            return
        self._stages, self._problems = [dict(stage) for stage in stages], list(problems)
        if stages:
            self.dataChanged.emit(self.index(0, 0), self.index(len(stages) - 1, REPEATS))

    def rowCount(self, parent: Index = _ROOT_INDEX) -> int:
        return 0 if parent.isValid() else len(self._stages)

    def columnCount(self, parent: Index = _ROOT_INDEX) -> int:
        return 0 if parent.isValid() else REPEATS + 1

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation != Qt.Orientation.Horizontal or not 0 <= section <= REPEATS:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.DisplayRole:
            column_titles = (
                "Stage", "Arrivals", "Rate, or start → end", "Clients", "Duration", "Repeats",
            )  # fmt: skip
            return column_titles[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            tool_tips = (
                "Name in results and gates",
                "Arrival process of the requests; not used for stages with clients or traces",
                "For example 20/s, 10/s → 50/s, 10/s, 20/s, 40/s or 80% of steady",
                "Number of concurrent clients; each client sends its next request after the response",
                "For example 30s, 5m or 500 requests",
                "Number of times the stage runs",
            )
            return tool_tips[section]
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        row, column = index.row(), index.column()
        problem = self._problems[row] if row < len(self._problems) else None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole, Qt.ItemDataRole.AccessibleTextRole):
            text = self._get_cell_text(self._stages[row], column)
            if role == Qt.ItemDataRole.DisplayRole and column == NAME and problem is not None:
                return f"⚠ {text}"
            return text
        if role == Qt.ItemDataRole.ToolTipRole:
            return None if problem is None else tool_tip_text(problem)
        if role == Qt.ItemDataRole.AccessibleDescriptionRole:
            return problem or ""
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = super().flags(index)
        if not index.isValid():
            return flags
        return (
            flags | Qt.ItemFlag.ItemIsEditable if self._can_edit(self._stages[index.row()], index.column()) else flags
        )

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.EditRole or not index.isValid():
            return False
        old_stage = self._stages[index.row()]
        new_stage = self._apply_text(old_stage, index.column(), str(value).strip())
        if new_stage == old_stage:
            return False
        self.changed.emit([new_stage if row == index.row() else dict(stage) for row, stage in enumerate(self._stages)])
        return True

    @staticmethod
    def _get_cell_text(stage: Stage, column: int) -> str:
        load_key = find_load_key(stage)
        match column:
            case 0:
                return str(stage.get("name") or "steady")
            case 1:
                if load_key in ("concurrency", "trace"):
                    return "closed loop" if load_key == "concurrency" else "trace"
                return str(stage.get("arrivals") or "poisson")
            case 2:
                return format_load(stage)
            case 3:
                return str(stage.get("concurrency") or "")
            case 4:
                return format_end(stage)
            case _:
                return str(stage.get("repeats") or 1)

    @staticmethod
    def _can_edit(stage: Stage, column: int) -> bool:
        load_key = find_load_key(stage)
        if column == ARRIVALS:
            return load_key not in ("concurrency", "trace")
        if column == LOAD:
            return is_text_editable(stage) or load_key == "concurrency"
        return column != CLIENTS or load_key != "trace"

    @staticmethod
    def _apply_text(stage: Stage, column: int, text: str) -> dict[str, Any]:
        match column:
            case 0:
                return (
                    {**stage, "name": text} if text else {key: value for key, value in stage.items() if key != "name"}
                )
            case 1:
                return set_arrivals(stage, text)
            case 2:
                return set_load(stage, text) if text and text != format_load(stage) else dict(stage)
            case 3:
                return set_concurrency(stage, text)
            case 4:
                return set_end(stage, text)
            case _:
                other_values = {key: value for key, value in stage.items() if key != "repeats"}
                return (
                    other_values
                    if text in ("", "1")
                    else {**other_values, "repeats": int(text) if text.isdecimal() else text}
                )


class ArrivalsDelegate(QStyledItemDelegate):
    """Item delegate with a combo box for the arrival process of a stage."""

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:  # noqa: ARG002
        box = QComboBox(parent)
        box.setAccessibleName("Arrivals of this stage")
        box.addItems(list(ARRIVAL_PROCESSES))
        box.activated.connect(self._commit_choice)
        return box

    def _commit_choice(self) -> None:
        box = self.sender()
        if isinstance(box, QComboBox):
            self.commitData.emit(box)
            self.closeEditor.emit(box)

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        assert isinstance(editor, QComboBox)
        editor.setCurrentText(str(index.data(Qt.ItemDataRole.EditRole)))

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: Index) -> None:
        assert isinstance(editor, QComboBox)
        model.setData(index, editor.currentText())
