"""Table of offers with a filter, sorting and editable prices, and the form for a custom offer.

A custom offer is stored as a price list, which the command line also accepts.
"""

from __future__ import annotations

import re
from pathlib import Path

from PySide6.QtCore import QItemSelection, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QFormLayout,
    QFrame,
    QLineEdit,
    QMenu,
    QToolButton,
    QWidget,
)

from app.gui.plan.comparison import PinButton
from app.gui.plan.fields import ChoiceField, NumberField
from app.gui.plan.figures import format_usd_per_hour
from app.gui.plan.offers_model import COLUMNS, PRICE_COLUMN, REPLICA_COLUMNS, OffersModel, build_frame
from app.gui.plan.state import Change, PlanState
from app.gui.tables import FrameTable, set_table_description
from app.gui.widgets import button, hbox, label, search_field, tool_button, vbox
from app.records.offers import Catalog, Offer
from app.records.plan import Plan
from app.records.planning_inputs import PlanningInputs
from app.wiring.plan_changes import PRICE_PREFIX

_NO_GPU = "none"


class CustomOfferForm(QFrame):
    """Form for a custom offer. `price_list_written` is emitted with the path of the price list that
    contains the offer."""

    price_list_written = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName("Custom offer")
        self._catalog: Catalog | None = None
        self.provider, self.instance, self.region = QLineEdit("mine"), QLineEdit("server"), QLineEdit("here")
        self.gpu = ChoiceField()
        self.count = NumberField(0, 1000, 0)
        self.vcpus = NumberField(1, 10_000, 0, " vCPUs")
        self.memory = NumberField(1, 100_000, 1, " GiB")
        self.price = NumberField(0.0001, 1e6, 4, " $/h")
        self.count.setValue(1)
        self.vcpus.setValue(8)
        self.memory.setValue(32)
        self.price.setValue(1.0)
        self.problem = label("", wrap=True)
        self.problem.hide()
        left_form, right_form = QFormLayout(), QFormLayout()
        fields: tuple[tuple[QFormLayout, str, QWidget], ...] = (
            (left_form, "Pro&vider", self.provider),
            (left_form, "&Instance type", self.instance),
            (left_form, "&Region", self.region),
            (left_form, "&Price per instance", self.price),
            (right_form, "&GPU", self.gpu),
            (right_form, "GPUs per i&nstance", self.count),
            (right_form, "v&CPUs", self.vcpus),
            (right_form, "&Memory", self.memory),
        )
        for form, title, field in fields:
            field.setAccessibleName(title.replace("&", ""))
            form.addRow(title, field)
        columns = hbox((left_form, 1), (right_form, 1))
        button_row = hbox(1, button("Cancel", self.hide))
        self.add_button = button("Add offer", self._add, primary=True)
        button_row.addWidget(self.add_button)
        vbox(columns, self.problem, button_row, within=self, margins=None)

    def set_catalog(self, catalog: Catalog) -> None:
        if catalog is self._catalog:
            return
        self._catalog = catalog
        selected_key = self.gpu.currentData()
        self.gpu.clear()
        self.gpu.addItem("None (CPU only)", _NO_GPU)
        for key, gpu in sorted(catalog.accelerators.items()):
            self.gpu.addItem(gpu.name, key)
        self.gpu.show_value(selected_key or _NO_GPU)

    def open_form(self) -> None:
        self.show()
        self.problem.hide()
        self.provider.setFocus()

    def to_row(self) -> dict[str, object]:
        """Return the offer as a row of a price list."""
        gpu_key = str(self.gpu.currentData() or _NO_GPU)
        return {
            "provider": self.provider.text().strip(),
            "instance_type": self.instance.text().strip(),
            "region": self.region.text().strip(),
            "accelerator_key": gpu_key,
            **({} if gpu_key == _NO_GPU else {"accelerator_count": int(self.count.value())}),
            "vcpus": int(self.vcpus.value()),
            "memory_gib": self.memory.value(),
            "on_demand_usd_per_hour": self.price.value(),
        }

    def _add(self) -> None:
        from app.errors import SizewiseError
        from app.profiles.pricing.catalog import load_catalog
        from app.profiles.pricing.price_list import read_price_list
        from app.wiring.dependencies import get_utc_now

        try:
            path = write_price_list(self.to_row())
            problems = read_price_list(path, self._catalog or load_catalog(), get_utc_now().date()).problems
        except (OSError, SizewiseError) as error:
            self._show_problem(str(error))
            return
        if problems:
            self._show_problem(str(problems[0]))
            path.unlink(missing_ok=True)
            return
        self.hide()
        self.price_list_written.emit(path)

    def _show_problem(self, text: str) -> None:
        self.problem.setText(text)
        self.problem.setVisible(True)


