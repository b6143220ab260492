"""A table some of whose words are in the colour of what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor, QFont

from app.gui.formatting import State
from app.gui.frame_model import FrameModel
from app.gui.tables import FrameTable
from app.gui.theme import Look
from app.gui.widgets import tip

Index = QModelIndex | QPersistentModelIndex


class WordsModel(FrameModel):
    """`states` has the states of a column: by its values, or one for each row. Good and bad values are bold."""

    def __init__(
        self,
        look: Look,
        headers: Mapping[str, str],
        states: Mapping[str, Callable[[object], State] | Sequence[State]],
        formats: Mapping[str, Callable[[object], str]] | None = None,
    ) -> None:
        super().__init__(None, headers, formats)
        self._look, self._states = look, dict(states)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if role in (Qt.ItemDataRole.ForegroundRole, Qt.ItemDataRole.FontRole):
            state = self._state(index)
            if state in (None, "plain"):
                return None
            return self._colour(state) if role == Qt.ItemDataRole.ForegroundRole else _bold()
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(str(super().data(index, Qt.ItemDataRole.DisplayRole) or ""))
        return super().data(index, role)

    def _state(self, index: Index) -> State | None:
        if not index.isValid():
            return None
        state_of = self._states.get(str(self.frame.columns[index.column()]))
        if callable(state_of):
            return state_of(self.value(index.row(), index.column()))
        return None if state_of is None else state_of[self.frame_row(index.row())]

    def _colour(self, state: State | None) -> QColor:
        theme = self._look.theme
        return QColor({"good": theme.good, "warn": theme.warn, "bad": theme.bad}.get(state or "", theme.ink))


class ShortTable(FrameTable):
    """As high as its rows, up to `most` of them."""

    def __init__(self, model: FrameModel, name: str, most: int, *, widest: int | None = None) -> None:
        super().__init__(model, name, widest=widest)
        self._most = most
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.fit_height()
        model.modelReset.connect(self.fit_height)

    def fit_height(self) -> None:
        rows = min(self.frame_model.rowCount(), self._most)
        row_px = self.verticalHeader().defaultSectionSize()
        head_px = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(head_px + rows * row_px + 2 * self.frameWidth() + 2)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_most"):
            self.fit_height()


def _bold() -> QFont:
    font = QFont()
    font.setBold(True)
    return font
