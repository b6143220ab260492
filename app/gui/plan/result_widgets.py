"""Widgets of the result card: property list, bulleted sentences, rejection reasons with their
counts, and sensitivity table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from app.gui.plan.figures import format_usd
from app.gui.widgets import label, vbox
from app.records.plan import Plan, SensitivityRange


class PropertyList(QWidget):
    """Vertical list of names with values. The rows are created once and reused."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(0, 2)
        self._grid.setColumnStretch(1, 3)
        self._rows: list[tuple[QLabel, QLabel]] = []

    def set_properties(self, properties: Sequence[tuple[str, str]]) -> None:
        while len(self._rows) < len(properties):
            name, value = label("", "muted", wrap=True), label("", wrap=True)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            for column, widget in enumerate((name, value)):
                self._grid.addWidget(widget, len(self._rows), column, Qt.AlignmentFlag.AlignTop)
            self._rows.append((name, value))
        for index, (name, value) in enumerate(self._rows):
            texts = properties[index] if index < len(properties) else ("", "")
            name.setText(texts[0])
            value.setText(texts[1])
            value.setAccessibleName(": ".join(texts))
            for widget in (name, value):
                widget.setVisible(index < len(properties))

    def texts(self) -> dict[str, str]:
        return {name.text(): value.text() for name, value in self._rows if name.text()}


class Sentences(QWidget):
    """Heading with a bulleted list of sentences, hidden while the list is empty."""

    def __init__(self, heading: str) -> None:
        super().__init__()
        column = vbox(label(heading, "heading", wrap=True), within=self, margins=(0, 6, 0, 0), spacing=3)
        self._text = label("", wrap=True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._text.setAccessibleName(heading)
        column.addWidget(self._text)
        self.hide()

    def set_sentences(self, sentences: Sequence[str]) -> None:
        self._text.setText("\n".join(f"• {line}" for line in sentences))
        self.setVisible(bool(sentences))

    def text(self) -> str:
        return "" if self.isHidden() else self._text.text()


_MAX_REASONS = 5


def list_rejection_reasons(plan: Plan) -> tuple[str, ...]:
    """Return the most frequent rejection reasons with the number of offers. Reasons that differ
    only in a number or a name are counted together, with one of them as the example."""
    rejections = [
        ((fleet.rejected_by, fleet.rejection), fleet.rejected) for fleet in plan.offers if fleet.rejected is not None
    ]
    counts = Counter(kind for kind, _ in rejections)
    examples = dict(reversed(rejections))
    reasons = [
        f"{count} offers: {examples[kind]}" if count > 1 else f"1 offer: {examples[kind]}"
        for kind, count in counts.most_common(_MAX_REASONS)
    ]
    remaining_count = sum(count for _, count in counts.most_common()[_MAX_REASONS:])
    return (*reasons, *([f"{remaining_count} more offers: other reasons"] if remaining_count else []))


class SensitivityTable(QWidget):
    """Sensitivity table: monthly cost at both ends of each input range, and the cheapest offer
    there if it differs from the recommended offer.

    The table is hidden if there is no data. Its cells are labels, because a Qt table would not wrap
    the text to the available width.
    """

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(3)
        for column, stretch in enumerate((4, 5, 5)):
            self._grid.setColumnStretch(column, stretch)
        for column, heading in enumerate(("Input", "Low", "High")):
            self._grid.addWidget(label(heading, "muted", wrap=True), 0, column)
        self._rows: list[tuple[QLabel, QLabel, QLabel]] = []
        vbox(
            label("Monthly cost, one input changed at a time", "muted", wrap=True),
            self._grid,
            within=self,
            margins=(0, 4, 0, 0),
        )
        self.hide()

    def show_sensitivity(self, ranges: tuple[SensitivityRange, ...], recommended_offer: str | None = None) -> None:
        """Show the sensitivity. The cheapest offer at an end of a range is named if it differs from
        `recommended_offer`."""
        while len(self._rows) < len(ranges):
            row = (label("", wrap=True), label("", wrap=True), label("", wrap=True))
            self._rows.append(row)
            for column, cell in enumerate(row):
                self._grid.addWidget(cell, len(self._rows), column, Qt.AlignmentFlag.AlignTop)
        for index, row in enumerate(self._rows):
            texts = _format_range(ranges[index], recommended_offer) if index < len(ranges) else ("", "", "")
            for cell, text in zip(row, texts, strict=True):
                cell.setText(text)
                cell.setVisible(index < len(ranges))
        self.setVisible(bool(ranges))

    def texts(self) -> list[tuple[str, str, str]]:
        return [(a.text(), b.text(), c.text()) for a, b, c in self._rows if a.text()]


def _format_range(item: SensitivityRange, recommended_offer: str | None) -> tuple[str, str, str]:
    return (
        item.input,
        _format_range_end(
            item.low, item.usd_per_month_low, None if item.winner_low == recommended_offer else item.winner_low
        ),
        _format_range_end(
            item.high, item.usd_per_month_high, None if item.winner_high == recommended_offer else item.winner_high
        ),
    )


def _format_range_end(text: str, cost: float | None, recommended_offer: str | None) -> str:
    if cost is None:
        return f"{text}: no offer fits"
    result = f"{text}: {format_usd(cost)}"
    return result if recommended_offer is None else f"{result} with {recommended_offer}"
