"""The Plan page at work: what is asked, what that costs, what to rent, and every offer."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.gui.plan.card import PlanCard
from app.gui.plan.folding import Folding, Parts
from app.gui.plan.front_chart import FrontChart
from app.gui.plan.inputs import PlanInputs
from app.gui.plan.offers_view import OffersView
from app.gui.plan.presenter import PlanPresenter
from app.gui.plan.state import PlanState
from app.gui.theme import Look


class Workbench(QWidget):
    """What is chosen in one part is chosen in all."""

    def __init__(self, presenter: PlanPresenter, look: Look) -> None:
        super().__init__()
        self._loaded: object = None
        self.inputs = PlanInputs(look)
        self.chart = FrontChart(look)
        self.card = PlanCard()
        self.offers = OffersView()
        self.folding = Folding(Parts(self.inputs, self.chart, self.card, self.offers))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.folding)
        for part in (self.inputs, self.card, self.offers):
            part.wanted.connect(presenter.change)
        self.offers.prices_wanted.connect(presenter.add_prices)
        self.offers.offer_chosen.connect(self.choose)
        self.chart.offer_chosen.connect(self.choose)
        self.card.offer_wanted.connect(self.choose)
        look.changed.connect(self.offers.fit_columns, Qt.ConnectionType.QueuedConnection)

    def show_state(self, state: PlanState) -> None:
        if state.loaded is not self._loaded:
            self._loaded = state.loaded
            self.choose("")
        self.inputs.show_state(state)
        self.chart.show_state(state)
        self.offers.show_state(state)
        self.card.show_state(state)

    def choose(self, offer: str) -> None:
        """Empty is the recommended one."""
        chosen = offer or None
        self.card.choose(chosen)
        self.chart.choose(chosen)
        self.offers.choose(chosen)
