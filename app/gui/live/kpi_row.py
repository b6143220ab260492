"""Row of headline values at the top of the Live page."""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QSizePolicy, QWidget

from app.gui.live.state import Kpi
from app.gui.theme import GAP, NO_MARGINS, TILE_MARGINS
from app.gui.widgets import label, restyle, vbox

_SAMPLE_VALUE = "1,234 tok/s"


class KpiRow(QWidget):
    """Headline values as cards of equal width, on several lines if the text is large. Cards are
    reused, so that an update only changes texts."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Headline values")
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(*NO_MARGINS)
        self._grid.setSpacing(GAP)
        self._cards: list[KpiCard] = []
        self._arrangement = (0, 0)
        """Number of cards and of columns in the grid."""

    def show_kpis(self, kpis: tuple[Kpi, ...]) -> None:
        while len(self._cards) < len(kpis):
            card = KpiCard()
            self._cards.append(card)
            self._grid.addWidget(card, 0, len(self._cards))
        for index, card in enumerate(self._cards):
            card.setVisible(index < len(kpis))
            if index < len(kpis):
                card.show_kpi(kpis[index])
        self._arrange_cards()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:  # the size of the text may have changed
            self._arrange_cards()
        return super().event(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange_cards()

    def _arrange_cards(self) -> None:
        """Place as many cards on each line as have room for a value, evenly over the lines."""
        cards = [card for card in self._cards if not card.isHidden()]
        min_width_px = max((card.min_width_px() for card in cards), default=1)
        max_columns = max(1, (self.width() + GAP) // (min_width_px + GAP))
        line_count = max(1, -(-len(cards) // max_columns))
        column_count = -(-len(cards) // line_count)
        if self._arrangement == (len(cards), column_count):
            return
        self._arrangement = (len(cards), column_count)
        for index, card in enumerate(cards):
            self._grid.addWidget(card, *divmod(index, column_count))
        for column in range(len(self._cards) + 1):
            self._grid.setColumnStretch(column, int(column < column_count))
        self._grid.activate()  # else the cards have these places only after the next paint

    def visible_texts(self) -> list[tuple[str, str, str]]:
        """Return the label, the value and the detail of each visible card."""
        return [
            (card.heading.text(), card.value.text(), card.detail.text()) for card in self._cards if not card.isHidden()
        ]


class KpiCard(QFrame):
    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.heading, self.value, self.detail = label("", "muted"), label("", "big"), label("", "detail", wrap=True)
        for text_label in (self.heading, self.value, self.detail):
            # A text that changes must not change the width of its card.
            text_label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        vbox(self.heading, self.value, self.detail, within=self, margins=TILE_MARGINS, spacing=0)

    def min_width_px(self) -> int:
        """Return the width of a card for a value of usual length."""
        self.value.ensurePolished()
        value_px = self.value.fontMetrics().horizontalAdvance(_SAMPLE_VALUE)
        return value_px + TILE_MARGINS[0] + TILE_MARGINS[2] + 2 * self.frameWidth()

    def show_kpi(self, kpi: Kpi) -> None:
        for text_label, text in ((self.heading, kpi.label), (self.value, kpi.value), (self.detail, kpi.detail)):
            if text_label.text() != text:
                text_label.setText(text)
                text_label.setToolTip(text)
        restyle(self.detail, kpi.state)
        self.setAccessibleName(kpi.label)
        self.setAccessibleDescription(f"{kpi.value}, {kpi.detail}" if kpi.detail else kpi.value)
