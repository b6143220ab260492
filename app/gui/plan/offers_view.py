"""The offers below: filtered, sorted, prices tried and taken back."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QItemSelection, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.gui.plan.edits import Change
from app.gui.plan.figures import usd_each
from app.gui.plan.offers_model import COLUMNS, PRICE_COLUMN, OffersModel, frame_of
from app.gui.plan.own_offer import OwnOfferForm
from app.gui.plan.state import PlanState
from app.gui.tables import FrameTable, describe
from app.gui.widgets import button, label
from app.records.offers import Offer
from app.records.plan import Plan
from app.records.plan_question import PlanQuestion
from app.wiring.plan_changes import PRICE

_LISTS = "*.csv *.yaml *.yml"


class OffersView(QWidget):
    """`wanted` is a Change, `prices_wanted` the Path of a price list, `offer_chosen` an offer's key."""

    wanted = Signal(object)
    prices_wanted = Signal(object)
    offer_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setAcceptDrops(True)
        self._plan: Plan | None = None
        self._is_choosing = False
        self.model = OffersModel()
        self.model.setParent(self)
        self.table = FrameTable(self.model, "Offers")
        self.table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.filter = QLineEdit()
        self.filter.setClearButtonEnabled(True)
        self.filter.setPlaceholderText("Filter offers: a provider, a region, a reason …")
        self.filter.setAccessibleName("Filter offers")
        self.counted = label("", "muted")
        self.revert = button("Take &this price back", self._revert_one)
        self.revert_all = button("Take &all prices back", self._revert_all)
        self.prices = QToolButton()
        self.prices.setText("Pri&ces")
        self.prices.setAccessibleName("Prices of your own")
        self.menu = QMenu(self.prices)
        self.form = OwnOfferForm()
        self.form.hide()
        self._lay_out()
        self.filter.textChanged.connect(self._filter)
        self.model.price_wanted.connect(self._want_price)
        self.form.written.connect(self._added)
        self.table.selectionModel().selectionChanged.connect(self._chosen)
        self._show_buttons()

    def _lay_out(self) -> None:
        self.menu.addAction("&Open price list…", self._ask_for_list)
        self.menu.addAction("&Add an offer of yours…", self._show_form)
        self.prices.setMenu(self.menu)
        self.prices.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        head = QHBoxLayout()
        head.addWidget(label("Offers", "heading"))
        head.addWidget(self.filter, 1)
        for one in (self.counted, self.revert, self.revert_all, self.prices):
            head.addWidget(one)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(head)
        column.addWidget(self.table, 1)
        column.addWidget(self.form)

    def show_state(self, state: PlanState) -> None:
        if state.plan is None or state.question is None or state.loaded is None or state.plan is self._plan:
            return
        is_first = self._plan is None
        self._plan = state.plan
        chosen = self.chosen_offer()
        self.model.set_edited(state.edits.priced, _before(state.loaded.question, state.edits.priced))
        self._is_choosing = True
        self.model.set_frame(frame_of(state.plan))
        self._filter(self.filter.text())
        if is_first:
            self.fit_columns()
        self._is_choosing = False
        self.choose(chosen)
        self.form.show_cards(state.question.catalogue)

    def fit_columns(self, _: object = None) -> None:
        """The reasons are as long as they are: they show their beginning, and all of it on hover and in the card."""
        self.table.resizeColumnsToContents()
        place = COLUMNS.index("why")
        most = 42 * self.fontMetrics().averageCharWidth()
        self.table.setColumnWidth(place, min(self.table.columnWidth(place), most))

    def chosen_offer(self) -> str | None:
        rows = self.table.selectionModel().selectedRows()
        return self.model.offer(rows[0].row()) if rows else None

    def choose(self, offer: str | None) -> None:
        """Tells nobody."""
        self._is_choosing = True
        row = None if offer is None else self.model.row_of(offer)
        if row is None:
            self.table.clearSelection()
        elif offer != self.chosen_offer():
            self.table.selectRow(row)
            self.table.scrollTo(self.model.index(row, 0))
        self._is_choosing = False
        self._show_buttons()

    def edit_price(self, offer: str, text: str) -> bool:
        """As if it were typed into the offer's cell."""
        row = self.model.row_of(offer)
        return row is not None and self.model.setData(self.model.index(row, COLUMNS.index(PRICE_COLUMN)), text)

    def _filter(self, text: str) -> None:
        self.table.set_filter(text)
        shown, among = self.model.rowCount(), len(self.model.frame)
        self.counted.setText(f"{shown} of {among}" if shown != among else str(among))
        describe(self.table, "Offers")
        self._show_buttons()

    def _chosen(self, _: QItemSelection, __: QItemSelection) -> None:
        self._show_buttons()
        offer = self.chosen_offer()
        if not self._is_choosing and offer is not None:
            self.offer_chosen.emit(offer)

    def _show_buttons(self) -> None:
        rows = self.table.selectionModel().selectedRows()
        self.revert.setEnabled(bool(rows) and self.model.is_edited(rows[0].row()))
        for one in (self.revert, self.revert_all):
            one.setVisible(bool(self.model.edited()))

    def _want_price(self, offer: str, text: str) -> None:
        words = f"price of {offer}: {usd_each(float(text))} USD/h"
        self.wanted.emit(Change(words, ((f"{PRICE}{offer}", text),)))

    def _revert_one(self) -> None:
        offer = self.chosen_offer()
        if offer is not None:
            self.wanted.emit(Change(f"price of {offer} taken back", ((f"{PRICE}{offer}", None),)))

    def _revert_all(self) -> None:
        values = tuple((f"{PRICE}{offer}", None) for offer in self.model.edited())
        self.wanted.emit(Change("all prices taken back", values))

    def _ask_for_list(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open price list", "", f"Price lists ({_LISTS})")
        if name:
            self.prices_wanted.emit(Path(name))

    def _show_form(self) -> None:
        self.form.begin()

    def _added(self, path: Path) -> None:
        self.prices_wanted.emit(path)

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
                self.prices_wanted.emit(Path(url.toLocalFile()))


def _before(question: PlanQuestion, edited: dict[str, str]) -> dict[str, float | None]:
    return {offer.key: _price(offer, question) for offer in question.catalogue.offers if offer.key in edited}


def _price(offer: Offer, question: PlanQuestion) -> float | None:
    kind = question.limits.price
    if kind == "spot":
        return offer.spot_usd_per_hour
    return offer.reserved_1y_usd_per_hour if kind == "reserved 1y" else offer.on_demand_usd_per_hour
