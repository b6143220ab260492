"""Row of headline values at the top of the Live page."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QSizePolicy, QWidget

from app.gui.live.state import Kpi
from app.gui.widgets import hbox, label, restyle, vbox


class KpiRow(QWidget):
    """Headline values as cards of equal width. Cards are reused, so that an update only changes
    texts."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Headline values")
        self._layout = hbox(within=self, spacing=8)
        self._cards: list[KpiCard] = []

    def show_kpis(self, kpis: tuple[Kpi, ...]) -> None:
        while len(self._cards) < len(kpis):
            card = KpiCard()
            self._cards.append(card)
            self._layout.addWidget(card, 1)
        for index, card in enumerate(self._cards):
            card.setVisible(index < len(kpis))
            if index < len(kpis):
                card.show_kpi(kpis[index])

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
        vbox(self.heading, self.value, self.detail, within=self, margins=(12, 6, 8, 6), spacing=0)

    def show_kpi(self, kpi: Kpi) -> None:
        for text_label, text in ((self.heading, kpi.label), (self.value, kpi.value), (self.detail, kpi.detail)):
            if text_label.text() != text:
                text_label.setText(text)
                text_label.setToolTip(text)
        restyle(self.detail, kpi.state)
        self.setAccessibleName(kpi.label)
        self.setAccessibleDescription(f"{kpi.value}, {kpi.detail}" if kpi.detail else kpi.value)