def write_price_list(row: dict[str, object]) -> Path:
    """Write an offer as a price list to the `prices` directory beside the runs, named after the
    offer. Return the path of the price list."""
    from app.gui.plan.assumption_files import format_yaml
    from app.storage.run_directory import runs_home, write_atomically

    directory = runs_home().parent / "prices"
    directory.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^a-zA-Z0-9]+", "-", f"{row['provider']}-{row['instance_type']}-{row['region']}").strip("-").lower()
    path = directory / f"{stem or 'offer'}.yaml"
    write_atomically(path, format_yaml([row]).encode())
    return path


_PRICE_LIST_FILTER = "*.csv *.yaml *.yml"


class OffersView(QWidget):
    """Table of offers.

    `change_requested` is emitted with a Change, `price_list_requested` with the path of a price
    list, and `offer_selected` with the key of an offer.
    """

    change_requested = Signal(object)
    price_list_requested = Signal(object)
    offer_selected = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setAcceptDrops(True)
        self._plan: Plan | None = None
        self._is_updating = False
        self.model = OffersModel()
        self.model.setParent(self)
        self.table = FrameTable(self.model, "Offers")
        self.table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.filter_field = search_field(
            "Filter by accelerator, provider, region… (h100|l4 finds both)", "Filter offers"
        )
        self.count_label = label("", "muted")
        self.pin_button = PinButton("Pin the offer selected in the table", self)
        self.reset_button = button("Reset &this price", self._reset_price)
        self.reset_all_button = button("Reset &all prices", self._reset_all_prices)
        self.prices_button = tool_button("Prices", "Custom prices")
        self.menu = QMenu(self.prices_button)
        self.form = CustomOfferForm()
        self.form.hide()
        self._build_layout()
        self.filter_field.textChanged.connect(self._apply_filter)
        self.model.price_requested.connect(self._request_price)
        self.form.price_list_written.connect(self._on_price_list_written)
        self.table.selectionModel().selectionChanged.connect(self._on_selection)
        self._update_buttons()

    def _build_layout(self) -> None:
        self.menu.addAction("&Open price list…", self._choose_price_list)
        self.menu.addAction("&Add custom offer…", self._show_form)
        self.prices_button.setMenu(self.menu)
        self.prices_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        header = hbox(
            label("Offers", "heading"),
            (self.filter_field, 1),
            self.count_label,
            self.pin_button,
            self.reset_button,
            self.reset_all_button,
            self.prices_button,
        )
        vbox(header, (self.table, 1), self.form, within=self)

    def show_state(self, state: PlanState) -> None:
        if state.plan is None or state.inputs is None or state.loaded_sources is None or state.plan is self._plan:
            return
        is_first_plan = self._plan is None
        self._plan = state.plan
        selected_offer = self.selected_offer()
        self.model.set_edited_prices(
            state.edits.edited_prices, _get_original_prices(state.loaded_sources.inputs, state.edits.edited_prices)
        )
        self._is_updating = True
        self.model.set_limited_offers(frozenset(fleet.offer for fleet in state.plan.offers if fleet.is_latency_limit))
        self.model.set_frame(build_frame(state.plan))
        has_replicas = any(fleet.served_replica is not None for fleet in state.plan.offers)
        for name in REPLICA_COLUMNS:
            self.table.setColumnHidden(COLUMNS.index(name), not has_replicas)
        self._apply_filter(self.filter_field.text())
        if is_first_plan:
            self.fit_columns()
        self._is_updating = False
        self.select_offer(selected_offer)
        self.form.set_catalog(state.inputs.catalog)

    def fit_columns(self, _: object = None) -> None:
        """Fit the columns to their contents. Long rejection reasons are truncated; the tooltip and
        the result card show the full text."""
        self.table.resizeColumnsToContents()
        column = COLUMNS.index("why")
        max_width = 42 * self.fontMetrics().averageCharWidth()
        self.table.setColumnWidth(column, min(self.table.columnWidth(column), max_width))

    def selected_offer(self) -> str | None:
        rows = self.table.selectionModel().selectedRows()
        return self.model.offer(rows[0].row()) if rows else None

    def select_offer(self, offer: str | None) -> None:
        """Select an offer without emitting `offer_selected`."""
        self._is_updating = True
        row = None if offer is None else self.model.find_row(offer)
        if row is None:
            self.table.clearSelection()
        elif offer != self.selected_offer():
            self.table.selectRow(row)
            self.table.scrollTo(self.model.index(row, 0))
        self._is_updating = False
        self._update_buttons()

    def edit_price(self, offer: str, price_text: str) -> bool:
        """Edit the price of an offer as if `price_text` were typed into the cell. Return whether
        the price is valid."""
        row = self.model.find_row(offer)
        return row is not None and self.model.setData(self.model.index(row, COLUMNS.index(PRICE_COLUMN)), price_text)

    def _apply_filter(self, text: str) -> None:
        self.table.set_filter(text)
        visible_count, total_count = self.model.rowCount(), len(self.model.frame)
        self.count_label.setText(
            f"{visible_count} of {total_count} offers" if visible_count != total_count else f"{total_count} offers"
        )
        set_table_description(self.table, "Offers")
        self._update_buttons()

    def _on_selection(self, _: QItemSelection, __: QItemSelection) -> None:
        self._update_buttons()
        offer = self.selected_offer()
        if not self._is_updating and offer is not None:
            self.offer_selected.emit(offer)

    def _update_buttons(self) -> None:
        rows = self.table.selectionModel().selectedRows()
        self.reset_button.setEnabled(bool(rows) and self.model.is_edited(rows[0].row()))
        for reset_button in (self.reset_button, self.reset_all_button):
            reset_button.setVisible(bool(self.model.edited_offers()))

    def _request_price(self, offer: str, price_text: str) -> None:
        title = f"Price of {offer}: {format_usd_per_hour(float(price_text))}"
        self.change_requested.emit(Change(title, ((f"{PRICE_PREFIX}{offer}", price_text),)))

    def _reset_price(self) -> None:
        offer = self.selected_offer()
        if offer is not None:
            self.change_requested.emit(Change(f"Reset price of {offer}", ((f"{PRICE_PREFIX}{offer}", None),)))

    def _reset_all_prices(self) -> None:
        values = tuple((f"{PRICE_PREFIX}{offer}", None) for offer in self.model.edited_offers())
        self.change_requested.emit(Change("Reset all prices", values))

    def _choose_price_list(self) -> None:
        file_name, _ = QFileDialog.getOpenFileName(self, "Open price list", "", f"Price lists ({_PRICE_LIST_FILTER})")
        if file_name:
            self.price_list_requested.emit(Path(file_name))

    def _show_form(self) -> None:
        self.form.open_form()

    def _on_price_list_written(self, path: Path) -> None:
        self.price_list_requested.emit(path)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(
            url.isLocalFile() and url.toLocalFile().endswith((".csv", ".yaml", ".yml"))
            for url in event.mimeData().urls()
        ):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        for url in event.mimeData().urls():
            if url.isLocalFile():
                self.price_list_requested.emit(Path(url.toLocalFile()))


def _get_original_prices(plan_inputs: PlanningInputs, edited_prices: dict[str, str]) -> dict[str, float | None]:
    return {
        offer.key: _get_price(offer, plan_inputs) for offer in plan_inputs.catalog.offers if offer.key in edited_prices
    }


def _get_price(offer: Offer, plan_inputs: PlanningInputs) -> float | None:
    price_kind = plan_inputs.limits.price
    if price_kind == "spot":
        return offer.spot_usd_per_hour
    return offer.reserved_1y_usd_per_hour if price_kind == "reserved-1y" else offer.on_demand_usd_per_hour
