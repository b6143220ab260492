"""Table model of the load stages, with editable cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QAbstractItemModel, QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtWidgets import QComboBox, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from app.gui.run.stage_edits import format_load, is_text_editable, with_arrivals, with_clients, with_load
from app.gui.run.stage_line import Stage, find_load_key
from app.gui.widgets import tool_tip_text

Index = QModelIndex | QPersistentModelIndex
_ROOT_INDEX = QModelIndex()
NAME, ARRIVALS, LOAD, CLIENTS, DURATION, REPEATS = range(6)
ARRIVALS_BY_PROCESS = ("poisson", "constant", "gamma")


class StageModel(QAbstractTableModel):
    """Table model of the load stages. After an edit, `changed` is emitted with all stages as they
    would be; the document applies the change."""

    changed = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self._stages: list[dict[str, Any]] = []
        self._problems: list[str | None] = []

    @property
    def stages(self) -> list[dict[str, Any]]:
        return self._stages

    def set_stages(self, stages: Sequence[Stage], problems: Sequence[str | None]) -> None:
        """Set the displayed stages. `problems` holds the validation error of each stage. If only
        contents have changed, the rows and the selection are preserved."""
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
            titles = (
                "Stage", "Arrivals", "Rate, or from → to", "Clients", "Duration", "Repeats",
            )  # fmt: skip
            return titles[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            tips = (
                "Name in results and gates",
                "Arrival process at a rate; not used with clients and traces",
                "For example 20/s, 10/s → 50/s, 10/s, 20/s, 40/s or 80% of steady",
                "Concurrent clients; each sends its next request after its response",
                "For example 30s or 5m",
                "Number of times the stage runs",
            )
            return tips[section]
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        row, column = index.row(), index.column()
        problem = self._problems[row] if row < len(self._problems) else None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole, Qt.ItemDataRole.AccessibleTextRole):
            text = self._text(self._stages[row], column)
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
        before = self._stages[index.row()]
        after = self._with_text(before, index.column(), str(value).strip())
        if after == before:
            return False
        self.changed.emit([after if row == index.row() else dict(stage) for row, stage in enumerate(self._stages)])
        return True

    @staticmethod
    def _text(stage: Stage, column: int) -> str:
        form = find_load_key(stage)
        match column:
            case 0:
                return str(stage.get("name") or "steady")
            case 1:
                if form in ("concurrency", "trace"):
                    return "closed loop" if form == "concurrency" else "trace"
                return str(stage.get("arrivals") or "poisson")
            case 2:
                return format_load(stage)
            case 3:
                return str(stage.get("concurrency") or "")
            case 4:
                return str(stage.get("duration") or "")
            case _:
                return str(stage.get("repeats") or 1)

    @staticmethod
    def _can_edit(stage: Stage, column: int) -> bool:
        form = find_load_key(stage)
        if column == ARRIVALS:
            return form not in ("concurrency", "trace")
        if column == LOAD:
            return is_text_editable(stage) or form == "concurrency"
        return column != CLIENTS or form != "trace"

    @staticmethod
    def _with_text(stage: Stage, column: int, text: str) -> dict[str, Any]:
        match column:
            case 0:
                return (
                    {**stage, "name": text} if text else {key: value for key, value in stage.items() if key != "name"}
                )
            case 1:
                return with_arrivals(stage, text)
            case 2:
                return with_load(stage, text) if text and text != format_load(stage) else dict(stage)
            case 3:
                return with_clients(stage, text)
            case 4:
                return (
                    {**stage, "duration": text}
                    if text
                    else {key: value for key, value in stage.items() if key != "duration"}
                )
            case _:
                rest = {key: value for key, value in stage.items() if key != "repeats"}
                return rest if text in ("", "1") else {**rest, "repeats": int(text) if text.isdecimal() else text}


class ArrivalsDelegate(QStyledItemDelegate):
    """Item delegate with a combo box for the arrival process of a stage."""

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:  # noqa: ARG002
        box = QComboBox(parent)
        box.setAccessibleName("Arrivals of this stage")
        box.addItems(list(ARRIVALS_BY_PROCESS))
        box.activated.connect(self._choose)
        return box

    def _choose(self) -> None:
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
