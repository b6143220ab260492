"""Hardware picker for runs that did not record their hardware."""

from __future__ import annotations

import re

from PySide6.QtCore import QModelIndex, QSortFilterProxyModel, Qt, Signal
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QLabel, QListView, QWidget

from app.gui.formatting import shorten
from app.gui.plan.fields import CountField, NumberField
from app.gui.plan.hardware_choices import HardwareChoice
from app.gui.theme import GAP, GAP_LINE
from app.gui.widgets import button, hbox, label, search_field, vbox

_CHOICE_ROLE = Qt.ItemDataRole.UserRole


class HardwarePicker(QWidget):
    """Hardware picker. `hardware_selected` is emitted with keys of `target.hardware` and their
    values, in the format of `--set`."""

    hardware_selected = Signal(object)
    canceled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.model = QStandardItemModel(self)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self.model)
        self._proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.title = label("Hardware of this run", "title", wrap=True)
        self.source = label("", "muted", wrap=True)
        self.filter_field = search_field("Search GPUs, providers, instance types, vCPUs…", "Search hardware")
        self.list_view = QListView()
        self.list_view.setModel(self._proxy)
        self.list_view.setUniformItemSizes(True)
        self.list_view.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.list_view.setSpacing(GAP_LINE)
        self.list_view.setAccessibleName("Hardware")
        self.count_label = label("", "muted")
        self.count, self.replicas = NumberField(0.1, 10_000, 3), CountField(1, 10_000)
        self.count.setValue(1)
        self.plan_button = button("&Plan with this hardware", self._emit_selection, primary=True)
        self.back_button = button("Choose anoth&er source", self._cancel)
        self._count_caption = QLabel()
        self._build_layout()
        self.filter_field.textChanged.connect(self._apply_filter)
        self.filter_field.returnPressed.connect(self._focus_list)
        self.list_view.activated.connect(self._on_activated)
        self.list_view.selectionModel().currentChanged.connect(self._update_selection)
        self._update_selection()

    def _build_layout(self) -> None:
        intro = (
            "This run contains no hardware data. Select the instance type or the GPU that it used. "
            "The plan marks the hardware as an assumption."
        )
        replicas_caption = QLabel("Repli&cas:")
        replicas_caption.setBuddy(self.replicas)
        self._count_caption.setBuddy(self.count)
        self.replicas.setAccessibleName("Replicas")
        count_row = hbox(self._count_caption, self.count, replicas_caption, self.replicas, 1)
        button_row = hbox(self.plan_button, self.back_button, 1)
        filter_row = hbox((self.filter_field, 1), self.count_label)
        vbox(
            self.title,
            label(intro, wrap=True),
            self.source,
            filter_row,
            (self.list_view, 1),
            count_row,
            button_row,
            within=self,
            margins=None,
            spacing=GAP,
        )

    def reset_selection(self, sources: tuple[str, ...]) -> None:
        """Clear the hardware choices and the selection, and show the names of the new sources."""
        self.source.setText(shorten(f"Source: {', '.join(sources)}", 400))
        self.filter_field.clear()
        self.model.clear()
        self.count_label.setText("Loading catalog…")
        self._update_selection()
        self.filter_field.setFocus()

    def show_choices(self, choices: tuple[HardwareChoice, ...]) -> None:
        self.model.clear()
        for choice in choices:
            item = QStandardItem(choice.label)
            item.setData(choice, _CHOICE_ROLE)
            self.model.appendRow(item)
        self._apply_filter(self.filter_field.text())

    def _apply_filter(self, text: str) -> None:
        """Show only the hardware choices that contain every word of `text`."""
        patterns = [re.escape(term) for term in text.split()]
        self._proxy.setFilterRegularExpression("".join(f"(?=.*{term})" for term in patterns))
        visible_count, total_count = self._proxy.rowCount(), self.model.rowCount()
        self.count_label.setText(f"{visible_count} of {total_count} options")
        self._update_selection()

    def _focus_list(self) -> None:
        if self._proxy.rowCount():
            self.list_view.setCurrentIndex(self._proxy.index(0, 0))
            self.list_view.setFocus()

    def selected_choice(self) -> HardwareChoice | None:
        choice = self.list_view.currentIndex().data(_CHOICE_ROLE)
        return choice if isinstance(choice, HardwareChoice) else None

    def _update_selection(self, *_: QModelIndex) -> None:
        choice = self.selected_choice()
        self.plan_button.setEnabled(choice is not None)
        has_count = choice is not None and choice.kind != "offer"
        is_cpu = choice is not None and choice.kind == "cpu"
        self._count_caption.setText("&vCPUs:" if is_cpu else "Nu&mber of GPUs:")
        self.count.setAccessibleName("vCPUs" if is_cpu else "Number of GPUs")
        for widget in (self._count_caption, self.count):
            widget.setVisible(has_count)

    def _on_activated(self, _: QModelIndex) -> None:
        self._emit_selection()

    def _emit_selection(self) -> None:
        choice = self.selected_choice()
        if choice is not None:
            self.hardware_selected.emit(choice.overrides(self.count.value(), self.replicas.value()))

    def _cancel(self) -> None:
        self.canceled.emit()
