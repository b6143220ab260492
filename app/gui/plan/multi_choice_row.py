"""Input row for selecting several values in a collapsible list. An empty selection allows all
values."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSortFilterProxyModel, Qt
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QLineEdit, QListView, QToolButton, QWidget

from app.gui.plan.rows import InputRow
from app.gui.plan.state import Change, Edits
from app.gui.widgets import tool_tip_text, vbox
from app.records.planning_inputs import PlanningInputs

_MAX_VISIBLE_ROWS = 8
_MAX_SUMMARY_NAMES = 3


class MultiChoiceRow(InputRow):
    def __init__(
        self,
        key: str,
        name: str,
        list_all_names: Callable[[PlanningInputs], tuple[str, ...]],
        get_names: Callable[[PlanningInputs], tuple[str, ...]],
    ) -> None:
        super().__init__(key, name)
        self._list_all_names, self._get_names = list_all_names, get_names
        self._names: tuple[str, ...] = ()
        self._is_updating = False
        self.expand_button = QToolButton()
        self.expand_button.setCheckable(True)
        self.expand_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.expand_button.setArrowType(Qt.ArrowType.RightArrow)
        self.expand_button.toggled.connect(self._set_expanded)
        self.set_field(self.expand_button, is_inline=True)
        self.model = QStandardItemModel(self)
        self.model.itemChanged.connect(self._request_change)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self.model)
        self._proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.filter_field = QLineEdit()
        self.filter_field.setPlaceholderText(f"Search {self.name}")
        self.filter_field.setAccessibleName(self.filter_field.placeholderText())
        self.filter_field.textChanged.connect(self._proxy.setFilterFixedString)
        self.list_view = QListView()
        self.list_view.setModel(self._proxy)
        self.list_view.setUniformItemSizes(True)
        self.list_view.setAccessibleName(f"{self.name} (choices)")
        self._expanded_content = QWidget()
        vbox(self.filter_field, self.list_view, within=self._expanded_content)
        self.column.addWidget(self._expanded_content)
        self._expanded_content.hide()

    def show_inputs(self, plan_inputs: PlanningInputs, edits: Edits) -> None:
        super().show_inputs(plan_inputs, edits)
        checked_names = self._get_names(plan_inputs)
        names = tuple(sorted({*self._list_all_names(plan_inputs), *checked_names}))
        self._is_updating = True
        if names != self._names:
            self._fill_list(names)
        for index, name in enumerate(names):
            state = Qt.CheckState.Checked if name in checked_names else Qt.CheckState.Unchecked
            self.model.item(index).setCheckState(state)
        self._is_updating = False
        self.expand_button.setText(_format_summary(checked_names))
        self.expand_button.setToolTip(tool_tip_text(", ".join(checked_names) or "all"))
        self.expand_button.setAccessibleName(
            "{name}: {checked_names}".format(name=self.name, checked_names=", ".join(checked_names) or "all")
        )

    def selected_names(self) -> tuple[str, ...]:
        items = (self.model.item(index) for index in range(self.model.rowCount()))
        return tuple(item.text() for item in items if item.checkState() == Qt.CheckState.Checked)

    def _fill_list(self, names: tuple[str, ...]) -> None:
        self._names = names
        self.model.clear()
        for name in names:
            item = QStandardItem(name)
            item.setEditable(False)
            item.setCheckable(True)
            self.model.appendRow(item)
        self.filter_field.setVisible(len(names) > _MAX_VISIBLE_ROWS)
        row_count = min(len(names), _MAX_VISIBLE_ROWS)
        self.list_view.setMinimumHeight(row_count * (self.fontMetrics().height() + 6) + 4)

    def _set_expanded(self, is_expanded: bool) -> None:
        self.expand_button.setArrowType(Qt.ArrowType.DownArrow if is_expanded else Qt.ArrowType.RightArrow)
        self._expanded_content.setVisible(is_expanded)

    def _request_change(self, _: QStandardItem) -> None:
        if self._is_updating:
            return
        checked_names = self.selected_names()
        title = f"{self.name} {_format_summary(checked_names)}"
        self.change_requested.emit(Change(title, ((self.key, f"[{', '.join(checked_names)}]"),)))


def _format_summary(checked_names: tuple[str, ...]) -> str:
    if not checked_names:
        return "all"
    names = ", ".join(checked_names[:_MAX_SUMMARY_NAMES])
    hidden_count = len(checked_names) - _MAX_SUMMARY_NAMES
    return f"{names} and {hidden_count} more" if hidden_count > 0 else names
