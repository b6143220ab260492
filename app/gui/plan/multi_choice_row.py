"""Input row for multiple choice, as a collapsible list. An empty selection allows all choices."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSortFilterProxyModel, Qt
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QLineEdit, QListView, QToolButton, QWidget

from app.gui.plan.rows import InputRow
from app.gui.plan.state import Change, Edits
from app.gui.widgets import tool_tip_text, vbox
from app.records.planning_inputs import PlanningInputs

_MAX_ROWS = 8
_MAX_NAMES = 3


class MultiChoiceRow(InputRow):
    def __init__(
        self,
        key: str,
        name: str,
        all_names: Callable[[PlanningInputs], tuple[str, ...]],
        read: Callable[[PlanningInputs], tuple[str, ...]],
    ) -> None:
        super().__init__(key, name)
        self._all_names, self._read = all_names, read
        self._names: tuple[str, ...] = ()
        self._is_showing = False
        self.fold_button = QToolButton()
        self.fold_button.setCheckable(True)
        self.fold_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold_button.setArrowType(Qt.ArrowType.RightArrow)
        self.fold_button.toggled.connect(self._unfold)
        self.set_field(self.fold_button, is_beside=True)
        self.model = QStandardItemModel(self)
        self.model.itemChanged.connect(self._request)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self.model)
        self._proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText(f"Search {self.name}")
        self.filter.setAccessibleName(self.filter.placeholderText())
        self.filter.textChanged.connect(self._proxy.setFilterFixedString)
        self.list = QListView()
        self.list.setModel(self._proxy)
        self.list.setUniformItemSizes(True)
        self.list.setAccessibleName(f"{self.name} (choices)")
        self._inner = QWidget()
        vbox(self.filter, self.list, within=self._inner)
        self.column.addWidget(self._inner)
        self._inner.hide()

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:
        super().show_inputs(plan_inputs, edits)
        checked = self._read(plan_inputs)
        names = tuple(sorted({*self._all_names(plan_inputs), *checked}))
        self._is_showing = True
        if names != self._names:
            self._fill(names)
        for index, name in enumerate(names):
            state = Qt.CheckState.Checked if name in checked else Qt.CheckState.Unchecked
            self.model.item(index).setCheckState(state)
        self._is_showing = False
        self.fold_button.setText(_summary(checked))
        self.fold_button.setToolTip(tool_tip_text(", ".join(checked) or "all"))
        self.fold_button.setAccessibleName(
            "{name}: {checked}".format(name=self.name, checked=", ".join(checked) or "all")
        )

    def selected_names(self) -> tuple[str, ...]:
        items = (self.model.item(index) for index in range(self.model.rowCount()))
        return tuple(item.text() for item in items if item.checkState() == Qt.CheckState.Checked)

    def _fill(self, names: tuple[str, ...]) -> None:
        self._names = names
        self.model.clear()
        for name in names:
            item = QStandardItem(name)
            item.setEditable(False)
            item.setCheckable(True)
            self.model.appendRow(item)
        self.filter.setVisible(len(names) > _MAX_ROWS)
        rows = min(len(names), _MAX_ROWS)
        self.list.setMinimumHeight(rows * (self.fontMetrics().height() + 6) + 4)

    def _unfold(self, is_open: bool) -> None:
        self.fold_button.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self._inner.setVisible(is_open)

    def _request(self, _: QStandardItem) -> None:
        if self._is_showing:
            return
        checked = self.selected_names()
        title = f"{self.name} {_summary(checked)}"
        self.change_requested.emit(Change(title, ((self.key, f"[{', '.join(checked)}]"),)))


def _summary(checked: tuple[str, ...]) -> str:
    if not checked:
        return "all"
    names = ", ".join(checked[:_MAX_NAMES])
    more = len(checked) - _MAX_NAMES
    return f"{names} and {more} more" if more > 0 else names
