"""Widgets of the result card: property list, bulleted sentences, rejection reasons with their
counts, capacity by the number of instances, and sensitivity table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from app.gui.formatting import NOT_AVAILABLE, format_number
from app.gui.plan.figures import format_usd
from app.gui.widgets import label, vbox
from app.planning.formatting import format_probability
from app.planning.sizing.instances import get_planned_rate_per_s
from app.records.plan import Fleet, Plan, SensitivityRange


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
            name_label, value_label = label("", "muted", wrap=True), label("", wrap=True)
            value_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            for column, widget in enumerate((name_label, value_label)):
                self._grid.addWidget(widget, len(self._rows), column, Qt.AlignmentFlag.AlignTop)
            self._rows.append((name_label, value_label))
        for index, (name_label, value_label) in enumerate(self._rows):
            texts = properties[index] if index < len(properties) else ("", "")
            name_label.setText(texts[0])
            value_label.setText(texts[1])
            value_label.setAccessibleName(": ".join(texts))
            for widget in (name_label, value_label):
                widget.setVisible(index < len(properties))

    def texts(self) -> dict[str, str]:
        return {name_label.text(): value_label.text() for name_label, value_label in self._rows if name_label.text()}


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
        self._text.setText("\n".join(f"• {sentence}" for sentence in sentences))
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
    counts = Counter(rejection_key for rejection_key, _ in rejections)
    examples = dict(reversed(rejections))
    reasons = [
        f"{count} offers: {examples[rejection_key]}" if count > 1 else f"1 offer: {examples[rejection_key]}"
        for rejection_key, count in counts.most_common(_MAX_REASONS)
    ]
    remaining_count = sum(count for _, count in counts.most_common()[_MAX_REASONS:])
    return (*reasons, *([f"{remaining_count} more offers: other reasons"] if remaining_count else []))


class CapacityRow(msgspec.Struct, frozen=True):
    """What a number of instances without spares sustains. `sustained_per_s` is the peak at the
    plan's confidence and `max_rate_per_s` the rate with its 95 % interval, all in req/s."""

    instances: int
    offset: int
    """Number of instances above the planned number: −1, 0 or 1."""
    sustained_per_s: float
    max_rate_per_s: float
    max_rate_ci95: tuple[float, float] | None
    probability: float | None

    @property
    def name(self) -> str:
        return {-1: "N−1", 0: "N", 1: "N+1"}[self.offset]


def build_capacity_rows(fleet: Fleet | None) -> tuple[CapacityRow, ...]:
    """Return the capacity with one instance fewer than planned, as planned, and with one more;
    empty if the fleet has no size."""
    if fleet is None or fleet.instances is None:
        return ()
    planned_rate_per_s, capacity = get_planned_rate_per_s(fleet), fleet.capacity_per_instance_per_s
    if planned_rate_per_s is None or capacity.value is None:
        return ()
    needed_instances = fleet.instances - (fleet.spare_instances or 0)
    probabilities = fleet.slo_probabilities
    shares: tuple[float | None, ...] = (
        (None, None, None)
        if probabilities is None
        else (probabilities.one_fewer, probabilities.planned, probabilities.one_more)
    )
    rows = []
    for offset, share in zip((-1, 0, 1), shares, strict=True):
        count = needed_instances + offset
        if count < 1:
            continue
        interval = None if capacity.ci95 is None else (count * capacity.ci95[0], count * capacity.ci95[1])
        sustained_per_s = count * planned_rate_per_s * (fleet.replicas_per_instance or 1)
        rows.append(CapacityRow(count, offset, sustained_per_s, count * capacity.value, interval, share))
    return tuple(rows)


def get_sized_peak_per_s(fleet: Fleet | None) -> float | None:
    """Return the peak that a fleet is sized for in req/s, with growth, spikes and campaigns; `None`
    if unknown."""
    if fleet is None or fleet.instances is None:
        return None
    utilization, capacity = fleet.utilization_at_peak.value, fleet.capacity_per_instance_per_s.value
    return None if utilization is None or capacity is None else utilization * fleet.instances * capacity


class CapacityTable(QWidget):
    """Table of P(SLO met) at the peak by the number of instances, hidden if the fleet has no
    size."""

    def __init__(self) -> None:
        super().__init__()
        self._method_label = label("", "muted", wrap=True)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(3)
        for column, heading in enumerate(("Instances", "P(SLO met)", "Max rate (95 % interval)")):
            self._grid.setColumnStretch(column, 3 + column)
            self._grid.addWidget(label(heading, "muted", wrap=True), 0, column, Qt.AlignmentFlag.AlignTop)
        self._rows = [tuple(label("", wrap=True) for _ in range(3)) for _ in range(3)]
        for row, cells in enumerate(self._rows, start=1):
            for column, cell in enumerate(cells):
                self._grid.addWidget(cell, row, column, Qt.AlignmentFlag.AlignTop)
        title = label("Instances for the load, without spares", "heading", wrap=True)
        vbox(title, self._grid, self._method_label, within=self, margins=(0, 0, 0, 4), spacing=3)
        self.hide()

    def show_capacity(self, rows: tuple[CapacityRow, ...], method: str) -> None:
        """Show the rows. `method` states how they were computed."""
        for index, cells in enumerate(self._rows):
            texts = _format_capacity_row(rows[index]) if index < len(rows) else ("", "", "")
            is_planned = index < len(rows) and rows[index].offset == 0
            for cell, text in zip(cells, texts, strict=True):
                cell.setText(text)
                cell.setVisible(index < len(rows))
                font = cell.font()
                font.setBold(is_planned)
                cell.setFont(font)
        self._method_label.setText(method)
        self.setVisible(bool(rows))

    def texts(self) -> list[tuple[str, ...]]:
        return [tuple(cell.text() for cell in cells) for cells in self._rows if cells[0].text()]

    def method(self) -> str:
        return self._method_label.text()


def _format_capacity_row(row: CapacityRow) -> tuple[str, str, str]:
    probability = NOT_AVAILABLE if row.probability is None else format_probability(row.probability)
    interval = NOT_AVAILABLE if row.max_rate_ci95 is None else " – ".join(map(format_number, row.max_rate_ci95))
    suffix = " (planned)" if row.offset == 0 else ""
    return f"{row.instances}{suffix}", probability, f"{format_number(row.max_rate_per_s)} req/s ({interval})"


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
            for column, cell_label in enumerate(row):
                self._grid.addWidget(cell_label, len(self._rows), column, Qt.AlignmentFlag.AlignTop)
        for index, row in enumerate(self._rows):
            texts = _format_range(ranges[index], recommended_offer) if index < len(ranges) else ("", "", "")
            for cell_label, text in zip(row, texts, strict=True):
                cell_label.setText(text)
                cell_label.setVisible(index < len(ranges))
        self.setVisible(bool(ranges))

    def texts(self) -> list[tuple[str, str, str]]:
        return [
            (input_label.text(), low_label.text(), high_label.text())
            for input_label, low_label, high_label in self._rows
            if input_label.text()
        ]


def _format_range(sensitivity_range: SensitivityRange, recommended_offer: str | None) -> tuple[str, str, str]:
    return (
        sensitivity_range.input,
        _format_range_end(
            sensitivity_range.low,
            sensitivity_range.usd_per_month_low,
            None if sensitivity_range.winner_low == recommended_offer else sensitivity_range.winner_low,
        ),
        _format_range_end(
            sensitivity_range.high,
            sensitivity_range.usd_per_month_high,
            None if sensitivity_range.winner_high == recommended_offer else sensitivity_range.winner_high,
        ),
    )


def _format_range_end(input_text: str, usd_per_month: float | None, cheapest_offer: str | None) -> str:
    if usd_per_month is None:
        return f"{input_text}: no offer fits"
    cost_text = f"{input_text}: {format_usd(usd_per_month)}"
    return cost_text if cheapest_offer is None else f"{cost_text} with {cheapest_offer}"
